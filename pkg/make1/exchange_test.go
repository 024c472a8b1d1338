package make1

import (
	"bytes"
	"encoding/base64"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Property: what the service opens is what the client sealed, and back, for payloads of any length.
func TestExchangeRoundTrip(t *testing.T) {
	w := newWorld(t)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 40 {
		request, response := make([]byte, random.IntN(1<<(i%17))), make([]byte, random.IntN(1<<(i%17)))
		for _, b := range [][]byte{request, response} {
			for j := range b {
				b[j] = byte(random.Uint32())
			}
		}
		e, p, err := w.client.Exchange(credential(), request, now)
		if err != nil {
			t.Fatal(err)
		}
		x := w.accept(e)
		if !bytes.Equal(x.Payload, request) {
			t.Fatalf("%d octets sealed, %d others opened", len(request), len(x.Payload))
		}
		var issue Issue
		if i%2 == 1 {
			issue = w.ring.Issue(w.content(), now)
		}
		answer, err := x.Answer(response, now, issue)
		if err != nil {
			t.Fatal(err)
		}
		a, err := p.Open(answer)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Payload, response) || (a.Ticket != nil) != (issue != nil) || a.Refused {
			t.Fatalf("answer %+v", a)
		}
	}
}

func TestExchangeOpensCredential(t *testing.T) {
	w := newWorld(t)
	e, _ := w.exchange(ok)
	x := w.accept(e)
	c := x.Credential
	if c.Mode != Profile || c.Account != "alice@"+domain || len(c.Envelopes) != 1 || string(c.Envelopes[0].Payload) != "assertion" {
		t.Errorf("credential %+v", c)
	}
	if !x.Time.Equal(now) || len(x.Salt) != saltLen || len(x.Nonce()) != 16 || x.Domain != domain || x.ServiceKID != w.s.KID() {
		t.Errorf("exchange %+v", x)
	}
}

// The identity is hidden from the network (AUTH §3.1, RESULTS R1).
func TestExchangeHidesClient(t *testing.T) {
	w := newWorld(t)
	e, _ := w.exchange(ok)
	answer, err := w.accept(e).Answer([]byte(ok), now, w.ring.Issue(w.content(), now))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []*dare.Envelope{e, answer} {
		for _, secret := range []string{w.client.AuthKID, "alice", "assertion", base64.RawURLEncoding.EncodeToString(w.c.Octets)} {
			if bytes.Contains(m.Header, []byte(secret)) || bytes.Contains(m.Payload, []byte(secret)) {
				t.Errorf("%q is to be read in %s", secret, m.Header)
			}
		}
	}
	if bytes.Contains(answer.Header, []byte(`"kid"`)) {
		t.Errorf("the response names a key: %s", answer.Header)
	}
}

// C-053: ephemeral keys and Salts are new for every message, also for a retry.
func TestExchangeRepeatsNothing(t *testing.T) {
	w := newWorld(t)
	seen := map[string]bool{}
	fresh := func(e *dare.Envelope) {
		t.Helper()
		h, err := readHeader(e)
		if err != nil {
			t.Fatal(err)
		}
		values := []string{string(h.Salt[timeLen:]), string(e.Payload)}
		if len(h.Recipients) > 0 {
			_, _, u, err := h.exchangeRecipient(e)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, string(u))
		}
		for _, v := range values {
			if seen[v] {
				t.Fatal("a value came twice")
			}
			seen[v] = true
		}
	}
	for range 20 {
		e, _ := w.exchange(ok)
		fresh(e)
		x := w.accept(e)
		for range 2 {
			answer, err := x.Answer([]byte(ok), now, nil)
			if err != nil {
				t.Fatal(err)
			}
			fresh(answer)
			refusal, err := x.Refuse([]byte(refused), now) // K_err depends on it
			if err != nil {
				t.Fatal(err)
			}
			fresh(refusal)
		}
	}
}

// An activated scalar (sum modulo the order) authenticates as well as a pruned one (DATA §2).
func TestExchangeWithActivatedKey(t *testing.T) {
	w := newWorld(t)
	k, err := newKey(t).Add(newKey(t))
	if err != nil {
		t.Fatal(err)
	}
	w.client.Holder, w.client.AuthKID, w.c = keys.NewRing(k), k.Public().KID(), k.Public()
	e, p := w.exchange(ok)
	answer, err := w.accept(e).Answer([]byte(ok), now, w.ring.Issue(w.content(), now))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(answer); err != nil {
		t.Fatal(err)
	}
}

