package gateway

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// Caps of a Download response: the default, and what is given to those who ask for more (PROTOCOL §1.7).
const (
	defaultEntries = 1000
	hardEntries    = 10_000
	defaultOctets  = 4 << 20
	hardOctets     = 16 << 20
	// maxSelectors: an account has a dozen containers and perhaps some of applications; each selector is a query.
	maxSelectors = 256
)

// status tells the state of containers (PROTOCOL §3.1). Wait and Known are ignored, as D-52 allows.
func (q *request) status(ctx context.Context, body jbcd.Raw) (mesh.ResponseMessage, error) {
	const op = "gateway.status"
	var v mesh.StatusRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return nil, err
	}
	account, err := q.acting(ctx, &v.RequestUser)
	if err != nil {
		return nil, err
	}
	if len(v.Catalogs)+len(v.Spools) > maxSelectors {
		return nil, mesh.Errorf(op, mesh.RequestSize, "%d names", len(v.Catalogs)+len(v.Spools))
	}
	ask := &shardpb.StatusRequest{
		Caller: q.caller(), Account: account, DeviceUdf: v.DeviceUDF, ProfileMasterDigest: v.ProfileMasterDigest,
	}
	seen := make(map[string]bool)
	for _, name := range append(v.Catalogs, v.Spools...) {
		// An unknown name is asked for as it stands: the shard has no such container, and no name at all would mean all.
		name, _ = mesh.CanonicalContainer(name)
		if !seen[name] {
			seen[name] = true
			ask.Containers = append(ask.Containers, name)
		}
	}
	if q.who.connection != nil {
		ask.ConnectionDigest = q.who.connection.Digest()
	}
	var s *shardpb.StatusResponse
	err = q.shard(ctx, account, func(ctx context.Context, c shardpb.AccountsServiceClient) (err error) {
		s, err = c.Status(ctx, ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &mesh.StatusResponse{ContainerStatus: make([]mesh.ContainerStatus, 0, len(s.GetContainers()))}
	for _, c := range s.GetContainers() {
		r.ContainerStatus = append(r.ContainerStatus, mesh.ContainerStatus{Container: c.GetContainer(), Index: mesh.Int(c.GetFrames()), Digest: c.GetDigest()})
	}
	if len(s.GetProfileMesh()) > 0 {
		if r.EnvelopedProfileMaster, err = dare.Parse(s.GetProfileMesh()); err != nil {
			return nil, mesh.E(op, mesh.Internal, err)
		}
	}
	if f := s.GetDeviceEntry(); f != nil {
		if r.EnvelopedCatalogEntryDevice, err = putTogether(f, wholeEntry()); err != nil {
			return nil, err
		}
	}
	return ok(q, r), nil
}

// download gives frames (PROTOCOL §3.2).
func (q *request) download(ctx context.Context, body jbcd.Raw) (mesh.ResponseMessage, error) {
	var v mesh.DownloadRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return nil, err
	}
	account, err := q.acting(ctx, &v.RequestUser)
	if err != nil {
		return nil, err
	}
	ask, err := selection(&v)
	if err != nil {
		return nil, err
	}
	ask.Caller, ask.Account = q.caller(), account
	want := partsOf(v.ConstraintsPost)
	ask.Payload = want.payload
	var s *shardpb.DownloadResponse
	err = q.shard(ctx, account, func(ctx context.Context, c shardpb.AccountsServiceClient) (err error) {
		s, err = c.Download(ctx, ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &mesh.DownloadResponse{Updates: make([]mesh.ContainerUpdate, len(s.GetUpdates()))}
	for i, u := range s.GetUpdates() {
		if r.Updates[i], err = update(u, want); err != nil {
			return nil, err
		}
	}
	return ok(q, r), nil
}

// update is the answer to one selector. A container that is unknown, or that the device may not read, has a name only.
func update(c *shardpb.ContainerFrames, want parts) (mesh.ContainerUpdate, error) {
	u := mesh.ContainerUpdate{Container: c.GetContainer()}
	if !c.GetPresent() {
		return u, nil
	}
	u.Index, u.Digest = mesh.Int(c.GetFramesTotal()), c.GetDigest()
	u.Envelopes = make([]*dare.Envelope, len(c.GetFrames()))
	for i, f := range c.GetFrames() {
		var err error
		if u.Envelopes[i], err = putTogether(f, want); err != nil {
			return u, err
		}
	}
	return u, nil
}

// selection makes the shard's request. A name that no container has goes along: its answer is empty.
func selection(v *mesh.DownloadRequest) (ask *shardpb.DownloadRequest, err error) {
	const op = "gateway.selection"
	if len(v.Select) > maxSelectors {
		return nil, mesh.Errorf(op, mesh.RequestSize, "%d selectors", len(v.Select))
	}
	ask = &shardpb.DownloadRequest{MaxEntries: defaultEntries, MaxBytes: defaultOctets}
	if c := v.ConstraintsPost; c != nil {
		if ask.MaxEntries, err = capped(c.MaxEntries, defaultEntries, hardEntries); err != nil {
			return nil, err
		}
		if ask.MaxBytes, err = capped(c.BytesMax, defaultOctets, hardOctets); err != nil {
			return nil, err
		}
		if c.BytesOffset != nil && *c.BytesOffset < 0 {
			return nil, mesh.Errorf(op, mesh.ProfileInvalid, "negative BytesOffset")
		}
		ask.BytesOffset = c.BytesOffset
	}
	for i := range v.Select {
		s := &v.Select[i]
		if s.PageKey != "" || len(s.KeyValues) > 0 {
			return nil, mesh.Errorf(op, mesh.UnknownOperation, "PageKey and KeyValues are not built")
		}
		name, _ := mesh.CanonicalContainer(s.Container)
		one := &shardpb.Select{Container: name, IndexMin: s.IndexMin, IndexMax: s.IndexMax}
		if s.NotBefore != nil {
			one.NotBefore = timestamppb.New(s.NotBefore.Time)
		}
		if s.Before != nil {
			one.Before = timestamppb.New(s.Before.Time)
		}
		ask.Select = append(ask.Select, one)
	}
	return ask, nil
}

// capped reads a cap that the client asks for.
func capped(asked *int64, fallback, hard int64) (int64, error) {
	switch {
	case asked == nil:
		return fallback, nil
	case *asked < 1:
		return 0, mesh.Errorf("gateway.capped", mesh.ProfileInvalid, "a cap of %d", *asked)
	}
	return min(*asked, hard), nil
}

// upload appends frames (PROTOCOL §3.3).
func (q *request) upload(ctx context.Context, body jbcd.Raw) (mesh.ResponseMessage, error) {
	const op = "gateway.upload"
	var v mesh.UploadRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return nil, err
	}
	account, err := q.acting(ctx, &v.RequestUser)
	if err != nil {
		return nil, err
	}
	updates, self, err := takeApartUpdates(v.Updates, v.Self)
	if err != nil {
		return nil, err
	}
	ask := &shardpb.UploadRequest{Caller: q.caller(), Account: account, Updates: updates, Self: self, Atomic: v.Atomic}
	var s *shardpb.UploadResponse
	err = q.shard(ctx, account, func(ctx context.Context, c shardpb.AccountsServiceClient) (err error) {
		s, err = c.Upload(ctx, ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	r := &mesh.UploadResponse{Entries: make([]mesh.EntryResponse, len(s.GetEntries()))}
	for i, e := range s.GetEntries() {
		if r.Entries[i], err = entryResponse(i, e); err != nil {
			return nil, mesh.E(op, mesh.Internal, err)
		}
	}
	return ok(q, r), nil
}

// entryResponse tells the fate of an entry; i is its number in the request, over all updates, then Self.
func entryResponse(i int, e *shardpb.EntryResult) (mesh.EntryResponse, error) {
	r := mesh.EntryResponse{IndexRequest: int64(i)}
	switch e.GetResult() {
	case shardpb.EntryResult_RESULT_ACCEPT:
		r.Result, r.IndexContainer = mesh.ResultAccept, e.Index
	case shardpb.EntryResult_RESULT_CONFLICT:
		r.Result = mesh.ResultConflict
	case shardpb.EntryResult_RESULT_REJECT:
		r.Result, r.Reason = mesh.ResultReject, mesh.KindOfCode(mesh.Code{Extended: int(e.GetCode())}).String()
	default:
		return r, mesh.Errorf("gateway.entryResponse", mesh.Internal, "entry without result")
	}
	return r, nil
}

// takeApartUpdates makes the stored forms of all entries of a request, within the limits that Hello advertises.
func takeApartUpdates(updates []mesh.ContainerUpdate, self []*dare.Envelope) ([]*shardpb.Update, []*shardpb.Entry, error) {
	const op = "gateway.takeApartUpdates"
	entries, octets := len(self), 0
	for i := range updates {
		entries += len(updates[i].Envelopes)
		octets += payloads(updates[i].Envelopes)
	}
	if octets += payloads(self); entries > maxUploadEntries || octets > maxUploadOctets {
		return nil, nil, mesh.Errorf(op, mesh.RequestSize, "%d entries, %d octets", entries, octets)
	}
	stored := make([]*shardpb.Update, len(updates))
	for i := range updates {
		u := &updates[i]
		name, isContainer := mesh.CanonicalContainer(u.Container)
		if !isContainer {
			return nil, nil, mesh.Errorf(op, mesh.UnknownContainer, "no such container")
		}
		list, err := takeApartAll(u.Envelopes, mesh.IsSpool(name))
		if err != nil {
			return nil, nil, err
		}
		stored[i] = &shardpb.Update{Container: name, Index: u.Index, Digest: u.Digest, Entries: list}
	}
	own, err := takeApartAll(self, true)
	return stored, own, err
}

func payloads(envelopes []*dare.Envelope) int {
	n := 0
	for _, e := range envelopes {
		n += len(e.Payload)
	}
	return n
}

func takeApartAll(envelopes []*dare.Envelope, spool bool) ([]*shardpb.Entry, error) {
	list := make([]*shardpb.Entry, len(envelopes))
	for i, e := range envelopes {
		var err error
		if list[i], err = takeApart(e, spool); err != nil {
			return nil, err
		}
	}
	return list, nil
}
