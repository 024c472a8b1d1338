package dare

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// What is wrong with a container file.
var (
	ErrDamaged  = errors.New("dare: container file is damaged")
	ErrReadOnly = errors.New("dare: container file is read only")
	ErrNoFrame  = errors.New("dare: no such frame")
)

// fileMode: a replica shows whom its owner knows, even where its content is encrypted.
const fileMode fs.FileMode = 0o600

// Container is a DARE container file of kind Merkle: frames one after the other, the first of them says what it is.
// The file is a function of the envelopes in it, octet by octet. Envelopes come back with the octets that went in.
//
// Append, AppendAll and Add return when the frames are on disk (fsync). A frame that was half written when the
// machine stopped is cut off at the next OpenFile; a batch may be there in part, from its beginning. Memory holds
// the offset of each frame, and one frame at a time.
//
// The methods are safe for concurrent use. Two processes must not write one file: its owner keeps them apart.
type Container struct {
	mu       sync.RWMutex
	file     *os.File
	readOnly bool
	legacy   bool    // Index and ContainerType at the top of the header, files of 2018 and before
	kind     string  // ContainerType of frame 0
	ends     []int64 // offset after frame i
	peaks    Peaks   // of kind Merkle only
	cut      int64
	broken   error // after a failed write or fsync nobody knows what is on disk
}

// Create makes an empty container file, which must not exist, and writes its directory to disk. Frame 0 is appended
// like any other: one that came from a service, or Add(FirstFrame(…)).
func Create(path string) (*Container, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Container{file: f}, nil
}

// OpenFile opens a container file to read and append; what it finds there is on disk when it returns. A torn frame at the end is cut off (Cut tells how much); other
// damage is ErrDamaged and nothing is changed. The digests of the last frame are checked, those before by Verify.
func OpenFile(path string) (*Container, error) { return open(path, os.O_RDWR) }

// OpenReadOnly opens a container file to read: also one of another kind than Merkle and of the layout of 2018. A
// torn end is left where it is and not read.
func OpenReadOnly(path string) (*Container, error) { return open(path, os.O_RDONLY) }

func open(path string, flag int) (*Container, error) {
	f, err := os.OpenFile(path, flag, 0)
	if err != nil {
		return nil, err
	}
	c := &Container{file: f, readOnly: flag == os.O_RDONLY}
	if err := c.load(); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), f.Close())
	}
	return c, nil
}

// load finds the frames, reads kind and peaks and cuts a torn frame.
func (c *Container) load() error {
	size, err := c.file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	s := scanner{file: c.file, size: size}
	if c.ends, err = s.frames(); err != nil {
		return err
	}
	c.cut = size - c.end()
	if len(c.ends) > 0 {
		if err := c.loadState(); err != nil {
			return err
		}
	}
	if c.readOnly {
		return nil
	}
	if c.cut > 0 {
		if err := c.file.Truncate(c.end()); err != nil {
			return err
		}
	}
	return c.file.Sync() // a process that was killed may have written and not synced
}

