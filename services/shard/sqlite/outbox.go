package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// outboxColumns are read by outboxRows.
const outboxColumns = `o.id, o.partition, a.address, a.profile_udf, f.unique_id, f.message_type, o.recipient, o.domain, o.state, o.attempts, o.waiter,
	o.created, o.next_attempt, ifnull(o.verdict_at, 0), o.accepted, o.code, o.rule, o.policy, ` + frameColumns + `, f.payload`

// outboxJoins are the tables of outboxColumns beside outbox o; they want the name of mmm_Outbound.
const outboxJoins = ` CROSS JOIN account a ON a.partition = o.partition AND a.account = o.account
	CROSS JOIN container c ON c.partition = o.partition AND c.account = o.account AND c.name = ?
	CROSS JOIN frame f ON f.partition = o.partition AND f.account = o.account AND f.container = c.container AND f.idx = o.frame `

func outboxRows(ctx context.Context, tx *sql.Tx, text string, args ...any) (all []shard.OutboxRow, err error) {
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var r shard.OutboxRow
		var id []byte
		var created, next, verdict, received int64
		var own bool
		f, v := &r.Frame, &r.Verdict
		if err := rows.Scan(&id, &r.Partition, &r.Account, &r.SenderUDF, &r.MessageID, &r.MessageType, &r.Recipient, &r.Domain, &r.State, &r.Attempts,
			&r.Waiter, &created, &next, &verdict, &v.Accepted, &v.Code, &v.Rule, &v.Policy, &f.Index, &f.Header, &f.Trailer, &f.PayloadDigest,
			&f.DigestWritten, &f.TreeDigest, &received, &own, &f.PayloadLength, &f.EnvelopeID, &f.Payload); err != nil {
			return nil, err
		}
		r.ID = shard.OutboxID(id)
		r.Created, r.NextAttempt = time.Unix(created, 0).UTC(), time.Unix(next, 0).UTC()
		if verdict != 0 {
			r.VerdictAt = time.Unix(verdict, 0).UTC()
		}
		if !own {
			f.Received = time.Unix(received, 0).UTC()
		}
		all = append(all, r)
	}
	return all, rows.Err()
}

