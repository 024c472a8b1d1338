package make1

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// seedMessages adds the six messages of the vectors, and some of their classes of damage.
func seedMessages(f *testing.F, v *authVectors) {
	for _, m := range []message{
		v.ExchangeRequest.message, v.ExchangeResponse.message, v.TicketRequest.message,
		v.TicketResponse.message, v.ExchangeError, v.TicketError,
	} {
		f.Add([]byte(m.Header), []byte(m.Ciphertext), false)
		f.Add([]byte(m.Header), []byte{}, true)
	}
	f.Add([]byte(`{}`), []byte(`{"Hello":{}}`), true)
	f.Add([]byte(`{}`), []byte(refused), false)
	f.Add([]byte(`{"recipients":[{"kwd":"`+Suite+`"}]}`), []byte{}, false)
}

func fuzzEnvelope(header, payload []byte, trailer bool) *dare.Envelope {
	e := &dare.Envelope{Header: header, Payload: payload}
	if trailer {
		e.Trailer = []byte(`{}`)
	}
	return e
}

// FuzzOpenExchange: only the request of the vectors opens, and what says that it can be refused can.
func FuzzOpenExchange(f *testing.F) {
	r := runVectors(f)
	c := r.v.key(f, "C").Public()
	seedMessages(f, r.v)
	f.Fuzz(func(t *testing.T, header, payload []byte, trailer bool) {
		e := fuzzEnvelope(header, payload, trailer)
		kind, err := Classify(e)
		if err != nil && mesh.KindOf(err) != mesh.NotAuthenticated {
			t.Fatal(err)
		}
		x, err := OpenExchange(e, r.v.Domain, known(r.service), vectorNow)
		if x != nil && kind != KindExchange {
			t.Fatal("an exchange of another kind")
		}
		switch {
		case err == nil:
			if x.Authenticate(c) == nil && (string(header) != r.v.ExchangeRequest.Header || !bytes.Equal(payload, r.v.ExchangeRequest.Ciphertext)) {
				t.Fatal("another request than that of the vectors opens")
			}
		case x == nil:
			if k := mesh.KindOf(err); k != mesh.NotAuthenticated && k != mesh.TicketInvalid {
				t.Fatal(err)
			}
			return
		default:
			if k := mesh.KindOf(err); k != mesh.NotAuthenticated && k != mesh.RequestStale {
				t.Fatal(err)
			}
		}
		if _, err := x.Refuse([]byte(refused), now); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzOpenTicket: only the two requests that were sealed open.
func FuzzOpenTicket(f *testing.F) {
	w := newWorld(f)
	k := w.ticket(w.content())
	one, _ := w.seal(k, ok)
	two, _ := w.seal(k, `{"Hello":{}}`)
	for _, e := range []*dare.Envelope{one, two} {
		f.Add(e.Header, e.Payload, false)
		f.Add(e.Header, []byte{}, false)
	}
	seedMessages(f, loadVectors(f))
	f.Fuzz(func(t *testing.T, header, payload []byte, trailer bool) {
		e := fuzzEnvelope(header, payload, trailer)
		q, err := w.openTicket(e, now)
		switch {
		case err == nil:
			for _, good := range []*dare.Envelope{one, two} {
				if bytes.Equal(good.Header, header) && bytes.Equal(good.Payload, payload) {
					return
				}
			}
			t.Fatal("a request opens that nobody sealed")
		case q == nil:
			if k := mesh.KindOf(err); k != mesh.NotAuthenticated && k != mesh.TicketInvalid {
				t.Fatal(err)
			}
		default:
			if k := mesh.KindOf(err); k != mesh.NotAuthenticated && k != mesh.RequestStale {
				t.Fatal(err)
			}
		}
	})
}

// FuzzPendingOpen: only the answers of the vectors open.
func FuzzPendingOpen(f *testing.F) {
	r := runVectors(f)
	seedMessages(f, r.v)
	f.Fuzz(func(t *testing.T, header, payload []byte, trailer bool) {
		e := fuzzEnvelope(header, payload, trailer)
		for p, good := range map[*Pending][2]message{
			r.pending:       {r.v.ExchangeResponse.message, r.v.ExchangeError},
			r.ticketPending: {r.v.TicketResponse.message, r.v.TicketError},
		} {
			a, err := p.Open(e)
			if err != nil {
				if a != nil {
					t.Fatal("an answer with an error")
				}
				continue
			}
			known := false
			for _, m := range good {
				known = known || m.Header == string(header) && bytes.Equal(m.Ciphertext, payload) && m.Plaintext == string(a.Payload)
			}
			if !known {
				t.Fatal("an answer opens that nobody sealed")
			}
		}
	})
}

// FuzzDecodeTicket: what decodes encodes to the same octets.
func FuzzDecodeTicket(f *testing.F) {
	w := newWorld(f)
	c := w.content()
	c.Secret = make([]byte, keyLen)
	for _, mode := range []Mode{Device, Profile, Service} {
		c.Mode = mode
		b, err := c.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[:ticketFixed])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := decodeTicket(b)
		if err != nil || len(b) > maxTicket-ringOverhead {
			return
		}
		back, err := c.encode()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(back, b) {
			t.Fatalf("%x encodes to %x", b, back)
		}
	})
}

// FuzzParseRing: what parses is written so that it parses to the same.
func FuzzParseRing(f *testing.F) {
	file, err := newRing(f, entry(1, now), entry(2, now.Add(1))).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(file)
	f.Add([]byte(`[{"id":"AAAAAA","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","not_before":"2026-11-25T02:00:00.5+01:00"}]`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRing(b)
		if err != nil {
			return
		}
		file, err := r.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseRing(file)
		if err != nil {
			t.Fatal(err)
		}
		again, err := back.Marshal()
		if err != nil || !bytes.Equal(again, file) {
			t.Fatalf("%s, then %s: %v", file, again, err)
		}
		if len(r.Entries()) != len(back.Entries()) || cmp.Diff(r.Entries()[0].ID, back.Entries()[0].ID) != "" {
			t.Fatal("other entries")
		}
	})
}
