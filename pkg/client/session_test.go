package client

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/discover"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// C-050, C-057, C-058, C-062, C-063, C-064; FLOWS §14, AUTH §3.5: what the session does with refusals, and that nothing but a sealed
// one moves it.
func TestSessionRetries(t *testing.T) {
	tests := []struct {
		name   string
		tag    string
		need   need
		first  bool // a Status before: there is a ticket
		script []act
		log    []string
		code   mesh.Code // of the error; zero: none
	}{
		{name: "a read brings the ticket", tag: mesh.TagStatus, log: []string{"Hello null", "Status exchange"}},
		{name: "then the ticket is used", tag: mesh.TagStatus, first: true, log: []string{"Status ticket"}},
		{name: "a write gets a ticket first", tag: mesh.TagUpload, need: needTicket, log: []string{"Hello null", "Hello exchange", "Upload ticket"}},
		{name: "and uses the one there is", tag: mesh.TagUpload, need: needTicket, first: true, log: []string{"Upload ticket"}},
		{
			name: "ticket expired", tag: mesh.TagUpload, need: needTicket, first: true, script: []act{{code: mesh.TicketExpired.Code()}},
			log: []string{"Upload ticket", "Hello exchange", "Upload ticket"},
		},
		{
			name: "expired twice", tag: mesh.TagUpload, need: needTicket, first: true, script: []act{{code: mesh.TicketExpired.Code()}, {}, {code: mesh.TicketExpired.Code()}},
			log: []string{"Upload ticket", "Hello exchange", "Upload ticket"}, code: mesh.TicketExpired.Code(),
		},
		{
			name: "no key opens the ticket", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.TicketInvalid.Code(), hint: true}},
			log: []string{"hint", "Hello null", "Status exchange"},
		},
		{
			name: "a hint of expiry proves nothing", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.TicketExpired.Code(), hint: true}},
			log: []string{"hint"}, code: mesh.TicketExpired.Code(),
		},
		{name: "stale", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.RequestStale.Code()}}, log: []string{"Status ticket", "Status ticket"}},
		{
			name: "stale twice", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.RequestStale.Code()}, {code: mesh.RequestStale.Code()}},
			log: []string{"Status ticket", "Status ticket"}, code: mesh.RequestStale.Code(),
		},
		{
			name: "a hint does not move the clock", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.RequestStale.Code(), hint: true}},
			log: []string{"hint"}, code: mesh.RequestStale.Code(),
		},
		{
			name: "overloaded", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.Overloaded.Code(), retry: 1}, {code: mesh.Overloaded.Code()}},
			log: []string{"Status ticket", "Status ticket", "Status ticket"},
		},
		{
			name: "limited, by a hint", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.RateLimited.Code(), hint: true, retry: 1}},
			log: []string{"hint", "Status ticket"},
		},
		{
			name: "limited for long", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.RateLimited.Code(), retry: 3600}},
			log: []string{"Status ticket"}, code: mesh.RateLimited.Code(),
		},
		{
			name: "refused", tag: mesh.TagStatus, first: true, script: []act{{code: mesh.NotAuthorized.Code()}},
			log: []string{"Status ticket"}, code: mesh.NotAuthorized.Code(),
		},
		{name: "the HTTP code is nobody's", tag: mesh.TagStatus, first: true, script: []act{{http: 500, retry: 99}}, log: []string{"Status ticket"}}, // C-082
		{
			name: "a parent structure is an answer", tag: mesh.TagUpload, need: needTicket, first: true,
			script: []act{{payload: `{"MeshResponse":{"Status":201}}`}}, log: []string{"Upload ticket"},
		},
		{name: "hung up", tag: mesh.TagStatus, first: true, script: []act{{hangUp: true}, {hangUp: true}}, log: []string{"Status ticket"}},
		{name: "deletion under a ticket of now", tag: mesh.TagDeleteAccount, need: needFresh, first: true, log: []string{"DeleteAccount ticket"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := newCaller(t, newFake(t), "https")
			if test.first {
				if _, err := c.talk(t, mesh.TagStatus, needAny); err != nil {
					t.Fatal(err)
				}
			}
			log, err := c.talk(t, test.tag, test.need, test.script...)
			if diff := cmp.Diff(test.log, log); diff != "" {
				t.Errorf("requests (-want +got):\n%s", diff)
			}
			if test.code == (mesh.Code{}) {
				if err != nil {
					t.Fatal(err)
				}
			} else if r := refusalOf(t, err); r.Code != test.code {
				t.Errorf("refused with %v, want %v", r.Code, test.code)
			}
			ids := map[string]bool{}
			for i, l := range log {
				if len(c.fake.ids) == len(log) && l[:3] == test.tag[:3] {
					ids[c.fake.ids[i]] = true
				}
			}
			if len(ids) > 1 {
				t.Error("a retry has another ID")
			}
		})
	}
}

func TestSessionWaits(t *testing.T) {
	c := newCaller(t, newFake(t), "https")
	if _, err := c.talk(t, mesh.TagStatus, needAny, act{}, act{code: mesh.Overloaded.Code(), retry: 2}, act{code: mesh.Overloaded.Code()}); err != nil {
		t.Fatal(err)
	}
	if len(c.waited) != 2 || c.waited[0] < 2*time.Second || c.waited[0] > 3*time.Second {
		t.Errorf("waited %v, want Retry-After and up to half more", c.waited)
	}
	_, err := c.talk(t, mesh.TagStatus, needAny, slices.Repeat([]act{{code: mesh.Overloaded.Code()}}, 99)...)
	r := refusalOf(t, err)
	if !r.Temporary() || len(c.waited) > 12 {
		t.Errorf("%v after waiting %v", err, c.waited)
	}
	_, err = c.talk(t, mesh.TagStatus, needAny, act{code: mesh.RateLimited.Code(), retry: 3600})
	if r := refusalOf(t, err); r.RetryAfter != time.Hour {
		t.Errorf("RetryAfter %v, want an hour", r.RetryAfter)
	}
}

