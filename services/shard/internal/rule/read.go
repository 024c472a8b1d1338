package rule

import (
	"bytes"
	"slices"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/services/shard"
)

// Digest is the tree digest of a container with these peaks, nil when it has no frame.
func Digest(peaks []byte) []byte {
	if len(peaks) < dare.DigestSize {
		return nil
	}
	return bytes.Clone(peaks[len(peaks)-dare.DigestSize:])
}

// Visible picks the containers that a status query wants and may see; states are ascending by name.
func Visible(states []shard.ContainerState, q *shard.StatusQuery, rights shard.Right) []shard.ContainerState {
	return slices.DeleteFunc(slices.Clone(states), func(c shard.ContainerState) bool {
		need := shard.Right(0)
		if len(q.Containers) > 0 {
			i := slices.IndexFunc(q.Containers, func(w shard.ContainerRight) bool { return w.Container == c.Container })
			if i < 0 {
				return true
			}
			need = q.Containers[i].Right
		} else if q.RightOf != nil {
			need = q.RightOf(c.Container)
		}
		return rights&need != need
	})
}

// Present fills the state of a selection's container in; false when there is nothing to read.
func Present(r *shard.Selected, sel *shard.Selection, states []shard.ContainerState, rights shard.Right) bool {
	r.Container = sel.Container
	if rights&sel.Right != sel.Right {
		r.Forbidden = true
		return false
	}
	i := slices.IndexFunc(states, func(c shard.ContainerState) bool { return c.Container == sel.Container })
	if i < 0 {
		return false
	}
	r.Present, r.Frames, r.Digest = true, states[i].Frames, states[i].Digest
	return true
}

// Budget counts what a read may still return.
type Budget struct {
	Selected int64 // frames seen

	entries, octets int64
	heads           int64 // octets of headers and trailers
	counts          bool  // payload octets count
	ranged          bool
	taken           int64
	full            bool
}

// NewBudget makes the budget of a query.
func NewBudget(q *shard.ReadQuery) *Budget {
	return &Budget{entries: q.MaxEntries, octets: q.MaxBytes, heads: shard.MaxHeads, counts: q.Payload, ranged: q.Offset != nil}
}

// Look is how many frames are worth looking at: those that may be taken, and one more to know that there is one.
func (b *Budget) Look() int64 {
	if b.full {
		return 1
	}
	return b.entries - b.taken + 1
}

// Take says whether a frame with a payload of this length, and header and trailer of this length together, still comes.
func (b *Budget) Take(length, head int64) bool {
	b.Selected++
	b.heads -= head
	if b.full || b.taken >= b.entries || b.heads < 0 && b.taken > 0 {
		b.full = true
		return false
	}
	if b.counts && !b.ranged {
		if b.taken > 0 && length > b.octets {
			b.full = true
			return false
		}
		if b.octets -= length; b.octets < 0 { // the first frame, cut: it comes alone
			b.full = true
		}
	}
	b.taken++
	return true
}

// Cut says whether the frame taken was the first and does not fit.
func (b *Budget) Cut() bool { return b.octets < 0 }
