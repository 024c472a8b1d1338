package sqlite

import (
	"context"
	"database/sql"
	"slices"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// Create binds an address (shard.Store).
func (s *Store) Create(ctx context.Context, c shard.Creation) (*shard.Created, error) {
	const op = "shard.Create"
	frame := []shard.Entry{c.AccountFrame}
	if err := rule.Check(c.Partition, c.Updates, frame); err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	created := new(shard.Created)
	err := s.write(ctx, op, func(tx *sql.Tx) error {
		if err := fence(ctx, tx, op, c.Partition, true); err != nil {
			return err
		}
		outcome, done, err := s.recall(ctx, tx, op, c.Partition, &c.Caller)
		if err != nil {
			return err
		}
		if done {
			created.Created, created.State, created.Epoch = outcome[0] != 0, shard.AccountState(outcome[1]), uint64(outcome[2])
			created.Entries, err = rule.Unpack(outcome[3:])
			return err
		}
		a, err := find(ctx, tx, c.Partition, c.Address)
		switch {
		case err != nil:
			return err
		case a != nil:
			created.State, created.Epoch = a.State, a.Epoch
			err = s.again(ctx, tx, op, a, &c)
		case c.OnlyExisting:
			err = mesh.Errorf(op, mesh.NotAuthorized, "nothing new by policy")
		default:
			created.Created, created.State, created.Epoch = true, c.State, 1
			created.Entries, err = s.create(ctx, tx, op, &c)
		}
		if err != nil {
			return err
		}
		is := int64(0)
		if created.Created {
			is = 1
		}
		outcome = append([]int64{is, int64(created.State), int64(created.Epoch)}, rule.Pack(created.Entries)...)
		return s.remember(ctx, tx, c.Partition, &c.Caller, outcome)
	})
	if err != nil {
		return nil, err
	}
	return created, nil
}

// again is Create for an address that exists.
func (s *Store) again(ctx context.Context, tx *sql.Tx, op string, a *account, c *shard.Creation) error {
	switch {
	case a.State == shard.Deleted, a.ProfileUDF != c.ProfileUDF:
		return mesh.E(op, mesh.AccountRegistered, nil)
	case a.MeshUDF != c.MeshUDF:
		return mesh.Errorf(op, mesh.ProfileInvalid, "another mesh")
	case c.ProfileUpdated.UnixMilli() <= a.ProfileUpdated.UnixMilli(), a.State != shard.Connected:
		return nil
	}
	d, err := a.caller(ctx, tx, c.Partition, c.Caller.AuthKID)
	if err != nil {
		return err
	}
	switch {
	case !c.Fresh, c.Caller.Epoch != 0 && c.Caller.Epoch != a.Epoch:
		return mesh.Errorf(op, mesh.TicketExpired, "replacing needs a fresh ticket")
	case d == nil, d.rights&shard.Admin == 0:
		return mesh.Errorf(op, mesh.NotAuthorized, "replacing needs an administrator")
	}
	if _, err := tx.ExecContext(ctx, `UPDATE account SET profile_updated = ?, profile_mesh = ?, profile_account = ?
		WHERE partition = ? AND account = ?`, c.ProfileUpdated.UnixMilli(), c.ProfileMesh, c.ProfileAccount, c.Partition, a.Number); err != nil {
		return err
	}
	return s.list(ctx, tx, c.Partition, &c.AccountFrame)
}

// list appends the account's frame to the account catalog of the partition.
func (s *Store) list(ctx context.Context, tx *sql.Tx, partition uint16, frame *shard.Entry) error {
	_, _, err := s.append(ctx, tx, partition, 0, &shard.ContainerUpdate{Container: rule.Accounts, Entries: []shard.Entry{*frame}}, anyEvent)
	return err
}

func (s *Store) create(ctx context.Context, tx *sql.Tx, op string, c *shard.Creation) ([]shard.Result, error) {
	var number int64
	if err := tx.QueryRowContext(ctx, `UPDATE partition SET next_account = next_account + 1 WHERE partition = ? RETURNING next_account - 1`,
		c.Partition).Scan(&number); err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, `INSERT INTO account (partition, account, address, state, epoch, profile_udf, mesh_udf, profile_updated,
		profile_mesh, profile_account, redirect, creator_kid, created) VALUES (?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?)`,
		c.Partition, number, c.Address, c.State, c.ProfileUDF, c.MeshUDF, c.ProfileUpdated.UnixMilli(),
		c.ProfileMesh, c.ProfileAccount, c.Redirect, c.Caller.AuthKID, s.now().Unix()); err != nil {
		return nil, err
	}
	if err := s.list(ctx, tx, c.Partition, &c.AccountFrame); err != nil {
		return nil, err
	}
	if c.Redirect != "" {
		return nil, nil
	}
	for _, name := range rule.NewSpools() {
		if _, _, err := s.append(ctx, tx, c.Partition, number, &shard.ContainerUpdate{Container: name}, frameZero); err != nil {
			return nil, err
		}
	}
	all := true
	results, err := s.updates(ctx, tx, c.Partition, number, &shard.Application{Updates: c.Updates, Atomic: &all})
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(results, func(r shard.Result) bool { return r.Outcome != shard.Accept }) {
		return nil, rule.CreationFailure(op, results)
	}
	return results, nil
}

