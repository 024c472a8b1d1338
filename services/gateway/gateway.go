package gateway

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// Config is what a gateway is made of.
type Config struct {
	Domains   []Domain
	Router    *rpc.Router
	Telemetry *telemetry.Telemetry
	Limits    Limits           // zero: the defaults
	Now       func() time.Time // nil: time.Now

	// Queue carries what other services send, Waiter hears the verdicts. Without them there is no messaging: Post is
	// refused as not built.
	Queue  *queue.Conn
	Waiter *queue.Waiter

	// NoCleartextHello refuses the null Hello on the cleartext listener, for providers whose clients have the service's
	// key pinned (AUTH §7).
	NoCleartextHello bool
}

// Domain is a virtual service: what one value of Host selects.
type Domain struct {
	Name           string         // lower-case A-labels
	ProfileService *dare.Envelope // as Hello shows it
	ProfileHost    *dare.Envelope // its KeyAuthentication is the current S

	// Keys holds S and its successor, and the host signature key.
	Keys keys.Holder
	// Next names a successor of S that is accepted although Hello does not show it yet; or the predecessor, for the
	// seven days after the change (AUTH §9). May be empty.
	Next []string
	// Signer names the host signature key: an online key of ProfileHost.
	Signer string

	// Ring returns the present ticket ring. It is asked for every ticket.
	Ring func() *make1.Ring

	Policy Policy
}

// Policy says who may create accounts (D-14).
type Policy uint8

// The policies.
const (
	Closed Policy = iota // nobody: the safe zero
	Manual               // an account stays pending until somebody approves it
	Open
)

// ParsePolicy reads open, manual, closed.
func ParsePolicy(text string) (Policy, error) {
	switch text {
	case "open":
		return Open, nil
	case "manual":
		return Manual, nil
	case "closed":
		return Closed, nil
	}
	return Closed, fmt.Errorf("policy %q: want open, manual or closed", text)
}

func (p Policy) proto() shardpb.CreateAccountRequest_Policy {
	switch p {
	case Open:
		return shardpb.CreateAccountRequest_POLICY_OPEN
	case Manual:
		return shardpb.CreateAccountRequest_POLICY_MANUAL
	}
	return shardpb.CreateAccountRequest_POLICY_CLOSED
}

// Gateway serves the virtual services of one provider. It holds nothing that it cannot lose.
type Gateway struct {
	domains   map[string]*domain
	router    *rpc.Router
	telemetry *telemetry.Telemetry
	log       *slog.Logger
	metrics   *metrics
	tracer    trace.Tracer
	now       func() time.Time
	rules     map[string]*rule

	bodies    *bodies
	exchanges *buckets
	creations *buckets
	replays   *recent[replayKey, struct{}]
	proven    *recent[credentialKey, identity]
	accounts  *accountCache

	queue          *queue.Conn
	waiter         *queue.Waiter
	letters        *buckets // of local accounts
	serviceLetters *buckets // of other services, by UDF
	addressLetters *buckets // of other services, by network address
	visits         *visits

	noCleartextHello bool
}

// Sizes of what is remembered between requests, per gateway.
const (
	maxReplays  = 1 << 18 // a thousand requests a second for the four minutes that count
	maxProven   = 1 << 14 // 400 octets each
	maxAccounts = 1 << 12
	// provenLife: a signature stays good for ever, but what nobody shows need not be remembered.
	provenLife = time.Hour
)

