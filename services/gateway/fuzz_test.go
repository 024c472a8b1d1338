package gateway

import (
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
)

// FuzzHandler: any body gets one well-formed answer: no panic, no 5xx but 503, an answer of bounded size.
func FuzzHandler(f *testing.F) {
	g := newLonely(f, nil)
	d := newStranger(f)
	e, _, err := g.client(d.key).Exchange(d.credential(), []byte(`{"Upload":{}}`), g.clock)
	if err != nil {
		f.Fatal(err)
	}
	exchange, err := e.MarshalJBCD()
	if err != nil {
		f.Fatal(err)
	}
	ticket := g.ask(f, d, `{"Hello":{}}`, new(anyResponse)).ticket
	if e, _, err = ticket.Seal([]byte(`{"Complete":{}}`), g.clock); err != nil {
		f.Fatal(err)
	}
	byTicket, err := e.MarshalJBCD()
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range [][]byte{[]byte(draftHello), []byte(`{"Hello":{}}`), []byte(`{"Status":{}}`), exchange, byTicket, nil} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := post(g.Handler(), body, nil)
		if w.Code >= 500 && w.Code != 503 {
			t.Errorf("HTTP %d", w.Code)
		}
		if w.Body.Len() > 32<<10 {
			t.Errorf("answer of %d octets", w.Body.Len())
		}
		if _, err := dare.Parse(w.Body.Bytes()); err != nil {
			t.Errorf("the answer is no envelope: %v", err)
		}
	})
}
