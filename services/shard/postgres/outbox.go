package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

const settleArgs = 2 + 9 + 8

// outgoingColumns are scanned by scanOutgoing; f is a row of the view outgoing.
const outgoingColumns = `f.id, f.partition, f.address, f.profile_udf, f.frame, f.unique_id, f.message_type, f.recipient, f.domain, f.state, f.attempts,
	f.waiter, f.created, f.next_attempt, f.accepted, f.code, f.rule, f.policy, f.verdict_at, ` + frameColumns + `, f.payload`

const (
	claimSQL = `SELECT ` + outgoingColumns + ` FROM mesh_claim($1, $2) f`

	outboxSQL = `SELECT ` + outgoingColumns + ` FROM mesh_outbox($1, $2, $3, $4) f ORDER BY f.frame, f.created, f.recipient`
)

func scanOutgoing(row pgx.CollectableRow) (o shard.OutboxRow, err error) {
	var id pgtype.UUID
	var partition, state int16
	var attempts, code int32
	var at *time.Time
	var f found
	if err := f.scan(row, &id, &partition, &o.Account, &o.SenderUDF, &f.Index, &o.MessageID, &o.MessageType, &o.Recipient, &o.Domain, &state, &attempts,
		&o.Waiter, &o.Created, &o.NextAttempt, &o.Verdict.Accepted, &code, &o.Verdict.Rule, &o.Verdict.Policy, &at); err != nil {
		return o, err
	}
	o.ID, o.Partition, o.State, o.Attempts, o.Verdict.Code = id.Bytes, uint16(partition), shard.OutboxState(state), int(attempts), uint16(code)
	o.Frame, o.Created, o.NextAttempt = f.frame(), second(o.Created), second(o.NextAttempt)
	if at != nil {
		o.VerdictAt = second(*at)
	}
	return o, nil
}

// second is a time as it is told: in whole seconds. Rows have it finer, for their order.
func second(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }

// Claim takes due rows (shard.Store).
func (s *Store) Claim(ctx context.Context, limit int, lease time.Duration) ([]shard.OutboxRow, error) {
	const op = "shard.Claim"
	rows, err := s.pool.Query(ctx, claimSQL, int32(max(limit, 0)), lease.Seconds())
	if err != nil {
		return nil, wrap(op, err)
	}
	all, err := pgx.CollectRows(rows, scanOutgoing)
	return all, wrap(op, err)
}

// Outbox returns rows of an account (shard.Store).
func (s *Store) Outbox(ctx context.Context, q shard.OutboxQuery) ([]shard.OutboxRow, error) {
	var ids uuids // nil is NULL: by EnvelopeID
	for _, id := range q.IDs {
		ids = append(ids, pgtype.UUID{Bytes: id, Valid: true})
	}
	return gather(ctx, s, "shard.Outbox", q.Partition, scanOutgoing, outboxSQL, int16(q.Partition), text(q.Account), text(q.EnvelopeID), ids)
}

// backlogSQL reads an index, and no more rows than there is a limit for.
const backlogSQL = `SELECT count(*), min(o.created) FROM (SELECT o.created FROM outbox o
	WHERE o.state < 3 AND (SELECT p.state FROM partition p WHERE p.partition = o.partition) <> 3
	ORDER BY o.next_attempt LIMIT $1) o`

// Backlog counts rows that are not settled (shard.Store).
func (s *Store) Backlog(ctx context.Context) (rows int64, oldest time.Time, err error) {
	var created *time.Time
	if err := s.pool.QueryRow(ctx, backlogSQL, int64(shard.MaxBacklog)).Scan(&rows, &created); err != nil {
		return 0, oldest, wrap("shard.Backlog", err)
	}
	if created != nil {
		oldest = second(*created)
	}
	return rows, oldest, nil
}

// uuids are an array that pgx writes without reflection.
type uuids = pgtype.FlatArray[pgtype.UUID]

// gather reads rows, and after them, in the same round trip, whether the partition is here: one that was still here when its
// rows had been read was complete.
func gather[T any](ctx context.Context, s *Store, op string, partition uint16, scan pgx.RowToFunc[T], statement string, args ...any) ([]T, error) {
	b := new(pgx.Batch)
	b.Queue(statement, args...)
	b.Queue(`SELECT state FROM partition WHERE partition = $1`, int16(partition))
	answers := s.pool.SendBatch(ctx, b)
	here := true
	all, err := func() ([]T, error) {
		rows, err := answers.Query()
		if err != nil {
			return nil, err
		}
		all, err := pgx.CollectRows(rows, scan)
		if err != nil {
			return nil, err
		}
		var state int16
		err = answers.QueryRow().Scan(&state)
		if here = !none(err) && shard.PartitionState(state) != shard.PartitionMoved; !here {
			return nil, nil
		}
		return all, err
	}()
	if err := errors.Join(err, answers.Close()); err != nil {
		return nil, wrap(op, err)
	}
	if !here {
		return nil, s.stale(ctx, op, partition)
	}
	return all, nil
}

// Settle records outcomes (shard.Store).
func (s *Store) Settle(ctx context.Context, partition uint16, address string, list []shard.Settlement) (int, error) {
	const op = "shard.Settle"
	if err := rule.CheckSettlements(partition, list); err != nil {
		return 0, mesh.E(op, mesh.Internal, err)
	}
	outcome, err := s.do(ctx, op, partition, address, call("o_fault, o_detail, o_outcome", "mesh_settle", settleArgs), settleList(partition, address, list))
	if err != nil {
		return 0, err
	}
	if len(outcome) != 1 {
		return 0, mesh.Errorf(op, mesh.Internal, "outcome of %d numbers", len(outcome))
	}
	return int(outcome[0]), nil
}

func settleList(partition uint16, address string, list []shard.Settlement) []any {
	n := len(list)
	ids, states, next, accepted, codes := make(uuids, 0, n), make([]int16, 0, n), make([]time.Time, 0, n), make([]bool, 0, n), make([]int32, 0, n)
	rules, policies, events, failures := make([]string, 0, n), make([]string, 0, n), make([]int32, 0, n), make([]int32, 0, n)
	told := newFrames(2 * n)
	number := func(e *shard.Entry) int32 {
		if e == nil {
			return 0
		}
		told.add(e, 0)
		return int32(len(told.envelope))
	}
	for i := range list {
		t := &list[i]
		v := &t.Verdict
		ids, states, next = append(ids, pgtype.UUID{Bytes: t.ID, Valid: true}), append(states, int16(t.State)), append(next, second(t.NextAttempt.Add(time.Second-1)))
		accepted, codes = append(accepted, v.Accepted), append(codes, int32(v.Code))
		rules, policies = append(rules, v.Rule), append(policies, v.Policy)
		events, failures = append(events, number(t.Event)), append(failures, number(t.Failure))
	}
	args := make([]any, 0, settleArgs)
	args = append(args, int16(partition), text(address), ids, states, next, accepted, codes, rules, policies, events, failures)
	return append(args, told.list()...)
}
