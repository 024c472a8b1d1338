package client

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// replica is the copy of one container: a DARE container file with the frames as the service serves them, and what
// was learnt from them. Only verified frames get in. Not for concurrent use.
type replica struct {
	container string
	path      string
	file      *dare.Container // nil: there is none yet
	chains    map[string]chain
	signers   map[string]keys.PublicKey // devices that have introduced themselves in this container
	written   map[string]bool           // kids that have signed a frame
	seen      remote                    // the longest state that this device has verified, before the file was lost perhaps
}

// Suffixes of container files.
const (
	suffixCatalog = ".dcat"
	suffixSpool   = ".dspl"
)

func replicaPath(dir, container string) string {
	if mesh.IsSpool(container) {
		return filepath.Join(dir, container+suffixSpool)
	}
	return filepath.Join(dir, container+suffixCatalog)
}

// replicaNames lists the containers that a folder has replicas of.
func replicaNames(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), suffixCatalog)
		if !ok {
			name, ok = strings.CutSuffix(e.Name(), suffixSpool)
		}
		if canonical, known := mesh.CanonicalContainer(name); ok && known && canonical == name {
			names = append(names, name)
		}
	}
	return names, nil
}

// openReplica opens the replica of a container, which need not exist. What it has was verified when it came: here it
// is only read. A damaged file is an error that says what to do: delete it, the service has it.
func openReplica(dir, container string, m *member) (*replica, error) {
	r := &replica{
		container: container, path: replicaPath(dir, container),
		chains: map[string]chain{}, signers: map[string]keys.PublicKey{}, written: map[string]bool{},
	}
	file, err := dare.OpenFile(r.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, nil
	case err != nil:
		return nil, fmt.Errorf("replica cannot be read (a Sync after its removal fetches it anew): %w", err)
	}
	r.file = file
	index := int64(0)
	for e, err := range file.Forward(0) {
		if err == nil {
			err = r.learn(index, e, m)
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s: frame %d: %w", r.path, index, err), file.Close())
		}
		index++
	}
	return r, nil
}

// learn takes a frame of the file into account.
func (r *replica) learn(index int64, e *dare.Envelope, m *member) error {
	if index == 0 || mesh.IsSpool(r.container) {
		return nil
	}
	h, err := e.ParseHeader()
	if err != nil {
		return err
	}
	meta, err := h.ParseMeta()
	if err != nil {
		return err
	}
	list, err := e.Signatures()
	if err != nil {
		return err
	}
	if len(list) > 0 {
		s := list[0]
		r.written[s.KID] = true
		if _, have := r.signers[s.KID]; !have && len(s.Credential) > 0 {
			if key, err := m.vouched(s.Credential[0]); err == nil {
				r.signers[s.KID] = key
			}
		}
	}
	c, have := r.chains[meta.UniqueID]
	if !have {
		c.first = index
	}
	c.last, c.live = index, meta.Event != eventDelete
	r.chains[meta.UniqueID] = c
	return nil
}

// frames is the number of frames.
func (r *replica) frames() int64 {
	if r.file == nil {
		return 0
	}
	return r.file.Frames()
}

// peaks are those of the Merkle tree of the frames.
func (r *replica) peaks() *dare.Peaks {
	if r.file == nil {
		return new(dare.Peaks)
	}
	return r.file.Peaks()
}

// append adds verified frames, durably, with one sync.
func (r *replica) append(frames []*dare.Envelope, m *member) error {
	if len(frames) == 0 {
		return nil
	}
	if r.file == nil {
		if err := os.MkdirAll(filepath.Dir(r.path), dirMode); err != nil {
			return err
		}
		file, err := dare.Create(r.path)
		if err != nil {
			return err
		}
		r.file = file
	}
	index := r.file.Frames()
	if err := r.file.AppendAll(frames); err != nil {
		return err
	}
	for i, e := range frames {
		if err := r.learn(index+int64(i), e, m); err != nil {
			return err
		}
	}
	return nil
}

// frame reads a frame.
func (r *replica) frame(i int64) (*dare.Envelope, error) {
	if r.file == nil {
		return nil, dare.ErrNoFrame
	}
	return r.file.Frame(i)
}

// verifier starts to verify what follows.
func (r *replica) verifier(t *trust) *verifier {
	v := &verifier{
		container: r.container, trust: t, peaks: r.peaks(), seen: r.seen,
		chains: r.chains, changed: map[string]chain{}, signers: map[string]keys.PublicKey{},
	}
	for kid, key := range r.signers {
		v.signers[kid] = key
	}
	return v
}

func (r *replica) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
