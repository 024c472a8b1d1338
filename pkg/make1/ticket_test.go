package make1

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// C-010, C-050: a ticket from an exchange authenticates requests, whose answers open; any length of payload.
func TestTicketRoundTrip(t *testing.T) {
	w := newWorld(t)
	k := w.ticket(w.content())
	random := rand.New(rand.NewPCG(3, 4))
	for i := range 60 {
		request, response := make([]byte, random.IntN(1<<(i%18))), make([]byte, random.IntN(1<<(i%18)))
		for _, b := range [][]byte{request, response} {
			for j := range b {
				b[j] = byte(random.Uint32())
			}
		}
		e, p, err := k.Seal(request, now)
		if err != nil {
			t.Fatal(err)
		}
		q, err := w.openTicket(e, now)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(q.Payload, request) {
			t.Fatalf("%d octets sealed, %d others opened", len(request), len(q.Payload))
		}
		answer, err := q.Answer(response, now, i%2 == 1)
		if err != nil {
			t.Fatal(err)
		}
		a, err := p.Open(answer)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a.Payload, response) || a.Ticket != nil || a.Refused || (a.Received != nil) != (i%2 == 1) {
			t.Fatalf("answer %+v", a)
		}
		if a.Received != nil && !a.Received.Equal(now) {
			t.Fatalf("Received %s", a.Received)
		}
	}
}

func TestTicketCarriesContent(t *testing.T) {
	w := newWorld(t)
	want := w.content()
	k := w.ticket(want)
	e, _ := w.seal(k, ok)
	q, err := w.openTicket(e, now)
	if err != nil {
		t.Fatal(err)
	}
	got := *q.Content
	if !bytes.Equal(got.Secret, k.secret) || len(got.Secret) != keyLen {
		t.Error("the ticket holds another secret than its owner")
	}
	if !got.Issued.Equal(want.Issued) || !got.Expires.Equal(want.Expires) || got.Age(now.Add(time.Minute)) != time.Minute {
		t.Errorf("issued %s, expires %s", got.Issued, got.Expires)
	}
	got.Secret, got.Issued, got.Expires = want.Secret, want.Issued, want.Expires
	if got.texts2() != want.texts2() || got.Mode != want.Mode || got.Epoch != want.Epoch {
		t.Errorf("content %+v, want %+v", got.texts2(), want.texts2())
	}
	if !q.Time.Equal(now) || len(q.Salt) != saltLen || len(q.Nonce()) != 16 {
		t.Errorf("Salt of %d octets, time %s", len(q.Salt), q.Time)
	}
}

func (c *TicketContent) texts2() (texts [6]string) {
	for i, s := range c.texts() {
		texts[i] = *s
	}
	return texts
}

// The client's view of a ticket's life, with its clock an hour ahead of the service's.
func TestTicketDue(t *testing.T) {
	w := newWorld(t)
	e, p, err := w.client.Exchange(credential(), []byte(ok), now)
	if err != nil {
		t.Fatal(err)
	}
	there := now.Add(-90 * time.Second)
	c := w.content()
	c.Expires = there.Add(time.Hour)
	answer, err := w.accept(e).Answer([]byte(ok), there, w.ring.Issue(c, now))
	if err != nil {
		t.Fatal(err)
	}
	a, err := p.Open(answer)
	if err != nil {
		t.Fatal(err)
	}
	k := a.Ticket
	if !k.Issued.Equal(there) || !k.NotOnOrAfter.Equal(c.Expires) || k.Age(now.Add(time.Second)) != time.Second {
		t.Errorf("issued %s, end %s, age %s", k.Issued, k.NotOnOrAfter, k.Age(now.Add(time.Second)))
	}
	if k.Due(now) || k.Due(now.Add(45*time.Minute-time.Second)) || !k.Due(now.Add(45*time.Minute)) {
		t.Error("not due at three quarters of its life")
	}
}