// loadState reads kind and peaks and checks the last frame like a new one: it is what a crash hits.
func (c *Container) loadState() error {
	first, err := c.read(0)
	if err != nil {
		return err
	}
	info, legacy, err := containerInfo(first)
	if err != nil {
		return err
	}
	c.kind, c.legacy = info.ContainerType, legacy
	switch {
	case c.readOnly && (legacy || c.kind != "Merkle"):
		return nil
	case legacy || c.kind != "Merkle":
		return fmt.Errorf("%w: of another kind or layout", ErrReadOnly)
	}
	last := int64(len(c.ends)) - 1
	if err := c.loadPeaks(last); err != nil {
		return err
	}
	e, err := c.read(last)
	if err != nil {
		return err
	}
	if err := c.peaks.Next(e); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

// loadPeaks reads the peaks of the first n frames from their tree digests.
func (c *Container) loadPeaks(n int64) error {
	p := Peaks{Frames: n}
	for _, i := range peakFrames(n) {
		e, err := c.read(i)
		if err != nil {
			return err
		}
		h, t, err := e.parse()
		if err != nil {
			return fmt.Errorf("%w: frame %d: %w", ErrDamaged, i, err)
		}
		tree := treeDigest(h, t)
		if len(tree) != DigestSize {
			return fmt.Errorf("%w: frame %d has no TreeDigest", ErrDamaged, i)
		}
		p.Digests = append(p.Digests, [DigestSize]byte(tree))
	}
	c.peaks = p
	return nil
}

// containerInfo reads the ContainerInfo of a frame, legacy when it is spread over the top of the header. A container
// of the Mesh that does not say what it is is of kind Merkle.
func containerInfo(e *Envelope) (info Info, legacy bool, err error) {
	var h struct {
		ContainerInfo *Info `json:"ContainerInfo,omitempty"`
		Info
	}
	if err := jbcd.UnmarshalLimits(e.Header, &h, headerLimits); err != nil {
		return Info{}, false, fmt.Errorf("%w: header: %w", ErrDamaged, err)
	}
	if h.ContainerInfo != nil {
		info = *h.ContainerInfo
		if info.ContainerType == "" {
			info.ContainerType = "Merkle"
		}
		return info, false, nil
	}
	return h.Info, true, nil
}

// FirstFrame makes frame 0 of a container: no payload, ContentMeta as given (its cty says what the container is
// for), nil for none.
func FirstFrame(meta *ContentMeta) (*Envelope, error) {
	info := FirstInfo()
	return New(nil, Options{Header: Header{ContainerInfo: &info}, Meta: meta})
}

// Append writes a frame that has its place (Peaks.Next says what that means), as a service serves it.
func (c *Container) Append(e *Envelope) error { return c.AppendAll([]*Envelope{e}) }

// AppendAll writes frames that have their place, with one write and one fsync. Nothing is written when one of them
// is not in its place.
func (c *Container) AppendAll(es []*Envelope) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.append(es)
}

// Add gives an envelope its place, which it must not have, as a service would, and appends it; a ContainerInfo of
// frame 0 is kept. The frame as written is returned.
func (c *Container) Add(e *Envelope) (*Envelope, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stored, err := e.Stored()
	if err != nil {
		return nil, err
	}
	place := Place{PayloadDigest: e.Digest()}
	if index := c.peaks.Frames; index == 0 {
		place.Info = FirstInfo()
	} else {
		place.Info.Index = &index
	}
	tree := c.peaks.Clone().Append(place.PayloadDigest)
	place.TreeDigest = tree[:]
	placed, err := stored.Placed(place)
	if err != nil {
		return nil, err
	}
	return placed, c.append([]*Envelope{placed})
}

func (c *Container) append(es []*Envelope) error {
	switch {
	case c.broken != nil:
		return c.broken
	case c.readOnly:
		return ErrReadOnly
	case len(es) == 0:
		return nil
	}
	peaks := c.peaks.Clone()
	base := c.end()
	var out []byte
	ends := make([]int64, 0, len(es))
	for _, e := range es {
		if err := checkFrame(e, peaks.Frames); err != nil {
			return fmt.Errorf("frame %d: %w", peaks.Frames, err)
		}
		if err := peaks.Next(e); err != nil {
			return err
		}
		out = appendFrame(out, e)
		ends = append(ends, base+int64(len(out)))
	}
	if _, err := c.file.WriteAt(out, base); err != nil {
		return c.undo(base, err)
	}
	if err := c.file.Sync(); err != nil {
		return c.undo(base, err)
	}
	c.ends = append(c.ends, ends...)
	c.peaks, c.kind = *peaks, "Merkle"
	return nil
}

// checkFrame refuses what could not be read back as it is.
func checkFrame(e *Envelope, index int64) error {
	if err := checkObject("header", e.Header); err != nil {
		return err
	}
	if len(e.Trailer) > 0 {
		if err := checkObject("trailer", e.Trailer); err != nil {
			return err
		}
	}
	if index > 0 {
		return nil
	}
	info, legacy, err := containerInfo(e)
	if err != nil {
		return err
	}
	if legacy || info.ContainerType != "Merkle" {
		return fmt.Errorf("%w: frame 0 of another kind than Merkle", ErrMalformed)
	}
	return nil
}

