package gateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// noVerdictRetry is when a service should try again what has no verdict: the first step of its own schedule (D-37).
const noVerdictRetry = 5 * time.Second

// receive takes messages that another service forwards (PROTOCOL §4.1). What can be refused without a key is refused
// here; signatures and everything after them are the inbound worker's, whose verdict is the answer. Accept means that
// the recipient's shard has committed; what has no verdict in time has no Result, and the sender's service, which keeps
// the message, tries again (D-54).
func (q *request) receive(ctx context.Context, body jbcd.Raw) (mesh.ResponseMessage, error) {
	const op = "gateway.receive"
	if !q.visits.enter(q.who.profileUDF) {
		q.readID(body)
		return nil, limited(op, time.Second)
	}
	defer q.visits.leave(q.who.profileUDF)
	var v mesh.PostRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return nil, err
	}
	v.Self = nil // a service has no account here
	for _, b := range []struct {
		*buckets
		key string
	}{{q.serviceLetters, q.who.profileUDF}, {q.addressLetters, q.remote()}} {
		if wait, ok := b.takeN(b.key, forwards(&v, int(b.burst))); !ok {
			return nil, limited(op, wait)
		}
	}
	p, err := q.readPost(&v)
	if err != nil {
		return nil, err
	}
	p.self = nil // nor have messages for nobody
	for i := range p.recipients {
		if r := &p.recipients[i]; r.domain != "" { // no open relay
			r.fault = mesh.UnknownAccount
		}
	}
	if err := q.checkPinned(ctx, p.recipients); err != nil {
		return nil, err
	}
	q.countFaults(ctx, ingress, p)
	return q.deliver(ctx, p)
}

// forwards is how much work a Post is: each message for each recipient asks that one's shard. One that is more than may come at once is as much as that,
// since it could never come otherwise.
func forwards(v *mesh.PostRequest, most int) int {
	n := min(len(v.Message), maxPostMessages) * min(len(v.Accounts), maxRecipients)
	return max(1, min(n, most))
}

// deliver publishes a delivery for each message and answers by the verdicts.
func (q *request) deliver(ctx context.Context, p *posting) (mesh.ResponseMessage, error) {
	const op = "gateway.deliver"
	ids := make([]string, len(p.letters)*len(p.recipients)) // empty where the fate is known
	var items []queue.Item
	var asked []string
	for m, l := range p.letters {
		to := p.addresses(m)
		if len(to) == 0 {
			continue
		}
		envelope, err := l.envelope.MarshalJBCD()
		if err != nil {
			return nil, mesh.E(op, mesh.Internal, err)
		}
		for r, a := range to {
			ids[m*len(p.recipients)+r] = a.GetDeliveryId()
			asked = append(asked, a.GetDeliveryId())
		}
		d := &eventpb.Delivery{
			Envelope: envelope, ServiceUdf: q.who.profileUDF, Domain: q.domain.name, FirstSeen: timestamp(q.now()), Waiter: q.waiter.Token(),
		}
		for r := range p.recipients {
			if a := to[r]; a != nil {
				d.To = append(d.To, a)
			}
		}
		items = append(items, queue.Item{ID: newDeliveryID(), Delivery: d})
	}
	ctx, cancel := context.WithTimeout(ctx, verdictTime)
	defer cancel()
	// An item with an error may be stored all the same; without a server none is, and the errors come at once.
	errs := q.queue.Publish(ctx, queue.Inbound, items...)
	var verdicts map[string]*eventpb.Verdict
	if slices.Contains(errs, nil) {
		verdicts = q.await(ctx, asked)
	}
	if unaccredited(asked, verdicts) {
		return nil, mesh.Errorf(op, mesh.Unaccredited, "the service does not speak for the sender's domain")
	}
	return q.forwarded(p, ids, verdicts, errors.Join(errs...)), nil
}

// addresses are the recipients of message m that have no fault, by their place, each with a delivery of its own.
func (p *posting) addresses(m int) map[int]*eventpb.Address {
	if p.letters[m].fault != 0 {
		return nil
	}
	to := make(map[int]*eventpb.Address)
	for i, r := range p.recipients {
		if r.fault == 0 {
			to[i] = &eventpb.Address{Address: r.address, DeliveryId: newDeliveryID()}
		}
	}
	return to
}

// newDeliveryID is a random name. A repetition by the sender's service is another delivery: it wants a verdict too, and the
// recipient's shard knows the message.
func newDeliveryID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// unaccredited says whether every delivery was refused because the service does not speak for the sender: that is a
// fault of the request (D-38).
func unaccredited(ids []string, verdicts map[string]*eventpb.Verdict) bool {
	for _, id := range ids {
		if v := verdicts[id]; v == nil || v.GetAccepted() || int(v.GetCode()) != mesh.Unaccredited.Code().Extended {
			return false
		}
	}
	return len(ids) > 0
}

// forwarded is the answer to a service; fault is why deliveries may not have been published.
func (q *request) forwarded(p *posting, ids []string, verdicts map[string]*eventpb.Verdict, fault error) *mesh.PostResponse {
	r := new(mesh.PostResponse)
	var moved string
	open := false
	for m, l := range p.letters {
		for _, place := range p.place {
			i := len(r.Entries)
			one := mesh.EntryResponse{IndexRequest: int64(i)}
			refused := l.fault
			if refused == 0 {
				refused = p.recipients[place].fault
			}
			v := verdicts[ids[m*len(p.recipients)+place]]
			switch {
			case refused != 0:
				one.Result, one.Reason = mesh.ResultReject, refused.String()
			case v != nil:
				one = verdictResponse(i, v)
				if i == 0 {
					moved = v.GetRedirect()
				}
			default:
				open = true
			}
			r.Entries = append(r.Entries, one)
		}
	}
	ok(q, r)
	if open {
		q.fault = mesh.E("gateway.forwarded", mesh.Overloaded, errors.Join(rpc.RetryAfter(noVerdictRetry), fault))
		r.Status, r.StatusExtended, r.StatusDescription = http.StatusServiceUnavailable, int64(mesh.Overloaded.Code().Extended), mesh.Overloaded.String()
		return r
	}
	tellRefused(r, r.Entries, moved)
	return r
}

// visits bounds how many Posts of each service are under way: each waits up to three seconds for access control.
type visits struct {
	max int

	mu sync.Mutex
	n  map[string]int // by UDF of the ProfileService, while there are any
}

// enter says whether one more may come; then leave must follow.
func (v *visits) enter(service string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.n[service] >= v.max {
		return false
	}
	v.n[service]++
	return true
}

func (v *visits) leave(service string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.n[service]--; v.n[service] <= 0 {
		delete(v.n, service)
	}
}
