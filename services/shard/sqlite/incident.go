package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// incidentsOf are the frames of mmms_Incident of a partition.
const incidentsOf = ` FROM container c JOIN frame f USING (partition, account, container)
	WHERE c.partition = ? AND c.account = 0 AND c.name = ? AND f.event = 0 `

// Report appends to mmms_Incident (shard.Store).
func (s *Store) Report(ctx context.Context, partition uint16, incident shard.Entry) (int64, error) {
	const op = "shard.Report"
	if err := rule.Check(partition, nil, []shard.Entry{incident}); err != nil {
		return 0, mesh.E(op, mesh.Internal, err)
	}
	if code := rule.Fault(&incident); code != 0 {
		return 0, mesh.Errorf(op, mesh.MessageInvalid, "an incident with fault %d", code)
	}
	var index int64
	err := s.write(ctx, op, func(tx *sql.Tx) error {
		if err := fence(ctx, tx, op, partition, true); err != nil {
			return err
		}
		if incident.EnvelopeID != "" {
			err := tx.QueryRowContext(ctx, `SELECT f.idx`+incidentsOf+`AND f.envelope_id = ?`,
				partition, rule.Incidents, incident.EnvelopeID).Scan(&index)
			if !errors.Is(err, sql.ErrNoRows) {
				return err
			}
		}
		indices, _, err := s.append(ctx, tx, partition, 0, &shard.ContainerUpdate{Container: rule.Incidents, Entries: []shard.Entry{incident}}, anyIndex)
		if err == nil {
			index = indices[0]
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	return index, nil
}

// Incidents returns frames of mmms_Incident (shard.Store).
func (s *Store) Incidents(ctx context.Context, partition uint16, first int64, limit int) ([]shard.Frame, error) {
	const op = "shard.Incidents"
	var frames []shard.Frame
	err := s.read(ctx, op, func(tx *sql.Tx) (err error) {
		if err = fence(ctx, tx, op, partition, false); err != nil || limit <= 0 {
			return err
		}
		frames, err = query(ctx, tx, `SELECT `+frameColumns+`, f.payload`+incidentsOf+`AND f.idx >= ? ORDER BY f.idx LIMIT ?`,
			partition, rule.Incidents, max(first, 1), limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	return frames, nil
}
