package shard

import (
	"context"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// Where implements AdminService.
func (s *Server) Where(ctx context.Context, r *shardpb.WhereRequest) (*shardpb.WhereResponse, error) {
	partition := shardmap.Of(r.GetAddress())
	location, err := s.store.Where(ctx, partition, r.GetAddress())
	if err != nil {
		return nil, err
	}
	return &shardpb.WhereResponse{
		Partition:     uint32(partition),
		Shard:         s.name,
		MapEpoch:      location.Epoch,
		State:         stateToWire(location.State),
		AccountNumber: location.Number,
		Containers:    statesToWire(location.Containers),
	}, nil
}

// ListPartitions implements AdminService.
func (s *Server) ListPartitions(ctx context.Context, _ *shardpb.ListPartitionsRequest) (*shardpb.ListPartitionsResponse, error) {
	partitions, err := s.store.Partitions(ctx)
	if err != nil {
		return nil, err
	}
	w := &shardpb.ListPartitionsResponse{}
	for _, p := range partitions {
		w.Partitions = append(w.Partitions, &shardpb.Partition{
			Partition: uint32(p.Number),
			State:     partitionStateToWire(p.State),
			Epoch:     p.Epoch,
			Accounts:  p.Accounts,
		})
	}
	return w, nil
}

// SetPartition implements AdminService.
func (s *Server) SetPartition(ctx context.Context, r *shardpb.SetPartitionRequest) (*shardpb.SetPartitionResponse, error) {
	const op = "shard.SetPartition"
	state, ok := partitionStateOf(r.GetState())
	if !ok || r.GetFirst() > r.GetLast() || r.GetLast() >= shardmap.Partitions || r.GetEpoch() == 0 {
		return nil, mesh.E(op, mesh.BadRequest, nil)
	}
	if err := s.store.SetPartitions(ctx, uint16(r.GetFirst()), uint16(r.GetLast()), state, r.GetEpoch()); err != nil {
		return nil, err
	}
	s.metrics.forget()
	return &shardpb.SetPartitionResponse{}, nil
}
