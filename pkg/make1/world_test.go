package make1

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

const (
	domain  = "alpha.example"
	refused = `{"MeshResponse":{"Status":401,"StatusExtended":7}}`
	ok      = `{"StatusResponse":{"Status":201}}`
)

// now is the clock of all tests, in whole seconds as the wire has them.
var now = time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)

// world is a service and a client of it, with keys of their own.
type world struct {
	t       testing.TB
	service keys.Holder
	s       keys.PublicKey
	client  *Client
	c       keys.PublicKey
	ring    *Ring
}

func newKey(t testing.TB) *keys.PrivateKey {
	t.Helper()
	k, err := keys.Generate(keys.X448)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newWorld(t testing.TB) *world {
	t.Helper()
	s, c := newKey(t), newKey(t)
	ring, err := NewRing([]RingEntry{NewRingEntry(now.Add(-time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		t: t, service: keys.NewRing(s), s: s.Public(), c: c.Public(), ring: ring,
		client: &Client{Domain: domain, S: s.Public(), Holder: keys.NewRing(c), AuthKID: c.Public().KID()},
	}
}

// known says which service keys a gateway with holder h published.
func known(h keys.Holder) func(string) (keys.Holder, bool) {
	return func(kid string) (keys.Holder, bool) {
		_, ok := h.Public(kid)
		return h, ok
	}
}

func knownU(h keys.Holder) func(string) ([]byte, bool) {
	return func(kid string) ([]byte, bool) {
		k, ok := h.Public(kid)
		return k.Octets, ok
	}
}

func credential() Credential {
	return Credential{Mode: Profile, Account: "alice@" + domain, Envelopes: []*dare.Envelope{{Header: []byte(`{}`), Payload: []byte("assertion")}}}
}

func (w *world) exchange(payload string) (*dare.Envelope, *Pending) {
	w.t.Helper()
	e, p, err := w.client.Exchange(credential(), []byte(payload), now)
	if err != nil {
		w.t.Fatal(err)
	}
	return e, p
}

func (w *world) open(e *dare.Envelope) (*Exchange, error) {
	return OpenExchange(e, domain, known(w.service), now)
}

// accept opens an exchange that must open.
func (w *world) accept(e *dare.Envelope) *Exchange {
	w.t.Helper()
	x, err := w.open(e)
	if err == nil {
		err = x.Authenticate(w.c)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return x
}

func (w *world) content() TicketContent {
	return TicketContent{
		ServiceKID: w.s.KID(), Domain: domain, Account: "alice@" + domain, ProfileUDF: "MACC-OUNT", DeviceUDF: "MDEV-ICE",
		AuthKID: w.client.AuthKID, Mode: Profile, Epoch: 7, Issued: now, Expires: now.Add(time.Hour),
	}
}

// ticket gets a ticket with content c under the world's ring.
func (w *world) ticket(c TicketContent) *Ticket {
	w.t.Helper()
	e, p := w.exchange(ok)
	answer, err := w.accept(e).Answer([]byte(ok), now, w.ring.Issue(c, now))
	if err != nil {
		w.t.Fatal(err)
	}
	a, err := p.Open(answer)
	if err != nil {
		w.t.Fatal(err)
	}
	if a.Ticket == nil {
		w.t.Fatal("no ticket")
	}
	return a.Ticket
}

func (w *world) seal(k *Ticket, payload string) (*dare.Envelope, *Pending) {
	w.t.Helper()
	e, p, err := k.Seal([]byte(payload), now)
	if err != nil {
		w.t.Fatal(err)
	}
	return e, p
}

func (w *world) openTicket(e *dare.Envelope, at time.Time) (*TicketRequest, error) {
	return OpenTicket(e, domain, knownU(w.service), w.ring, at)
}

// wantKind checks the kind of an error.
func wantKind(t *testing.T, err error, kind mesh.Kind) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %s", kind)
	}
	if got := mesh.KindOf(err); got != kind {
		t.Fatalf("%v: kind %s, want %s", err, got, kind)
	}
}

// wantBad checks that an answer was refused, and not taken for a hint.
func wantBad(t *testing.T, a *Answer, err error) {
	t.Helper()
	if !errors.Is(err, ErrAnswer) || a != nil {
		t.Fatalf("answer %v, error %v; want ErrAnswer", a, err)
	}
}

// edit replaces one part of the header's text.
func edit(e *dare.Envelope, old, new string) *dare.Envelope {
	text := string(e.Header)
	if strings.Count(text, old) == 0 {
		panic("test: header has no " + old)
	}
	return &dare.Envelope{Header: []byte(strings.Replace(text, old, new, 1)), Payload: e.Payload, Trailer: e.Trailer}
}

// flipped calls f with e with each bit of its header and one bit of each octet of its payload changed.
func flipped(e *dare.Envelope, f func(where string, octet int, e *dare.Envelope)) {
	for i := range e.Header {
		for bit := range 8 {
			h := append([]byte(nil), e.Header...)
			h[i] ^= 1 << bit
			f("header", i, &dare.Envelope{Header: h, Payload: e.Payload})
		}
	}
	for i := range e.Payload {
		p := append([]byte(nil), e.Payload...)
		p[i] ^= 1 << (i % 8)
		f("payload", i, &dare.Envelope{Header: e.Header, Payload: p})
	}
	for _, n := range []int{0, 1, 15, 16, len(e.Payload) - 1} {
		f("payload cut at", n, &dare.Envelope{Header: e.Header, Payload: e.Payload[:n]})
	}
}

// bothHolder is two holders.
type bothHolder [2]keys.Holder

func (b bothHolder) of(kid string) keys.Holder {
	if _, ok := b[0].Public(kid); ok {
		return b[0]
	}
	return b[1]
}

func (b bothHolder) Public(kid string) (keys.PublicKey, bool) { return b.of(kid).Public(kid) }

func (b bothHolder) Sign(kid string, m []byte) ([]byte, error)        { return b.of(kid).Sign(kid, m) }
func (b bothHolder) Agree(k string, p keys.PublicKey) ([]byte, error) { return b.of(k).Agree(k, p) }
