// Package fsck checks what lies in a shard's database against itself: every payload digest, tree digest, count and peak
// (PROTOCOL D-43), the stored form of frames (D-24), the states of catalog entries. It shares parsing with package dare
// and nothing with the stores that write: it is the judge of fault tests, and an operator's evidence after a restore.
//
// It cannot tell whether a client's signature is right (it has no profiles) or whether a whole container was put back
// to an earlier state: the clients' replicas tell that (D-57).
package fsck

import (
	"bytes"
	"context"
	"crypto/sha512"
	"fmt"
	"iter"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
)

// Walker reads a database as it lies; each store has one.
type Walker interface {
	Walk(ctx context.Context, visit func(shard.RawContainer, iter.Seq2[shard.RawFrame, error]) error) error
}

// Report is what Check found.
type Report struct {
	Containers int64   `json:"containers"`
	Frames     int64   `json:"frames"`
	Octets     int64   `json:"octets"` // of payloads
	Faults     []Fault `json:"faults"`
	More       int64   `json:"more_faults,omitempty"` // beyond maxFaults
}

// Fault is one thing that is not as it should be.
type Fault struct {
	Partition uint16 `json:"partition"`
	Account   int64  `json:"account"`
	Container string `json:"container"`
	Index     int64  `json:"index"` // -1: of the container as a whole
	Kind      string `json:"fault"` // short name: payload-digest, tree-digest, …
	Detail    string `json:"detail,omitempty"`
}

// String is one line for people.
func (f Fault) String() string {
	where := fmt.Sprintf("partition %d account %d %s", f.Partition, f.Account, f.Container)
	if f.Index >= 0 {
		where += fmt.Sprintf(" frame %d", f.Index)
	}
	return where + ": " + f.Kind + " " + f.Detail
}

// maxFaults are kept: a disk that rots gives millions, and a hundred say it too.
const maxFaults = 1000

// Check walks every container. The error is of reading; what is wrong with the data is in the report.
func Check(ctx context.Context, w Walker) (*Report, error) {
	r := &Report{Faults: []Fault{}}
	err := w.Walk(ctx, func(c shard.RawContainer, frames iter.Seq2[shard.RawFrame, error]) error {
		r.Containers++
		return (&checker{report: r, container: c, live: make(map[string]bool)}).run(frames)
	})
	return r, err
}

// checker checks one container.
type checker struct {
	report    *Report
	container shard.RawContainer
	peaks     dare.Peaks
	live      map[string]bool // entries of a catalog by UniqueID
}

func (c *checker) fault(index int64, kind, format string, args ...any) {
	if len(c.report.Faults) >= maxFaults {
		c.report.More++
		return
	}
	c.report.Faults = append(c.report.Faults, Fault{
		Partition: c.container.Partition,
		Account:   c.container.Account,
		Container: c.container.Name,
		Index:     index,
		Kind:      kind,
		Detail:    fmt.Sprintf(format, args...),
	})
}

func (c *checker) run(frames iter.Seq2[shard.RawFrame, error]) error {
	if c.container.Account != 0 {
		switch {
		case c.container.Address == "":
			c.fault(-1, "orphan", "no account row")
		case shardmap.Of(c.container.Address) != c.container.Partition:
			c.fault(-1, "partition", "the address belongs to partition %d", shardmap.Of(c.container.Address))
		}
	}
	next := int64(0)
	for f, err := range frames {
		if err != nil {
			return err
		}
		c.report.Frames++
		c.report.Octets += f.PayloadLength
		if f.Index != next {
			c.fault(next, "gap", "the next frame is %d", f.Index)
		}
		next = f.Index + 1
		c.frame(&f)
	}
	if next != c.container.Frames {
		c.fault(-1, "count", "%d frames, the container's row says %d", next, c.container.Frames)
	}
	peaks, err := c.peaks.MarshalBinary()
	if err != nil {
		return err
	}
	if !bytes.Equal(peaks, c.container.Peaks) {
		c.fault(-1, "peaks", "are not those of the frames")
	}
	return nil
}

func (c *checker) frame(f *shard.RawFrame) {
	sum := sha512.Sum512(f.Payload)
	switch {
	case int64(len(f.Payload)) != f.PayloadLength:
		c.fault(f.Index, "payload-length", "%d octets, the row says %d", len(f.Payload), f.PayloadLength)
	case !bytes.Equal(sum[:], f.PayloadDigest):
		c.fault(f.Index, "payload-digest", "is not that of the payload")
	}
	// Continue with what is stored, so that one changed payload is one fault and not one for every later frame.
	tree := c.peaks.Append(f.PayloadDigest)
	if !bytes.Equal(tree[:], f.TreeDigest) {
		c.fault(f.Index, "tree-digest", "does not continue the frames before")
	}
	c.stored(f)
	if !mesh.IsSpool(c.container.Name) && c.container.Name != mesh.ServiceIncidents && f.Index > 0 {
		c.event(f)
	}
}

// stored checks the stored form (D-24), and that the columns say what the header says.
func (c *checker) stored(f *shard.RawFrame) {
	e := &dare.Envelope{Header: f.Header, Payload: f.Payload, Trailer: f.Trailer}
	h, err := e.ParseHeader()
	if err != nil {
		c.fault(f.Index, "header", "%v", err)
		return
	}
	t, err := e.ParseTrailer()
	if err != nil {
		c.fault(f.Index, "trailer", "%v", err)
		return
	}
	if h.Received != nil || h.ContentLength != nil || h.BytesOffset != nil {
		c.fault(f.Index, "header", "holds a member that the service writes")
	}
	if h.ContainerInfo != nil && (f.Index != 0 || h.ContainerInfo.Index != nil) {
		c.fault(f.Index, "header", "holds ContainerInfo")
	}
	if len(t.TreeDigest) > 0 {
		c.fault(f.Index, "trailer", "holds TreeDigest")
	}
	written := false
	for _, digest := range []jbcd.Binary{h.PayloadDigest, t.PayloadDigest} {
		if len(digest) > 0 {
			written = true
			if !bytes.Equal(digest, f.PayloadDigest) {
				c.fault(f.Index, "written-digest", "is another than the stored one")
			}
		}
	}
	if written != f.DigestWritten {
		c.fault(f.Index, "written-digest", "the row says %v", f.DigestWritten)
	}
	meta, err := h.ParseMeta()
	if err != nil {
		c.fault(f.Index, "header", "%v", err)
		return
	}
	if h.EnvelopeID != "" && f.EnvelopeID != h.EnvelopeID {
		c.fault(f.Index, "envelope-id", "row and header differ")
	}
	if f.Index > 0 && (f.UniqueID != meta.UniqueID || f.MessageType != meta.MessageType || eventName(f.Event) != meta.Event) {
		c.fault(f.Index, "metadata", "row and header differ")
	}
}

// event follows the states of catalog entries: (New Update* Delete)*, Update may begin.
func (c *checker) event(f *shard.RawFrame) {
	live := c.live[f.UniqueID]
	switch f.Event {
	case shard.New:
		if live {
			c.fault(f.Index, "event", "New of an entry that is there")
		}
		c.live[f.UniqueID] = true
	case shard.Update:
		c.live[f.UniqueID] = true
	case shard.Delete:
		if !live {
			c.fault(f.Index, "event", "Delete of an entry that is not there")
		}
		delete(c.live, f.UniqueID)
	default:
		c.fault(f.Index, "event", "a catalog entry without one")
	}
}

func eventName(e shard.Event) string {
	switch e {
	case shard.New:
		return "New"
	case shard.Update:
		return "Update"
	case shard.Delete:
		return "Delete"
	}
	return ""
}
