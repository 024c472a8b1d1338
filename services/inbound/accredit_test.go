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

// A domain that cannot be asked is asked once in a while, not once for each message; then it counts as any other.
func TestAccreditationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault, asked := errors.New("no DNS"), 0
		a := newAccreditation(func(context.Context, string) (string, error) { asked++; return "MAAA-SERV", fault })
		for range 3 {
			if _, err := a.speaks(t.Context(), "MAAA-SERV", "alpha.example"); !errors.Is(err, fault) || asked != 1 {
				t.Errorf("%v after %d lookups, want the fault after one", err, asked)
			}
		}
		time.Sleep(failedFor)
		fault = nil
		if ok, err := a.speaks(t.Context(), "MAAA-SERV", "alpha.example"); !ok || err != nil || asked != 2 {
			t.Errorf("DNS is back: %v, %v after %d lookups", ok, err, asked)
		}
	})
}

// Domains that say nothing hold up a quarter of the messages and not for long, and those of known domains not at all.
func TestAccreditationSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAccreditation(func(ctx context.Context, domain string) (string, error) {
			if domain == "alpha.example" {
				return "MAAA-SERV", nil
			}
			<-ctx.Done()
			return "", ctx.Err()
		})
		known := func() {
			t.Helper()
			if ok, err := a.speaks(t.Context(), "MAAA-SERV", "alpha.example"); !ok || err != nil {
				t.Errorf("the known domain: %v, %v", ok, err)
			}
		}
		known()
		start := time.Now()
		for i := range lookups {
			go func() { _, _ = a.speaks(t.Context(), "MBBB-LIAR", []string{"one.example", "two.example"}[i%2]) }()
		}
		synctest.Wait()
		known()
		if _, err := a.speaks(t.Context(), "MBBB-LIAR", "three.example"); !errors.Is(err, errBusy) {
			t.Errorf("one more silent domain: %v, want %v", err, errBusy)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("waited %s", took)
		}
		time.Sleep(lookupTimeout)
		synctest.Wait()
		if n := len(a.slots); n != 0 {
			t.Errorf("%d still wait", n)
		}
	})
}