// Backlog counts rows that are not settled (shard.Store).
func (s *Store) Backlog(ctx context.Context) (rows int64, oldest time.Time, err error) {
	var created sql.NullInt64
	err = s.read(ctx, "shard.Backlog", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT count(*), min(created) FROM (SELECT o.created FROM outbox o INDEXED BY outbox_open
			CROSS JOIN partition p ON p.partition = o.partition AND p.state <> ?
			WHERE o.state <= 2 ORDER BY o.next_attempt LIMIT ?)`, shard.PartitionMoved, shard.MaxBacklog).Scan(&rows, &created)
	})
	if created.Valid {
		oldest = time.Unix(created.Int64, 0).UTC()
	}
	return rows, oldest, err
}

// Claim takes outbox rows that are due (shard.Store). The one writing connection keeps claimers apart.
func (s *Store) Claim(ctx context.Context, limit int, lease time.Duration) ([]shard.OutboxRow, error) {
	const op = "shard.Claim"
	if limit <= 0 {
		return nil, nil
	}
	var rows []shard.OutboxRow
	err := s.write(ctx, op, func(tx *sql.Tx) (err error) {
		now := s.now()
		rows, err = outboxRows(ctx, tx, `SELECT `+outboxColumns+` FROM outbox o INDEXED BY outbox_open
			CROSS JOIN partition p ON p.partition = o.partition AND p.state = ?`+outboxJoins+`
			WHERE o.state <= 2 AND o.next_attempt <= ? ORDER BY o.next_attempt, o.partition, o.account, o.frame LIMIT ?`,
			shard.PartitionOpen, rule.Outbound, now.Unix(), limit)
		if err != nil {
			return err
		}
		end := ceil(now.Add(lease))
		for i := range rows {
			r := &rows[i]
			r.State, r.NextAttempt = shard.Published, time.Unix(end, 0).UTC()
			if _, err := tx.ExecContext(ctx, `UPDATE outbox SET state = ?, next_attempt = ? WHERE partition = ?
				AND account = (SELECT account FROM account WHERE partition = ? AND address = ?) AND id = ?`,
				r.State, end, r.Partition, r.Partition, r.Account, r.ID[:]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}

// Settle records outcomes (shard.Store).
func (s *Store) Settle(ctx context.Context, partition uint16, address string, list []shard.Settlement) (int, error) {
	const op = "shard.Settle"
	if err := rule.CheckSettlements(partition, list); err != nil {
		return 0, mesh.E(op, mesh.Internal, err)
	}
	effects := 0
	err := s.write(ctx, op, func(tx *sql.Tx) error {
		if err := fence(ctx, tx, op, partition, true); err != nil {
			return err
		}
		a, err := find(ctx, tx, partition, address)
		if err != nil || a == nil {
			return err
		}
		events := shard.ContainerUpdate{Container: rule.Outbound}
		failures := shard.ContainerUpdate{Container: rule.Inbound}
		for i := range list {
			t := &list[i]
			ok, err := s.settle(ctx, tx, partition, a.Number, t)
			if err != nil {
				return err
			}
			if !ok {
				continue
			}
			effects++
			if t.Event != nil {
				events.Entries = append(events.Entries, *t.Event)
			}
			if t.Failure != nil {
				failures.Entries = append(failures.Entries, *t.Failure)
			}
		}
		if a.State == shard.Deleted {
			return nil
		}
		for _, u := range []*shard.ContainerUpdate{&events, &failures} {
			if _, _, err := s.append(ctx, tx, partition, a.Number, u, anyIndex); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return effects, nil
}

// settle changes a row that is not settled; false: there is none.
func (s *Store) settle(ctx context.Context, tx *sql.Tx, partition uint16, account int64, t *shard.Settlement) (bool, error) {
	set, args := `state = ?, next_attempt = ?, attempts = attempts + 1`, []any{t.State, ceil(t.NextAttempt)}
	if t.State != shard.Due {
		v := &t.Verdict
		set = `state = ?, verdict_at = ?, accepted = ?, code = ?, rule = ?, policy = ?`
		args = []any{t.State, s.now().Unix(), v.Accepted, v.Code, v.Rule, v.Policy}
	}
	result, err := tx.ExecContext(ctx, `UPDATE outbox SET `+set+` WHERE partition = ? AND account = ? AND id = ? AND state <= 2`,
		append(args, partition, account, t.ID[:])...)
	if err != nil {
		return false, err
	}
	n, err := result.RowsAffected()
	return n > 0, err
}

// Outbox returns outbox rows of an account (shard.Store).
func (s *Store) Outbox(ctx context.Context, q shard.OutboxQuery) ([]shard.OutboxRow, error) {
	const op = "shard.Outbox"
	var rows []shard.OutboxRow
	err := s.read(ctx, op, func(tx *sql.Tx) error {
		if err := fence(ctx, tx, op, q.Partition, false); err != nil {
			return err
		}
		a, err := find(ctx, tx, q.Partition, q.Account)
		if err != nil || a == nil {
			return err
		}
		where := `o.partition = ? AND o.account = ? AND o.frame IN (SELECT f.idx FROM container c JOIN frame f USING (partition, account, container)
			WHERE c.partition = ? AND c.account = ? AND c.name = ? AND f.event = 0 AND f.envelope_id = ?)`
		args := []any{rule.Outbound, q.Partition, a.Number, q.Partition, a.Number, rule.Outbound, q.EnvelopeID}
		if len(q.IDs) > 0 {
			where = `o.partition = ? AND o.account = ? AND o.id IN (?` + strings.Repeat(`, ?`, len(q.IDs)-1) + `)`
			args = []any{rule.Outbound, q.Partition, a.Number}
			for i := range q.IDs {
				args = append(args, q.IDs[i][:])
			}
		}
		rows, err = outboxRows(ctx, tx, `SELECT `+outboxColumns+` FROM outbox o`+outboxJoins+`WHERE `+where+` ORDER BY o.frame, o.recipient`, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return rows, nil
}
