package make1

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// C-051, C-057, AUTH §3.4, §3.5: nothing is opened, the answer is a hint.
func TestExchangeShape(t *testing.T) {
	w := newWorld(t)
	e, _ := w.exchange(ok)
	h, _ := readHeader(e)
	_, _, u, err := h.exchangeRecipient(e)
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	wire := b64(cat(u, []byte{0}))
	salt := b64(h.Salt)
	recipient := string(e.Header[bytes.Index(e.Header, []byte(`[`))+1 : bytes.Index(e.Header, []byte(`]`))])
	ff := bytes.Repeat([]byte{0xff}, uLen)
	p := bytes.Clone(ff)
	p[uLen/2] = 0xfe
	one := append([]byte{1}, make([]byte, uLen-1)...)
	minusOne := bytes.Clone(p)
	minusOne[0] = 0xfe
	tests := map[string]*dare.Envelope{
		"third element":            {Header: e.Header, Payload: e.Payload, Trailer: []byte(`{}`)},
		"no enc":                   edit(e, `"enc":"A256GCM",`, ``),
		"other enc":                edit(e, `A256GCM`, `A256CBC`),
		"kid at the top":           edit(e, `{"enc"`, `{"kid":"EBQA","enc"`),
		"two make1 recipients":     edit(e, recipient, recipient+","+recipient),
		"another recipient":        edit(e, recipient, recipient+`,{"kid":"MAAA"}`),
		"unknown suite":            edit(e, Suite, "mmm-make1-none"),
		"no suite":                 edit(e, `"kwd":"`+Suite+`",`, ``),
		"wmk":                      edit(e, `"kwd"`, `"wmk":"AAAA","kwd"`),
		"Salt of 23 octets":        edit(e, salt, b64(h.Salt[1:])),
		"Salt of 25 octets":        edit(e, salt, b64(cat(h.Salt, []byte{0}))),
		"no Salt":                  edit(e, `"Salt":"`+salt+`",`, ``),
		"no epk":                   edit(e, `"epk":{"PublicKeyECDH":{"crv":"X448","Public":"`+wire+`"}},`, ``),
		"epk of 32 octets":         edit(e, wire, b64(u[:32])),
		"epk of 58 octets":         edit(e, wire, b64(cat(u, []byte{0, 0}))),
		"epk of another curve":     edit(e, `"crv":"X448"`, `"crv":"Ed448"`),
		"u = p":                    edit(e, wire, b64(cat(p, []byte{0}))),
		"u = 2^448 − 1":            edit(e, wire, b64(cat(ff, []byte{0}))),
		"u = 0":                    edit(e, wire, b64(make([]byte, uLen+1))),
		"u = 1":                    edit(e, wire, b64(cat(one, []byte{0}))),
		"u = −1":                   edit(e, wire, b64(cat(minusOne, []byte{0}))),
		"header of 65 KiB":         edit(e, `{`, `{"x":"`+strings.Repeat("x", 65<<10)+`",`),
		"header no object":         {Header: []byte(`[]`), Payload: e.Payload},
		"header cut":               {Header: e.Header[:len(e.Header)-1], Payload: e.Payload},
		"member twice":             edit(e, `{"enc"`, `{"enc":"A256GCM","enc"`),
		"empty":                    {},
		"null request":             {Header: []byte(`{}`), Payload: []byte(`{"Hello":{}}`)},
		"recipients without suite": {Header: []byte(`{"enc":"A256GCM","recipients":[{"kid":"MAAA"}]}`)},
	}
	for name, e := range tests {
		t.Run(name, func(t *testing.T) {
			x, err := w.open(e)
			wantKind(t, err, mesh.NotAuthenticated)
			if x != nil {
				t.Error("a refusal could be sealed, though nothing was opened")
			}
			if kind, err := Classify(e); err == nil && kind == KindExchange && !strings.HasPrefix(name, "u = ") {
				t.Error("Classify: an exchange")
			}
		})
	}
	t.Run("nil", func(t *testing.T) {
		_, err := Classify(nil)
		wantKind(t, err, mesh.NotAuthenticated)
	})
	t.Run("unknown service key", func(t *testing.T) {
		x, err := w.open(edit(e, w.s.KID(), newKey(t).Public().KID()))
		wantKind(t, err, mesh.TicketInvalid)
		if x != nil {
			t.Error("a refusal could be sealed, though nothing was opened")
		}
	})
}

func TestClassify(t *testing.T) {
	w := newWorld(t)
	exchange, _ := w.exchange(ok)
	ticket, _ := w.seal(w.ticket(w.content()), ok)
	null := func(header, trailer string) *dare.Envelope {
		e := &dare.Envelope{Header: []byte(header), Payload: []byte(`{"Hello":{}}`)}
		if trailer != "" {
			e.Trailer = []byte(trailer)
		}
		return e
	}
	for name, test := range map[string]struct {
		e    *dare.Envelope
		want RequestKind
		bad  bool
	}{
		"exchange":                     {e: exchange, want: KindExchange},
		"exchange with unknown member": {e: edit(exchange, `{`, `{"x-new":[1],`), want: KindExchange},
		"ticket":                       {e: ticket, want: KindTicket},
		"null":                         {e: null(`{}`, ``), want: KindNull},
		"null as the draft prints it":  {e: null(`{}`, `{}`), want: KindNull}, // C-044
		"null with EnvelopeID":         {e: null(`{"EnvelopeID":"M"}`, ``), want: KindNull},
		"ticket with third element":    {e: &dare.Envelope{Header: ticket.Header, Payload: ticket.Payload, Trailer: []byte(`{}`)}, bad: true},
		"ticket without enc":           {e: edit(ticket, `"enc":"A256GCM",`, ``), bad: true},
		"kid and short Salt":           {e: null(`{"enc":"A256GCM","kid":"EBQA","Salt":"AAAA"}`, ``), bad: true},
		"enc alone":                    {e: null(`{"enc":"A256GCM"}`, ``), bad: true},
		"both kinds":                   {e: edit(ticket, `{`, `{"recipients":[{"kwd":"`+Suite+`"}],`), bad: true},
	} {
		t.Run(name, func(t *testing.T) {
			kind, err := Classify(test.e)
			if test.bad {
				wantKind(t, err, mesh.NotAuthenticated)
			} else if err != nil || kind != test.want {
				t.Errorf("kind %d, error %v, want %d", kind, err, test.want)
			}
		})
	}
}