// AUTH §5: three quarters into its life a ticket is replaced before it is refused; for a deletion sooner.
func TestSessionRenewsTickets(t *testing.T) {
	c := newCaller(t, newFake(t), "https")
	if _, err := c.talk(t, mesh.TagStatus, needAny); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		at   time.Duration
		tag  string
		need need
		log  []string
	}{
		{40 * time.Minute, mesh.TagStatus, needAny, []string{"Status ticket"}},
		{41 * time.Minute, mesh.TagDeleteAccount, needFresh, []string{"Hello exchange", "DeleteAccount ticket"}},
		{41 * time.Minute, mesh.TagDeleteAccount, needFresh, []string{"DeleteAccount ticket"}},
		{87 * time.Minute, mesh.TagUpload, needTicket, []string{"Hello exchange", "Upload ticket"}},
	}
	for _, s := range steps {
		c.clock = s.at
		log, err := c.talk(t, s.tag, s.need)
		if diff := cmp.Diff(s.log, log); err != nil || diff != "" {
			t.Errorf("after %v: %v (-want +got):\n%s", s.at, err, diff)
		}
	}
}

// AUTH §7: without TLS nothing but Hello goes into an exchange.
func TestSessionOverCleartext(t *testing.T) {
	c := newCaller(t, newFake(t), "http")
	log, err := c.talk(t, mesh.TagStatus, needAny)
	if diff := cmp.Diff([]string{"Hello null", "Hello exchange", "Status ticket"}, log); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	c.pin, c.service = "", nil
	if _, err := c.talk(t, mesh.TagStatus, needAny); err == nil {
		t.Error("neither TLS nor a pin, and yet it was believed")
	}
}

// AUTH §8: an answer to another Hello, a service that is not the pinned one, a host that the service did not sign.
func TestHelloIsVerified(t *testing.T) {
	c := newCaller(t, newFake(t), "https")
	var network *NetworkError
	if _, err := c.talk(t, mesh.TagStatus, needAny, act{noEcho: true}); !errors.As(err, &network) {
		t.Errorf("an old Hello: %v, want it refused", err)
	}
	other := newFake(t)
	own := c.fake.provider
	c.fake.provider = other.provider
	_, err := c.talk(t, mesh.TagStatus, needAny)
	var proof *ProofError
	if !errors.As(err, &proof) || proof.Fault != "service" {
		t.Errorf("another service: %v, want it named", err)
	}
	mixed := *own.Gateway
	mixed.EnvelopedProfileHost = other.provider.Gateway.EnvelopedProfileHost
	mixed.Signature = other.provider.Gateway.Signature
	c.fake.provider = &mesh.Provider{Gateway: &mixed}
	if _, err := c.talk(t, mesh.TagStatus, needAny); !errors.As(err, &network) {
		t.Errorf("a host of another service: %v, want it refused", err)
	}
	mixed = *own.Gateway
	mixed.Signature = other.provider.Gateway.Signature
	if _, err := c.talk(t, mesh.TagStatus, needAny); !errors.As(err, &network) {
		t.Errorf("a Hello that another host signed: %v, want it refused", err)
	}
	c.fake.provider = own
	if _, err := c.talk(t, mesh.TagStatus, needAny); err != nil {
		t.Error(err)
	}
	c.ticket = nil // the service has got another S since; the pin stays
	renewed, err := mesh.NewProvider("example.com", time.Now(), 2)
	if err != nil {
		t.Fatal(err)
	}
	c.fake.provider = renewed
	if _, err := c.talk(t, mesh.TagStatus, needAny); !errors.As(err, &proof) {
		t.Errorf("a service that took the place of another: %v, want it named", err)
	}
}

// What answers is no Mesh Service: three attempts, and the user is told so.
func TestNoMeshThere(t *testing.T) {
	c := newCaller(t, newFake(t), "https")
	if _, err := c.talk(t, mesh.TagStatus, needAny); err != nil {
		t.Fatal(err)
	}
	page := act{http: http.StatusBadGateway, body: "<html>"}
	log, err := c.talk(t, mesh.TagStatus, needAny, page, page, page, page)
	var network *NetworkError
	if !errors.As(err, &network) || len(log) != discover.Attempts {
		t.Errorf("%v after %d attempts, want a network error after %d", err, len(log), discover.Attempts)
	}
}

// A pin that the user gives counts also where this machine knows the service already.
func TestPinAgainstWhatIsKnown(t *testing.T) {
	s := newShop(t)
	known := s.fake.provider.Gateway.Service.UDF()
	for pin, fits := range map[string]bool{known: true, strings.ToLower(known): true, s.account.member.Account.UDF(): false} {
		s.account.conf.Pins = map[string]string{"example.com": pin}
		_, err := s.account.newSession(t.Context())
		var proof *ProofError
		if (err == nil) != fits || err != nil && (!errors.As(err, &proof) || proof.Fault != string(checkService)) {
			t.Errorf("pinned %s, known %s: %v", pin, known, err)
		}
	}
}
