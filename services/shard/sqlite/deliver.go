package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/internal/rule"
)

// Deliver records a verdict, and stores what is accepted (shard.Store).
func (s *Store) Deliver(ctx context.Context, d shard.Arrival) (shard.Result, error) {
	const op = "shard.Deliver"
	if err := rule.CheckArrival(&d); err != nil {
		return shard.Result{}, mesh.E(op, mesh.Internal, err)
	}
	var result shard.Result
	err := s.write(ctx, op, func(tx *sql.Tx) error {
		if err := fence(ctx, tx, op, d.Partition, true); err != nil {
			return err
		}
		a, err := find(ctx, tx, d.Partition, d.Recipient)
		switch {
		case err != nil:
			return err
		case a == nil, a.State == shard.Deleted:
			return mesh.E(op, mesh.UnknownAccount, nil)
		case a.State == shard.Pending:
			return mesh.E(op, mesh.AccountPending, nil)
		case a.Redirect != "":
			return mesh.E(op, mesh.Redirect, errors.New(a.Redirect))
		}
		if a.State == shard.Blocked {
			d.Verdict.Accepted, d.Verdict.Code = false, rule.Blocked
		}
		result, err = s.deliver(ctx, tx, a.Number, &d)
		return err
	})
	if err != nil {
		return shard.Result{}, err
	}
	return result, nil
}

func (s *Store) deliver(ctx context.Context, tx *sql.Tx, account int64, d *shard.Arrival) (shard.Result, error) {
	m := &d.Message
	code := rule.Fault(m)
	if code == 0 && m.EnvelopeID == "" {
		code = rule.MessageInvalid
	}
	if code != 0 {
		return shard.Result{Outcome: shard.Reject, Code: code}, nil
	}
	if result, known, err := duplicate(ctx, tx, account, d); known || err != nil {
		return result, err
	}

	result := shard.Result{Outcome: shard.Reject, Code: d.Verdict.Code}
	if d.Verdict.Accepted {
		indices, _, err := s.append(ctx, tx, d.Partition, account, &shard.ContainerUpdate{Container: rule.Inbound, Entries: []shard.Entry{*m}}, arrival)
		if err != nil {
			return shard.Result{}, err
		}
		result = shard.Result{Outcome: shard.Accept, Index: indices[0]}
	}
	v := &d.Verdict
	_, err := tx.ExecContext(ctx, `INSERT OR REPLACE INTO verdict (partition, account, envelope_id, sender_udf, sender_address, message_type,
		payload_digest, idx, accepted, code, rule, policy, inputs, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		d.Partition, account, m.EnvelopeID, d.SenderUDF, d.SenderAddress, m.MessageType,
		m.PayloadDigest, result.Index, v.Accepted, v.Code, v.Rule, v.Policy, d.Inputs, s.now().Unix())
	return result, err
}

// duplicate is the fate of a message that another one of the sender, accepted before, has made known.
func duplicate(ctx context.Context, tx *sql.Tx, account int64, d *shard.Arrival) (shard.Result, bool, error) {
	var index int64
	var digest []byte
	err := tx.QueryRowContext(ctx, `SELECT idx, payload_digest FROM verdict WHERE partition = ? AND account = ? AND envelope_id = ? AND sender_udf = ? AND accepted`,
		d.Partition, account, d.Message.EnvelopeID, d.SenderUDF).Scan(&index, &digest)
	switch {
	case err == nil && !bytes.Equal(digest, d.Message.PayloadDigest):
		return shard.Result{Outcome: shard.Reject, Code: rule.MessageInvalid}, true, nil
	case errors.Is(err, sql.ErrNoRows):
		err = tx.QueryRowContext(ctx, `SELECT idx FROM verdict INDEXED BY verdict_digest WHERE partition = ? AND account = ? AND sender_udf = ? AND payload_digest = ? AND accepted
			ORDER BY idx LIMIT 1`, d.Partition, account, d.SenderUDF, d.Message.PayloadDigest).Scan(&index)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return shard.Result{}, false, nil
	}
	return shard.Result{Outcome: shard.Accept, Index: index}, true, err
}

// Verdicts returns recorded verdicts (shard.Store).
func (s *Store) Verdicts(ctx context.Context, partition uint16, address, envelopeID string) ([]shard.VerdictRecord, error) {
	const op = "shard.Verdicts"
	var all []shard.VerdictRecord
	err := s.read(ctx, op, func(tx *sql.Tx) (err error) {
		if err := fence(ctx, tx, op, partition, false); err != nil {
			return err
		}
		rows, err := tx.QueryContext(ctx, `SELECT v.sender_address, v.sender_udf, v.message_type, v.idx, v.accepted, v.code, v.rule, v.policy, v.inputs, v.at
			FROM account a JOIN verdict v USING (partition, account)
			WHERE a.partition = ? AND a.address = ? AND v.envelope_id = ? ORDER BY v.at DESC, v.sender_udf`, partition, address, envelopeID)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			var r shard.VerdictRecord
			var at int64
			v := &r.Verdict
			if err := rows.Scan(&r.SenderAddress, &r.SenderUDF, &r.MessageType, &r.Index, &v.Accepted, &v.Code, &v.Rule, &v.Policy, &r.Inputs, &at); err != nil {
				return err
			}
			r.At = time.Unix(at, 0).UTC()
			all = append(all, r)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}
