package make1

import (
	"errors"
	"fmt"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Credential is what a caller shows, sealed in rkd (AUTH §3.1).
type Credential struct {
	Mode      Mode             `json:"Mode"`
	Account   string           `json:"Account,omitempty"` // decides local or foreign; a claim
	Envelopes []*dare.Envelope `json:"Envelopes,omitempty"`
}

// Client seals exchanges for one service key. It may be used concurrently.
type Client struct {
	Domain  string         // target domain, lower-case A-label
	S       keys.PublicKey // service authentication key, as it stands in the ProfileHost
	Holder  keys.Holder    // holds the client's authentication key
	AuthKID string         // its name
}

// Exchange seals payload (request JSON) in an exchange. now goes into the Salt. A retry is a new call:
// everything but the request's ID is new.
func (c *Client) Exchange(cred Credential, payload []byte, now time.Time) (*dare.Envelope, *Pending, error) {
	shown, err := jbcd.Marshal(cred)
	if err != nil {
		return nil, nil, fmt.Errorf("make1: credential: %w", err)
	}
	e, err := keys.Generate(keys.X448)
	if err != nil {
		return nil, nil, fmt.Errorf("make1: ephemeral key: %w", err)
	}
	return c.exchange(e, newSalt(now), shown, payload)
}

// exchange is Exchange with everything that is drawn by chance given.
func (c *Client) exchange(e *keys.PrivateKey, salt, shown, payload []byte) (*dare.Envelope, *Pending, error) {
	serviceU, err := coordinate(c.S)
	if err != nil {
		return nil, nil, fmt.Errorf("make1: service key: %w", err)
	}
	u, err := coordinate(e.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("make1: ephemeral key: %w", err)
	}
	es, err := agree(e.Agree, c.S)
	if err != nil {
		return nil, nil, fmt.Errorf("make1: es: %w", err)
	}
	ss, err := agree(held(c.Holder, c.AuthKID), c.S)
	if err != nil {
		return nil, nil, fmt.Errorf("make1: ss: %w", err)
	}
	x := secrets{ck0: chain(c.Domain, serviceU), u: u, salt: salt, es: es, ss: ss}
	rkd := x.credentialBox().seal(shown, x.ck0, u, salt)
	kid := c.S.KID()
	hdr := exchangeHeader(salt, kid, u, rkd)
	out := &dare.Envelope{Header: hdr, Payload: x.requestBox(rkd).seal(payload, hdr)}
	x.th = hash(out.Header, out.Payload)
	return out, &Pending{client: c, serviceKID: kid, e: e, secrets: x}, nil
}

// Pending is a request that waits for its answer. It opens that answer and no other.
type Pending struct {
	ticket *Ticket // of a ticket request; else nil, and the rest is of the exchange

	client     *Client
	serviceKID string
	e          *keys.PrivateKey
	secrets    secrets // th only, in a ticket request
}

// Answer is an opened answer.
type Answer struct {
	Payload  []byte
	Ticket   *Ticket    // of an exchange response that brought one
	Received *jbcd.Time // the service's time, when the header had it (always in sealed refusals)
	Refused  bool       // sealed under K_err: the service did not accept the caller; Payload is a MeshResponse ≥ 400
}

// ErrAnswer is in the chain of every error of Open that is no Hint: what came is not the answer to this request.
var ErrAnswer = errors.New("make1: not an authentic answer to this request")

func badAnswer(why error) error { return fmt.Errorf("%w: %w", ErrAnswer, why) }

// Hint is the error of Open for an answer that is not sealed. Anybody may have written it: it is never the
// outcome of a request and no reason to move a clock. The caller may wait, try one fresh exchange with the
// same ID, or give up.
type Hint struct {
	Payload []byte
	Code    mesh.Code // Status is 400…599
}

// Error implements error.
func (h *Hint) Error() string {
	return fmt.Sprintf("make1: unauthenticated hint %d/%d", h.Code.Status, h.Code.Extended)
}

// Open opens the answer to the request: exchange response, ticket response or sealed refusal. A plain
// envelope with a MeshResponse that refuses is a *Hint; everything else is ErrAnswer.
func (p *Pending) Open(e *dare.Envelope) (*Answer, error) {
	h, err := readHeader(e)
	if err != nil {
		return nil, badAnswer(err)
	}
	if h.plain() {
		code, err := refusal(e.Payload)
		if err != nil {
			return nil, badAnswer(err)
		}
		return nil, &Hint{Payload: e.Payload, Code: code}
	}
	a := &Answer{Received: h.Received}
	switch {
	case p.ticket != nil:
		a.Payload, err = p.ticket.open(h, e, p.secrets.th)
	case len(h.Recipients) > 0:
		err = p.openResponse(a, h, e)
	default:
		a.Refused = true
		a.Payload, err = p.openRefusal(h, e)
	}
	if err != nil {
		return nil, badAnswer(err)
	}
	return a, nil
}

// openResponse opens an exchange response (AUTH §3.2) into a.
func (p *Pending) openResponse(a *Answer, h *header, e *dare.Envelope) error {
	r, f, u, err := h.exchangeRecipient(e)
	if err != nil {
		return err
	}
	ee, err := agree(p.e.Agree, f)
	if err != nil {
		return err
	}
	se, err := agree(held(p.client.Holder, p.client.AuthKID), f)
	if err != nil {
		return err
	}
	answer := p.secrets.answer(ee, se, u, h.Salt)
	if a.Payload, err = answer.payloadBox().open(e.Payload, e.Header, p.secrets.th); err != nil {
		return err
	}
	if len(r.RKD) == 0 {
		return nil
	}
	text, err := answer.ticketBox().open(r.RKD, p.secrets.th)
	if err != nil {
		return err
	}
	var info ticketInfo
	if err := jbcd.Unmarshal(text, &info); err != nil {
		return err
	}
	if len(info.Ticket) == 0 || len(info.Ticket) > maxTicket || info.NotOnOrAfter == nil {
		return errors.New("ticket absent, too long or without end")
	}
	t := newTicket(p.secrets.ck0, answer.ticketSecret(), info.Ticket)
	t.Domain, t.ServiceKID = p.client.Domain, p.serviceKID
	t.Issued, t.NotOnOrAfter = saltTime(h.Salt), info.NotOnOrAfter.Time
	t.obtained = saltTime(p.secrets.salt)
	a.Ticket = t
	return nil
}

// openRefusal opens what was sealed under K_err. That key depends on es alone, so it may carry nothing but a refusal.
func (p *Pending) openRefusal(h *header, e *dare.Envelope) ([]byte, error) {
	switch {
	case e.Trailer != nil:
		return nil, errors.New("third element")
	case h.Enc != encGCM || h.KID != "" || len(h.Salt) != saltLen:
		return nil, errors.New("neither exchange response nor refusal")
	}
	plain, err := p.secrets.refusalBox(h.Salt).open(e.Payload, e.Header, p.secrets.th)
	if err != nil {
		return nil, err
	}
	if _, err := refusal(plain); err != nil {
		return nil, err
	}
	return plain, nil
}

// refusal reads a MeshResponse that refuses.
func refusal(payload []byte) (mesh.Code, error) {
	tag, value, err := jbcd.Tagged(payload)
	if err != nil {
		return mesh.Code{}, err
	}
	var r struct {
		Status         int64 `json:"Status"`
		StatusExtended int64 `json:"StatusExtended"`
	}
	if err := jbcd.Unmarshal(value, &r); err != nil {
		return mesh.Code{}, err
	}
	if tag != "MeshResponse" || r.Status < 400 || r.Status > 599 {
		return mesh.Code{}, errors.New("not a MeshResponse that refuses")
	}
	return mesh.Code{Status: int(r.Status), Extended: int(r.StatusExtended)}, nil
}
