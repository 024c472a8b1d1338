package sqlite

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// fence refuses a partition that is not open, or, for a reader, not here.
func fence(ctx context.Context, tx *sql.Tx, op string, partition uint16, writes bool) error {
	var state shard.PartitionState
	var stale shardmap.Stale
	err := tx.QueryRowContext(ctx, `SELECT state, epoch FROM partition WHERE partition = ?`, partition).Scan(&state, &stale.Epoch)
	if errors.Is(err, sql.ErrNoRows) {
		state = shard.PartitionMoved
		err = tx.QueryRowContext(ctx, `SELECT coalesce(max(epoch), 0) FROM partition`).Scan(&stale.Epoch)
	}
	switch {
	case err != nil:
		return err
	case state == shard.PartitionMoved:
		return mesh.E(op, mesh.WrongShard, stale)
	case writes && state != shard.PartitionOpen:
		return mesh.Errorf(op, mesh.Overloaded, "partition %d is frozen", partition)
	}
	return nil
}

// account is what a verb needs of an account row.
type account struct {
	shard.Account
	creator string // authentication key of the creating device
}

// find returns the account of an address in any state, nil when it never was.
func find(ctx context.Context, tx *sql.Tx, partition uint16, address string) (*account, error) {
	var a account
	var updated int64
	err := tx.QueryRowContext(ctx, `SELECT account, state, epoch, profile_udf, mesh_udf, profile_updated, profile_mesh, profile_account,
		profile_group, redirect, creator_kid FROM account WHERE partition = ? AND address = ?`, partition, address).Scan(
		&a.Number, &a.State, &a.Epoch, &a.ProfileUDF, &a.MeshUDF, &updated, &a.ProfileMesh, &a.ProfileAccount,
		&a.ProfileGroup, &a.Redirect, &a.creator)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	a.ProfileUpdated = time.UnixMilli(updated).UTC()
	return &a, err
}

// device is the caller's device; unique is empty for the creating device before mmm_Device has an entry.
type device struct {
	unique string
	udf    string
	rights shard.Right
	digest []byte
	frame  int64
}

// caller finds the device that an authentication key stands for, nil when there is none.
func (a *account) caller(ctx context.Context, tx *sql.Tx, partition uint16, kid string) (*device, error) {
	var d device
	err := tx.QueryRowContext(ctx, `SELECT d.unique_id, d.device_udf, d.rights, d.connection_digest, d.frame
		FROM device_auth k JOIN device d ON d.partition = k.partition AND d.account = k.account AND d.unique_id = k.unique_id
		WHERE k.partition = ? AND k.account = ? AND k.kid = ? AND NOT d.removed`, partition, a.Number, kid).Scan(
		&d.unique, &d.udf, &d.rights, &d.digest, &d.frame)
	if !errors.Is(err, sql.ErrNoRows) {
		return &d, err
	}
	if kid == "" || kid != a.creator {
		return nil, nil
	}
	var entries bool
	err = tx.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM container WHERE partition = ? AND account = ? AND name = ? AND frames > 1)`,
		partition, a.Number, rule.Device).Scan(&entries)
	if err != nil || entries {
		return nil, err
	}
	return &device{rights: shard.AllRights}, nil
}

// use says what a verb does with an account, for enter.
type use uint8

const (
	reads      use = iota // Status, Read
	asks                  // Check: writes nothing, but stands for an act
	writes                // Apply
	tombstones            // Delete: a deleted account is entered too
)

// enter does the common checks of a verb up to the device.
func enter(ctx context.Context, tx *sql.Tx, op string, partition uint16, address string, c *shard.Caller, u use) (*account, *device, error) {
	if err := fence(ctx, tx, op, partition, u >= writes); err != nil {
		return nil, nil, err
	}
	a, err := find(ctx, tx, partition, address)
	switch {
	case err != nil:
		return nil, nil, err
	case a == nil, a.State == shard.Deleted && u != tombstones:
		return nil, nil, mesh.E(op, mesh.UnknownAccount, nil)
	case a.State == shard.Pending:
		return nil, nil, mesh.E(op, mesh.AccountPending, nil)
	case a.Redirect != "":
		return nil, nil, mesh.E(op, mesh.Redirect, errors.New(a.Redirect))
	case a.State == shard.Blocked && u != reads:
		return nil, nil, mesh.Errorf(op, mesh.NotAuthorized, "blocked")
	case c.ProfileUDF != "" && c.ProfileUDF != a.ProfileUDF:
		return nil, nil, mesh.Errorf(op, mesh.NotAuthorized, "another profile")
	case c.Epoch != 0 && c.Epoch != a.Epoch && a.State != shard.Deleted:
		return nil, nil, mesh.Errorf(op, mesh.TicketExpired, "epoch %d, now %d", c.Epoch, a.Epoch)
	}
	d, err := a.caller(ctx, tx, partition, c.AuthKID)
	if err == nil && d == nil {
		err = mesh.Errorf(op, mesh.NotAuthorized, "not a device of the account")
	}
	return a, d, err
}

// recall returns the outcome of a request that was done before; ok is false when it was not.
func (s *Store) recall(ctx context.Context, tx *sql.Tx, op string, partition uint16, c *shard.Caller) (outcome []int64, ok bool, err error) {
	key := rule.DedupKey(c)
	if key == nil {
		return nil, false, nil
	}
	var digest, stored []byte
	err = tx.QueryRowContext(ctx, `SELECT digest, outcome FROM request_dedup WHERE partition = ? AND key = ? AND at >= ?`,
		partition, key, s.now().Add(-shard.DedupLife).Unix()).Scan(&digest, &stored)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, false, nil
	case err != nil:
		return nil, false, err
	case string(digest) != string(c.RequestDigest):
		return nil, false, mesh.Errorf(op, mesh.Conflict, "request identifier used for another request")
	}
	for len(stored) > 0 {
		n, size := binary.Varint(stored)
		if size <= 0 {
			return nil, false, mesh.Errorf(op, mesh.Internal, "a stored outcome is cut")
		}
		outcome, stored = append(outcome, n), stored[size:]
	}
	return outcome, true, nil
}

// remember stores the outcome of a request, and forgets some that are out of date.
func (s *Store) remember(ctx context.Context, tx *sql.Tx, partition uint16, c *shard.Caller, outcome []int64) error {
	key := rule.DedupKey(c)
	if key == nil {
		return nil
	}
	var stored []byte
	for _, n := range outcome {
		stored = binary.AppendVarint(stored, n)
	}
	now := s.now()
	if _, err := tx.ExecContext(ctx, `INSERT INTO request_dedup (partition, key, at, digest, outcome) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (partition, key) DO UPDATE SET at = excluded.at, digest = excluded.digest, outcome = excluded.outcome`,
		partition, key, now.Unix(), c.RequestDigest, append([]byte{}, stored...)); err != nil {
		return err
	}
	// Ten for each that comes: the table shrinks to what is alive, no writer waits long.
	_, err := tx.ExecContext(ctx, `DELETE FROM request_dedup WHERE (partition, key) IN
		(SELECT partition, key FROM request_dedup WHERE at < ? LIMIT 10)`, now.Add(-shard.DedupLife).Unix()-1)
	return err
}