// Delete makes a tombstone (shard.Store).
func (s *Store) Delete(ctx context.Context, d shard.Deletion) error {
	const op = "shard.Delete"
	if err := rule.Check(d.Partition, nil, []shard.Entry{d.AccountFrame}); err != nil {
		return mesh.E(op, mesh.Internal, err)
	}
	return s.write(ctx, op, func(tx *sql.Tx) error {
		a, device, err := enter(ctx, tx, op, d.Partition, d.Account, &d.Caller, tombstones)
		switch {
		case err != nil:
			return err
		case device.rights&shard.Admin == 0:
			return mesh.Errorf(op, mesh.NotAuthorized, "not an administrator")
		}
		if _, done, err := s.recall(ctx, tx, op, d.Partition, &d.Caller); done || err != nil {
			return err
		}
		if a.State != shard.Deleted {
			if _, err := tx.ExecContext(ctx, `UPDATE account SET state = ?, epoch = epoch + 1, deleted = ? WHERE partition = ? AND account = ?`,
				shard.Deleted, s.now().Unix(), d.Partition, a.Number); err != nil {
				return err
			}
			if err := s.list(ctx, tx, d.Partition, &d.AccountFrame); err != nil {
				return err
			}
		}
		return s.remember(ctx, tx, d.Partition, &d.Caller, nil)
	})
}

