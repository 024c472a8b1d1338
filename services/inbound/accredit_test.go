package inbound

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// C-138, D-38: the service of a domain is looked up once a day, another one again, but not for each message.
func TestAccreditation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		found, fault, asked := "MAAA-SERV", error(nil), 0
		a := newAccreditation(func(context.Context, string) (string, error) { asked++; return found, fault })
		check := func(what, service string, want bool, wantAsked int) {
			t.Helper()
			got, err := a.speaks(t.Context(), service, "alpha.example")
			if err != nil || got != want || asked != wantAsked {
				t.Errorf("%s: %v, %v after %d lookups, want %v after %d", what, got, err, asked, want, wantAsked)
			}
		}
		check("first", "maaaserv", true, 1)
		check("again", "MAAA-SERV", true, 1)
		check("a liar", "MBBB-LIAR", false, 1)
		time.Sleep(refusedFor)
		check("a liar, later", "MBBB-LIAR", false, 2)
		check("a liar, at once", "MBBB-LIAR", false, 2)
		found = "MCCC-NEWS"
		time.Sleep(refusedFor)
		check("a new service", "MCCC-NEWS", true, 3)
		check("the old one", "MAAA-SERV", false, 3)
		fault = errors.New("no DNS")
		time.Sleep(accreditedFor)
		check("DNS is away, the known one", "MCCC-NEWS", true, 4)
		if _, err := a.speaks(t.Context(), "MAAA-SERV", "alpha.example"); err == nil {
			t.Error("another service while DNS is away: no error")
		}
		if _, err := a.speaks(t.Context(), "MAAA-SERV", "gamma.example"); err == nil {
			t.Error("an unknown domain while DNS is away: no error")
		}
	})
}
