package shard

import (
	"context"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// Extended codes that a rejected entry may carry (PROTOCOL §5).
const (
	codeProfileInvalid = 6
	codeMessageInvalid = 13
)

// unaskedEntries of an Upload are checked before the store has been asked who the caller is, which it does with the work: checking
// so few costs little more than asking. A thousand of a device that was removed, with four signatures each, would cost a second.
const unaskedEntries = 8

// Upload implements AccountsService.
func (s *Server) Upload(ctx context.Context, r *shardpb.UploadRequest) (*shardpb.UploadResponse, error) {
	caller := callerOf(r.GetCaller())
	a := &account{server: s, partition: shardmap.Of(r.GetAccount()), address: r.GetAccount(), domain: caller.Domain}
	app := Application{Partition: a.partition, Account: a.address, Caller: caller, Atomic: r.Atomic}
	entries := len(r.GetSelf())
	for _, u := range r.GetUpdates() {
		entries += len(u.GetEntries())
	}
	var err error
	if entries > unaskedEntries {
		if err = s.store.Check(ctx, CheckQuery{Partition: a.partition, Account: a.address, Caller: caller}); err != nil {
			return nil, err
		}
	}
	if app.Updates, err = s.updates(ctx, a, r.GetUpdates()); err != nil {
		return nil, err
	}
	if app.Self, err = s.entries(ctx, a, mesh.SpoolInbound, r.GetSelf()); err != nil {
		return nil, err
	}
	results, err := s.store.Apply(ctx, app)
	if err != nil {
		return nil, err
	}
	s.metrics.appended(ctx, app.Updates, len(app.Self), results)
	return &shardpb.UploadResponse{Entries: resultsToWire(results)}, nil
}

func (s *Server) updates(ctx context.Context, a *account, updates []*shardpb.Update) ([]ContainerUpdate, error) {
	var all []ContainerUpdate
	for _, u := range updates {
		canonical, ok := mesh.CanonicalContainer(u.GetContainer())
		if !ok {
			return nil, mesh.E("shard.updates", mesh.UnknownContainer, nil)
		}
		entries, err := s.entries(ctx, a, canonical, u.GetEntries())
		if err != nil {
			return nil, err
		}
		all = append(all, ContainerUpdate{
			Container: canonical,
			Index:     u.Index,
			Digest:    u.GetDigest(),
			Right:     writeRight(canonical),
			Entries:   entries,
		})
	}
	return all, nil
}

func (s *Server) entries(ctx context.Context, a *account, container string, list []*shardpb.Entry) ([]Entry, error) {
	var all []Entry
	for _, e := range list {
		if err := ctx.Err(); err != nil {
			return nil, mesh.E("shard.entries", mesh.Overloaded, err)
		}
		entry, err := s.entry(ctx, a, container, e)
		if err != nil {
			return nil, err
		}
		all = append(all, entry)
	}
	return all, nil
}

// entry checks what the store cannot: signatures, and device entries. A fault becomes Entry.Reject.
func (s *Server) entry(ctx context.Context, a *account, container string, e *shardpb.Entry) (Entry, error) {
	event, known := eventOf(e.GetEvent())
	entry := Entry{
		Header:        e.GetHeader(),
		Payload:       e.GetPayload(),
		Trailer:       e.GetTrailer(),
		PayloadDigest: e.GetPayloadDigest(),
		DigestWritten: e.GetDigestWritten(),
		EnvelopeID:    e.GetEnvelopeId(),
		UniqueID:      e.GetUniqueId(),
		Event:         event,
		MessageType:   e.GetMessageType(),
		Index:         e.Index,
		Reject:        uint16(e.GetReject()),
	}
	if len(entry.Trailer) == 0 {
		entry.Trailer = nil // the wire does not tell an empty trailer from none; an empty one would be no JSON
	}
	if entry.Reject == 0 && !known {
		entry.Reject = codeMessageInvalid
	}
	if entry.Reject != 0 {
		return entry, nil
	}
	var err error
	if entry.Reject, err = s.checkSignatures(ctx, a, e); err != nil || entry.Reject != 0 {
		return entry, err
	}
	if container == mesh.CatalogDevice && event != NoEvent { // without: frame 0, or a fault that the store finds
		entry.Device, entry.Reject, err = a.device(ctx, e, event)
	}
	if container == mesh.CatalogContact && event != NoEvent {
		entry.Contact, err = a.contact(e, event)
	}
	return entry, err
}