// C-051: E may come with 56 octets.
func TestExchangeShortEphemeral(t *testing.T) {
	w := newWorld(t)
	e, p := w.exchange(ok)
	h, _ := readHeader(e)
	_, _, u, err := h.exchangeRecipient(e)
	if err != nil {
		t.Fatal(err)
	}
	short := edit(e, base64.RawURLEncoding.EncodeToString(cat(u, []byte{0})), base64.RawURLEncoding.EncodeToString(u))
	short.Payload = p.secrets.requestBox(h.Recipients[0].RKD).seal([]byte(ok), short.Header)
	p.secrets.th = hash(short.Header, short.Payload)
	answer, err := w.accept(short).Answer([]byte(ok), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Open(answer); err != nil {
		t.Fatal(err)
	}
}

// During a rollover two S are accepted; each answers for itself.
func TestExchangeRollover(t *testing.T) {
	w := newWorld(t)
	next := newKey(t)
	old, _ := w.service.(*keys.Ring)
	both := bothHolder{old, keys.NewRing(next)}
	e1, p1 := w.exchange(ok)
	w.client.S = next.Public()
	e2, p2 := w.exchange(ok)
	var answers []*dare.Envelope
	for _, e := range []*dare.Envelope{e1, e2} {
		x, err := OpenExchange(e, domain, known(both), now)
		if err != nil {
			t.Fatal(err)
		}
		if err := x.Authenticate(w.c); err != nil {
			t.Fatal(err)
		}
		answer, err := x.Answer([]byte(ok), now, nil)
		if err != nil {
			t.Fatal(err)
		}
		answers = append(answers, answer)
	}
	for i, p := range []*Pending{p1, p2} {
		if _, err := p.Open(answers[i]); err != nil {
			t.Error(err)
		}
		a, err := p.Open(answers[1-i])
		wantBad(t, a, err)
	}
	_, err := w.open(e2)
	wantKind(t, err, mesh.TicketInvalid)
}

// wantRefusal checks that x seals a dated refusal that p opens.
func wantRefusal(t *testing.T, x *Exchange, p *Pending) {
	t.Helper()
	if x == nil {
		t.Fatal("no Exchange to seal the refusal")
	}
	e, err := x.Refuse([]byte(refused), now)
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Open(e)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Refused || string(a.Payload) != refused || a.Received == nil || !a.Received.Equal(now) || a.Ticket != nil {
		t.Fatalf("refusal %+v", a)
	}
}

// C-051, AUTH §3.5: es is known and the caller not accepted, so the refusal is sealed; the client opens it
// although its request was not understood.
func TestExchangeSealedRefusals(t *testing.T) {
	w := newWorld(t)
	raw := func(shown string) func(*testing.T) (*dare.Envelope, *Pending) {
		return func(t *testing.T) (*dare.Envelope, *Pending) {
			e, p, err := w.client.exchange(newKey(t), newSalt(now), []byte(shown), []byte(ok))
			if err != nil {
				t.Fatal(err)
			}
			return e, p
		}
	}
	// sent makes a request that was sealed for what is sent: the client's th is that of the changed request.
	sent := func(change func(*dare.Envelope) *dare.Envelope) func(*testing.T) (*dare.Envelope, *Pending) {
		return func(t *testing.T) (*dare.Envelope, *Pending) {
			e, p := w.exchange(ok)
			e = change(e)
			p.secrets.th = hash(e.Header, e.Payload)
			return e, p
		}
	}
	at := func(at time.Time) func(*testing.T) (*dare.Envelope, *Pending) {
		return func(t *testing.T) (*dare.Envelope, *Pending) {
			e, p, err := w.client.Exchange(credential(), []byte(ok), at)
			if err != nil {
				t.Fatal(err)
			}
			return e, p
		}
	}
	four := `{"Mode":"Profile","Envelopes":[[{},""],[{},""],[{},""],[{},""]]}`
	for name, test := range map[string]struct {
		make func(*testing.T) (*dare.Envelope, *Pending)
		kind mesh.Kind
	}{
		"credential no JSON":      {raw("xyz"), mesh.NotAuthenticated},
		"credential empty":        {raw(""), mesh.NotAuthenticated},
		"unknown mode":            {raw(`{"Mode":"Root"}`), mesh.NotAuthenticated},
		"no mode":                 {raw(`{}`), mesh.NotAuthenticated},
		"four envelopes":          {raw(four), mesh.NotAuthenticated},
		"null envelope":           {raw(`{"Mode":"Device","Envelopes":[null]}`), mesh.NotAuthenticated},
		"payload changed":         {sent(func(e *dare.Envelope) *dare.Envelope { e.Payload[0] ^= 1; return e }), mesh.NotAuthenticated},
		"payload gone":            {sent(func(e *dare.Envelope) *dare.Envelope { e.Payload = nil; return e }), mesh.NotAuthenticated},
		"header member added":     {sent(func(e *dare.Envelope) *dare.Envelope { return edit(e, `{`, `{"ContentMetaData":"e30",`) }), mesh.NotAuthenticated},
		"white space":             {sent(func(e *dare.Envelope) *dare.Envelope { return edit(e, `{`, `{ `) }), mesh.NotAuthenticated},
		"rkd gone":                {sent(func(e *dare.Envelope) *dare.Envelope { return edit(e, `"rkd":"`, `"rkx":"`) }), mesh.NotAuthenticated},
		"rkd cut":                 {sent(func(e *dare.Envelope) *dare.Envelope { return edit(e, `"rkd":"`, `"rkd":"AAAA`) }), mesh.NotAuthenticated},
		"time 121 s behind":       {at(now.Add(-121 * time.Second)), mesh.RequestStale},
		"time 121 s ahead":        {at(now.Add(121 * time.Second)), mesh.RequestStale},
		"time zero":               {at(time.UnixMilli(0)), mesh.RequestStale},
		"time before zero":        {at(time.UnixMilli(-1)), mesh.RequestStale},
		"time at the end of days": {at(time.UnixMilli(math.MaxInt64)), mesh.RequestStale},
		"agreement with another key": {func(t *testing.T) (*dare.Envelope, *Pending) {
			other := newKey(t)
			c := *w.client
			c.S = other.Public()
			e, p, err := c.Exchange(credential(), []byte(ok), now)
			if err != nil {
				t.Fatal(err)
			}
			e = edit(e, c.S.KID(), w.s.KID())
			// What the service will compute, so that its answer can be read.
			if p.secrets.es, err = agree(p.e.Agree, w.s); err != nil {
				t.Fatal(err)
			}
			p.secrets.ck0, p.secrets.th = chain(domain, w.s.Octets[:uLen]), hash(e.Header, e.Payload)
			return e, p
		}, mesh.NotAuthenticated},
		"another domain": {func(t *testing.T) (*dare.Envelope, *Pending) {
			c := *w.client
			c.Domain = "beta.example"
			e, p, err := c.Exchange(credential(), []byte(ok), now)
			if err != nil {
				t.Fatal(err)
			}
			p.secrets.ck0 = w.accepted().secrets.ck0
			return e, p
		}, mesh.NotAuthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			e, p := test.make(t)
			x, err := w.open(e)
			if err == nil {
				err = x.Authenticate(w.c)
			}
			wantKind(t, err, test.kind)
			wantRefusal(t, x, p)
			if x.Payload != nil {
				t.Error("a payload, though the caller is not accepted")
			}
			if _, err := x.Answer([]byte(ok), now, nil); err == nil {
				t.Error("an answer for a caller who is not accepted")
			}
		})
	}
	for _, d := range []time.Duration{-Window, Window} {
		e, _ := at(now.Add(d))(t)
		if _, err := w.open(e); err != nil {
			t.Errorf("%s from now: %v", d, err)
		}
	}
}

