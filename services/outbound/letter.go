package outbound

import (
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
)

// maxRecipients of a message (D-25).
const maxRecipients = 100

// letter is a delivery in memory.
type letter struct {
	*eventpb.Delivery
	route    route
	accounts []string // recipients, in the order of To
	together string   // letters of equal text may go in one Post
	first    time.Time
	span     trace.SpanContext

	alone  bool         // to be sent by itself: the Post that it was in was refused as a whole
	class  class        // whose room it takes
	result chan outcome // of one value
}

// route is from which of our domains to which domain: who we are at the destination depends on the sender's.
type route struct{ from, to string }

// errLetter and those below say what is wrong with a delivery: it came from our own shard, so an operator must look.
var (
	errRecipients = errors.New("recipients of no one domain")
	errSender     = errors.New("no sender")
	errEnvelope   = errors.New("not a message")
)

// read makes a letter of a delivery.
func read(d *eventpb.Delivery, now time.Time) (*letter, error) {
	l := &letter{Delivery: d, first: d.GetFirstSeen().AsTime(), result: make(chan outcome, 1)}
	if d.GetFirstSeen() == nil || l.first.After(now) {
		l.first = now
	}
	var err error
	if l.route.from, err = domainOf(d.GetSenderAccount()); err != nil {
		return nil, errSender
	}
	if len(d.GetTo()) == 0 || len(d.GetTo()) > maxRecipients {
		return nil, errRecipients
	}
	for _, to := range d.GetTo() {
		domain, err := domainOf(to.GetAddress())
		if err != nil || l.route.to != "" && domain != l.route.to {
			return nil, errRecipients
		}
		l.route.to = domain
		l.accounts = append(l.accounts, to.GetAddress())
	}
	l.together = strings.Join(l.accounts, "\n")
	if len(d.GetEnvelope()) > mesh.MaxMessage || jbcd.Valid(d.GetEnvelope(), jbcd.DefaultLimits) != nil {
		return nil, errEnvelope
	}
	if _, err := dare.Parse(d.GetEnvelope()); err != nil {
		return nil, errEnvelope
	}
	return l, nil
}

// domainOf is the domain of a canonical address.
func domainOf(address string) (string, error) {
	a, err := mesh.ParseAddress(address)
	return a.Domain, err
}
