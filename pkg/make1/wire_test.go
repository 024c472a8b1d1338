package make1

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
)

// The header is authenticated as it was transmitted: white space around the elements is no part of it, and
// everything between its braces is.
func TestHeaderAsTransmitted(t *testing.T) {
	w := newWorld(t)
	exchange, _ := w.exchange(ok)
	ticket, _ := w.seal(w.ticket(w.content()), ok)
	opens := func(e *dare.Envelope) error {
		kind, err := Classify(e)
		if err != nil {
			return err
		}
		if kind == KindTicket {
			_, err := w.openTicket(e, now)
			return err
		}
		x, err := w.open(e)
		if err != nil {
			return err
		}
		return x.Authenticate(w.c)
	}
	for name, e := range map[string]*dare.Envelope{"exchange": exchange, "ticket": ticket} {
		t.Run(name, func(t *testing.T) {
			wire, err := e.MarshalJBCD()
			if err != nil {
				t.Fatal(err)
			}
			spaced := bytes.Replace(wire, []byte(`},"`), []byte(" }\r\n , \n\""), 1)
			outside := bytes.Replace(wire, []byte(`[{`), []byte(" [\t{"), 1)
			for what, test := range map[string]struct {
				wire  []byte
				opens bool
			}{
				"as written":                {wire, true},
				"white space around it":     {outside, true},
				"white space in it":         {spaced, false},
				"an escape for a character": {bytes.Replace(wire, []byte(`"enc"`), []byte(`"\u0065nc"`), 1), false},
			} {
				got, err := dare.Parse(test.wire)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if err := opens(got); (err == nil) != test.opens {
					t.Errorf("%s: %v", what, err)
				}
			}
		})
	}
}

// Concurrent use of one ticket, as a client with several calls under way makes it.
func TestTicketConcurrent(t *testing.T) {
	w := newWorld(t)
	k := w.ticket(w.content())
	errs := make(chan error)
	for range 8 {
		go func() {
			e, p, err := k.Seal([]byte(ok), now)
			if err != nil {
				errs <- err
				return
			}
			q, err := w.openTicket(e, now)
			if err != nil {
				errs <- err
				return
			}
			answer, err := q.Answer([]byte(ok), now, false)
			if err == nil {
				_, err = p.Open(answer)
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

// The text of a hint is the network's: it is not repeated in an error.
func TestHintError(t *testing.T) {
	_, p := newWorld(t).exchange(ok)
	_, err := p.Open(&dare.Envelope{Header: []byte(`{}`), Payload: []byte(`{"MeshResponse":{"Status":401,"StatusExtended":7,"StatusDescription":"call +1 555"}}`)})
	if err == nil || !strings.Contains(err.Error(), "401/7") || strings.Contains(err.Error(), "555") {
		t.Errorf("error %v", err)
	}
}