// Apply appends frames (shard.Store).
func (s *Store) Apply(ctx context.Context, a shard.Application) ([]shard.Result, error) {
	const op = "shard.Apply"
	if err := rule.Check(a.Partition, a.Updates, a.Self); err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	need := shard.Right(0)
	for i := range a.Updates {
		need |= a.Updates[i].Right
	}
	if len(a.Self) > 0 {
		need |= shard.Message
	}
	var results []shard.Result
	err := s.write(ctx, op, func(tx *sql.Tx) error {
		acc, device, err := enter(ctx, tx, op, a.Partition, a.Account, &a.Caller, writes)
		switch {
		case err != nil:
			return err
		case device.rights&need != need:
			return mesh.Errorf(op, mesh.NotAuthorized, "rights %#x, needs %#x", device.rights, need)
		}
		outcome, done, err := s.recall(ctx, tx, op, a.Partition, &a.Caller)
		if err != nil {
			return err
		}
		if done {
			results, err = rule.Unpack(outcome)
			return err
		}
		if results, err = s.updates(ctx, tx, a.Partition, acc.Number, &a); err != nil {
			return err
		}
		return s.remember(ctx, tx, a.Partition, &a.Caller, rule.Pack(results))
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// updates stores the updates and Self of a, and tells the fate of each entry.
func (s *Store) updates(ctx context.Context, tx *sql.Tx, partition uint16, account int64, a *shard.Application) ([]shard.Result, error) {
	faults := rule.Faults(a.Updates, a.Self)
	results := make([]shard.Result, len(faults))
	for i, code := range faults {
		results[i] = shard.Result{Outcome: shard.Conflict}
		if code != 0 {
			results[i] = shard.Result{Outcome: shard.Reject, Code: code}
		}
	}
	atomic := rule.Atomic(a)
	if atomic && slices.ContainsFunc(faults, func(code uint16) bool { return code != 0 }) {
		return results, nil
	}
	refused := slices.Clone(results)
	if atomic {
		if _, err := tx.ExecContext(ctx, `SAVEPOINT updates`); err != nil {
			return nil, err
		}
	}

	type part struct {
		update *shard.ContainerUpdate
		first  int // of its entries in results
	}
	var parts []part
	next := 0
	for i := range a.Updates {
		parts = append(parts, part{&a.Updates[i], next})
		next += len(a.Updates[i].Entries)
	}
	slices.SortStableFunc(parts, func(x, y part) int {
		switch {
		case x.update.Container < y.update.Container:
			return -1
		case x.update.Container > y.update.Container:
			return 1
		}
		return 0
	})
	for _, p := range parts {
		end := p.first + len(p.update.Entries)
		ok := !slices.ContainsFunc(faults[p.first:end], func(code uint16) bool { return code != 0 })
		var indices []int64
		if ok {
			var err error
			if indices, ok, err = s.append(ctx, tx, partition, account, p.update, byEvent); err != nil {
				return nil, err
			}
		}
		if !ok && atomic {
			_, err := tx.ExecContext(ctx, `ROLLBACK TO updates; RELEASE updates`)
			return refused, err
		}
		if ok {
			accept(results[p.first:end], indices)
		}
	}
	for i := range a.Self {
		if faults[next+i] != 0 {
			continue
		}
		indices, _, err := s.append(ctx, tx, partition, account, &shard.ContainerUpdate{Container: rule.Inbound, Entries: a.Self[i : i+1]}, anyIndex)
		if err != nil {
			return nil, err
		}
		accept(results[next+i:], indices)
	}
	if atomic {
		if _, err := tx.ExecContext(ctx, `RELEASE updates`); err != nil {
			return nil, err
		}
	}
	return results, nil
}

func accept(results []shard.Result, indices []int64) {
	for i, index := range indices {
		results[i] = shard.Result{Outcome: shard.Accept, Index: index}
	}
}

// SetPartitions changes or creates partitions (shard.Store). The one writing connection is their exclusive fence.
func (s *Store) SetPartitions(ctx context.Context, first, last uint16, state shard.PartitionState, epoch uint64) error {
	const op = "shard.SetPartitions"
	if err := rule.CheckPartitions(first, last, state, epoch); err != nil {
		return mesh.E(op, mesh.Internal, err)
	}
	return s.write(ctx, op, func(tx *sql.Tx) error {
		var later bool
		if err := tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM partition WHERE partition BETWEEN ? AND ? AND epoch > ?)`,
			first, last, int64(epoch)).Scan(&later); err != nil {
			return err
		}
		if later {
			return mesh.Errorf(op, mesh.Conflict, "a partition has seen a later map")
		}
		_, err := tx.ExecContext(ctx, `WITH RECURSIVE n(p) AS (SELECT ? UNION ALL SELECT p + 1 FROM n WHERE p < ?)
			INSERT INTO partition (partition, state, epoch) SELECT p, ?, ? FROM n WHERE true
			ON CONFLICT (partition) DO UPDATE SET state = excluded.state, epoch = excluded.epoch`, first, last, state, int64(epoch))
		return err
	})
}
