package shard

import (
	"context"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// Relationships of delivery events (D-25).
const (
	relationReceived = "Received" // the recipient's service has it in the recipient's spool
	relationFailed   = "Failed"   // for good
)

// maxSettlements of one call: as many signatures of 150 µs stay below half a second.
const maxSettlements = 1024

// Settle implements SettlementService.
func (s *Server) Settle(ctx context.Context, r *shardpb.SettleRequest) (*shardpb.SettleResponse, error) {
	if len(r.GetSettlements()) > maxSettlements {
		return nil, mesh.Errorf("shard.Settle", mesh.BadRequest, "%d settlements", len(r.GetSettlements()))
	}
	if err := s.settle(ctx, r.GetSenderAccount(), r.GetSettlements()); err != nil {
		return nil, err
	}
	return &shardpb.SettleResponse{}, nil
}

// settle records outcomes of one account's rows. What the sender is told about them is made from the rows, not from what a worker says.
func (s *Server) settle(ctx context.Context, address string, list []*shardpb.Settlement) error {
	const op = "shard.settle"
	q := OutboxQuery{Partition: shardmap.Of(address), Account: address}
	var settlements []Settlement
	for _, w := range list {
		id, err := parseOutboxID(w.GetId())
		if err != nil {
			return err
		}
		settlement := Settlement{ID: id, NextAttempt: timeOf(w.GetNextAttempt()), Verdict: verdictOf(w.GetVerdict())}
		switch w.GetState() {
		case shardpb.Settlement_STATE_DELIVERED:
			settlement.State = Delivered
			q.IDs = append(q.IDs, id)
		case shardpb.Settlement_STATE_FAILED:
			settlement.State = Failed
			q.IDs = append(q.IDs, id)
		case shardpb.Settlement_STATE_RETRY:
			settlement.State = Due
		default:
			return mesh.Errorf(op, mesh.BadRequest, "settlement without state")
		}
		settlements = append(settlements, settlement)
	}
	if len(q.IDs) > 0 {
		rows, err := s.store.Outbox(ctx, q)
		if err != nil {
			return err
		}
		if err := s.events(address, rows, settlements); err != nil {
			return err
		}
	}
	_, err := s.store.Settle(ctx, q.Partition, address, settlements)
	return err
}

// events makes what the sender is told. Rows that are settled already need nothing: the store leaves them alone.
func (s *Server) events(address string, rows []OutboxRow, settlements []Settlement) error {
	byID := make(map[OutboxID]*OutboxRow, len(rows))
	for i := range rows {
		if rows[i].State != Delivered && rows[i].State != Failed {
			byID[rows[i].ID] = &rows[i]
		}
	}
	for i := range settlements {
		t := &settlements[i]
		row := byID[t.ID]
		if row == nil || t.State == Due {
			continue
		}
		relation := relationReceived
		if t.State == Failed {
			relation = relationFailed
			failure, err := s.serviceMessage(address, &mesh.MessageError{
				Message:   message(row, relation),
				ErrorCode: mesh.KindOfCode(mesh.Code{Extended: int(t.Verdict.Code)}).String(),
			})
			if err != nil {
				return err
			}
			t.Failure = failure
		}
		event, err := s.serviceMessage(address, &mesh.MessageComplete{Message: message(row, relation)})
		if err != nil {
			return err
		}
		t.Event = event
	}
	return nil
}

// message is the base of what is told about a row: which message, to whom, what became of it.
func message(row *OutboxRow, relation string) mesh.Message {
	return mesh.Message{
		MessageID:  udf.NewNonce(),
		Recipient:  row.Recipient,
		References: []mesh.Reference{{MessageID: row.MessageID, Relationship: relation}},
	}
}

// serviceMessage is a message that the service itself writes into a spool of an account, signed by its host (D-25).
func (s *Server) serviceMessage(address string, m any) (*Entry, error) {
	_, domain, _ := strings.Cut(address, "@")
	return s.hostSigned(domain, m)
}

func (s *Server) hostSigned(domain string, m any) (*Entry, error) {
	const op = "shard.hostSigned"
	var tag string
	var base *mesh.Message
	switch m := m.(type) {
	case *mesh.MessageError:
		tag, base = mesh.TagMessageError, &m.Message
	case *mesh.MessageComplete:
		tag, base = mesh.TagMessageComplete, &m.Message
	}
	host, ok := s.hosts[domain]
	if !ok {
		return nil, mesh.Errorf(op, mesh.Internal, "no host signature key of domain %q", domain)
	}
	payload, err := jbcd.Tag(tag, m)
	if err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	now := jbcd.Time{Time: time.Now()}
	e, err := dare.New(payload, dare.Options{
		Header:   dare.Header{EnvelopeID: udf.EnvelopeID(base.MessageID)},
		Meta:     &dare.ContentMeta{UniqueID: base.MessageID, MessageType: tag, CTY: "application/mmm/message", Created: &now},
		Holder:   keys.NewRing(host),
		SignKIDs: []string{host.KID()},
	})
	if err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	return &Entry{
		Header:        e.Header,
		Payload:       e.Payload,
		Trailer:       e.Trailer,
		PayloadDigest: e.Digest(),
		DigestWritten: true,
		EnvelopeID:    udf.EnvelopeID(base.MessageID),
		UniqueID:      base.MessageID,
		MessageType:   tag,
	}, nil
}
