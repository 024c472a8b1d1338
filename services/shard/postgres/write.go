package postgres

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// partitionsAtOnce bounds the exclusive locks of one transaction: the lock table has room for some thousands.
const partitionsAtOnce = 256

// call is the statement that calls a function with n arguments.
func call(columns, function string, n int) string {
	var b strings.Builder
	b.WriteString("SELECT " + columns + " FROM " + function + "(")
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(i + 1))
	}
	b.WriteByte(')')
	return b.String()
}

// The numbers of parameters, of which the updates are 31.
const (
	applyArgs  = 9 + 31
	createArgs = 24 + 31
	deleteArgs = 7 + 9
)

// applySQL is call("o_fault, o_detail, o_outcome", "mesh_apply", applyArgs), which each Upload would make anew.
const applySQL = "SELECT o_fault, o_detail, o_outcome FROM mesh_apply($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30,$31,$32,$33,$34,$35,$36,$37,$38,$39,$40)"

// applyOneSQL is of one entry, in plain arguments: arrays cost pgx and PostgreSQL much.
const applyOneSQL = "SELECT o_fault, o_detail, o_outcome FROM mesh_apply_one($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23)"

// applyOneName is the name of applyOneSQL where it is prepared.
const applyOneName = "mesh_apply_one"

// applyCall is the statement of Apply, with its arguments. One entry is most Uploads.
func applyCall(a *shard.Application) (statement string, args []any) {
	need := shard.Right(0)
	for i := range a.Updates {
		need |= a.Updates[i].Right
	}
	if len(a.Self) > 0 {
		need |= shard.Message
	}
	c := &a.Caller
	args = make([]any, 0, applyArgs)
	args = append(args, int16(a.Partition), text(a.Account), text(c.ProfileUDF), int64(c.Epoch), text(c.AuthKID), rule.DedupKey(c), notNil(c.RequestDigest), int32(need), rule.Atomic(a))
	if one, ok := makeSingle(a); ok {
		return applyOneSQL, append(args, one.list()...)
	}
	return applySQL, append(args, makeArrays(a.Updates, a.Self).list()...)
}

// Apply appends frames (shard.Store).
func (s *Store) Apply(ctx context.Context, a shard.Application) ([]shard.Result, error) {
	const op = "shard.Apply"
	if err := rule.Check(a.Partition, a.Updates, a.Self); err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	statement, args := applyCall(&a)
	outcome, err := s.do(ctx, op, a.Partition, a.Account, statement, args)
	if err != nil {
		return nil, err
	}
	results, err := rule.Unpack(outcome)
	return results, wrap(op, err)
}

// answer is the row of a function that writes.
type answer struct {
	fault, detail *string
	outcome       []int64
}

// do calls a function that writes to an account.
func (s *Store) do(ctx context.Context, op string, partition uint16, address, statement string, args []any) ([]int64, error) {
	key := accountKey{partition, address}
	if err := s.busy.enter(ctx, key); err != nil {
		return nil, wrap(op, err)
	}
	defer s.busy.leave(key)
	var row answer
	var err error
	if statement == applyOneSQL && !s.unprepared {
		err = s.direct(ctx, applyOneName, statement, args, &row)
	} else {
		err = s.pool.QueryRow(ctx, statement, args...).Scan(&row.fault, &row.detail, &row.outcome)
	}
	if err != nil {
		return nil, wrap(op, err)
	}
	if row.fault == nil {
		return row.outcome, nil
	}
	if row.detail == nil {
		row.detail = new(string)
	}
	return nil, refuse(op, *row.fault, *row.detail)
}

// direct is QueryRow and Scan of a statement whose arguments and answer are plain, without pgx's types: their encoding and
// scanning by reflection take as long as the rest of the call. The first call of a connection prepares the statement.
func (s *Store) direct(ctx context.Context, name, statement string, args []any, row *answer) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	prepared, err := conn.Conn().Prepare(ctx, name, statement)
	if err != nil {
		return err
	}
	w := wires.Get().(*wire)
	defer wires.Put(w)
	if err := w.encode(args); err != nil {
		return err
	}
	pg := conn.Conn().PgConn()
	pg.Frontend().Send(room(w.size()))
	answers := pg.ExecStatement(ctx, prepared, w.values, binaryFormat, binaryFormat)
	w.clear()
	found := false
	for answers.NextRow() {
		found, err = true, row.decode(answers.Values())
	}
	if _, end := answers.Close(); end != nil {
		if spoilt(end) { // as pgx forgets a statement that failed; the next connection prepares it anew
			_ = conn.Conn().Close(ctx)
		}
		return end
	}
	if err == nil && !found {
		err = pgx.ErrNoRows
	}
	return err
}

