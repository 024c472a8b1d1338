package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

const (
	// pageEntries and pageBytes bound one Download: the default of a service, so nobody has to cut it (PROTOCOL §1.7).
	pageEntries = 1000
	pageBytes   = 4 << 20

	// payloadMax bounds a payload that comes in parts: it is put together in memory. An entry of a catalog is a fraction of an
	// Upload; what is larger goes by reference (PROTOCOL D-58).
	payloadMax = 64 << 20

	// rounds bounds how often an Upload meets another's and starts again (FLOWS §4.4).
	rounds = 5
)

// SyncReport says what a Sync did.
type SyncReport struct {
	Containers []ContainerReport // by name
	Conflicts  []ConflictReport
	Posted     []Posted // what became of messages that had waited
	RoundTrips int      // HTTP requests, retries included
}

// ContainerReport is a container after Sync.
type ContainerReport struct {
	Container            string
	Frames               int64
	Digest               []byte // tree digest, 64 octets
	Downloaded, Uploaded int    // frames
	Fault                string // of the ProofError that stopped it; its frames are those of before
}

// ConflictReport is a local change that met a remote one of the same entry: both versions survive (FLOWS §4.3).
type ConflictReport struct {
	Container, Key string
	Kept           string // "local" or "remote": the version that stands
	Journal        string // file with the other, decrypted: {"CatalogedBookmark":{…}}
}

// remote is the state of a container that Status gave.
type remote struct {
	index  int64
	digest []byte
}

// run is one Sync.
type run struct {
	a         *Account
	session   *session
	progress  Progress
	devices   map[string]keys.PublicKey // signature keys that stood in mmm_Device; nil when it cannot be read
	devicesOf int64                     // frames of mmm_Device that they come from
	remotes   map[string]remote
	reports   map[string]*ContainerReport
	conflict  []ConflictReport
	rejected  map[string]bool // containers of which the service refused an update
	faults    []error
}

// Sync downloads, verifies, resolves, uploads, in that order, and leaves the replica equal to the service's
// containers. Containers that fail a proof are left as they were and the others go on: then the report is not nil and
// the error holds a *ProofError for each (errors.As finds the first). After a *NetworkError what was queued stays so.
func (a *Account) Sync(ctx context.Context, p Progress) (*SyncReport, error) {
	s, err := a.online(ctx)
	if err != nil {
		return nil, err
	}
	r := &run{a: a, session: s, progress: p, reports: map[string]*ContainerReport{}, rejected: map[string]bool{}}
	before := s.transport.roundTrips()
	var posted []Posted
	err = a.flush(ctx, func(_ int64, p []Posted) { posted = append(posted, p...) })
	var refusal *ServiceError
	if err == nil || errors.As(err, &refusal) { // a message that is refused stops nothing else
		err = errors.Join(err, r.sync(ctx))
	}
	report, listed := r.report()
	report.Posted, report.RoundTrips = posted, s.transport.roundTrips()-before
	return report, errors.Join(append(r.faults, err, listed, a.remember())...)
}

func (r *run) sync(ctx context.Context) error {
	if err := r.resume(ctx); err != nil {
		return err
	}
	for round := 1; ; round++ {
		if err := r.status(ctx); err != nil {
			return err
		}
		if err := r.download(ctx); err != nil {
			return err
		}
		if err := r.resolve(); err != nil {
			return err
		}
		conflicted, err := r.upload(ctx)
		if err != nil || !conflicted {
			return err
		}
		if round == rounds {
			return &ServiceError{Kind: mesh.Conflict, Code: mesh.Conflict.Code(), Description: "others change the account all the time"}
		}
		if err := r.session.wait(ctx, jitter(time.Duration(round)*100*time.Millisecond)); err != nil {
			return &NetworkError{err}
		}
	}
}

