package dare

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"time"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// What is wrong with a frame in its container, besides what is wrong with its envelope.
var (
	ErrIndex      = errors.New("dare: frame is not at its index")
	ErrTreeDigest = errors.New("dare: frame does not continue the container") // another history, or changed octets
)

// Place is what a service or a container file writes into a frame (D-24).
type Place struct {
	Info          Info      // Index; of frame 0 also DataEncoding and ContainerType
	Received      time.Time // not written when zero
	PayloadDigest []byte    // written when header and trailer have none
	TreeDigest    []byte
}

// FirstInfo is the ContainerInfo of frame 0 of every container that we make.
func FirstInfo() Info {
	return Info{DataEncoding: "JSON", ContainerType: "Merkle", Index: new(int64)}
}

// Stored returns the form of a frame that a service stores (D-24): header without ContainerInfo, Received,
// ContentLength and BytesOffset, trailer without TreeDigest, all else octet by octet. It shares the payload.
func (e *Envelope) Stored() (*Envelope, error) {
	s := &Envelope{Header: []byte("{}"), Payload: e.Payload}
	var err error
	if len(e.Header) > 0 {
		if s.Header, err = jbcd.Without(e.Header, "ContainerInfo", "Received", "ContentLength", "BytesOffset"); err != nil {
			return nil, fmt.Errorf("dare: header: %w", err)
		}
	}
	if len(e.Trailer) > 0 {
		if s.Trailer, err = jbcd.Without(e.Trailer, "TreeDigest"); err != nil {
			return nil, fmt.Errorf("dare: trailer: %w", err)
		}
	}
	return s, nil
}

// Placed returns a stored form with its place written last into header and trailer. It shares the payload. An error
// when e has a place already.
func (e *Envelope) Placed(p Place) (*Envelope, error) {
	if len(p.PayloadDigest) != DigestSize || len(p.TreeDigest) != DigestSize {
		return nil, fmt.Errorf("%w: digest of a frame has not %d octets", ErrMalformed, DigestSize)
	}
	h, t, err := e.parse()
	if err != nil {
		return nil, err
	}
	received := jbcd.Time{Time: p.Received}
	header := Header{ContainerInfo: &p.Info}
	if !p.Received.IsZero() {
		header.Received = &received
	}
	trailer := Header{TreeDigest: p.TreeDigest}
	if len(h.PayloadDigest) == 0 && len(t.PayloadDigest) == 0 {
		trailer.PayloadDigest = p.PayloadDigest
	}
	placed := &Envelope{Payload: e.Payload}
	if placed.Header, err = splice(e.Header, &header); err != nil {
		return nil, fmt.Errorf("dare: header: %w", err)
	}
	if placed.Trailer, err = splice(e.Trailer, &trailer); err != nil {
		return nil, fmt.Errorf("dare: trailer: %w", err)
	}
	return placed, nil
}

// splice appends the members of h to an object.
func splice(object []byte, h *Header) ([]byte, error) {
	if len(object) == 0 {
		object = []byte("{}")
	}
	text, err := jbcd.Marshal(h)
	if err != nil {
		return nil, err
	}
	members, err := jbcd.Object(text)
	if err != nil {
		return nil, err
	}
	return jbcd.With(object, members...)
}

// Next checks that e is the next frame of the container and moves p on: its ContainerInfo.Index is p.Frames, its
// PayloadDigest is there and that of its payload, its TreeDigest is that of D-43. The payload digest of a frame that
// was served without its whole payload (ContentLength says so, D-20) is believed: the tree digest still proves that
// it is the one which the container had. After an error, which wraps ErrIndex, ErrDigest, ErrTreeDigest or
// ErrMalformed, p is as before.
func (p *Peaks) Next(e *Envelope) error {
	h, t, err := e.parse()
	if err != nil {
		return err
	}
	if h.ContainerInfo == nil || h.ContainerInfo.Index == nil || *h.ContainerInfo.Index != p.Frames {
		return fmt.Errorf("%w: want frame %d", ErrIndex, p.Frames)
	}
	digest, err := frameDigest(e, h, t)
	if err != nil {
		return fmt.Errorf("frame %d: %w", p.Frames, err)
	}
	next := p.Clone()
	want := next.Append(digest)
	if subtle.ConstantTimeCompare(want[:], treeDigest(h, t)) != 1 {
		return fmt.Errorf("frame %d: %w", p.Frames, ErrTreeDigest)
	}
	*p = *next
	return nil
}

// treeDigest returns the TreeDigest of a frame; the container files of 2018 have it in the header.
func treeDigest(h, t *Header) []byte {
	if len(t.TreeDigest) > 0 {
		return t.TreeDigest
	}
	return h.TreeDigest
}

// frameDigest returns the PayloadDigest of a frame of a container, compared with the payload if that is there.
func frameDigest(e *Envelope, h, t *Header) ([]byte, error) {
	written := t.PayloadDigest
	if len(written) == 0 {
		written = h.PayloadDigest
	}
	if len(written) != DigestSize {
		return nil, fmt.Errorf("%w: no PayloadDigest of %d octets", ErrMalformed, DigestSize)
	}
	digest := []byte(written)
	if h.whole(len(e.Payload)) {
		digest = e.Digest()
	}
	return digest, checkDigest(digest, h, t)
}

// whole says whether a payload of n octets is all that there is.
func (h *Header) whole(n int) bool {
	return h.ContentLength == nil || *h.ContentLength == int64(n) && (h.BytesOffset == nil || *h.BytesOffset == 0)
}