// accepted is an exchange that was accepted.
func (w *world) accepted() *Exchange {
	e, _ := w.exchange(ok)
	return w.accept(e)
}

// C-051, C-052: who shows another's credential needs that key; the same for a second try after a failure.
func TestExchangeWrongClientKey(t *testing.T) {
	w := newWorld(t)
	e, p := w.exchange(ok)
	x, err := w.open(e)
	if err != nil {
		t.Fatal(err)
	}
	wantKind(t, x.Authenticate(newKey(t).Public()), mesh.NotAuthenticated)
	wantRefusal(t, x, p)
	for name, k := range map[string]keys.PublicKey{
		"no key":           {},
		"another curve":    {Curve: keys.Ed448, Octets: make([]byte, 57)},
		"low order, u = 0": {Curve: keys.X448, Octets: make([]byte, 57)},
		"u ≥ p":            {Curve: keys.X448, Octets: bytes.Repeat([]byte{0xff}, 57)},
		"the service's":    w.s,
	} {
		t.Run(name, func(t *testing.T) {
			wantKind(t, x.Authenticate(k), mesh.NotAuthenticated)
			if _, err := x.Answer([]byte(ok), now, nil); err == nil {
				t.Error("an answer all the same")
			}
		})
	}
	if err := x.Authenticate(w.c); err != nil {
		t.Fatal(err)
	}
	wantKind(t, x.Authenticate(newKey(t).Public()), mesh.NotAuthenticated)
	if _, err := x.Answer([]byte(ok), now, nil); err == nil || x.Payload != nil {
		t.Error("a failed Authenticate left the exchange accepted")
	}
}

// The replay key tells requests apart and nothing else.
func TestReplayKeys(t *testing.T) {
	w := newWorld(t)
	e, _ := w.exchange(ok)
	e2, _ := w.exchange(ok)
	first, again, other := w.accept(e).ReplayKey(), w.accept(e).ReplayKey(), w.accept(e2).ReplayKey()
	if first != again || first == other {
		t.Error("exchange: the replay key is not that of the request")
	}
	k := w.ticket(w.content())
	q, _ := w.seal(k, ok)
	q2, _ := w.seal(k, ok)
	key := func(e *dare.Envelope) string {
		r, err := w.openTicket(e, now)
		if err != nil {
			t.Fatal(err)
		}
		return r.ReplayKey()
	}
	first, again, other = key(q), key(q), key(q2)
	if first != again || first == other {
		t.Error("ticket: the replay key is not that of the request")
	}
}
