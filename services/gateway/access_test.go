package gateway

import (
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// table is PROTOCOL §1.6 as the page has it, the ticket column split by the mode of the exchange that gave the ticket.
// y: may; n: 401/8, without authentication 401/7; f: only by a fresh ticket, else 401/9; r: only for what exists.
const table = `
               null device profile deviceTicket ticket service
Hello          y    y      y       y            y      y
CreateAccount  n    y      y       n            r      n
DeleteAccount  n    n      f       n            f      n
Connect        n    y      n       n            n      n
Complete       n    y      y       y            y      n
Status         n    n      y       n            y      n
Download       n    n      y       n            y      n
Upload         n    n      y       n            y      n
Publish        n    n      y       n            y      n
Post           n    n      y       n            y      y
Claim          n    n      y       n            y      n
PollClaim      n    y      y       y            y      n
CreateGroup    n    n      y       n            y      n
Operate        n    n      y       n            y      n
`

// Covers C-050, C-052, C-057, C-059, C-060 and C-213 as far as the mode decides.
func TestRulesReadLikeThePage(t *testing.T) {
	have := rules()
	lines := strings.Split(strings.TrimSpace(table), "\n")[1:]
	if len(have) != len(lines) || len(have) != len(mesh.Transactions()) {
		t.Fatalf("%d rules, the page has %d and the draft %d", len(have), len(lines), len(mesh.Transactions()))
	}
	letters := map[string]verdict{"y": yes, "n": no, "f": fresh, "r": replacing}
	for i, line := range lines {
		want := strings.Fields(line)
		if have[i].name != want[0] {
			t.Errorf("row %d is %s, want %s", i, have[i].name, want[0])
			continue
		}
		for m := range manners {
			if got := have[i].may[m]; got != letters[want[1+m]] {
				t.Errorf("%s, %s: %d, want %s", have[i].name, m, got, want[1+m])
			}
		}
	}
	for _, name := range mesh.Transactions() {
		found := false
		for i := range have {
			found = found || have[i].name == name
		}
		if !found {
			t.Errorf("no rule for %s", name)
		}
	}
}

func TestPermit(t *testing.T) {
	byName := make(map[string]*rule)
	for _, r := range rules() {
		byName[r.name] = &r
	}
	const exchange = time.Duration(-1)
	for _, c := range []struct {
		name  string
		by    manner
		age   time.Duration
		local bool
		want  mesh.Kind
		ok    bool
	}{
		{"Hello", byNull, exchange, false, 0, true},
		{"Status", byNull, exchange, false, mesh.NotAuthenticated, false},
		{"Status", byDevice, exchange, false, mesh.NotAuthorized, false},
		{"Status", byProfile, exchange, true, 0, true},
		{"Status", byProfile, exchange, false, mesh.NotAuthorized, false}, // a foreign profile
		{"Status", byProfileTicket, time.Hour, true, 0, true},
		{"Status", byDeviceTicket, time.Second, true, mesh.NotAuthorized, false},
		{"Status", byService, exchange, false, mesh.NotAuthorized, false},
		{"Claim", byProfile, exchange, false, 0, true}, // also by a foreign one
		{"Post", byService, time.Minute, false, 0, true},
		{"DeleteAccount", byDevice, exchange, false, mesh.NotAuthorized, false},
		{"DeleteAccount", byProfile, exchange, true, mesh.TicketExpired, false},
		{"DeleteAccount", byProfileTicket, freshness, true, 0, true},
		{"DeleteAccount", byProfileTicket, freshness + time.Millisecond, true, mesh.TicketExpired, false},
		{"CreateAccount", byProfileTicket, time.Hour, true, 0, true}, // replacing is the shard's to judge
		{"CreateAccount", byDeviceTicket, time.Second, false, mesh.NotAuthorized, false},
		{"Connect", byDeviceTicket, time.Second, false, mesh.NotAuthorized, false},
	} {
		err := byName[c.name].permit(c.by, c.age, c.local)
		if (err == nil) != c.ok || err != nil && mesh.KindOf(err) != c.want {
			t.Errorf("%s by %s, ticket %s old, local %t: %v, want ok %t, %s", c.name, c.by, c.age, c.local, err, c.ok, c.want)
		}
	}
}
