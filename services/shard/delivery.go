package shard

import (
	"context"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// Policy implements DeliveryService: what the recipient says of the sender. The contact catalog is sealed to the service, so only the
// shard, which holds its key, can tell; it told the store at each change (contact).
func (s *Server) Policy(ctx context.Context, r *shardpb.PolicyRequest) (*shardpb.PolicyResponse, error) {
	q := StandingQuery{
		Partition:     shardmap.Of(r.GetRecipient()),
		Recipient:     r.GetRecipient(),
		SenderAddress: r.GetSenderAddress(),
		SenderUDF:     udf.Canonical(r.GetSenderProfileUdf()),
	}
	if r.GetPinUdf() != "" {
		q.PIN = udf.EnvelopeID(r.GetPinUdf())
	}
	standing, err := s.store.Standing(ctx, q)
	if err != nil {
		return nil, err
	}
	return &shardpb.PolicyResponse{
		State:            stateToWire(standing.State),
		Redirect:         standing.Redirect,
		Contact:          standing.Contact,
		Rights:           namesOf(standing.Rights),
		PinnedProfileUdf: standing.PinnedUDF,
		LivePin:          live(standing.PIN, time.Now()),
		Inbound:          standing.Inbound,
	}, nil
}

// live says whether a PIN message still admits: it is one, as other identifiers of mmm_Local are no secrets, and its expiry, where the service can read it, is not over. Whether it was used is known to
// the owner's devices alone, who check again what was admitted (FLOWS §6).
func live(pin *Frame, now time.Time) bool {
	if pin == nil {
		return false
	}
	h, err := (&dare.Envelope{Header: pin.Header}).ParseHeader()
	if err != nil {
		return false
	}
	meta, err := h.ParseMeta()
	if err != nil || meta.MessageType != mesh.TagMessagePIN {
		return false
	}
	return meta.Expire == nil || now.Before(meta.Expire.Time)
}

// Deliver implements DeliveryService.
func (s *Server) Deliver(ctx context.Context, r *shardpb.DeliverRequest) (*shardpb.DeliverResponse, error) {
	result, err := s.store.Deliver(ctx, Arrival{
		Partition:     shardmap.Of(r.GetRecipient()),
		Recipient:     r.GetRecipient(),
		SenderAddress: r.GetSenderAddress(),
		SenderUDF:     udf.Canonical(r.GetSenderProfileUdf()),
		Message:       spoolEntry(r.GetMessage()),
		Verdict:       verdictOf(r.GetVerdict()),
		Inputs:        r.GetInputs(),
	})
	if err != nil {
		return nil, err
	}
	return &shardpb.DeliverResponse{Result: resultsToWire([]Result{result})[0]}, nil
}

// Verdict implements DeliveryService: the recipient was local, the sender's row is settled.
func (s *Server) Verdict(ctx context.Context, r *shardpb.VerdictRequest) (*shardpb.VerdictResponse, error) {
	state := shardpb.Settlement_STATE_FAILED
	if r.GetVerdict().GetAccepted() {
		state = shardpb.Settlement_STATE_DELIVERED
	}
	err := s.settle(ctx, r.GetSenderAccount(), []*shardpb.Settlement{{Id: r.GetDeliveryId(), State: state, Verdict: r.GetVerdict()}})
	if err != nil {
		return nil, err
	}
	return &shardpb.VerdictResponse{}, nil
}

// Report implements DeliveryService: an incident, signed by no one of ours, since what it shows has its own signatures.
func (s *Server) Report(ctx context.Context, r *shardpb.ReportRequest) (*shardpb.ReportResponse, error) {
	if r.GetPartition() >= shardmap.Partitions {
		return nil, mesh.Errorf("shard.Report", mesh.BadRequest, "partition %d", r.GetPartition())
	}
	index, err := s.store.Report(ctx, uint16(r.GetPartition()), spoolEntry(r.GetIncident()))
	if err != nil {
		return nil, err
	}
	return &shardpb.ReportResponse{Index: index}, nil
}

func verdictOf(v *shardpb.AccessVerdict) Verdict {
	return Verdict{Accepted: v.GetAccepted(), Code: uint16(v.GetCode()), Rule: v.GetRule(), Policy: v.GetPolicyVersion()}
}

func verdictToWire(v Verdict) *shardpb.AccessVerdict {
	return &shardpb.AccessVerdict{Accepted: v.Accepted, Code: uint32(v.Code), Rule: v.Rule, PolicyVersion: v.Policy}
}

func timeToWire(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