// New checks the configuration: a gateway that could not prove to be the service it is configured for does not start.
func New(c Config) (*Gateway, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Router == nil || c.Telemetry == nil || len(c.Domains) == 0 {
		return nil, errors.New("gateway: needs domains, a router and telemetry")
	}
	limits := c.Limits.withDefaults()
	g := &Gateway{
		domains:   make(map[string]*domain, len(c.Domains)),
		router:    c.Router,
		telemetry: c.Telemetry,
		log:       c.Telemetry.Log,
		tracer:    c.Telemetry.Tracer.Tracer(scope),
		now:       c.Now,
		rules:     make(map[string]*rule),
		bodies:    &bodies{pace: bodyPace(), budget: limits.Bodies, now: c.Now},
		exchanges: newBuckets(limits.ExchangeRate, limits.ExchangeBurst, c.Now),
		creations: newBuckets(limits.CreateRate, limits.CreateBurst, c.Now),
		// A Salt counts for make1.Window before and after its time.
		replays:  newRecent[replayKey, struct{}](maxReplays, 2*make1.Window, c.Now),
		proven:   newRecent[credentialKey, identity](maxProven, provenLife, c.Now),
		accounts: newAccountCache(maxAccounts, c.Now),

		queue:          c.Queue,
		waiter:         c.Waiter,
		letters:        newBuckets(letterRate, letterBurst, c.Now),
		serviceLetters: newBuckets(limits.ForwardRate, limits.ForwardBurst, c.Now),
		addressLetters: newBuckets(limits.ForwardRate, limits.ForwardBurst, c.Now),
		visits:         &visits{max: limits.Forwards, n: make(map[string]int)},

		noCleartextHello: c.NoCleartextHello,
	}
	for _, r := range rules() {
		g.rules[r.name] = &r
	}
	var err error
	if g.metrics, err = newMetrics(c.Telemetry.Meter); err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	for _, dc := range c.Domains {
		d, err := newDomain(dc)
		if err != nil {
			return nil, fmt.Errorf("gateway: domain %s: %w", dc.Name, err)
		}
		if g.domains[d.name] != nil {
			return nil, fmt.Errorf("gateway: domain %s stands twice", dc.Name)
		}
		g.domains[d.name] = d
	}
	return g, nil
}

// Handler serves what comes over TLS.
func (g *Gateway) Handler() http.Handler { return &front{Gateway: g} }

// CleartextHandler serves what comes without TLS: nothing unauthenticated but Hello (AUTH §7).
func (g *Gateway) CleartextHandler() http.Handler { return &front{Gateway: g, cleartext: true} }

// Ready says whether the gateway can do its own part; it never asks peers.
func (g *Gateway) Ready() error {
	for _, d := range g.domains {
		if d.ring() == nil {
			return fmt.Errorf("gateway: no ticket ring of %s", d.name)
		}
	}
	return g.router.Ready()
}

// domain is a virtual service at work.
type domain struct {
	name       string
	keys       keys.Holder
	service    map[string][]byte // S.u by KEYUDF(S), of every S accepted
	current    string            // KEYUDF of the S that Hello shows
	signer     string
	serviceUDF string // of the ProfileService
	ring       func() *make1.Ring
	policy     Policy
	names      *mesh.PolicyAccount

	hello  mesh.MeshHelloResponse // without Status and ID
	cached atomic.Pointer[cachedHello]
}

func newDomain(c Domain) (*domain, error) {
	name, err := mesh.CanonicalDomain(c.Name)
	switch {
	case err != nil || name != c.Name:
		return nil, errors.New("the name is not a domain in lower-case A-labels")
	case c.ProfileService == nil || c.ProfileHost == nil || c.Keys == nil || c.Ring == nil:
		return nil, errors.New("needs profiles, keys and a ticket ring")
	}
	service, err := mesh.VerifyProfileService(c.ProfileService)
	if err != nil {
		return nil, err
	}
	host, err := mesh.VerifyProfileHost(c.ProfileHost, service)
	if err != nil {
		return nil, err
	}
	if _, ok := host.OnlineKey(c.Signer); !ok {
		return nil, errors.New("the host signature key is none of ProfileHost")
	}
	if _, ok := c.Keys.Public(c.Signer); !ok {
		return nil, errors.New("the host signature key is not held")
	}
	d := &domain{
		name: name, keys: c.Keys, service: make(map[string][]byte), current: host.KeyAuthentication.KID(), signer: c.Signer,
		serviceUDF: service.UDF(), ring: c.Ring, policy: c.Policy, names: mesh.DefaultPolicyAccount(),
	}
	for _, kid := range append([]string{d.current}, c.Next...) {
		public, ok := c.Keys.Public(kid)
		if !ok || public.Curve != keys.X448 {
			return nil, errors.New("a service authentication key is not held")
		}
		d.service[kid] = public.Octets
	}
	d.hello = helloOf(d, c.ProfileService, c.ProfileHost)
	return d, nil
}

// serviceKey is what make1.OpenExchange asks: who holds S.
func (d *domain) serviceKey(kid string) (keys.Holder, bool) {
	_, ok := d.service[kid]
	return d.keys, ok
}

// serviceU is what make1.OpenTicket asks: the u coordinate of S.
func (d *domain) serviceU(kid string) ([]byte, bool) {
	u, ok := d.service[kid]
	return u, ok
}