// C-063: no key opens it, so the answer is a hint.
func TestTicketUnknown(t *testing.T) {
	w := newWorld(t)
	k := w.ticket(w.content())
	good, _ := w.seal(k, ok)
	if _, err := w.openTicket(good, now); err != nil {
		t.Fatal(err)
	}
	sealed := func(opaque []byte) *dare.Envelope {
		other := *k
		other.opaque = opaque
		e, _ := w.seal(&other, ok)
		return e
	}
	plain := func(change func(b []byte) []byte) []byte {
		c := w.content()
		c.Secret = k.secret
		b, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		out, err := w.ring.seal(now, change(b), ticketAAD, "")
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	octet := func(i int, b byte) []byte {
		return plain(func(p []byte) []byte { p[i] = b; return p })
	}
	content := func(change func(*TicketContent)) []byte {
		c := w.content()
		c.Secret = k.secret
		change(&c)
		out, err := w.ring.SealTicket(&c, now)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	pageKey, err := w.ring.SealPageKey(bytes.Repeat([]byte{1}, 100), "", now)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string][]byte{
		"one octet":                {1},
		"random octets":            bytes.Repeat([]byte{7}, len(k.opaque)),
		"one octet more":           append(bytes.Clone(k.opaque), 0),
		"over the limit":           make([]byte, maxTicket+1),
		"another domain":           content(func(c *TicketContent) { c.Domain = "beta.example" }),
		"another service key":      content(func(c *TicketContent) { c.ServiceKID = newKey(t).Public().KID() }),
		"another type":             octet(0, typePageKey),
		"another version":          octet(1, ticketVersion+1),
		"another suite":            octet(2, suiteX448+1),
		"mode 0":                   octet(3, 0),
		"mode 4":                   octet(3, 4),
		"octets after the content": plain(func(p []byte) []byte { return append(p, 0) }),
		"content cut":              plain(func(p []byte) []byte { return p[:len(p)-1] }),
		"content empty":            plain(func(p []byte) []byte { return nil }),
		"a page key":               pageKey,
		"under the aad of page keys": func() []byte {
			c := w.content()
			c.Secret = k.secret
			b, _ := c.encode()
			out, err := w.ring.seal(now, b, pageKeyAAD, "")
			if err != nil {
				t.Fatal(err)
			}
			return out
		}(),
		"of another ring": newWorld(t).ticket(w.content()).opaque,
	}
	for i := range k.opaque {
		bad := bytes.Clone(k.opaque)
		bad[i] ^= 1 << (i % 8)
		tests[fmt.Sprintf("octet %d changed", i)] = bad
		tests[fmt.Sprintf("cut at %d", i)] = k.opaque[:i]
	}
	for name, opaque := range tests {
		q, err := w.openTicket(sealed(opaque), now)
		want := mesh.TicketInvalid
		if len(opaque) == 0 {
			want = mesh.NotAuthenticated // a Salt of 24 octets is no ticket's
		}
		if mesh.KindOf(err) != want || err == nil || q != nil {
			t.Errorf("%s: %v, %v, want %s", name, q, err, want)
		}
	}
	t.Run("another domain asks", func(t *testing.T) {
		_, err := OpenTicket(good, "beta.example", knownU(w.service), w.ring, now)
		wantKind(t, err, mesh.TicketInvalid)
	})
	t.Run("after the rollover", func(t *testing.T) {
		_, err := OpenTicket(good, domain, knownU(newWorld(t).service), w.ring, now)
		wantKind(t, err, mesh.TicketInvalid)
	})
	t.Run("during the rollover", func(t *testing.T) {
		both := bothHolder{newWorld(t).service, w.service}
		if _, err := OpenTicket(good, domain, knownU(both), w.ring, now); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("shape", func(t *testing.T) {
		for _, e := range []*dare.Envelope{
			{Header: good.Header, Payload: good.Payload, Trailer: []byte(`{}`)},
			edit(good, `A256GCM`, `A256CBC`), edit(good, `"kid"`, `"kix"`),
			{Header: []byte(`{}`)},
			nil,
		} {
			q, err := w.openTicket(e, now)
			wantKind(t, err, mesh.NotAuthenticated)
			if q != nil {
				t.Error("a refusal could be sealed")
			}
		}
	})
}

// C-063, C-064: the ticket has opened, so every refusal is sealed under it and dated.
func TestTicketSealedRefusals(t *testing.T) {
	w := newWorld(t)
	k := w.ticket(w.content())
	for name, test := range map[string]struct {
		change func(*dare.Envelope) *dare.Envelope
		salt   time.Time
		at     time.Time
		kind   mesh.Kind
	}{
		"expired":             {at: now.Add(time.Hour), salt: now.Add(time.Hour), kind: mesh.TicketExpired},
		"121 s behind":        {at: now, salt: now.Add(-121 * time.Second), kind: mesh.RequestStale},
		"121 s ahead":         {at: now, salt: now.Add(121 * time.Second), kind: mesh.RequestStale},
		"expired and stale":   {at: now.Add(2 * time.Hour), salt: now, kind: mesh.RequestStale},
		"payload changed":     {at: now, salt: now, kind: mesh.NotAuthenticated, change: func(e *dare.Envelope) *dare.Envelope { e.Payload[3] ^= 1; return e }},
		"payload gone":        {at: now, salt: now, kind: mesh.NotAuthenticated, change: func(e *dare.Envelope) *dare.Envelope { e.Payload = nil; return e }},
		"another kid":         {at: now, salt: now, kind: mesh.NotAuthenticated, change: func(e *dare.Envelope) *dare.Envelope { return edit(e, k.channel.kid, "EBQA") }},
		"header member added": {at: now, salt: now, kind: mesh.NotAuthenticated, change: func(e *dare.Envelope) *dare.Envelope { return edit(e, `{`, `{"x":1,`) }},
		"white space":         {at: now, salt: now, kind: mesh.NotAuthenticated, change: func(e *dare.Envelope) *dare.Envelope { return edit(e, `{`, `{ `) }},
	} {
		t.Run(name, func(t *testing.T) {
			e, p, err := k.Seal([]byte(ok), test.salt)
			if err != nil {
				t.Fatal(err)
			}
			if test.change != nil {
				e = test.change(e)
				p.secrets.th = hash(e.Header, e.Payload) // the client sent it so
			}
			q, err := w.openTicket(e, test.at)
			wantKind(t, err, test.kind)
			if q == nil || q.Content == nil {
				t.Fatal("nothing to seal the refusal with")
			}
			if q.Payload != nil {
				t.Error("a payload all the same")
			}
			answer, err := q.Answer([]byte(refused), test.at, true)
			if err != nil {
				t.Fatal(err)
			}
			a, err := p.Open(answer)
			if err != nil {
				t.Fatal(err)
			}
			if string(a.Payload) != refused || a.Received == nil || !a.Received.Equal(test.at) {
				t.Errorf("refusal %+v", a)
			}
		})
	}
	last, _, err := k.Seal([]byte(ok), now.Add(time.Hour-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.openTicket(last, now.Add(time.Hour-time.Second)); err != nil {
		t.Errorf("one second before its end: %v", err)
	}
}

// A request belongs to its ticket: another's opaque ticket with one's own secret does not open (RESULTS q4).
func TestTicketOfAnother(t *testing.T) {
	w := newWorld(t)
	mine, theirs := w.ticket(w.content()), w.ticket(w.content())
	mixed := *mine
	mixed.opaque = theirs.opaque
	e, _ := w.seal(&mixed, ok)
	_, err := w.openTicket(e, now)
	wantKind(t, err, mesh.NotAuthenticated)
	mixed.channel.kid = theirs.channel.kid
	e, _ = w.seal(&mixed, ok)
	_, err = w.openTicket(e, now)
	wantKind(t, err, mesh.NotAuthenticated)
}

// C-053: every bit of header and payload counts, in each direction.
func TestTicketFlippedBits(t *testing.T) {
	w := newWorld(t)
	k := w.ticket(w.content())
	e, p := w.seal(k, ok)
	flipped(e, func(where string, octet int, bad *dare.Envelope) {
		q, err := w.openTicket(bad, now)
		if err == nil {
			t.Fatalf("request, %s octet %d: opened", where, octet)
		}
		switch kind := mesh.KindOf(err); {
		case kind == mesh.TicketInvalid && q == nil:
		case kind == mesh.RequestStale && q != nil:
		case kind == mesh.NotAuthenticated:
		default:
			t.Fatalf("request, %s octet %d: %v, %v", where, octet, q, err)
		}
	})
	q, err := w.openTicket(e, now)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := q.Answer([]byte(ok), now, true)
	if err != nil {
		t.Fatal(err)
	}
	flipped(answer, func(where string, octet int, bad *dare.Envelope) {
		if a, err := p.Open(bad); !errors.Is(err, ErrAnswer) || a != nil {
			t.Fatalf("answer, %s octet %d: %v, %v", where, octet, a, err)
		}
	})
}

// C-053, C-064: an answer is good for its request only.
func TestTicketForeignAnswers(t *testing.T) {
	w := newWorld(t)
	k, other := w.ticket(w.content()), w.ticket(w.content())
	answer := func(e *dare.Envelope) *dare.Envelope {
		q, err := w.openTicket(e, now)
		if err != nil {
			t.Fatal(err)
		}
		a, err := q.Answer([]byte(ok), now, false)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	e, p := w.seal(k, ok)
	again, _ := w.seal(k, ok)
	others, _ := w.seal(other, ok)
	exchange, _ := w.exchange(ok)
	response, err := w.accept(exchange).Answer([]byte(ok), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	refusal, err := w.accept(exchange).Refuse([]byte(refused), now)
	if err != nil {
		t.Fatal(err)
	}
	good := answer(e)
	for name, bad := range map[string]*dare.Envelope{
		"answer to an earlier request under the ticket": answer(again),
		"answer under another ticket":                   answer(others),
		"exchange response":                             response,
		"exchange refusal":                              refusal,
		"the request itself":                            e,
		"another request":                               again,
		"with a third element":                          {Header: good.Header, Payload: good.Payload, Trailer: []byte(`{}`)},
		"with recipients":                               edit(good, `{`, `{"recipients":[{}],`),
	} {
		t.Run(name, func(t *testing.T) {
			a, err := p.Open(bad)
			wantBad(t, a, err)
		})
	}
	if _, err := p.Open(good); err != nil {
		t.Error(err)
	}
}

// A ticket that the service wrote wrongly is an error, not a ticket.
func TestTicketMalformedInfo(t *testing.T) {
	w := newWorld(t)
	for name, issue := range map[string]Issue{
		"empty":    func([]byte) ([]byte, time.Time, error) { return nil, now, nil },
		"too long": func([]byte) ([]byte, time.Time, error) { return make([]byte, maxTicket+1), now, nil },
	} {
		e, p := w.exchange(ok)
		answer, err := w.accept(e).Answer([]byte(ok), now, issue)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		a, err := p.Open(answer)
		wantBad(t, a, err)
	}
	e, _ := w.exchange(ok)
	x := w.accept(e)
	_, err := x.Answer([]byte(ok), now, func([]byte) ([]byte, time.Time, error) { return nil, now, errors.New("no ring") })
	wantKind(t, err, mesh.Internal)
}

// AUTH §4 step 5: the kid is that of the ticket's secret, also for who has the secret and seals under another name: the
// replay cache and the shard know requests by it.
func TestTicketUnderAnotherName(t *testing.T) {
	w := newWorld(t)
	k := w.ticket(w.content())
	named := *k
	named.channel.kid = w.ticket(w.content()).channel.kid
	e, _ := w.seal(&named, ok)
	q, err := w.openTicket(e, now)
	wantKind(t, err, mesh.NotAuthenticated)
	if q == nil || q.Payload != nil {
		t.Error("the request opens")
	}
}

// No format shows a secret, by value or by pointer, and no logger does.
func TestNoSecretPrinted(t *testing.T) {
	w := newWorld(t)
	c := w.content()
	k := w.ticket(c)
	c.Secret = k.secret
	entry := w.ring.Entries()[0]
	e, p := w.exchange(ok)
	x := w.accept(e)
	sealed, under := w.seal(k, ok)
	q, err := w.openTicket(sealed, now)
	if err != nil {
		t.Fatal(err)
	}
	secrets := [][]byte{k.secret, k.channel.c2s, k.channel.s2c, k.opaque, entry.Key, x.secrets.es, x.secrets.ss}
	for _, v := range []any{k, *k, &c, c, entry, &entry, w.ring, *w.ring, x, *x, p, *p, under, q, *q, []any{c, *x, *w.ring}} {
		texts := map[string]string{}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			texts[verb] = fmt.Sprintf(verb, v)
		}
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("text", slog.Any("value", v))
		slog.New(slog.NewTextHandler(&log, nil)).Info("text", slog.Any("value", v))
		if _, list := v.([]any); !list { // a JSON handler does not ask what lies in a list
			texts["slog"] = log.String()
		}
		for how, text := range texts {
			for _, secret := range secrets {
				for _, shown := range []string{
					string(secret), fmt.Sprintf("%d", secret), fmt.Sprintf("%x", secret), strings.TrimPrefix(fmt.Sprintf("%#v", secret), "[]byte"),
					base64.StdEncoding.EncodeToString(secret),
				} {
					if strings.Contains(text, strings.Trim(shown, "[]")) {
						t.Errorf("%T with %s shows a secret", v, how)
					}
				}
			}
		}
	}
}
