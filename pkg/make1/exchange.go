package make1

import (
	"errors"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Exchange is an exchange request at the service, opened step by step: OpenExchange, the caller's look at
// ReplayKey and at the credential's chain of signatures, Authenticate, Answer. Before Authenticate has
// succeeded the only answer is Refuse. Not for concurrent use.
type Exchange struct {
	Domain     string
	ServiceKID string      // KEYUDF(S)
	Salt       []byte      // 24 octets
	Time       time.Time   // from the Salt
	Credential *Credential // nil when it did not open
	Payload    []byte      // nil until Authenticate

	service  keys.Holder
	request  *dare.Envelope
	rkd      []byte
	ephem    keys.PublicKey // E
	client   keys.PublicKey // C
	secrets  secrets
	accepted bool
}

// OpenExchange computes es, checks the time and opens the credential (AUTH §4 steps 3 and 5). serverKey
// returns the holder of the service key that kid names, if that key was published for domain; there may be
// two during a rollover.
//
// Kinds of errors: mesh.NotAuthenticated (shape), mesh.TicketInvalid (unknown S) with a nil Exchange, to be
// answered by a hint; with an Exchange that seals by Refuse: mesh.RequestStale, mesh.NotAuthenticated.
func OpenExchange(e *dare.Envelope, domain string, serverKey func(kid string) (keys.Holder, bool), now time.Time) (*Exchange, error) {
	in, err := Read(e)
	if err != nil {
		return nil, err
	}
	return in.OpenExchange(domain, serverKey, now)
}

// OpenExchange is the function of that name for a request that was read.
func (in *Incoming) OpenExchange(domain string, serverKey func(kid string) (keys.Holder, bool), now time.Time) (*Exchange, error) {
	const op = "make1.OpenExchange"
	if in.Kind != KindExchange {
		return nil, mesh.Errorf(op, mesh.NotAuthenticated, "not an exchange")
	}
	e, h := in.envelope, in.header
	r, ephem, u, err := h.exchangeRecipient(e)
	if err != nil {
		return nil, mesh.E(op, mesh.NotAuthenticated, err)
	}
	service, ok := serverKey(r.KID)
	if !ok {
		return nil, mesh.Errorf(op, mesh.TicketInvalid, "unknown service key")
	}
	public, ok := service.Public(r.KID)
	if !ok {
		return nil, mesh.Errorf(op, mesh.Internal, "the holder does not have the service key it was named for")
	}
	serviceU, err := coordinate(public)
	if err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	es, err := agree(held(service, r.KID), ephem)
	if err != nil {
		return nil, mesh.E(op, mesh.NotAuthenticated, err)
	}
	x := &Exchange{
		Domain: domain, ServiceKID: r.KID, Salt: h.Salt, Time: saltTime(h.Salt),
		service: service, request: e, rkd: r.RKD, ephem: ephem,
		secrets: secrets{ck0: chain(domain, serviceU), u: u, salt: h.Salt, es: es, th: hash(e.Header, e.Payload)},
	}
	// From here every refusal is sealed.
	if stale(x.Time, now) {
		return x, mesh.Errorf(op, mesh.RequestStale, "Salt is %s from now", now.Sub(x.Time).Abs())
	}
	shown, err := x.secrets.credentialBox().open(r.RKD, x.secrets.ck0, u, h.Salt)
	if err != nil {
		return x, mesh.E(op, mesh.NotAuthenticated, err)
	}
	cred, err := readCredential(shown)
	if err != nil {
		return x, mesh.E(op, mesh.NotAuthenticated, err)
	}
	x.Credential = cred
	return x, nil
}

// maxEnvelopes is the longest credential of AUTH §3.1: connection, account, mesh.
const maxEnvelopes = 3

func readCredential(text []byte) (*Credential, error) {
	c := new(Credential)
	if err := jbcd.Unmarshal(text, c); err != nil {
		return nil, err
	}
	switch c.Mode {
	case Device, Profile, Service:
	default:
		return nil, errors.New("unknown Mode")
	}
	if len(c.Envelopes) > maxEnvelopes {
		return nil, errors.New("too many envelopes")
	}
	for _, e := range c.Envelopes {
		if e == nil {
			return nil, errors.New("null envelope")
		}
	}
	return c, nil
}

// ReplayKey names the request for the replay cache: E.u and Salt. It is recorded once the request has opened.
func (x *Exchange) ReplayKey() string { return "x" + string(x.secrets.u) + string(x.secrets.salt) }

// Nonce is the random part of the Salt, which stands in for a missing ID (AUTH §6).
func (x *Exchange) Nonce() []byte { return x.Salt[timeLen:] }

// Authenticate computes ss with the client's key, taken from the verified credential, and opens the payload.
// Its error is of kind mesh.NotAuthenticated, to be answered by Refuse.
func (x *Exchange) Authenticate(client keys.PublicKey) error {
	const op = "make1.Authenticate"
	if x.Credential == nil {
		return mesh.Errorf(op, mesh.NotAuthenticated, "no credential")
	}
	if _, err := coordinate(client); err != nil {
		return mesh.E(op, mesh.NotAuthenticated, err)
	}
	ss, err := agree(held(x.service, x.ServiceKID), client)
	if err != nil {
		return mesh.E(op, mesh.NotAuthenticated, err)
	}
	x.secrets.ss, x.client, x.accepted, x.Payload = ss, client, false, nil
	plain, err := x.secrets.requestBox(x.rkd).open(x.request.Payload, x.request.Header)
	if err != nil {
		return mesh.E(op, mesh.NotAuthenticated, err)
	}
	x.Payload, x.accepted = plain, true
	return nil
}

// Issue makes a ticket around a fresh secret of 32 octets. It returns the opaque ticket and its end.
type Issue func(secret []byte) (ticket []byte, notOnOrAfter time.Time, err error)

// ticketInfo is what rkd of a response carries.
type ticketInfo struct {
	Ticket       jbcd.Binary `json:"Ticket"`
	NotOnOrAfter *jbcd.Time  `json:"NotOnOrAfter"`
}

// Answer seals the response JSON of an accepted exchange, success or failure of the transaction alike.
// A ticket goes with it when issue is not nil (see Ring.Issue).
func (x *Exchange) Answer(payload []byte, now time.Time, issue Issue) (*dare.Envelope, error) {
	f, err := keys.Generate(keys.X448)
	if err != nil {
		return nil, mesh.E("make1.Answer", mesh.Internal, err)
	}
	return x.answer(f, newSalt(now), payload, issue)
}

// answer is Answer with everything that is drawn by chance given.
func (x *Exchange) answer(f *keys.PrivateKey, salt, payload []byte, issue Issue) (*dare.Envelope, error) {
	const op = "make1.Answer"
	if !x.accepted {
		return nil, mesh.Errorf(op, mesh.Internal, "the caller is not authenticated")
	}
	u, err := coordinate(f.Public())
	if err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	ee, err := agree(f.Agree, x.ephem)
	if err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	se, err := agree(f.Agree, x.client)
	if err != nil {
		return nil, mesh.E(op, mesh.Internal, err)
	}
	answer := x.secrets.answer(ee, se, u, salt)
	var rkd []byte
	if issue != nil {
		ticket, end, err := issue(answer.ticketSecret())
		if err != nil {
			return nil, mesh.E(op, mesh.Internal, err)
		}
		info, err := jbcd.Marshal(ticketInfo{Ticket: ticket, NotOnOrAfter: &jbcd.Time{Time: end}})
		if err != nil {
			return nil, mesh.E(op, mesh.Internal, err)
		}
		rkd = answer.ticketBox().seal(info, x.secrets.th)
	}
	hdr := exchangeHeader(salt, "", u, rkd)
	return &dare.Envelope{Header: hdr, Payload: answer.payloadBox().seal(payload, hdr, x.secrets.th)}, nil
}

// Refuse seals a refusal under K_err, with `Received` = now: the caller is not authenticated, or the request
// is stale or a replay. payload is a MeshResponse.
func (x *Exchange) Refuse(payload []byte, now time.Time) (*dare.Envelope, error) {
	return x.refuse(newSalt(now), payload, now)
}

func (x *Exchange) refuse(salt, payload []byte, received time.Time) (*dare.Envelope, error) {
	hdr := sealedHeader("", salt, received)
	return &dare.Envelope{Header: hdr, Payload: x.secrets.refusalBox(salt).seal(payload, hdr, x.secrets.th)}, nil
}
