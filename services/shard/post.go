package shard

import (
	"context"
	"encoding/hex"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// Post implements AccountsService: messages of a client (PROTOCOL §4.1). Signatures of messages were verified by the gateway; whether
// the device that signed is still one of the account is asked in the transaction.
func (s *Server) Post(ctx context.Context, r *shardpb.PostRequest) (*shardpb.PostResponse, error) {
	const op = "shard.Post"
	caller := callerOf(r.GetCaller())
	p := Posting{Partition: shardmap.Of(r.GetAccount()), Account: r.GetAccount(), Caller: caller, Waiter: r.GetWaiter()}
	if err := s.store.Check(ctx, CheckQuery{Partition: p.Partition, Account: p.Account, Caller: caller, Right: Message}); err != nil {
		return nil, err // a stranger to the account must not spend its allowance
	}
	if retry := s.posts.take(p.Account, len(r.GetMessages())); retry > 0 {
		return nil, mesh.E(op, mesh.RateLimited, rpc.RetryAfter(retry))
	}
	var recipients []Addressee
	for _, a := range r.GetRecipients() {
		recipients = append(recipients, Addressee{Address: a.GetAddress(), Domain: a.GetDomain(), Reject: uint16(a.GetReject())})
	}
	for _, m := range r.GetMessages() {
		p.Letters = append(p.Letters, Letter{Entry: spoolEntry(m.GetEntry()), SignKID: udf.Canonical(m.GetSignKid()), Recipients: recipients})
	}
	account := &account{server: s, partition: p.Partition, address: p.Account, domain: caller.Domain}
	var err error
	if p.Self, err = s.entries(ctx, account, mesh.SpoolLocal, r.GetSelf()); err != nil {
		return nil, err
	}
	posted, err := s.store.Post(ctx, p)
	if err != nil {
		return nil, err
	}
	s.outbox.Kick()
	return postedToWire(posted), nil
}

// spoolEntry is an entry of a spool whose signatures were verified elsewhere.
func spoolEntry(e *shardpb.Entry) Entry {
	entry := Entry{
		Header:        e.GetHeader(),
		Payload:       e.GetPayload(),
		Trailer:       e.GetTrailer(),
		PayloadDigest: e.GetPayloadDigest(),
		DigestWritten: e.GetDigestWritten(),
		EnvelopeID:    e.GetEnvelopeId(),
		UniqueID:      e.GetUniqueId(),
		MessageType:   e.GetMessageType(),
		Reject:        uint16(e.GetReject()),
	}
	if len(entry.Trailer) == 0 {
		entry.Trailer = nil
	}
	return entry
}

// postedToWire: a verdict that is known already stands in the entry. The index of the frame in the sender's own outbound spool
// is not that of a message at the recipient's: it is left out.
func postedToWire(posted []Posted) *shardpb.PostResponse {
	results := make([]Result, len(posted))
	for i, p := range posted {
		results[i] = p.Result
	}
	w := &shardpb.PostResponse{Entries: resultsToWire(results), DeliveryIds: make([]string, len(posted))}
	for i, p := range posted {
		if p.Row == (OutboxID{}) {
			continue
		}
		w.Entries[i].Index = nil
		switch {
		case !p.Settled:
			w.DeliveryIds[i] = p.Row.String()
		case !p.Verdict.Accepted:
			w.Entries[i].Result, w.Entries[i].Code = shardpb.EntryResult_RESULT_REJECT, uint32(p.Verdict.Code)
		}
	}
	return w
}

// String is the hexadecimal form.
func (id OutboxID) String() string { return hex.EncodeToString(id[:]) }

// parseOutboxID is the inverse of String.
func parseOutboxID(text string) (OutboxID, error) {
	var id OutboxID
	if len(text) != 2*len(id) {
		return id, mesh.Errorf("shard.parseOutboxID", mesh.BadRequest, "identifier of %d characters", len(text))
	}
	if _, err := hex.Decode(id[:], []byte(text)); err != nil {
		return id, mesh.E("shard.parseOutboxID", mesh.BadRequest, err)
	}
	return id, nil
}
