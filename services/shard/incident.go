package shard

import (
	"context"
	"maps"
	"slices"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// maxIncidents of one answer.
const maxIncidents = 1000

// relationClosed ends an incident.
const relationClosed = "Closed"

// Incidents implements AdminService: the incident spools, without the completions in them.
func (s *Server) Incidents(ctx context.Context, r *shardpb.IncidentsRequest) (*shardpb.IncidentsResponse, error) {
	limit := int(r.GetLimit())
	if limit <= 0 || limit > maxIncidents {
		limit = maxIncidents
	}
	partitions, err := s.incidentPartitions(ctx, r)
	if err != nil {
		return nil, err
	}
	w := &shardpb.IncidentsResponse{}
	for _, p := range partitions {
		frames, err := s.store.Incidents(ctx, p, r.GetFirst(), maxIncidents)
		if err != nil {
			return nil, err
		}
		closed := completed(frames)
		for i := range frames {
			id, complete := nameOf(&frames[i])
			if complete || len(w.GetIncidents()) == limit {
				continue
			}
			w.Incidents = append(w.Incidents, &shardpb.Incident{Partition: uint32(p), Frame: frameToWire(&frames[i]), Resolved: closed[id]})
		}
	}
	return w, nil
}

func (s *Server) incidentPartitions(ctx context.Context, r *shardpb.IncidentsRequest) ([]uint16, error) {
	if r.Partition != nil {
		if r.GetPartition() >= shardmap.Partitions {
			return nil, mesh.Errorf("shard.Incidents", mesh.BadRequest, "partition %d", r.GetPartition())
		}
		return []uint16{uint16(r.GetPartition())}, nil
	}
	all, err := s.store.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	var numbers []uint16
	for _, p := range all {
		numbers = append(numbers, p.Number)
	}
	return numbers, nil
}

// ResolveIncident implements AdminService: a completion, signed by the host, in the spool where the incident is.
func (s *Server) ResolveIncident(ctx context.Context, r *shardpb.ResolveIncidentRequest) (*shardpb.ResolveIncidentResponse, error) {
	const op = "shard.ResolveIncident"
	if r.GetPartition() >= shardmap.Partitions || len(s.hosts) == 0 {
		return nil, mesh.Errorf(op, mesh.BadRequest, "partition %d", r.GetPartition())
	}
	frames, err := s.store.Incidents(ctx, uint16(r.GetPartition()), r.GetIndex(), 1)
	if err != nil {
		return nil, err
	}
	if len(frames) == 0 || frames[0].Index != r.GetIndex() {
		return nil, mesh.Errorf(op, mesh.ResponseNotFound, "no incident %d", r.GetIndex())
	}
	id, complete := nameOf(&frames[0])
	if complete || id == "" {
		return nil, mesh.Errorf(op, mesh.ResponseNotFound, "frame %d is no incident", r.GetIndex())
	}
	m := &mesh.MessageComplete{Message: mesh.Message{
		MessageID:  incidentClosedID(id), // so that it is closed once
		References: []mesh.Reference{{MessageID: id, Relationship: relationClosed}},
	}}
	entry, err := s.hostSigned(slices.Min(slices.Collect(maps.Keys(s.hosts))), m)
	if err != nil {
		return nil, err
	}
	if _, err := s.store.Report(ctx, uint16(r.GetPartition()), *entry); err != nil {
		return nil, err
	}
	return &shardpb.ResolveIncidentResponse{}, nil
}

func incidentClosedID(id string) string { return id + "-" + relationClosed }

// nameOf is the MessageID of a frame of a spool, and whether it is a completion.
func nameOf(f *Frame) (id string, complete bool) {
	h, err := (&dare.Envelope{Header: f.Header}).ParseHeader()
	if err != nil {
		return "", false
	}
	meta, err := h.ParseMeta()
	if err != nil || meta == nil {
		return "", false
	}
	return meta.UniqueID, meta.MessageType == mesh.TagMessageComplete
}

// completed are the MessageIDs that completions among the frames close. Only the service writes there.
func completed(frames []Frame) map[string]bool {
	closed := make(map[string]bool)
	for i := range frames {
		if _, complete := nameOf(&frames[i]); !complete {
			continue
		}
		_, body, err := jbcd.Tagged(frames[i].Payload)
		if err != nil {
			continue
		}
		var m mesh.MessageComplete
		if jbcd.Unmarshal(body, &m) != nil {
			continue
		}
		for _, ref := range m.References {
			closed[ref.MessageID] = closed[ref.MessageID] || ref.Relationship == relationClosed
		}
	}
	return closed
}
