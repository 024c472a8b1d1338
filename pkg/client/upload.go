package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
)

const (
	// uploadEntries and uploadBytes bound one Upload: what a service takes in one phase (PROTOCOL §1.7), unless its Hello
	// said less. Octets are counted before base64, header and trailer included.
	uploadEntries = 1000
	uploadBytes   = 4 << 20

	// readBackEntries bounds one read-back of header and trailer: at 2.5 KiB each the answer stays below the codec's 16 MiB.
	readBackEntries = 4000
)

// accepted are frames that the service has taken and the replica does not have yet, of one container, in order.
type accepted struct {
	first  int64
	frames []*dare.Envelope // as sent
	seqs   []int64
	peaks  *dare.Peaks // behind them
}

// outbox is what one Sync has sent.
type outbox struct {
	taken map[string]*accepted
	ids   []jbcd.Binary // of requests whose outcome is in taken
}

// resume settles requests that may have reached the service before the last process ended: each is sent once more,
// under its ID and to the octet, so that the service tells what became of it (D-10). Where the dedup life is over the
// service does it now, or says Conflict, since the container has moved on; then the frames are found by Status and
// Download and recognised as our own.
func (r *run) resume(ctx context.Context) error {
	if len(r.a.queue.sent) == 0 {
		return nil
	}
	out := &outbox{taken: map[string]*accepted{}}
	for _, s := range slices.Clone(r.a.queue.sent) {
		if !r.builds(out, s) {
			if err := r.a.queue.done(nil, s.ID); err != nil {
				return err
			}
			continue
		}
		if _, err := r.deliver(ctx, out, s); err != nil {
			return err
		}
	}
	return r.readBack(ctx, out)
}

// builds says whether a sent request can be continued: its frames are still there and begin where the replica, with
// what was sent before, ends.
func (r *run) builds(out *outbox, s *sent) bool {
	for _, u := range s.Containers {
		peaks, err := r.behind(out, u.Container)
		if err != nil || peaks.Frames != u.Index || !bytes.Equal(peaks.Digest(), u.Digest) {
			return false
		}
		for _, seq := range u.Seqs {
			if r.a.queue.ops[seq] == nil {
				return false
			}
		}
	}
	return true
}

// behind returns the peaks behind the replica and what was taken since.
func (r *run) behind(out *outbox, container string) (*dare.Peaks, error) {
	if t := out.taken[container]; t != nil {
		return t.peaks.Clone(), nil
	}
	replica, err := r.a.replica(container)
	if err != nil {
		return nil, err
	}
	return replica.peaks(), nil
}

// upload sends all waiting changes, in as few requests as their limits allow, and takes what the service accepted into
// the replica. conflicted: others were faster in some container, and the rest waits for another round.
func (r *run) upload(ctx context.Context) (conflicted bool, err error) {
	out := &outbox{taken: map[string]*accepted{}}
	var waiting []*op
	for _, o := range r.a.queue.pending("") {
		if !r.failed(o.Container) && !r.rejected[o.Container] {
			waiting = append(waiting, o)
		}
	}
	slices.SortStableFunc(waiting, func(a, b *op) int {
		// The frame that introduces this device comes before those that only name its key (D-57 b).
		return cmp.Or(cmp.Compare(a.Container, b.Container), compareBool(introduces(b.Envelope), introduces(a.Envelope)))
	})
	total := int64(len(waiting))
	refused := map[string]bool{}
	for len(waiting) > 0 {
		s, n, err := r.pack(out, waiting, refused)
		if err != nil {
			return conflicted, err
		}
		waiting = waiting[n:]
		if len(s.Containers) == 0 {
			continue
		}
		if err := r.a.queue.send(s); err != nil {
			return conflicted, err
		}
		met, err := r.deliver(ctx, out, s)
		if err != nil {
			return conflicted, errors.Join(err, r.readBackAfter(ctx, out, err))
		}
		for _, name := range met {
			refused[name], conflicted = true, true
		}
		r.progress.report("upload", total-int64(len(waiting)), total)
	}
	return conflicted, r.readBack(ctx, out)
}