// of returns the report of a container.
func (r *run) of(container string) *ContainerReport {
	c, ok := r.reports[container]
	if !ok {
		c = &ContainerReport{Container: container}
		r.reports[container] = c
	}
	return c
}

func (r *run) failed(container string) bool { return r.of(container).Fault != "" }

// fail reports a fault of a container, with evidence; the container is left alone from now on.
func (r *run) fail(container string, f *fault, answer *received) {
	r.of(container).Fault = string(f.check)
	r.faults = append(r.faults, r.a.proof(container, f, answer))
}

func (r *run) report() (*SyncReport, error) {
	out := &SyncReport{Conflicts: r.conflict}
	var failed error
	for _, c := range r.reports {
		replica, err := r.a.replica(c.Container)
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		c.Frames, c.Digest = replica.frames(), replica.peaks().Digest()
		out.Containers = append(out.Containers, *c)
	}
	slices.SortFunc(out.Containers, func(a, b ContainerReport) int { return bytes.Compare([]byte(a.Container), []byte(b.Container)) })
	return out, failed
}

// status asks for the states and holds them against the replicas: a service that has fewer frames than it had, or
// others, took something back.
func (r *run) status(ctx context.Context) error {
	res := new(mesh.StatusResponse)
	answer, err := r.a.status(ctx, r.session, res)
	if err != nil {
		return err
	}
	r.remotes = map[string]remote{}
	for _, c := range res.ContainerStatus {
		name, known := mesh.CanonicalContainer(c.Container)
		if !known || c.Index == nil { // of a later version of the protocol; its name becomes no file of ours
			continue
		}
		r.remotes[name] = remote{*c.Index, c.Digest}
	}
	local, err := replicaNames(replicaDir(r.a))
	if err != nil {
		return err
	}
	for name := range r.a.seen {
		if !slices.Contains(local, name) {
			local = append(local, name)
		}
	}
	rights := mesh.RightsOf(r.a.member.Connection)
	for _, name := range local {
		if _, there := r.remotes[name]; there {
			continue
		}
		if read, _ := mesh.ContainerRights(name); read == mesh.AnyDevice || slices.Contains(rights, read) {
			r.remotes[name] = remote{} // what this device may read does not disappear
		}
	}
	for name, at := range r.remotes {
		replica, err := r.a.replica(name)
		if err != nil {
			return err
		}
		r.of(name)
		if f := replica.verifier(nil).status(at); f != nil && !r.failed(name) {
			r.fail(name, f, answer)
		}
	}
	return nil
}

// wanted lists the containers that have frames which the replica has not, mmm_Device first: it says whose signatures
// count in the others.
func (r *run) wanted() ([]string, error) {
	var names []string
	for name, at := range r.remotes {
		replica, err := r.a.replica(name)
		if err != nil {
			return nil, err
		}
		if replica.frames() < at.index && !r.failed(name) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if a == mesh.CatalogDevice || b == mesh.CatalogDevice {
			return rank(a, mesh.CatalogDevice) - rank(b, mesh.CatalogDevice)
		}
		return bytes.Compare([]byte(a), []byte(b))
	})
	return names, nil
}

// download fetches, page by page, what the service has more than the replicas.
func (r *run) download(ctx context.Context) error {
	var done, total int64
	for {
		names, err := r.wanted()
		if err != nil || len(names) == 0 {
			return err
		}
		if total == 0 {
			for _, name := range names {
				replica, _ := r.a.replica(name)
				total += r.remotes[name].index - replica.frames()
			}
		}
		n, err := r.page(ctx, names)
		if err != nil {
			return err
		}
		done += n
		r.progress.report("download", done, total)
	}
}

