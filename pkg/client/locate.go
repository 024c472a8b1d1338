package client

import (
	"context"
	"errors"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// locate finds the frame that makes an answer unreadable: a service whose database somebody changed serves what it has,
// and a header that is no JSON any more spoils the whole answer. Each container is asked by itself; of those that
// cannot be read the frame is found by halving, reported, and the others go on.
func (r *run) locate(ctx context.Context, selects []mesh.ConstraintsSelect) error {
	found := false
	for _, s := range selects {
		lo := *s.IndexMin
		hi := min(*s.IndexMax, lo+pageEntries-1)
		_, unreadable, err := r.probe(ctx, s.Container, lo, hi, true, true)
		if err != nil {
			return err
		}
		if unreadable == nil {
			continue
		}
		found = true
		for lo < hi {
			mid := lo + (hi-lo)/2
			last, bad, err := r.probe(ctx, s.Container, lo, mid, true, true)
			switch {
			case err != nil:
				return err
			case bad != nil:
				hi, unreadable = mid, bad
			case last < lo: // nothing came: the container ends before what it announces
				lo = hi
			default:
				lo = last + 1
			}
		}
		c := checkHeader
		if _, bad, err := r.probe(ctx, s.Container, lo, lo, true, false); err == nil && bad == nil {
			c = checkTrailer
		}
		r.fail(s.Container, &fault{check: c, index: lo, err: unreadable.err}, unreadable.answer)
	}
	if !found {
		return &NetworkError{errors.New("an answer of the service cannot be read, its parts can")}
	}
	return nil
}

// probe asks for header and trailer of a range and says whether the answer can be read, and which frame was the last.
func (r *run) probe(ctx context.Context, name string, from, to int64, header, trailer bool) (last int64, bad *unreadableError, err error) {
	res := new(mesh.DownloadResponse)
	_, err = r.session.call(ctx, mesh.TagDownload, &mesh.DownloadRequest{
		RequestUser:     mesh.RequestUser{Account: r.a.Address()},
		Select:          []mesh.ConstraintsSelect{{Container: name, IndexMin: mesh.Int(from), IndexMax: mesh.Int(to)}},
		ConstraintsPost: &mesh.ConstraintsData{MaxEntries: mesh.Int(pageEntries), Header: mesh.Bool(header), Trailer: mesh.Bool(trailer)},
	}, res, needAny)
	if errors.As(err, &bad) {
		return 0, bad, nil
	}
	if err != nil {
		return 0, nil, err
	}
	var frames []*dare.Envelope
	for i := range res.Updates {
		frames = append(frames, res.Updates[i].Envelopes...)
	}
	return from + int64(len(frames)) - 1, nil, nil
}
