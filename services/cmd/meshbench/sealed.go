package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// transaction is what a load is made of.
type transaction string

// The transactions that can be measured.
const (
	upload transaction = mesh.TagUpload
	status transaction = mesh.TagStatus
)

// sealed is a request that waits to be sent, and what its answer must be. It goes out once, within the window of its Salt.
type sealed struct {
	body    []byte
	pending *make1.Pending
	first   int64       // index that the first of its entries must get
	entries int         // 0: a Status
	after   *dare.Peaks // the container's tree after it was accepted
}

// seal makes the next n requests. The container's tree is computed ahead: the Index and Digest of every Upload are those
// which it will have when the Uploads before it were accepted.
func (a *account) seal(t transaction, n, size int) ([]*sealed, error) {
	list := make([]*sealed, n)
	at := a.acknowledged.Clone()
	for i := range list {
		var err error
		if t == status {
			list[i], err = a.sealStatus()
		} else {
			var frame *dare.Envelope
			if frame, err = a.bookmark(size, false); err == nil {
				list[i], err = a.sealUpload(at, frame)
			}
		}
		if err != nil {
			return nil, err
		}
		at = list[i].after
	}
	return list, nil
}

func (a *account) sealUpload(at *dare.Peaks, frames ...*dare.Envelope) (*sealed, error) {
	update := mesh.ContainerUpdate{Container: container, Index: mesh.Int(at.Frames), Digest: at.Digest(), Envelopes: frames}
	s := &sealed{first: at.Frames, entries: len(frames), after: at.Clone()}
	for _, f := range frames {
		s.after.Append(f.Digest())
	}
	return s, a.sealInto(s, mesh.TagUpload, &mesh.UploadRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: newID()}, Account: a.address}, Updates: []mesh.ContainerUpdate{update},
	})
}

// sealStatus asks for all containers, as a client does that has been away for a while.
func (a *account) sealStatus() (*sealed, error) {
	s := &sealed{after: &a.acknowledged}
	return s, a.sealInto(s, mesh.TagStatus, &mesh.StatusRequest{
		RequestUser:         mesh.RequestUser{Request: mesh.Request{ID: newID()}, Account: a.address},
		ProfileMasterDigest: a.profileMesh.Digest(), // then the answer need not bring it
	})
}

func (a *account) sealInto(s *sealed, tag string, req any) error {
	payload, err := mesh.EncodeRequest(tag, req)
	if err != nil {
		return err
	}
	e, pending, err := a.ticket.Seal(payload, time.Now())
	if err != nil {
		return err
	}
	s.pending = pending
	s.body, err = e.MarshalJBCD()
	return err
}

// send posts the request and opens and checks the answer.
func (s *sealed) send(ctx context.Context, a *account) error {
	e, err := a.post(ctx, s.body)
	if err != nil {
		return err
	}
	answer, err := s.pending.Open(e)
	if err != nil {
		return err
	}
	if s.entries == 0 {
		return a.checkStatus(answer.Payload)
	}
	var res mesh.UploadResponse
	if err := success(answer.Payload, &res); err != nil {
		return err
	}
	if len(res.Entries) != s.entries {
		return fmt.Errorf("%d results for %d entries", len(res.Entries), s.entries)
	}
	for i, r := range res.Entries {
		if r.Result != mesh.ResultAccept {
			return fmt.Errorf("%s %s", r.Result, r.Reason)
		}
		if r.IndexContainer == nil || *r.IndexContainer != s.first+int64(i) {
			return errors.New("an entry came to another place")
		}
	}
	return nil
}

// checkStatus wants the container as the account knows it.
func (a *account) checkStatus(payload []byte) error {
	var res mesh.StatusResponse
	if err := success(payload, &res); err != nil {
		return err
	}
	for _, c := range res.ContainerStatus {
		if c.Container == container {
			if c.Index == nil || *c.Index != a.acknowledged.Frames || string(c.Digest) != string(a.acknowledged.Digest()) {
				return errors.New("the container is not in the state that was acknowledged")
			}
			return nil
		}
	}
	return errors.New("the container is missing")
}