// spoilt says whether the prepared statement is no longer good: its result has another type, or a pooler has dropped it.
func spoilt(err error) bool {
	var server *pgconn.PgError
	return errors.As(err, &server) && (server.Code == "0A000" || server.Code == "26000")
}

// Create binds an address (shard.Store).
func (s *Store) Create(ctx context.Context, c shard.Creation) (*shard.Created, error) {
	const op = "shard.Create"
	if err := rule.Check(c.Partition, c.Updates, []shard.Entry{c.AccountFrame}); err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	args := make([]any, 0, createArgs)
	args = append(args, int16(c.Partition), c.Address, c.ProfileUDF, c.MeshUDF, c.ProfileUpdated.UTC(), c.ProfileMesh, c.ProfileAccount,
		int16(c.State), c.Redirect, c.Fresh, c.OnlyExisting, int64(c.Caller.Epoch), c.Caller.AuthKID, rule.DedupKey(&c.Caller), notNil(c.Caller.RequestDigest))
	args = append(args, accountFrame(&c.AccountFrame)...)
	args = append(args, makeArrays(c.Updates, nil).list()...)
	outcome, err := s.do(ctx, op, c.Partition, c.Address, call("o_fault, o_detail, o_outcome", "mesh_create", createArgs), args)
	if err != nil {
		return nil, err
	}
	if len(outcome) < 3 {
		return nil, mesh.Errorf(op, mesh.Internal, "outcome of %d numbers", len(outcome))
	}
	created := &shard.Created{Created: outcome[0] != 0, State: shard.AccountState(outcome[1]), Epoch: uint64(outcome[2])}
	created.Entries, err = rule.Unpack(outcome[3:])
	return created, wrap(op, err)
}

// Delete makes a tombstone (shard.Store).
func (s *Store) Delete(ctx context.Context, d shard.Deletion) error {
	const op = "shard.Delete"
	if err := rule.Check(d.Partition, nil, []shard.Entry{d.AccountFrame}); err != nil {
		return mesh.E(op, mesh.Internal, err)
	}
	c := &d.Caller
	args := []any{int16(d.Partition), text(d.Account), text(c.ProfileUDF), int64(c.Epoch), text(c.AuthKID), rule.DedupKey(c), notNil(c.RequestDigest)}
	_, err := s.do(ctx, op, d.Partition, d.Account, call("o_fault, o_detail, NULL::bigint[]", "mesh_delete", deleteArgs),
		append(args, accountFrame(&d.AccountFrame)...))
	return err
}

// accountFrame is an entry of mmms_Account as the functions' a_… parameters.
func accountFrame(f *shard.Entry) []any {
	return []any{f.EnvelopeID, f.UniqueID, int16(f.Event), f.MessageType, f.DigestWritten, f.PayloadDigest, notNil(f.Header), orNil(f.Trailer), notNil(f.Payload)}
}

// SetPartitions changes or creates partitions (shard.Store).
func (s *Store) SetPartitions(ctx context.Context, first, last uint16, state shard.PartitionState, epoch uint64) error {
	const op = "shard.SetPartitions"
	if err := rule.CheckPartitions(first, last, state, epoch); err != nil {
		return mesh.E(op, mesh.Internal, err)
	}
	for from := int(first); from <= int(last); from += partitionsAtOnce {
		to := min(from+partitionsAtOnce-1, int(last))
		if _, err := s.pool.Exec(ctx, `SELECT mesh_set_partitions($1, $2, $3, $4)`, int16(from), int16(to), int16(state), int64(epoch)); err != nil {
			return wrap(op, err)
		}
	}
	return nil
}
