package shard

import (
	"bytes"
	"context"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// Check implements AccountsService.
func (s *Server) Check(ctx context.Context, r *shardpb.CheckRequest) (*shardpb.CheckResponse, error) {
	caller := callerOf(r.GetCaller())
	err := s.store.Check(ctx, CheckQuery{
		Partition: shardmap.Of(caller.Account),
		Account:   caller.Account,
		Caller:    caller,
		Right:     rightOf(mesh.RightName(r.GetRight())),
	})
	if err != nil {
		return nil, err
	}
	return &shardpb.CheckResponse{}, nil
}

// Status implements AccountsService.
func (s *Server) Status(ctx context.Context, r *shardpb.StatusRequest) (*shardpb.StatusResponse, error) {
	q := StatusQuery{
		Partition:        shardmap.Of(r.GetAccount()),
		Account:          r.GetAccount(),
		Caller:           callerOf(r.GetCaller()),
		RightOf:          readRight,
		DeviceUDF:        udf.Canonical(r.GetDeviceUdf()),
		ConnectionDigest: r.GetConnectionDigest(),
	}
	for _, name := range r.GetContainers() {
		if canonical, ok := mesh.CanonicalContainer(name); ok {
			q.Containers = append(q.Containers, ContainerRight{Container: canonical, Right: readRight(canonical)})
		}
	}
	nothing := len(r.GetContainers()) > 0 && len(q.Containers) == 0 // names that no account can have: not "all"
	if nothing {
		q.Containers = []ContainerRight{{Container: mesh.SpoolInbound, Right: readRight(mesh.SpoolInbound)}} // asked all the same: who may not ask is told so
	}
	result, err := s.store.Status(ctx, q)
	if err != nil {
		return nil, err
	}
	w := &shardpb.StatusResponse{DeviceEntry: frameToWire(result.DeviceEntry)}
	if !nothing {
		w.Containers = statesToWire(result.Containers)
	}
	if known := r.GetProfileMasterDigest(); len(known) == 0 || !bytes.Equal(known, envelopeDigest(result.Account.ProfileMesh)) {
		w.ProfileMesh = result.Account.ProfileMesh
	}
	return w, nil
}

// envelopeDigest is the PayloadDigest of a stored envelope (D-18); nil when there is none.
func envelopeDigest(envelope []byte) []byte {
	e, err := dare.Parse(envelope)
	if err != nil {
		return nil
	}
	return e.Digest()
}

// Download implements AccountsService. Updates are positional with the selectors.
func (s *Server) Download(ctx context.Context, r *shardpb.DownloadRequest) (*shardpb.DownloadResponse, error) {
	const op = "shard.Download"
	q := ReadQuery{
		Partition:  shardmap.Of(r.GetAccount()),
		Account:    r.GetAccount(),
		Caller:     callerOf(r.GetCaller()),
		MaxEntries: r.GetMaxEntries(),
		MaxBytes:   r.GetMaxBytes(),
		Offset:     r.BytesOffset,
		Payload:    r.GetPayload(),
	}
	asked := make([]bool, len(r.GetSelect())) // names that no account can have are answered empty (D-19)
	for i, sel := range r.GetSelect() {
		canonical, ok := mesh.CanonicalContainer(sel.GetContainer())
		if asked[i] = ok; !ok {
			continue
		}
		q.Select = append(q.Select, Selection{
			Container: canonical,
			Right:     readRight(canonical),
			Min:       sel.IndexMin,
			Max:       sel.IndexMax,
			NotBefore: timeOf(sel.GetNotBefore()),
			Before:    timeOf(sel.GetBefore()),
		})
	}
	selected, err := s.store.Read(ctx, q)
	if err != nil {
		return nil, err
	}
	if len(selected) != len(q.Select) {
		return nil, mesh.Errorf(op, mesh.Internal, "%d selections, %d answers", len(q.Select), len(selected))
	}

	w := &shardpb.DownloadResponse{}
	allowed, forbidden := false, false
	for i, sel := range r.GetSelect() {
		update := &shardpb.ContainerFrames{Container: sel.GetContainer()}
		w.Updates = append(w.Updates, update)
		if !asked[i] {
			continue
		}
		found := selected[0]
		selected = selected[1:]
		update.Container = found.Container
		forbidden = forbidden || found.Forbidden
		allowed = allowed || !found.Forbidden
		if found.Forbidden || !found.Present {
			continue
		}
		update.Present, update.FramesTotal, update.Digest, update.Next = true, found.Frames, found.Digest, found.Next
		for j := range found.Entries {
			update.Frames = append(update.Frames, frameToWire(&found.Entries[j]))
		}
	}
	if forbidden && !allowed {
		return nil, mesh.E(op, mesh.NotAuthorized, nil)
	}
	return w, nil
}
