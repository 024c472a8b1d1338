package make1

import (
	"bytes"
	"errors"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

// channel holds the keys of ticket mode (AUTH §3.3), the same on both sides.
type channel struct {
	kid      string // SYMKEYID(TS), a name that anybody may see
	c2s, s2c []byte
}

func newChannel(ck0, secret []byte) channel {
	return channel{
		kid: udf.SymmetricKey(secret),
		c2s: derive(secret, ck0, keyLen, labelRequest),
		s2c: derive(secret, ck0, keyLen, labelAnswer),
	}
}

// ---- client

// Ticket is what a client keeps of an exchange. It is immutable and may be used concurrently.
type Ticket struct {
	Domain       string
	ServiceKID   string    // KEYUDF(S)
	Issued       time.Time // by the service's clock
	NotOnOrAfter time.Time // by the service's clock

	obtained time.Time // by the client's clock: when it asked
	ck0      []byte
	secret   []byte // TS
	opaque   []byte
	channel  channel
}

func newTicket(ck0, secret, opaque []byte) *Ticket {
	return &Ticket{ck0: ck0, secret: secret, opaque: opaque, channel: newChannel(ck0, secret)}
}

// Age is how long ago, by the client's clock, the ticket was asked for. DeleteAccount and replacing
// profiles need one of at most 120 s.
func (t *Ticket) Age(now time.Time) time.Duration { return now.Sub(t.obtained) }

// Due says that three quarters of the life are over: time for a new exchange. It compares a span of the
// service's clock with one of the client's, so neither has to be right.
func (t *Ticket) Due(now time.Time) bool {
	return t.Age(now) >= t.NotOnOrAfter.Sub(t.Issued)/4*3
}

// Seal seals payload (request JSON) under the ticket.
func (t *Ticket) Seal(payload []byte, now time.Time) (*dare.Envelope, *Pending, error) {
	return t.seal(newSalt(now), payload)
}

// seal is Seal with the first 24 octets of Salt given.
func (t *Ticket) seal(salt, payload []byte) (*dare.Envelope, *Pending, error) {
	whole := cat(salt, t.opaque)
	hdr := sealedHeader(t.channel.kid, whole, time.Time{})
	e := &dare.Envelope{Header: hdr, Payload: payloadBox(t.channel.c2s, whole).seal(payload, hdr)}
	return e, &Pending{ticket: t, secrets: secrets{th: hash(e.Header, e.Payload)}}, nil
}

func (t *Ticket) open(h *header, e *dare.Envelope, th []byte) ([]byte, error) {
	switch {
	case e.Trailer != nil:
		return nil, errors.New("third element")
	case h.Enc != encGCM || len(h.Recipients) != 0 || len(h.Salt) != saltLen:
		return nil, errors.New("not a ticket response")
	case h.KID != t.channel.kid:
		return nil, errors.New("kid of another ticket")
	}
	return payloadBox(t.channel.s2c, h.Salt).open(e.Payload, e.Header, th)
}

// ---- service

// TicketRequest is a ticket request at the service. Not for concurrent use.
type TicketRequest struct {
	Salt    []byte         // its first 24 octets
	Time    time.Time      // from the Salt
	Content *TicketContent // shared by the requests under one ticket: not to be changed
	Payload []byte         // nil when the request did not open

	Remembered bool // the ring had opened the ticket before

	channel channel
	th      []byte
}

// OpenTicket opens the ticket with the ring, then the request. serviceKeys returns S.u of the service key
// that kid names, if that key was published for domain.
//
// Kinds of errors: mesh.NotAuthenticated (shape), mesh.TicketInvalid (no key opens it; another type, version,
// suite, service key or domain) with a nil TicketRequest, to be answered by a hint; with a TicketRequest
// whose Answer seals the refusal: mesh.RequestStale, mesh.TicketExpired, mesh.NotAuthenticated.
func OpenTicket(e *dare.Envelope, domain string, serviceKeys func(kid string) (u []byte, ok bool), ring *Ring, now time.Time) (*TicketRequest, error) {
	in, err := Read(e)
	if err != nil {
		return nil, err
	}
	in.envelope = &dare.Envelope{Header: e.Header, Payload: bytes.Clone(e.Payload), Trailer: e.Trailer}
	return in.OpenTicket(domain, serviceKeys, ring, now)
}

// OpenTicket is the function of that name for a request that was read. It opens in place: the memory of the envelope's
// payload becomes that of TicketRequest.Payload, and the envelope is of no other use.
func (in *Incoming) OpenTicket(domain string, serviceKeys func(kid string) (u []byte, ok bool), ring *Ring, now time.Time) (*TicketRequest, error) {
	const op = "make1.OpenTicket"
	if in.Kind != KindTicket {
		return nil, mesh.Errorf(op, mesh.NotAuthenticated, "not a ticket request")
	}
	e, h := in.envelope, in.header
	opaque := h.Salt[saltLen:]
	o := ring.memory.get(opaque)
	remembered := o != nil
	if !remembered {
		content, err := ring.openTicket(opaque)
		if err != nil {
			return nil, mesh.E(op, mesh.TicketInvalid, err)
		}
		o = &opened{content: content}
	}
	u, ok := serviceKeys(o.content.ServiceKID)
	if !ok || len(u) < uLen || o.content.Domain != domain {
		return nil, mesh.Errorf(op, mesh.TicketInvalid, "ticket of another domain or service key")
	}
	o = o.withKeys(domain, u[:uLen])
	t := newTicketRequest(e, h, o.content, o.channel)
	t.Remembered = remembered
	// From here every refusal is sealed.
	switch {
	case stale(t.Time, now):
		return t, mesh.Errorf(op, mesh.RequestStale, "Salt is %s from now", now.Sub(t.Time).Abs())
	case !now.Before(o.content.Expires):
		return t, mesh.Errorf(op, mesh.TicketExpired, "expired")
	}
	if err := t.open(e, h); err != nil {
		return t, mesh.E(op, mesh.NotAuthenticated, err)
	}
	if !remembered {
		ring.memory.put(opaque, o) // now that its holder has used it, not who has only seen it
	}
	return t, nil
}

func newTicketRequest(e *dare.Envelope, h *header, content *TicketContent, keys channel) *TicketRequest {
	return &TicketRequest{
		Salt: h.Salt[:saltLen:saltLen], Time: saltTime(h.Salt), Content: content,
		channel: keys, th: hash(e.Header, e.Payload),
	}
}

func (t *TicketRequest) open(e *dare.Envelope, h *header) (err error) {
	if h.KID != t.channel.kid { // both are on the wire
		return errors.New("kid of another ticket")
	}
	t.Payload, err = payloadBox(t.channel.c2s, h.Salt).openInPlace(e.Payload, e.Header)
	return err
}

// ReplayKey names the request for the replay cache: kid and Salt. It is recorded once the request has opened.
func (t *TicketRequest) ReplayKey() string { return "t" + t.channel.kid + string(t.Salt) }

// Nonce is the random part of the Salt, which stands in for a missing ID (AUTH §6).
func (t *TicketRequest) Nonce() []byte { return t.Salt[timeLen:] }

// Answer seals the response JSON, success and refusal alike; received adds `Received` = now, which every
// sealed refusal has.
func (t *TicketRequest) Answer(payload []byte, now time.Time, received bool) (*dare.Envelope, error) {
	at := time.Time{}
	if received {
		at = now
	}
	return t.answer(newSalt(now), payload, at)
}

// answer is Answer with the Salt given.
func (t *TicketRequest) answer(salt, payload []byte, received time.Time) (*dare.Envelope, error) {
	hdr := sealedHeader(t.channel.kid, salt, received)
	return &dare.Envelope{Header: hdr, Payload: payloadBox(t.channel.s2c, salt).seal(payload, hdr, t.th)}, nil
}
