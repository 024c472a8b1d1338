package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

const reportArgs = 1 + 8

// Report appends to mmms_Incident (shard.Store).
func (s *Store) Report(ctx context.Context, partition uint16, incident shard.Entry) (int64, error) {
	const op = "shard.Report"
	if err := rule.Check(partition, nil, []shard.Entry{incident}); err != nil {
		return 0, mesh.E(op, mesh.Internal, err)
	}
	if code := rule.Fault(&incident); code != 0 {
		return 0, mesh.Errorf(op, mesh.MessageInvalid, "code %d", code)
	}
	args := append(make([]any, 0, reportArgs), int16(partition))
	outcome, err := s.do(ctx, op, partition, rule.Incidents, call("o_fault, o_detail, o_outcome", "mesh_report", reportArgs), append(args, frame(&incident)...))
	if err != nil {
		return 0, err
	}
	if len(outcome) != 1 {
		return 0, mesh.Errorf(op, mesh.Internal, "outcome of %d numbers", len(outcome))
	}
	return outcome[0], nil
}

const incidentsSQL = `SELECT f.idx, ` + frameColumns + `, f.payload FROM frame f
	WHERE f.partition = $1 AND f.account = 0 AND f.idx >= $2
	AND f.container = (SELECT c.container FROM container c WHERE c.partition = $1 AND c.account = 0 AND c.name = 'mmms_Incident')
	ORDER BY f.idx LIMIT $3`

// Incidents returns frames of mmms_Incident (shard.Store).
func (s *Store) Incidents(ctx context.Context, partition uint16, first int64, limit int) ([]shard.Frame, error) {
	return gather(ctx, s, "shard.Incidents", partition, func(row pgx.CollectableRow) (shard.Frame, error) {
		var f found
		if err := f.scan(row, &f.Index); err != nil {
			return shard.Frame{}, err
		}
		return f.frame(), nil
	}, incidentsSQL, int16(partition), max(first, 1), int64(max(limit, 0)))
}
