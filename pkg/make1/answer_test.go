package make1

import (
	"bytes"
	"errors"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// C-053: every bit of header and payload counts, in each direction.
func TestExchangeFlippedBits(t *testing.T) {
	w := newWorld(t)
	e, p := w.exchange(ok)
	flipped(e, func(where string, octet int, bad *dare.Envelope) {
		x, err := w.open(bad)
		if err == nil {
			err = x.Authenticate(w.c)
		}
		if err == nil {
			t.Fatalf("request, %s octet %d: accepted", where, octet)
		}
		switch kind := mesh.KindOf(err); kind {
		case mesh.NotAuthenticated, mesh.TicketInvalid, mesh.RequestStale:
		default:
			t.Fatalf("request, %s octet %d: kind %s", where, octet, kind)
		}
	})
	x := w.accept(e)
	response, err := x.Answer([]byte(ok), now, w.ring.Issue(w.content(), now))
	if err != nil {
		t.Fatal(err)
	}
	refusal, err := x.Refuse([]byte(refused), now)
	if err != nil {
		t.Fatal(err)
	}
	for name, good := range map[string]*dare.Envelope{"response": response, "refusal": refusal} {
		flipped(good, func(where string, octet int, bad *dare.Envelope) {
			if a, err := p.Open(bad); !errors.Is(err, ErrAnswer) || a != nil {
				t.Fatalf("%s, %s octet %d: answer %v, error %v", name, where, octet, a, err)
			}
		})
		if _, err := p.Open(good); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// C-053: an answer is good for its request, its service key and its form.
func TestExchangeForeignAnswers(t *testing.T) {
	w, mallory := newWorld(t), newWorld(t)
	e, p := w.exchange(ok)
	x := w.accept(e)
	response, err := x.Answer([]byte(ok), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := w.exchange(ok)
	ofOther, err := w.accept(other).Answer([]byte(ok), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	refusalOfOther, err := w.accept(other).Refuse([]byte(refused), now)
	if err != nil {
		t.Fatal(err)
	}
	ok201, err := x.Refuse([]byte(ok), now) // K_err carries refusals only
	if err != nil {
		t.Fatal(err)
	}

	// Mallory knows the request as it was sent, and es by magic, but not s: neither ss nor se.
	m := &Exchange{ephem: x.ephem, client: w.c, secrets: x.secrets, accepted: true}
	if m.secrets.ss, err = agree(held(mallory.service, mallory.s.KID()), w.c); err != nil {
		t.Fatal(err)
	}
	byMallory, err := m.Answer([]byte(ok), now, nil)
	if err != nil {
		t.Fatal(err)
	}
	ticket, _ := w.seal(w.ticket(w.content()), ok)
	for name, bad := range map[string]*dare.Envelope{
		"response to another request":       ofOther,
		"refusal of another request":        refusalOfOther,
		"response from another service key": byMallory,
		"success under K_err":               ok201,
		"the request itself":                e,
		"another request":                   other,
		"a ticket request":                  ticket,
		"with a third element":              {Header: response.Header, Payload: response.Payload, Trailer: []byte(`{}`)},
		"without recipients":                {Header: sealedHeader("", x.Salt, now), Payload: response.Payload},
		"with wmk":                          edit(response, `"kwd"`, `"wmk":"AAAA","kwd"`),
		"with two recipients":               edit(response, `[{`, `[{"kwd":"`+Suite+`"},{`),
		"with a kid":                        edit(response, `{"enc"`, `{"kid":"EBQA","enc"`),
		"empty":                             {},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := p.Open(bad)
			wantBad(t, a, err)
		})
	}
	t.Run("nil", func(t *testing.T) {
		a, err := p.Open(nil)
		wantBad(t, a, err)
	})
	if _, err := p.Open(response); err != nil {
		t.Error(err)
	}
}

// C-057: a hint is never an outcome, and never the answer of a service that accepts.
func TestHints(t *testing.T) {
	w := newWorld(t)
	_, exchange := w.exchange(ok)
	_, ticket := w.seal(w.ticket(w.content()), ok)
	for name, p := range map[string]*Pending{"exchange": exchange, "ticket": ticket} {
		t.Run(name, func(t *testing.T) {
			for payload, code := range map[string]mesh.Code{
				`{"MeshResponse":{"Status":401,"StatusExtended":10}}`: {Status: 401, Extended: 10},
				`{"MeshResponse":{"Status":503,"StatusExtended":31}}`: {Status: 503, Extended: 31},
				`{"MeshResponse":{"Status":500}}`:                     {Status: 500},
			} {
				// A date outside a seal is no date: there is no way to read it.
				a, err := p.Open(&dare.Envelope{Header: []byte(`{"Received":"2036-01-01T00:00:00Z"}`), Payload: []byte(payload)})
				var hint *Hint
				if !errors.As(err, &hint) || a != nil || errors.Is(err, ErrAnswer) {
					t.Fatalf("%s: %v, %v", payload, a, err)
				}
				if hint.Code != code || string(hint.Payload) != payload {
					t.Errorf("%s: %+v", payload, hint)
				}
			}
			for _, payload := range []string{
				`{"MeshResponse":{"Status":201}}`, `{"MeshResponse":{"Status":303,"StatusExtended":20}}`, `{"MeshResponse":{}}`,
				`{"MeshResponse":{"Status":600}}`, `{"MeshResponse":{"Status":-401}}`, `{"StatusResponse":{"Status":401}}`,
				`{"MeshHelloResponse":{"Status":201}}`, `{"MeshResponse":{"Status":401},"StatusResponse":{}}`, `{}`, `x`, ``,
			} {
				a, err := p.Open(&dare.Envelope{Header: []byte(`{}`), Payload: []byte(payload)})
				wantBad(t, a, err)
			}
		})
	}
}

// AUTH §3.4, §3.5: an answer has one form, also when it was sealed by who has the keys.
func TestAnswerShape(t *testing.T) {
	w := newWorld(t)
	e, p := w.exchange(ok)
	x := w.accept(e)
	k := w.ticket(w.content())
	sealed, under := w.seal(k, ok)
	q, err := w.openTicket(sealed, now)
	if err != nil {
		t.Fatal(err)
	}
	salt := newSalt(now)
	refusal := func(salt, hdr []byte) *dare.Envelope {
		return &dare.Envelope{Header: hdr, Payload: x.secrets.refusalBox(salt).seal([]byte(refused), hdr, x.secrets.th)}
	}
	response := func(salt, hdr []byte) *dare.Envelope {
		return &dare.Envelope{Header: hdr, Payload: payloadBox(q.channel.s2c, salt).seal([]byte(ok), hdr, q.th)}
	}
	other := func(hdr []byte) []byte { return bytes.Replace(hdr, []byte(encGCM), []byte("A256CBC"), 1) }
	long := cat(salt, []byte{0})
	for name, c := range map[string]struct {
		p     *Pending
		e     *dare.Envelope
		opens bool
	}{
		"refusal":                       {p, refusal(salt, sealedHeader("", salt, now)), true},
		"refusal with a kid":            {p, refusal(salt, sealedHeader(k.channel.kid, salt, now)), false},
		"refusal with a long Salt":      {p, refusal(long, sealedHeader("", long, now)), false},
		"refusal of another enc":        {p, refusal(salt, other(sealedHeader("", salt, now))), false},
		"response":                      {under, response(salt, sealedHeader(k.channel.kid, salt, now)), true},
		"response of another name":      {under, response(salt, sealedHeader(w.client.AuthKID, salt, now)), false},
		"response of no name":           {under, response(salt, sealedHeader("", salt, now)), false},
		"response with a long Salt":     {under, response(long, sealedHeader(k.channel.kid, long, now)), false},
		"response of another enc":       {under, response(salt, other(sealedHeader(k.channel.kid, salt, now))), false},
		"response with a third element": {under, &dare.Envelope{Trailer: []byte(`{}`)}, false},
	} {
		if c.e.Trailer != nil {
			trailer := c.e.Trailer
			c.e = response(salt, sealedHeader(k.channel.kid, salt, now))
			c.e.Trailer = trailer
		}
		a, err := c.p.Open(c.e)
		if c.opens && err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if !c.opens && (a != nil || !errors.Is(err, ErrAnswer)) {
			t.Errorf("%s: opened, %v", name, err)
		}
	}
}
