package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
)

const (
	// freshTicket is the age of a ticket up to which DeleteAccount is tried with it: 120 s less what a request takes (AUTH §5).
	freshTicket = 100 * time.Second

	// patienceStep is the first wait for a service that says 429 or 503; the wait grows.
	patienceStep = 500 * time.Millisecond

	idSize = 16 // octets of a request ID (D-04)
)

// need says which authentication a call wants (PROTOCOL §1.6, AUTH §5).
type need uint8

const (
	needAny      need = iota // a read: exchange or ticket
	needTicket               // a write in profile mode: who stole S can forge exchanges, never tickets
	needFresh                // DeleteAccount: a ticket issued a moment ago
	needExchange             // CreateAccount: a fresh exchange
)

// session is a caller's authentication at one service: key, credential, and the ticket while it lives (in memory only).
// Not for concurrent use.
type session struct {
	transport *transport
	pin       string   // UDF of the ProfileService that it must be; empty: whichever TLS vouches for
	service   *service // who the service is, verified; renewed by hello when S is unknown there
	conf      *Config
	holder    keys.Holder
	authKID   string
	cred      make1.Credential
	ticket    *make1.Ticket
	renewed   func(*service) error // told when Hello brought another host, to keep it

	sleep func(context.Context, time.Duration) error // nil: as the clock goes
}

// request is what call needs of a request structure.
type request interface{ Base() *mesh.Request }

// call makes one transaction and reads the answer into res. The payload decides, whatever HTTP says of it. The ID is
// that of the request, or a new one, and stays the same for every attempt. A status other than 2xx is *ServiceError,
// but for 300, which the caller looks at.
func (s *session) call(ctx context.Context, tag string, req request, res mesh.ResponseMessage, n need) (*received, error) {
	base := req.Base()
	if len(base.ID) == 0 {
		base.ID = newID()
	}
	payload, err := mesh.EncodeRequest(tag, req)
	if err != nil {
		return nil, err
	}
	return s.perform(ctx, payload, base.ID, res, n)
}

func newID() []byte {
	id := make([]byte, idSize)
	rand.Read(id) // never fails: it aborts the program
	return id
}

// perform sends a request payload until there is an outcome (FLOWS §14): one new exchange after 401/9 and 401/10, one
// correction of the time after a sealed 401/11, and as long as patience lasts after 429 and 503. It returns the
// answer that the outcome came in.
func (s *session) perform(ctx context.Context, payload []byte, id []byte, res mesh.ResponseMessage, n need) (*received, error) {
	var offset time.Duration // of the service's clock, learnt from a sealed refusal: for one retry, never kept
	var reauthenticated, corrected bool
	var waited, pause time.Duration
	for {
		if err := s.prepare(ctx, n); err != nil {
			return nil, err
		}
		answer, reply, err := s.exchange(ctx, payload, n, offset)
		offset = 0
		var refusal *ServiceError
		switch {
		case err == nil:
			got := &received{reply.envelope, answer.Payload}
			if err := decodeAnswer(answer.Payload, id, res); err != nil {
				return got, &NetworkError{&unreadableError{got, err}}
			}
			if refusal = refused(res.Base(), reply, false); refusal == nil {
				return got, nil
			}
			if c, ok := res.(*mesh.CreateResponse); ok {
				refusal.Reason = c.Reason
			}
		case errors.As(err, &refusal): // a hint
		default:
			return nil, err
		}
		switch code := refusal.Code; {
		case (code == mesh.TicketExpired.Code() && !refusal.Hint || code == mesh.TicketInvalid.Code()) && !reauthenticated:
			reauthenticated = true
			s.ticket = nil
			if code == mesh.TicketInvalid.Code() { // perhaps the service has another key now
				if err := s.renew(ctx); err != nil {
					return nil, err
				}
			}
		case code == mesh.RequestStale.Code() && !refusal.Hint && !corrected && answer.Received != nil:
			corrected = true
			offset = answer.Received.Sub(s.conf.now())
		case refusal.Temporary():
			pause = max(2*pause, patienceStep)
			wait := jitter(max(pause, refusal.RetryAfter))
			if waited += wait; waited > s.transport.bounds.patience {
				return nil, refusal
			}
			if err := s.wait(ctx, wait); err != nil {
				return nil, &NetworkError{err}
			}
		default:
			return nil, refusal
		}
	}
}