// introduces says whether a frame's signature carries its Credential.
func introduces(e *dare.Envelope) bool {
	list, err := e.Signatures()
	return err == nil && len(list) > 0 && len(list[0].Credential) > 0
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

// readBackAfter reads back what was accepted before a refusal; when the service is out of reach it is left for later.
func (r *run) readBackAfter(ctx context.Context, out *outbox, cause error) error {
	var network *NetworkError
	if errors.As(cause, &network) {
		return nil
	}
	return r.readBack(ctx, out)
}

// limits are those of an Upload at this service.
func (a *Account) limits() (entries, octets int) {
	entries, octets = uploadEntries, uploadBytes
	if s := a.file.Service; s != nil && s.Constraints != nil {
		if n := s.Constraints.MaxEntries; n != nil && *n > 0 {
			entries = int(min(int64(entries), *n))
		}
		if n := s.Constraints.BytesMax; n != nil && *n > 0 {
			octets = int(min(int64(octets), *n))
		}
	}
	return entries, octets
}

// pack makes the next request of the ops, which are sorted by container, and says how many it has dealt with.
func (r *run) pack(out *outbox, waiting []*op, refused map[string]bool) (*sent, int, error) {
	s := &sent{ID: newID()}
	maxEntries, maxOctets := r.a.limits()
	entries, octets := 0, 0
	for i, o := range waiting {
		if refused[o.Container] {
			continue
		}
		peaks, err := r.behind(out, o.Container)
		if err != nil {
			return nil, 0, err
		}
		last := len(s.Containers) - 1
		begins := last < 0 || s.Containers[last].Container != o.Container
		size, count := len(o.Envelope.Header)+len(o.Envelope.Payload)+len(o.Envelope.Trailer), 1
		if begins && peaks.Frames == 0 {
			count++ // frame 0
		}
		if entries > 0 && (entries+count > maxEntries || octets+size > maxOctets) {
			return s, i, nil
		}
		if begins {
			s.Containers = append(s.Containers, sentUpdate{Container: o.Container, Index: peaks.Frames, Digest: peaks.Digest()})
		}
		u := &s.Containers[len(s.Containers)-1]
		u.Seqs = append(u.Seqs, o.Seq)
		entries += count
		octets += size
	}
	return s, len(waiting), nil
}

// frames are those of an update, in order: of a new container frame 0 first.
func (r *run) frames(u *sentUpdate) ([]*dare.Envelope, error) {
	var list []*dare.Envelope
	if u.Index == 0 {
		first, err := firstFrame()
		if err != nil {
			return nil, err
		}
		list = append(list, first)
	}
	for _, seq := range u.Seqs {
		list = append(list, r.a.queue.ops[seq].Envelope)
	}
	return list, nil
}

// request builds the Upload of s: the same octets whenever it is called, since the ID stands for the request's digest.
// Every container is taken or refused by itself.
func (r *run) request(s *sent) (*mesh.UploadRequest, error) {
	req := &mesh.UploadRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: s.ID}, Account: r.a.Address()},
		Atomic:      mesh.Bool(false),
	}
	for i := range s.Containers {
		u := &s.Containers[i]
		frames, err := r.frames(u)
		if err != nil {
			return nil, err
		}
		req.Updates = append(req.Updates, mesh.ContainerUpdate{
			Container: u.Container, Index: mesh.Int(u.Index), Digest: u.Digest, Envelopes: frames,
		})
	}
	return req, nil
}

// deliver sends a request and notes what was taken. It returns the containers in which it met another's change. After
// a refusal of the whole request nothing was stored and it is forgotten; after a *NetworkError or a hint nobody knows,
// and it stays in the queue.
func (r *run) deliver(ctx context.Context, out *outbox, s *sent) (met []string, err error) {
	req, err := r.request(s)
	if err != nil {
		return nil, err
	}
	res := new(mesh.UploadResponse)
	if _, err := r.session.call(ctx, mesh.TagUpload, req, res, needTicket); err != nil {
		var refusal *ServiceError
		if !errors.As(err, &refusal) || refusal.Hint {
			return nil, err
		}
		err = errors.Join(err, r.a.queue.done(nil, s.ID))
		if refusal.Kind == mesh.Conflict { // the ID was used with other octets: by another version of this program
			return containersOf(s), nil
		}
		return nil, err
	}
	settled := true
	at := 0
	for i, u := range req.Updates {
		if at+len(u.Envelopes) > len(res.Entries) {
			return nil, &NetworkError{errMissingEntries}
		}
		results := res.Entries[at : at+len(u.Envelopes)]
		at += len(u.Envelopes)
		switch verdict, err := r.verdict(&s.Containers[i], results); {
		case err != nil:
			return met, err
		case verdict == mesh.ResultConflict:
			met = append(met, u.Container)
		case verdict == mesh.ResultAccept:
			settled = false
			if err := r.note(out, &s.Containers[i], u.Envelopes); err != nil {
				return met, err
			}
		}
	}
	if settled {
		return met, r.a.queue.done(nil, s.ID)
	}
	out.ids = append(out.ids, s.ID)
	return met, nil
}

func containersOf(s *sent) []string {
	var names []string
	for _, u := range s.Containers {
		names = append(names, u.Container)
	}
	return names
}

// verdict is what became of one update, which is taken as a whole or not at all. A Reject is reported; its changes stay in
// the queue for another Sync.
func (r *run) verdict(u *sentUpdate, results []mesh.EntryResponse) (string, error) {
	for i := range results {
		e := &results[i]
		if e.Result == mesh.ResultReject {
			r.rejected[u.Container] = true
			r.faults = append(r.faults, fmt.Errorf("%s: %w", u.Container, &ServiceError{
				Kind: mesh.MessageInvalid, Code: mesh.MessageInvalid.Code(), Description: mesh.ResultReject, Reason: e.Reason,
			}))
			return mesh.ResultReject, nil
		}
		if e.Result != results[0].Result {
			return "", &NetworkError{fmt.Errorf("%s: an update was taken in part", u.Container)}
		}
		if e.Result == mesh.ResultAccept && e.IndexContainer != nil && *e.IndexContainer != u.Index+int64(i) {
			return "", &NetworkError{fmt.Errorf("%s: an entry was taken at another index", u.Container)}
		}
	}
	switch results[0].Result {
	case mesh.ResultAccept, mesh.ResultConflict:
		return results[0].Result, nil
	}
	return "", &NetworkError{errMissingEntries}
}

