package gateway

import (
	"context"
	"crypto/sha256"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// callTime bounds a transaction once its body is there: twice the five seconds of draft §9.1.2.1, as the shard may have
// moved and be asked again.
const callTime = 10 * time.Second

// Lives of tickets (AUTH §5).
const (
	ticketLife        = time.Hour
	foreignTicketLife = 15 * time.Minute // nobody here hears that a foreign device was removed
)

// request is one request on its way through the gateway.
type request struct {
	*Gateway
	cleartext bool
	domain    *domain
	peer      string // address and port, as net/http has them
	start     time.Time
	size      int // of the body

	// Who asks, once known.
	by     manner
	who    identity
	issued time.Time // of the ticket; zero under an exchange

	// What is asked, once known.
	rule  *rule
	id    jbcd.Binary // of the request, to be echoed
	nonce []byte      // stands in for a missing ID
	sum   [sha256.Size]byte
	fault error // why it failed, for the log
}

// replayKey is a digest of make1's ReplayKey: fixed size, and nobody can make two requests meet.
type replayKey [sha256.Size]byte

// handle answers a body, which it may change: the verification order of AUTH §4.
func (q *request) handle(ctx context.Context, body []byte) *answer {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	switch first(body) {
	case '{':
		return q.bare(body)
	case '[':
	default:
		return q.refuse(mesh.Errorf("gateway.handle", mesh.BadRequest, "no envelope"))
	}
	e, err := dare.ParseInPlace(body) // whatever outlives the request is decoded out of it
	if err != nil {
		return q.refuse(mesh.E("gateway.handle", mesh.BadRequest, err))
	}
	in, err := make1.Read(e)
	switch {
	case err != nil:
		return q.refuse(err)
	case in.Kind == make1.KindExchange:
		return q.exchange(ctx, in)
	case in.Kind == make1.KindTicket:
		return q.ticket(ctx, in)
	}
	return q.null(e.Payload, mesh.NotAuthenticated)
}

// first is the first octet that is not white space.
func first(body []byte) byte {
	for _, c := range body {
		if !isSpace(c) {
			return c
		}
	}
	return 0
}

// refuse answers by a hint.
func (q *request) refuse(err error) *answer {
	q.fault = err
	return hint(err)
}

// bare answers a body that is not an envelope: Hello and nothing else (D-03).
func (q *request) bare(body []byte) *answer { return q.null(body, mesh.BadRequest) }

// null answers a request without authentication. What is not even a request is refused with kind.
func (q *request) null(payload []byte, kind mesh.Kind) *answer {
	const op = "gateway.null"
	tag, body, err := mesh.DecodeRequest(payload)
	if err != nil {
		return q.refuse(mesh.E(op, kind, err))
	}
	q.rule = q.rules[tag]
	switch {
	case tag != mesh.TagHello && q.cleartext, tag == mesh.TagHello && q.cleartext && q.noCleartextHello:
		return q.refuse(mesh.Errorf(op, mesh.EncryptionRequired, "null request over cleartext"))
	case tag != mesh.TagHello:
		return q.refuse(mesh.Errorf(op, mesh.NotAuthenticated, "null request"))
	case q.size > small:
		return q.refuse(mesh.Errorf(op, mesh.RequestSize, "Hello of %d octets", q.size))
	}
	return q.nullHello(body)
}

// exchange answers an exchange request.
func (q *request) exchange(ctx context.Context, in *make1.Incoming) *answer {
	const op = "gateway.exchange"
	if wait, ok := q.exchanges.take(q.remote()); !ok {
		return q.refuse(limited(op, wait))
	}
	x, err := in.OpenExchange(q.domain.name, q.domain.serviceKey, q.now())
	if x == nil {
		return q.refuse(err)
	}
	seal := func(r *mesh.Response) (*answer, error) {
		return sealed(r, func(p []byte) (*dare.Envelope, error) { return x.Refuse(p, q.now()) })
	}
	replay := replayKey(sha256.Sum256([]byte(x.ReplayKey())))
	if err == nil && q.seen(replay) {
		err = mesh.Errorf(op, mesh.RequestStale, "replay")
	}
	if err == nil {
		err = q.identify(ctx, x.Credential)
	}
	if err == nil {
		err = x.Authenticate(q.who.key)
	}
	if err == nil && !q.replays.add(replay, struct{}{}) { // only now: garbage sent ahead blocks nobody
		err = mesh.Errorf(op, mesh.RequestStale, "replay")
	}
	if err != nil {
		q.by = byNull // claimed, not proven
		return q.refuseSealed(err, seal)
	}
	payload := q.perform(ctx, x.Payload, x.Nonce())
	return q.finish(payload, func(p []byte) (*dare.Envelope, error) { return x.Answer(p, q.now(), q.issue(x.ServiceKID)) })
}

func (g *Gateway) seen(k replayKey) bool {
	_, ok := g.replays.get(k)
	return ok
}

// ticket answers a ticket request.
func (q *request) ticket(ctx context.Context, in *make1.Incoming) *answer {
	const op = "gateway.ticket"
	ring := q.domain.ring()
	if ring == nil {
		return q.refuse(mesh.Errorf(op, mesh.Overloaded, "no ticket ring"))
	}
	t, err := in.OpenTicket(q.domain.name, q.domain.serviceU, ring, q.now())
	if t == nil {
		return q.refuse(err)
	}
	replay := replayKey(sha256.Sum256([]byte(t.ReplayKey())))
	switch {
	case err == nil && !q.replays.add(replay, struct{}{}), mesh.KindOf(err) == mesh.NotAuthenticated && q.seen(replay):
		err = mesh.Errorf(op, mesh.RequestStale, "replay")
	}
	if err != nil {
		return q.refuseSealed(err, func(r *mesh.Response) (*answer, error) {
			return sealed(r, func(p []byte) (*dare.Envelope, error) { return t.Answer(p, q.now(), true) })
		})
	}
	if t.Remembered {
		q.metrics.ticketHits.Add(ctx, 1)
	}
	q.show(t.Content)
	r := q.perform(ctx, t.Payload, t.Nonce())
	refused := r.Base().Status >= 400
	return q.finish(r, func(p []byte) (*dare.Envelope, error) { return t.Answer(p, q.now(), refused) })
}

// show makes the holder of a ticket the caller.
func (q *request) show(c *make1.TicketContent) {
	q.issued = c.Issued
	q.who = identity{
		mode: c.Mode, authKID: c.AuthKID, account: c.Account, profileUDF: c.ProfileUDF, deviceUDF: c.DeviceUDF, epoch: c.Epoch,
	}
	switch c.Mode {
	case make1.Device:
		q.by = byDeviceTicket
	case make1.Profile:
		q.by = byProfileTicket
	case make1.Service:
		q.by = byService
	}
}

// issue is how the answer to an accepted exchange gets its ticket (AUTH §5); nil when none is due.
func (q *request) issue(serviceKID string) make1.Issue {
	ring := q.domain.ring()
	if ring == nil || q.who.provisional {
		return nil
	}
	now := q.now()
	life := ticketLife
	if q.who.mode == make1.Profile && q.who.account == "" {
		life = foreignTicketLife
	}
	return ring.Issue(make1.TicketContent{
		ServiceKID: serviceKID, Domain: q.domain.name, Account: q.who.account, ProfileUDF: q.who.profileUDF, DeviceUDF: q.who.deviceUDF,
		AuthKID: q.who.authKID, Mode: q.who.mode, Epoch: q.who.epoch, Issued: now, Expires: now.Add(life),
	}, now)
}

// refuseSealed answers a caller who is not accepted, by what key there is.
func (q *request) refuseSealed(err error, seal func(*mesh.Response) (*answer, error)) *answer {
	q.fault = err
	a, sealErr := seal(mesh.Failure(err, nil))
	if sealErr != nil {
		return q.refuse(mesh.E("gateway.refuseSealed", mesh.Internal, sealErr))
	}
	a.retryAfter = retryAfter(err)
	return a
}

// finish seals the response of a transaction.
func (q *request) finish(r mesh.ResponseMessage, seal func([]byte) (*dare.Envelope, error)) *answer {
	payload, err := mesh.EncodeResponse(r)
	if err == nil {
		var e *dare.Envelope
		if e, err = seal(payload); err == nil {
			var a *answer
			if a, err = answerOf(e, r.Base()); err == nil {
				a.retryAfter = retryAfter(q.fault)
				return a
			}
		}
	}
	return q.refuse(mesh.E("gateway.finish", mesh.Internal, err))
}

func sealed(r *mesh.Response, seal func([]byte) (*dare.Envelope, error)) (*answer, error) {
	payload, err := mesh.EncodeResponse(r)
	if err != nil {
		return nil, err
	}
	e, err := seal(payload)
	if err != nil {
		return nil, err
	}
	return answerOf(e, r)
}

// caller is who asks, for the shard.
func (q *request) caller() *shardpb.Caller {
	c := &shardpb.Caller{
		Domain: q.domain.name, Account: q.who.account, ProfileUdf: q.who.profileUDF, DeviceUdf: q.who.deviceUDF, AuthKid: q.who.authKID,
		RequestId: q.nonce, RequestDigest: q.sum[:],
	}
	if len(q.id) > 0 {
		c.RequestId = q.id
	}
	switch q.who.mode {
	case make1.Device:
		c.Mode = shardpb.Mode_MODE_DEVICE
	case make1.Profile:
		c.Mode = shardpb.Mode_MODE_PROFILE
	case make1.Service:
		c.Mode = shardpb.Mode_MODE_SERVICE
	}
	if !q.issued.IsZero() {
		c.Epoch, c.TicketIssued = q.who.epoch, timestamp(q.issued)
	}
	return c
}