// page makes one Download of the containers and takes what it brings. It returns the number of frames.
func (r *run) page(ctx context.Context, names []string) (int64, error) {
	req := &mesh.DownloadRequest{
		RequestUser:     mesh.RequestUser{Account: r.a.Address()},
		ConstraintsPost: &mesh.ConstraintsData{MaxEntries: mesh.Int(pageEntries), BytesMax: mesh.Int(pageBytes)},
	}
	for _, name := range names {
		replica, err := r.a.replica(name)
		if err != nil {
			return 0, err
		}
		req.Select = append(req.Select, mesh.ConstraintsSelect{
			Container: name, IndexMin: mesh.Int(replica.frames()), IndexMax: mesh.Int(r.remotes[name].index - 1),
		})
	}
	res := new(mesh.DownloadResponse)
	answer, err := r.session.call(ctx, mesh.TagDownload, req, res, needAny)
	var unreadable *unreadableError
	if errors.As(err, &unreadable) {
		return 0, r.locate(ctx, req.Select)
	}
	if err != nil {
		return 0, err
	}
	var frames int64
	for _, name := range names {
		n, err := r.take(ctx, name, res, answer)
		if err != nil {
			return frames, err
		}
		frames += n
		if still, err := r.incomplete(mesh.CatalogDevice); err != nil || still {
			return frames, err // the others can be judged when all devices are known
		}
	}
	if frames > 0 {
		return frames, nil
	}
	for _, name := range names {
		if !r.failed(name) {
			replica, err := r.a.replica(name)
			if err != nil {
				return 0, err
			}
			r.fail(name, &fault{
				check: checkWhole, index: replica.frames(),
				err: fmt.Errorf("%d frames were announced, and do not come", r.remotes[name].index),
			}, answer)
		}
	}
	return 0, nil
}

// incomplete says whether the replica of a container lacks frames that are still hoped for.
func (r *run) incomplete(name string) (bool, error) {
	at, there := r.remotes[name]
	if !there || r.failed(name) {
		return false, nil
	}
	replica, err := r.a.replica(name)
	return err == nil && replica.frames() < at.index, err
}

// take verifies what an answer brings of one container and appends it to the replica: all of it or nothing.
func (r *run) take(ctx context.Context, name string, res *mesh.DownloadResponse, answer *received) (int64, error) {
	i := slices.IndexFunc(res.Updates, func(u mesh.ContainerUpdate) bool {
		canonical, _ := mesh.CanonicalContainer(u.Container)
		return canonical == name
	})
	if i < 0 {
		return 0, nil
	}
	update := &res.Updates[i]
	if err := r.complete(ctx, name, update.Envelopes); err != nil {
		return 0, err
	}
	replica, err := r.a.replica(name)
	if err != nil {
		return 0, err
	}
	trust, err := r.trust(name)
	if err != nil {
		return 0, err
	}
	passed, f := replica.verifier(trust).answer(update, r.remotes[name])
	if f != nil {
		if f.check == checkTree && f.index == replica.frames() && f.index > 0 && r.forked(ctx, replica) {
			f.check = checkFork
		}
		r.fail(name, f, answer)
		return 0, nil
	}
	if err := replica.append(envelopes(passed), r.a.member); err != nil {
		return 0, err
	}
	r.of(name).Downloaded += len(passed)
	return int64(len(passed)), nil
}

func envelopes(passed []*verified) []*dare.Envelope {
	list := make([]*dare.Envelope, len(passed))
	for i, p := range passed {
		list[i] = p.envelope
	}
	return list
}

// complete fetches the rest of payloads that came cut because they are larger than a page (FLOWS §5).
func (r *run) complete(ctx context.Context, name string, frames []*dare.Envelope) error {
	for _, e := range frames {
		h, err := e.ParseHeader()
		if err != nil || h.ContentLength == nil || h.ContainerInfo == nil || h.ContainerInfo.Index == nil {
			continue // for the verifier to judge
		}
		if *h.ContentLength > payloadMax {
			continue // not whole: for the verifier to refuse
		}
		for int64(len(e.Payload)) < *h.ContentLength {
			part, err := r.part(ctx, name, *h.ContainerInfo.Index, int64(len(e.Payload)))
			if err != nil {
				return err
			}
			if len(part) == 0 {
				break
			}
			e.Payload = append(e.Payload, part...)
		}
		if int64(len(e.Payload)) == *h.ContentLength {
			if e.Header, err = wholeHeader(e.Header); err != nil {
				return &NetworkError{err}
			}
		}
	}
	return nil
}