// note adds an accepted update to what was taken.
func (r *run) note(out *outbox, u *sentUpdate, frames []*dare.Envelope) error {
	peaks, err := r.behind(out, u.Container)
	if err != nil {
		return err
	}
	t := out.taken[u.Container]
	if t == nil {
		t = &accepted{first: u.Index}
		out.taken[u.Container] = t
	}
	for _, e := range frames {
		peaks.Append(e.Digest())
	}
	t.frames, t.seqs, t.peaks = append(t.frames, frames...), append(t.seqs, u.Seqs...), peaks
	return nil
}

// readBack fetches header and trailer of the frames that were taken, checks that the service kept them to the octet
// and that they verify like anybody's, and appends them to the replica: it is then what the service serves, the octets
// that a Sync from nothing would bring.
func (r *run) readBack(ctx context.Context, out *outbox) error {
	for {
		req := &mesh.DownloadRequest{
			RequestUser: mesh.RequestUser{Account: r.a.Address()},
			ConstraintsPost: &mesh.ConstraintsData{
				MaxEntries: mesh.Int(readBackEntries), Header: mesh.Bool(true), Trailer: mesh.Bool(true),
			},
		}
		for name, t := range out.taken {
			if len(t.frames) > 0 && !r.failed(name) {
				req.Select = append(req.Select, mesh.ConstraintsSelect{
					Container: name, IndexMin: mesh.Int(t.first), IndexMax: mesh.Int(t.first + int64(len(t.frames)) - 1),
				})
			}
		}
		if len(req.Select) == 0 {
			return r.a.queue.done(nil, out.ids...)
		}
		res := new(mesh.DownloadResponse)
		answer, err := r.session.call(ctx, mesh.TagDownload, req, res, needAny)
		if err != nil {
			return err
		}
		progress := false
		for i := range res.Updates {
			u := &res.Updates[i]
			name, _ := mesh.CanonicalContainer(u.Container)
			if t := out.taken[name]; t != nil && len(t.frames) > 0 && len(u.Envelopes) > 0 && !r.failed(name) {
				progress = true
				if err := r.takeBack(name, t, u.Envelopes, answer); err != nil {
					return err
				}
			}
		}
		if progress {
			continue
		}
		for _, s := range req.Select {
			t := out.taken[s.Container]
			r.fail(s.Container, &fault{
				check: checkReadBack, index: t.first, err: errors.New("the service does not have what it said it took"),
			}, answer)
		}
	}
}

// takeBack joins served headers and trailers with the payloads that were sent, verifies and appends.
func (r *run) takeBack(name string, t *accepted, served []*dare.Envelope, answer *received) error {
	if len(served) > len(t.frames) {
		served = served[:len(t.frames)]
	}
	whole := make([]*dare.Envelope, len(served))
	for i, e := range served {
		joined, err := rejoin(e, t.frames[i], t.first+int64(i))
		if err != nil {
			r.fail(name, &fault{check: checkReadBack, index: t.first + int64(i), frame: e, err: err}, answer)
			return nil
		}
		whole[i] = joined
	}
	replica, err := r.a.replica(name)
	if err != nil {
		return err
	}
	trust, err := r.trust(name)
	if err != nil {
		return err
	}
	passed, f := replica.verifier(trust).batch(whole)
	if f != nil {
		r.fail(name, f, answer)
		return nil
	}
	if err := replica.append(envelopes(passed), r.a.member); err != nil {
		return err
	}
	r.of(name).Uploaded += len(passed)
	n := len(passed)
	seqs := n - (len(t.frames) - len(t.seqs)) // frame 0 has no op
	t.first, t.frames = t.first+int64(n), t.frames[n:]
	if seqs <= 0 {
		return nil
	}
	settled := t.seqs[:seqs]
	t.seqs = t.seqs[seqs:]
	return r.a.queue.done(settled)
}

// rejoin makes the whole frame from what the service serves of it and the payload that it was given. What the service
// does not write itself must be as it was sent (D-24).
func rejoin(served, own *dare.Envelope, index int64) (*dare.Envelope, error) {
	header, err := wholeHeader(served.Header)
	if err != nil {
		return nil, err
	}
	e := &dare.Envelope{Header: header, Payload: own.Payload, Trailer: served.Trailer}
	have, err := e.Stored()
	if err != nil {
		return nil, err
	}
	want, err := own.Stored()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(have.Header, want.Header) {
		return nil, errors.New("the header is not the one that was sent")
	}
	if index > 0 && !bytes.Equal(have.Trailer, want.Trailer) {
		return nil, errors.New("the trailer is not the one that was sent")
	}
	return e, nil
}