// prepare gets what the call needs before it can be sealed: a service that is known, and a ticket, by an authenticated
// Hello in an exchange. Over cleartext nothing but Hello goes into an exchange, since its request is not forward
// secret against later loss of s (AUTH §7).
func (s *session) prepare(ctx context.Context, n need) error {
	if s.service == nil {
		if err := s.renew(ctx); err != nil {
			return err
		}
	}
	now := s.conf.now()
	if s.ticket != nil && (s.ticket.Due(now) || n == needFresh && s.ticket.Age(now) > freshTicket) {
		s.ticket = nil
	}
	if s.ticket != nil || n == needExchange || n == needAny && !s.transport.cleartext() {
		return nil
	}
	var res mesh.MeshHelloResponse
	if _, err := s.call(ctx, mesh.TagHello, &mesh.HelloRequest{}, &res, needExchange); err != nil {
		return err
	}
	if s.ticket == nil {
		return &NetworkError{errors.New("the service gave no ticket")}
	}
	return nil
}

// renew asks, unauthenticated, who the service is now. A service that its pin does not fit is a *ProofError.
func (s *session) renew(ctx context.Context) error {
	found, err := hello(ctx, s.transport, s.conf, s.pin)
	if err != nil {
		return err
	}
	s.service, s.pin = found, found.udf
	if s.renewed != nil {
		return s.renewed(found)
	}
	return nil
}

// exchange seals, sends and opens once: under the ticket, or in an exchange that brings the next ticket. A hint is a
// *ServiceError with Hint.
func (s *session) exchange(ctx context.Context, payload []byte, n need, offset time.Duration) (*make1.Answer, *reply, error) {
	ticket := s.ticket
	if n == needExchange {
		ticket = nil
	}
	var pending *make1.Pending
	seal := func() (e *dare.Envelope, err error) {
		now := s.conf.now().Add(offset)
		if ticket != nil {
			e, pending, err = ticket.Seal(payload, now)
			return e, err
		}
		c := make1.Client{Domain: s.transport.domain, S: s.service.key, Holder: s.holder, AuthKID: s.authKID}
		e, pending, err = c.Exchange(s.cred, payload, now)
		return e, err
	}
	r, err := s.transport.post(ctx, seal)
	if err != nil {
		return nil, nil, err
	}
	if r.envelope == nil { // 429 or 503 of whatever stands before the service
		return nil, r, refusedByHTTP(r)
	}
	answer, err := pending.Open(r.envelope)
	var hint *make1.Hint
	if errors.As(err, &hint) {
		base := &mesh.Response{Status: int64(hint.Code.Status), StatusExtended: int64(hint.Code.Extended)}
		return nil, r, refused(base, r, true)
	}
	if err != nil {
		return nil, r, &NetworkError{err}
	}
	if answer.Ticket != nil {
		s.ticket = answer.Ticket
	}
	return answer, r, nil
}

func (s *session) wait(ctx context.Context, d time.Duration) error {
	if s.sleep != nil {
		return s.sleep(ctx, d)
	}
	return sleep(ctx, d)
}

// received is an authentic answer, as it came and as it opened. The keys of its seal end with the session: who has kept the
// envelope alone has kept nothing that anybody can read.
type received struct {
	sealed  *dare.Envelope
	payload []byte
}

// unreadableError: the service, and nobody else, gave an answer that cannot be read.
type unreadableError struct {
	answer *received
	err    error
}

func (e *unreadableError) Error() string {
	return "the service's answer cannot be read: " + e.err.Error()
}

func (e *unreadableError) Unwrap() error { return e.err }

// decodeAnswer reads the payload of an authentic answer. An ID that it echoes must be the request's.
func decodeAnswer(payload, id []byte, res mesh.ResponseMessage) error {
	if _, err := mesh.DecodeResponse(payload, res); err != nil {
		return err
	}
	base := res.Base()
	if len(base.ID) > 0 && string(base.ID) != string(id) {
		return errors.New("answer with the ID of another request")
	}
	if base.Status < 200 || base.Status > 599 {
		return fmt.Errorf("answer with status %d", base.Status)
	}
	return nil
}

// refused makes the error of an answer; nil for 2xx and 300.
func refused(base *mesh.Response, r *reply, hint bool) *ServiceError {
	if base.Status < 300 || base.Status == 300 {
		return nil
	}
	code := base.Code()
	kind := mesh.KindOfCode(code)
	description := base.StatusDescription
	if description == "" || hint { // an unauthenticated text is not shown to people
		description = kind.String()
	}
	return &ServiceError{Kind: kind, Code: code, Description: description, RetryAfter: r.retryAfter, Hint: hint}
}

func refusedByHTTP(r *reply) *ServiceError {
	code := mesh.Code{Status: r.status, Extended: mesh.RateLimited.Code().Extended}
	kind := mesh.KindOfCode(code)
	return &ServiceError{Kind: kind, Code: code, Description: kind.String(), RetryAfter: r.retryAfter, Hint: true}
}

// jitter spreads waits over d … 1.5 d, so that clients refused together do not come back together.
func jitter(d time.Duration) time.Duration {
	return d + mathrand.N(d/2+1)
}
