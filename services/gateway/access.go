package gateway

import (
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// manner is how a caller has shown who it is: the columns of PROTOCOL §1.6, tickets by the mode of their exchange.
type manner uint8

const (
	byNull manner = iota
	byDevice
	byProfile
	byDeviceTicket
	byProfileTicket
	byService // exchange or ticket
	manners
)

// String is the `auth` attribute of the metric.
func (m manner) String() string {
	switch m {
	case byDevice:
		return "device"
	case byProfile:
		return "profile"
	case byDeviceTicket:
		return "device-ticket"
	case byProfileTicket:
		return "ticket"
	case byService:
		return "service"
	}
	return "null"
}

// verdict is a cell of the table.
type verdict uint8

const (
	no        verdict = iota // 401/8; without any authentication 401/7
	yes                      //
	replacing                // only for what exists: the shard is told that nothing may be created
	fresh                    // by a ticket issued at most freshness ago, else 401/9
)

// freshness is how long a ticket proves that its holder has just made an exchange in which both sides took part: who
// has stolen the service's key can forge exchange requests but no ticket (AUTH §5).
const freshness = 120 * time.Second

// small is the cap of bodies that hold no envelopes to store (PROTOCOL §1.7).
const small = 64 << 10

// rule is a row of PROTOCOL §1.6.
type rule struct {
	name  string
	may   [manners]verdict
	owner bool // the acting party is a device of an account served here; else also a foreign one, a new one or none
	body  int  // cap of the HTTP body
}

// rules is PROTOCOL §1.6, in its order and with its columns. A ticket answers where it says "ticket": of profile mode
// unless the device ticket has a column of its own. Service mode may Status and Download as a backup peer (D-41); no
// peer has that right yet, so it is the answer of a peer without it.
func rules() []rule {
	const (
		anyone = false
		owner  = true
	)
	return []rule{
		//                 null device     profile    device     profile    service
		//                                            ticket     ticket
		{"Hello", [...]verdict{yes, yes, yes, yes, yes, yes}, anyone, small},
		{"CreateAccount", [...]verdict{no, yes, yes, no, replacing, no}, anyone, maxBody},
		{"DeleteAccount", [...]verdict{no, no, fresh, no, fresh, no}, owner, maxBody},
		{"Connect", [...]verdict{no, yes, no, no, no, no}, anyone, small},
		{"Complete", [...]verdict{no, yes, yes, yes, yes, no}, anyone, small},
		{"Status", [...]verdict{no, no, yes, no, yes, no}, owner, small},
		{"Download", [...]verdict{no, no, yes, no, yes, no}, owner, maxBody},
		{"Upload", [...]verdict{no, no, yes, no, yes, no}, owner, maxBody},
		{"Publish", [...]verdict{no, no, yes, no, yes, no}, owner, maxBody},
		{"Post", [...]verdict{no, no, yes, no, yes, yes}, anyone, maxBody},
		{"Claim", [...]verdict{no, no, yes, no, yes, no}, anyone, small},
		{"PollClaim", [...]verdict{no, yes, yes, yes, yes, no}, anyone, small},
		{"CreateGroup", [...]verdict{no, no, yes, no, yes, no}, owner, maxBody},
		{"Operate", [...]verdict{no, no, yes, no, yes, no}, anyone, maxBody},
	}
}

// permit says whether a caller may ask for the transaction. age is that of the ticket (negative under an exchange);
// local says that the caller's account is served here.
func (r *rule) permit(by manner, age time.Duration, local bool) error {
	const op = "gateway.permit"
	switch v := r.may[by]; {
	case v == no && by == byNull:
		return mesh.Errorf(op, mesh.NotAuthenticated, "%s without authentication", r.name)
	case v == no:
		return mesh.Errorf(op, mesh.NotAuthorized, "%s in mode %s", r.name, by)
	case r.owner && !local:
		return mesh.Errorf(op, mesh.NotAuthorized, "%s for an account of another service", r.name)
	case v == fresh && (age < 0 || age > freshness):
		return mesh.Errorf(op, mesh.TicketExpired, "%s needs a fresh ticket", r.name)
	}
	return nil
}
