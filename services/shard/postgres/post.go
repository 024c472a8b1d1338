package postgres

import (
	"context"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

// Post implements shard.Store.
func (s *Store) Post(context.Context, shard.Posting) ([]shard.Posted, error) {
	return nil, mesh.E("postgres.Post", mesh.UnknownOperation, nil)
}

// Claim implements shard.Store.
func (s *Store) Claim(context.Context, int, time.Duration) ([]shard.OutboxRow, error) {
	return nil, nil
}

// Settle implements shard.Store.
func (s *Store) Settle(context.Context, uint16, string, []shard.Settlement) (int, error) {
	return 0, mesh.E("postgres.Settle", mesh.UnknownOperation, nil)
}

// Outbox implements shard.Store.
func (s *Store) Outbox(context.Context, shard.OutboxQuery) ([]shard.OutboxRow, error) {
	return nil, mesh.E("postgres.Outbox", mesh.UnknownOperation, nil)
}

// Standing implements shard.Store.
func (s *Store) Standing(context.Context, shard.StandingQuery) (*shard.Standing, error) {
	return nil, mesh.E("postgres.Standing", mesh.UnknownOperation, nil)
}

// Deliver implements shard.Store.
func (s *Store) Deliver(context.Context, shard.Arrival) (shard.Result, error) {
	return shard.Result{}, mesh.E("postgres.Deliver", mesh.UnknownOperation, nil)
}

// Verdicts implements shard.Store.
func (s *Store) Verdicts(context.Context, uint16, string, string) ([]shard.VerdictRecord, error) {
	return nil, mesh.E("postgres.Verdicts", mesh.UnknownOperation, nil)
}

// Report implements shard.Store.
func (s *Store) Report(context.Context, uint16, shard.Entry) (int64, error) {
	return 0, mesh.E("postgres.Report", mesh.UnknownOperation, nil)
}

// Incidents implements shard.Store.
func (s *Store) Incidents(context.Context, uint16, int64, int) ([]shard.Frame, error) {
	return nil, mesh.E("postgres.Incidents", mesh.UnknownOperation, nil)
}