// part fetches payload octets of one frame from an offset on.
func (r *run) part(ctx context.Context, name string, index, offset int64) ([]byte, error) {
	res := new(mesh.DownloadResponse)
	_, err := r.session.call(ctx, mesh.TagDownload, &mesh.DownloadRequest{
		RequestUser: mesh.RequestUser{Account: r.a.Address()},
		Select:      []mesh.ConstraintsSelect{{Container: name, IndexMin: mesh.Int(index), IndexMax: mesh.Int(index)}},
		ConstraintsPost: &mesh.ConstraintsData{
			BytesOffset: mesh.Int(offset), BytesMax: mesh.Int(pageBytes), Header: mesh.Bool(true), Payload: mesh.Bool(true),
		},
	}, res, needAny)
	if err != nil || len(res.Updates) != 1 || len(res.Updates[0].Envelopes) != 1 {
		return nil, err
	}
	return res.Updates[0].Envelopes[0].Payload, nil
}

// forked asks the service for the last frame that the replica has: another tree digest there means that the service
// has another history now, not that it serves a wrong frame.
func (r *run) forked(ctx context.Context, replica *replica) bool {
	last := replica.frames() - 1
	res := new(mesh.DownloadResponse)
	_, err := r.session.call(ctx, mesh.TagDownload, &mesh.DownloadRequest{
		RequestUser:     mesh.RequestUser{Account: r.a.Address()},
		Select:          []mesh.ConstraintsSelect{{Container: replica.container, IndexMin: mesh.Int(last), IndexMax: mesh.Int(last)}},
		ConstraintsPost: &mesh.ConstraintsData{Trailer: mesh.Bool(true)},
	}, res, needAny)
	if err != nil || len(res.Updates) != 1 || len(res.Updates[0].Envelopes) != 1 {
		return false
	}
	_, tree, err := digests(res.Updates[0].Envelopes[0])
	return err == nil && !bytes.Equal(tree, replica.peaks().Digest())
}

// trust is what a container is verified against. Devices are known when mmm_Device can be read; in mmm_Device itself
// the account's signature below each device must do.
func (r *run) trust(container string) (*trust, error) {
	t := &trust{holder: r.a.member.holder, uniqueIDs: r.a.member.uniqueIDs, vouched: r.a.member.vouched}
	if container == mesh.CatalogDevice || mesh.IsSpool(container) || r.failed(mesh.CatalogDevice) {
		return t, nil
	}
	replica, err := r.a.replica(mesh.CatalogDevice)
	if err != nil {
		return nil, err
	}
	if n := replica.frames(); n > r.devicesOf {
		if r.devices, err = r.a.knownDevices(replica); err != nil {
			return nil, err
		}
		r.devicesOf = n
	}
	t.devices = r.devices
	return t, nil
}

// knownDevices reads the signature keys of all devices that ever stood in mmm_Device.
func (a *Account) knownDevices(replica *replica) (map[string]keys.PublicKey, error) {
	devices := map[string]keys.PublicKey{}
	for i := int64(1); i < replica.frames(); i++ {
		e, err := replica.frame(i)
		if err != nil {
			return nil, err
		}
		entry, err := a.member.open(e)
		if err != nil {
			return nil, err
		}
		device, ok := entry.(*mesh.CatalogedDevice)
		if !ok {
			continue
		}
		account := device.Account(a.member.Account.UDF())
		if account == nil {
			continue
		}
		if key, err := a.member.vouched(account.EnvelopedConnectionAccount); err == nil {
			devices[key.KID()] = key
		}
	}
	return devices, nil
}