// undo takes back a failed write. The file is not written again by c: after a failed fsync the kernel may have
// dropped the octets and yet show them.
func (c *Container) undo(end int64, cause error) error {
	c.broken = fmt.Errorf("dare: container must be opened anew: %w", cause)
	return errors.Join(c.broken, c.file.Truncate(end))
}

// Frames returns the number of frames.
func (c *Container) Frames() int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return int64(len(c.ends))
}

// Kind is the ContainerType of frame 0, "" of an empty container.
func (c *Container) Kind() string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.kind
}

// Digest is the tree digest of the last frame, nil when there is none.
func (c *Container) Digest() []byte {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.peaks.Digest()
}

// Peaks returns a copy of the peaks: those of the service's container when both are equal.
func (c *Container) Peaks() *Peaks {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.peaks.Clone()
}

// Cut is how many octets of a torn frame OpenFile found at the end.
func (c *Container) Cut() int64 { return c.cut }

// Frame reads frame i. The envelope is the caller's.
func (c *Container) Frame(i int64) (*Envelope, error) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.read(i)
}

func (c *Container) read(i int64) (*Envelope, error) {
	if i < 0 || i >= int64(len(c.ends)) {
		return nil, fmt.Errorf("%w: %d", ErrNoFrame, i)
	}
	start := c.start(i)
	buf := make([]byte, c.ends[i]-start)
	if _, err := c.file.ReadAt(buf, start); err != nil {
		return nil, err
	}
	e, err := parseFrame(buf)
	if err != nil {
		return nil, fmt.Errorf("%w: frame %d: %w", ErrDamaged, i, err)
	}
	return e, nil
}

// start is the offset of frame i.
func (c *Container) start(i int64) int64 {
	if i == 0 {
		return 0
	}
	return c.ends[i-1]
}

// end is the offset after the last frame.
func (c *Container) end() int64 { return c.start(int64(len(c.ends))) }

// Forward yields frame from and those after it, in order. It ends after an error.
func (c *Container) Forward(from int64) iter.Seq2[*Envelope, error] {
	return func(yield func(*Envelope, error) bool) {
		for i := from; i < c.Frames(); i++ {
			if e, err := c.Frame(i); !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Backward yields the frames from the last to the first. It ends after an error.
func (c *Container) Backward() iter.Seq2[*Envelope, error] {
	return func(yield func(*Envelope, error) bool) {
		for i := c.Frames() - 1; i >= 0; i-- {
			if e, err := c.Frame(i); !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Verify reads every frame and computes every digest anew: index, PayloadDigest, TreeDigest. The first frame that
// is wrong is named in the error, which wraps ErrDamaged and what Peaks.Next says.
func (c *Container) Verify() error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.legacy || len(c.ends) > 0 && c.kind != "Merkle" {
		return fmt.Errorf("%w: of another kind or layout", ErrReadOnly)
	}
	var p Peaks
	for i := range int64(len(c.ends)) {
		e, err := c.read(i)
		if err != nil {
			return err
		}
		if err := p.Next(e); err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	return nil
}

// TruncateTo keeps the first frames frames and returns when that is on disk.
func (c *Container) TruncateTo(frames int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.broken != nil:
		return c.broken
	case c.readOnly:
		return ErrReadOnly
	case frames < 0 || frames > int64(len(c.ends)):
		return fmt.Errorf("%w: %d", ErrNoFrame, frames)
	}
	old := c.peaks
	if err := c.loadPeaks(frames); err != nil {
		c.peaks = old
		return err
	}
	c.ends = c.ends[:frames]
	if frames == 0 {
		c.kind = ""
	}
	err := c.file.Truncate(c.end())
	if err == nil {
		err = c.file.Sync()
	}
	if err != nil {
		c.broken = fmt.Errorf("dare: container must be opened anew: %w", err)
		return c.broken
	}
	return nil
}

// Close closes the file. What was appended is on disk already.
func (c *Container) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken = os.ErrClosed
	return c.file.Close()
}

// syncDir makes the name of a new file durable.
func syncDir(path string) error {
	if runtime.GOOS == "windows" { // has no such call, and orders names itself
		return nil
	}
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
