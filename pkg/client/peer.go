package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/discover"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
)

const (
	// foundLife is how long endpoints are used before the DNS is asked again: a provider moves within an hour, common TTLs are minutes.
	foundLife = 10 * time.Minute
	// foundLost is the same where the last request failed.
	foundLost = 30 * time.Second
	// pinLife is how long a service is held to be the one that TLS vouched for (D-38).
	pinLife = 24 * time.Hour
)

// between are the bounds for two services: 5 s for a transaction (draft §9.1.2.1), an answer with a verdict for each of 32 × 100
// entries, and no waiting: whoever keeps the messages comes again.
func between() bounds {
	return bounds{attempts: 2, attempt: discover.AttemptTime, answer: 5 * time.Second, octets: 1 << 20, idle: 16}
}

// Peer is the service of another domain as a service speaks to it: in Service mode, by a credential of its own host, and under
// tickets (AUTH §3.1, §5). It finds the service by DNS, learns who it is by TLS that verifies, and holds it to that for a day.
// Nothing is kept on disk. Safe for concurrent use.
type Peer struct {
	conf    Config
	domain  string
	holder  keys.Holder
	authKID string
	cred    make1.Credential

	turn chan struct{} // who asks and authenticates: one for all

	mu        sync.Mutex
	transport *transport
	found     time.Time
	lost      bool // the last request had no answer
	service   *service
	pinned    time.Time
	ticket    *make1.Ticket
}

// NewPeer makes a Peer; it asks nobody. domain is canonical, k are the keys of the caller's own service. Of conf Dir is not used.
func NewPeer(conf Config, domain string, k *mesh.OutboundKeys) *Peer {
	return &Peer{
		conf: conf, domain: domain,
		holder: keys.NewRing(k.Authentication), authKID: k.Authentication.KID(),
		cred: make1.Credential{Mode: make1.Service, Envelopes: []*dare.Envelope{k.EnvelopedProfileHost, k.EnvelopedProfileService}},
		turn: make(chan struct{}, 1),
	}
}

// Prepare finds the service, learns who it is and gets a ticket, as far as that is not done or old. Errors are *discover.Error and
// others in a *NetworkError, *ServiceError (the service refuses us), *ProofError (it is another than yesterday).
func (p *Peer) Prepare(ctx context.Context) error {
	if p.prepared() {
		return nil
	}
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return &NetworkError{ctx.Err()}
	}
	if p.prepared() {
		return nil
	}
	if err := p.find(ctx); err != nil {
		return err
	}
	s, before := p.session()
	err := s.prepare(ctx, needTicket)
	p.keep(s, before, err)
	return err
}

// prepared says that nothing has to be asked before a request.
func (p *Peer) prepared() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.conf.now()
	return p.transport != nil && !p.outdated(now) && p.service != nil && now.Sub(p.pinned) < pinLife && p.ticket != nil && !p.ticket.Due(now)
}

func (p *Peer) outdated(now time.Time) bool {
	age := now.Sub(p.found)
	return age >= foundLife || p.lost && age >= foundLost
}

// find discovers the service, or looks whether it is still there. As long as the DNS does not answer the old places count.
func (p *Peer) find(ctx context.Context) error {
	p.mu.Lock()
	old, outdated := p.transport, p.outdated(p.conf.now())
	p.mu.Unlock()
	if old != nil && !outdated {
		return nil
	}
	t, err := newTransport(ctx, &p.conf, p.domain, between())
	var none *discover.Error
	if errors.As(err, &none) && none.Reason == discover.Temporary && old != nil {
		t, err = old, nil
	}
	if err != nil {
		return err
	}
	if old != nil && t != old {
		if old.same(t) { // its connections are good
			t = old
		} else {
			old.close()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.transport, p.found = t, p.conf.now()
	return nil
}

// session is the authentication as it is now, for one request.
func (p *Peer) session() (s *session, before *make1.Ticket) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s = &session{transport: p.transport, conf: &p.conf, holder: p.holder, authKID: p.authKID, cred: p.cred, pin: p.conf.Pins[p.domain]}
	if p.service != nil && p.conf.now().Sub(p.pinned) < pinLife {
		s.service, s.pin, s.ticket = p.service, p.service.udf, p.ticket
	}
	return s, p.ticket
}

// keep takes over what a session has learnt.
func (p *Peer) keep(s *session, before *make1.Ticket, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var network *NetworkError
	p.lost = errors.As(err, &network)
	if s.service != nil && s.service != p.service {
		if p.service == nil || !mesh.SameUDF(p.service.udf, s.service.udf) || p.conf.now().Sub(p.pinned) >= pinLife {
			p.pinned = p.conf.now()
		}
		p.service = s.service
	}
	if s.ticket != nil || p.ticket == before {
		p.ticket = s.ticket
	}
}

// ServiceUDF is the ProfileService that the peer is held to; empty before Prepare.
func (p *Peer) ServiceUDF() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.service == nil {
		return ""
	}
	return p.service.udf
}

// forward is PostRequest with the envelopes as octets: what a sender signed is not written anew (PROTOCOL §4.1).
type forward struct {
	mesh.Request
	Accounts []string   `json:"Accounts"`
	Message  []jbcd.Raw `json:"Message"`
}

// Post forwards messages for accounts of the peer, all for all: envelopes in JSON, whose octets go out as they are. The answer, when
// it came, is returned beside a *ServiceError too: a 503 has verdicts of some entries (D-54). Its Status is 0 when the error is not
// about this Post, but says that the service refused us before it saw it. Errors else are those of Prepare.
func (p *Peer) Post(ctx context.Context, accounts []string, messages []jbcd.Raw) (*mesh.PostResponse, error) {
	if err := p.Prepare(ctx); err != nil {
		return new(mesh.PostResponse), err
	}
	s, before := p.session()
	res := new(mesh.PostResponse)
	_, err := s.call(ctx, mesh.TagPost, &forward{Accounts: accounts, Message: messages}, res, needTicket)
	p.keep(s, before, err)
	if err == nil && res.Status == 300 {
		err = &NetworkError{fmt.Errorf("a Post answered with status %d", res.Status)}
	}
	return res, err
}

// Close drops the connections that nobody uses.
func (p *Peer) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.transport != nil {
		p.transport.close()
	}
}
