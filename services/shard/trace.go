package shard

import (
	"context"

	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// Trace implements AdminService: what this shard knows of a message, as the account's sent or received one.
func (s *Server) Trace(ctx context.Context, r *shardpb.TraceRequest) (*shardpb.TraceResponse, error) {
	partition, id := shardmap.Of(r.GetAccount()), udf.EnvelopeID(r.GetMessageId())
	rows, err := s.store.Outbox(ctx, OutboxQuery{Partition: partition, Account: r.GetAccount(), EnvelopeID: id})
	if err != nil {
		return nil, err
	}
	records, err := s.store.Verdicts(ctx, partition, r.GetAccount(), id)
	if err != nil {
		return nil, err
	}
	w := &shardpb.TraceResponse{}
	for _, row := range rows {
		w.Outbox = append(w.Outbox, &shardpb.OutboxRow{
			Id:          row.ID.String(),
			Recipient:   row.Recipient,
			Domain:      row.Domain,
			State:       row.State.String(),
			Attempts:    uint32(row.Attempts),
			Created:     timeToWire(row.Created),
			NextAttempt: timeToWire(row.NextAttempt),
			Verdict:     verdictToWire(row.Verdict),
			VerdictAt:   timeToWire(row.VerdictAt),
			Frame:       row.Frame.Index,
			MessageType: row.MessageType,
		})
	}
	for _, v := range records {
		record := &shardpb.VerdictRecord{
			SenderAddress:    v.SenderAddress,
			SenderProfileUdf: v.SenderUDF,
			MessageType:      v.MessageType,
			Verdict:          verdictToWire(v.Verdict),
			Inputs:           v.Inputs,
			At:               timeToWire(v.At),
		}
		if v.Verdict.Accepted {
			record.Index = &v.Index
		}
		w.Verdicts = append(w.Verdicts, record)
	}
	return w, nil
}

// String is the name of the state.
func (s OutboxState) String() string {
	switch s {
	case Due:
		return "due"
	case Published:
		return "published"
	case Delivered:
		return "delivered"
	case Failed:
		return "failed"
	}
	return "unknown"
}
