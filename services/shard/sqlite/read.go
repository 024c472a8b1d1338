package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// Resolve returns an account entry (shard.Store).
func (s *Store) Resolve(ctx context.Context, partition uint16, address string) (*shard.Account, error) {
	const op = "shard.Resolve"
	var found *account
	err := s.read(ctx, op, func(tx *sql.Tx) (err error) {
		if err = fence(ctx, tx, op, partition, false); err != nil {
			return err
		}
		if found, err = find(ctx, tx, partition, address); err == nil && found == nil {
			err = mesh.E(op, mesh.UnknownAccount, nil)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &found.Account, nil
}

// Check asks for a right (shard.Store).
func (s *Store) Check(ctx context.Context, q shard.CheckQuery) error {
	const op = "shard.Check"
	return s.read(ctx, op, func(tx *sql.Tx) error {
		_, d, err := enter(ctx, tx, op, q.Partition, q.Account, &q.Caller, asks)
		if err == nil && d.rights&q.Right != q.Right {
			err = mesh.Errorf(op, mesh.NotAuthorized, "rights %#x, needs %#x", d.rights, q.Right)
		}
		return err
	})
}

// Status reads the state of containers (shard.Store).
func (s *Store) Status(ctx context.Context, q shard.StatusQuery) (*shard.StatusResult, error) {
	const op = "shard.Status"
	result := new(shard.StatusResult)
	err := s.read(ctx, op, func(tx *sql.Tx) error {
		a, d, err := enter(ctx, tx, op, q.Partition, q.Account, &q.Caller, reads)
		if err != nil {
			return err
		}
		result.Account = a.Account
		states, err := containers(ctx, tx, q.Partition, a.Number)
		if err != nil {
			return err
		}
		result.Containers = rule.Visible(states, &q, d.rights)

		other := q.DeviceUDF != "" && q.DeviceUDF != d.udf
		if other && d.rights&shard.Admin == 0 {
			return mesh.Errorf(op, mesh.NotAuthorized, "entry of another device")
		}
		frame := d.frame
		switch {
		case other:
			err := tx.QueryRowContext(ctx, `SELECT frame FROM device WHERE partition = ? AND account = ? AND device_udf = ? AND NOT removed
				ORDER BY frame DESC LIMIT 1`, q.Partition, a.Number, q.DeviceUDF).Scan(&frame)
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			if err != nil {
				return err
			}
		case d.unique == "" || len(q.ConnectionDigest) == 0 || string(q.ConnectionDigest) == string(d.digest):
			return nil
		}
		frames, err := query(ctx, tx, `SELECT `+frameColumns+`, f.payload FROM frame f JOIN container c USING (partition, account, container)
			WHERE f.partition = ? AND f.account = ? AND c.name = ? AND f.idx = ?`, q.Partition, a.Number, rule.Device, frame)
		if err == nil && len(frames) > 0 {
			result.DeviceEntry = &frames[0]
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return result, nil
}

// containers lists the containers of an account by name.
func containers(ctx context.Context, tx *sql.Tx, partition uint16, account int64) (states []shard.ContainerState, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT name, frames, peaks FROM container WHERE partition = ? AND account = ? ORDER BY name`, partition, account)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var c shard.ContainerState
		var peaks []byte
		if err := rows.Scan(&c.Container, &c.Frames, &peaks); err != nil {
			return nil, err
		}
		c.Digest = rule.Digest(peaks)
		states = append(states, c)
	}
	return states, rows.Err()
}

// frameColumns are read by query, which wants the payload after them.
const frameColumns = `f.idx, f.header, f.trailer, f.payload_digest, f.digest_written, f.tree_digest, f.received, f.own, f.payload_len, f.envelope_id`

func query(ctx context.Context, tx *sql.Tx, text string, args ...any) (frames []shard.Frame, err error) {
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var f shard.Frame
		var received int64
		var own bool
		if err := rows.Scan(&f.Index, &f.Header, &f.Trailer, &f.PayloadDigest, &f.DigestWritten, &f.TreeDigest, &received, &own,
			&f.PayloadLength, &f.EnvelopeID, &f.Payload); err != nil {
			return nil, err
		}
		if !own {
			f.Received = time.Unix(received, 0).UTC()
		}
		frames = append(frames, f)
	}
	return frames, rows.Err()
}

// Read returns frames by selectors (shard.Store).
func (s *Store) Read(ctx context.Context, q shard.ReadQuery) ([]shard.Selected, error) {
	const op = "shard.Read"
	results := make([]shard.Selected, len(q.Select))
	err := s.read(ctx, op, func(tx *sql.Tx) error {
		a, d, err := enter(ctx, tx, op, q.Partition, q.Account, &q.Caller, reads)
		if err != nil {
			return err
		}
		states, err := containers(ctx, tx, q.Partition, a.Number)
		if err != nil {
			return err
		}
		budget := rule.NewBudget(&q)
		for i, sel := range q.Select {
			r := &results[i]
			if rule.Present(r, &sel, states, d.rights) {
				if err := fill(ctx, tx, r, &q, &sel, a.Number, budget); err != nil {
					return err
				}
			}
		}
		if q.Offset != nil && budget.Selected != 1 {
			return mesh.Errorf(op, mesh.ProfileInvalid, "a byte range of %d frames", budget.Selected)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// fill reads the frames of one selection as far as the budget goes.
func fill(ctx context.Context, tx *sql.Tx, r *shard.Selected, q *shard.ReadQuery, sel *shard.Selection, account int64, budget *rule.Budget) (err error) {
	where := []string{`f.partition = ? AND f.account = ? AND c.name = ?`}
	args := []any{q.Partition, account, sel.Container}
	if sel.Min != nil {
		where, args = append(where, `f.idx >= ?`), append(args, *sel.Min)
	}
	if sel.Max != nil {
		where, args = append(where, `f.idx <= ?`), append(args, *sel.Max)
	}
	if !sel.NotBefore.IsZero() {
		where, args = append(where, `f.received >= ?`), append(args, ceil(sel.NotBefore))
	}
	if !sel.Before.IsZero() {
		where, args = append(where, `f.received < ?`), append(args, ceil(sel.Before))
	}
	from := ` FROM container c JOIN frame f USING (partition, account, container) WHERE ` + strings.Join(where, ` AND `)

	rows, err := tx.QueryContext(ctx, `SELECT f.idx, f.payload_len, length(f.header) + ifnull(length(f.trailer), 0)`+from+` ORDER BY f.idx LIMIT ?`, append(args, budget.Look())...)
	if err != nil {
		return err
	}
	last, n := int64(-1), int64(0)
	for rows.Next() {
		var index, length, head int64
		if err := rows.Scan(&index, &length, &head); err != nil {
			return errors.Join(err, rows.Close())
		}
		if !budget.Take(length, head) {
			r.More, r.Next = true, index
			break
		}
		last, n = index, n+1
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil || n == 0 {
		return err
	}
	payload := `NULL`
	args = append(args, last)
	if q.Payload {
		skip, length := int64(0), int64(math.MaxInt32)
		if q.Offset != nil {
			skip = min(*q.Offset, math.MaxInt32)
		}
		if budget.Cut() || q.Offset != nil {
			length = min(q.MaxBytes, math.MaxInt32)
		}
		payload = `substr(f.payload, ?, ?)`
		args = append([]any{skip + 1, length}, args...)
	}
	r.Entries, err = query(ctx, tx, `SELECT `+frameColumns+`, `+payload+from+` AND f.idx <= ? ORDER BY f.idx`, args...)
	return err
}

// ceil is the first whole second not before t: arrival times are whole seconds.
func ceil(t time.Time) int64 {
	s := t.Unix()
	if t.Nanosecond() > 0 {
		s++
	}
	return s
}

// Signer returns a signature key (shard.Store).
func (s *Store) Signer(ctx context.Context, partition uint16, address, kid string) (*shard.SignerKey, error) {
	const op = "shard.Signer"
	var key *shard.SignerKey
	err := s.read(ctx, op, func(tx *sql.Tx) error {
		if err := fence(ctx, tx, op, partition, false); err != nil {
			return err
		}
		var k shard.SignerKey
		err := tx.QueryRowContext(ctx, `SELECT k.curve, k.key, NOT d.removed FROM account a
			JOIN device_sign k USING (partition, account) JOIN device d USING (partition, account, unique_id)
			WHERE a.partition = ? AND a.address = ? AND k.kid = ?`, partition, address, kid).Scan(&k.Curve, &k.Key, &k.Current)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		key = &k
		return err
	})
	if err != nil {
		return nil, err
	}
	return key, nil
}

// Where describes what is stored of an address (shard.Store).
func (s *Store) Where(ctx context.Context, partition uint16, address string) (*shard.Location, error) {
	const op = "shard.Where"
	where := new(shard.Location)
	err := s.read(ctx, op, func(tx *sql.Tx) error {
		if err := fence(ctx, tx, op, partition, false); err != nil {
			return err
		}
		a, err := find(ctx, tx, partition, address)
		if err != nil {
			return err
		}
		if a == nil {
			return mesh.E(op, mesh.UnknownAccount, nil)
		}
		where.Number, where.State = a.Number, a.State
		if err := tx.QueryRowContext(ctx, `SELECT epoch FROM partition WHERE partition = ?`, partition).Scan(&where.Epoch); err != nil {
			return err
		}
		where.Containers, err = containers(ctx, tx, partition, a.Number)
		return err
	})
	if err != nil {
		return nil, err
	}
	return where, nil
}

// Epoch is the newest epoch that a partition has seen (shard.Store).
func (s *Store) Epoch(ctx context.Context) (epoch uint64, err error) {
	err = s.read(ctx, "shard.Epoch", func(tx *sql.Tx) error {
		return tx.QueryRowContext(ctx, `SELECT coalesce(max(epoch), 0) FROM partition`).Scan(&epoch)
	})
	return epoch, err
}

// Partitions lists the partitions of this database, ascending (shard.Store).
func (s *Store) Partitions(ctx context.Context) ([]shard.Partition, error) {
	var all []shard.Partition
	err := s.read(ctx, "shard.Partitions", func(tx *sql.Tx) (err error) {
		rows, err := tx.QueryContext(ctx, `SELECT partition, state, epoch,
			(SELECT count(*) FROM account a WHERE a.partition = p.partition AND a.state <> ?) FROM partition p ORDER BY partition`, shard.Deleted)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var p shard.Partition
			if err := rows.Scan(&p.Number, &p.State, &p.Epoch, &p.Accounts); err != nil {
				return err
			}
			all = append(all, p)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
