package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

const deliverArgs = 10 + 8

// Deliver records a verdict, and the message (shard.Store).
func (s *Store) Deliver(ctx context.Context, a shard.Arrival) (shard.Result, error) {
	const op = "shard.Deliver"
	if err := rule.CheckArrival(&a); err != nil {
		return shard.Result{}, mesh.E(op, mesh.Internal, err)
	}
	fault := rule.Fault(&a.Message)
	if fault == 0 && a.Message.EnvelopeID == "" {
		fault = rule.MessageInvalid
	}
	message := &a.Message
	if fault != 0 { // it may hold what is no text
		message = new(shard.Entry)
	}
	args := make([]any, 0, deliverArgs)
	args = append(args, int16(a.Partition), text(a.Recipient), a.SenderAddress, a.SenderUDF, int32(fault),
		a.Verdict.Accepted, int32(a.Verdict.Code), a.Verdict.Rule, a.Verdict.Policy, a.Inputs)
	outcome, err := s.do(ctx, op, a.Partition, a.Recipient, call("o_fault, o_detail, o_outcome", "mesh_deliver", deliverArgs), append(args, frame(message)...))
	if err != nil {
		return shard.Result{}, err
	}
	results, err := rule.Unpack(outcome)
	if err == nil && len(results) != 1 {
		err = mesh.Errorf(op, mesh.Internal, "%d results", len(results))
	}
	if err != nil {
		return shard.Result{}, wrap(op, err)
	}
	return results[0], nil
}

const verdictsSQL = `SELECT d.sender_address, d.sender_udf, d.message_type, d.idx, d.accepted, d.code, d.rule, d.policy, d.inputs, d.at FROM delivery d
	WHERE d.partition = $1 AND d.account = (SELECT a.account FROM account a WHERE a.partition = $1 AND a.address = $2) AND d.envelope_id = $3
	ORDER BY d.at DESC, d.sender_udf`

// Verdicts returns recorded verdicts (shard.Store).
func (s *Store) Verdicts(ctx context.Context, partition uint16, address, envelopeID string) ([]shard.VerdictRecord, error) {
	return gather(ctx, s, "shard.Verdicts", partition, func(row pgx.CollectableRow) (v shard.VerdictRecord, err error) {
		var code int32
		err = row.Scan(&v.SenderAddress, &v.SenderUDF, &v.MessageType, &v.Index, &v.Verdict.Accepted, &code, &v.Verdict.Rule, &v.Verdict.Policy, &v.Inputs, &v.At)
		v.Verdict.Code, v.At = uint16(code), second(v.At)
		return v, err
	}, verdictsSQL, int16(partition), text(address), text(envelopeID))
}
