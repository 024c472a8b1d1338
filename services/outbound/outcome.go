package outbound

import (
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/discover"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// Rules that this worker decides by, as they stand in an outbox row. What another provider refuses stands there under the name that
// the registry has for it.
const (
	ruleDelivered = "delivered"
	ruleRefused   = "refused"
	ruleExpired   = "expired"
	ruleNoDomain  = "no-such-domain"
	ruleNoService = "no-service"
)

// answer is what came of a Post.
type answer struct {
	entries []mesh.EntryResponse
	reached bool // the Post itself was answered, under its keys
	err     error
	took    time.Duration // of the Post alone
	whole   time.Duration // with what had to be done before it
}

// outcome is what becomes of a letter. Without settlements it is handed back to the queue as it came.
type outcome struct{ settlements []*shardpb.Settlement }

// refusal is the sealed refusal of an answer, nil when there is none. A hint is none: anybody may have said it.
func (a *answer) refusal() *client.ServiceError {
	var r *client.ServiceError
	if errors.As(a.err, &r) && !r.Hint {
		return r
	}
	return nil
}

// permanent says that the destination refuses what was sent for good (D-37): 4xx but for 401/9–11 and 429. A service that refuses us
// before it has seen a Post does so for good only when it says that it blocks us: everything else is a fault between services.
func (a *answer) permanent() (mesh.Code, bool) {
	r := a.refusal()
	if r == nil {
		return mesh.Code{}, false
	}
	if !a.reached {
		return r.Code, r.Code.Extended == mesh.ServiceBlockedService.Code().Extended || r.Code.Extended == mesh.Unaccredited.Code().Extended
	}
	switch r.Code {
	case mesh.TicketExpired.Code(), mesh.TicketInvalid.Code(), mesh.RequestStale.Code():
		return r.Code, false
	}
	return r.Code, r.Code.Status >= 400 && r.Code.Status < 500 && r.Code.Status != 429
}

// retryAfter is how long the destination wants to be left alone; 0: it did not say.
func (a *answer) retryAfter() time.Duration {
	var r *client.ServiceError
	if errors.As(a.err, &r) {
		return r.RetryAfter
	}
	return 0
}

// life is how long a letter lives that had this answer, and what ends it.
func (a *answer) life() (time.Duration, string) {
	var none *discover.Error
	if errors.As(a.err, &none) {
		switch none.Reason {
		case discover.NoDomain:
			return noDomainLife, ruleNoDomain
		case discover.NoService:
			return noServiceLife, ruleNoService
		}
	}
	return lifetime, ruleExpired
}

// verdicts sorts the entries of an answer: for letter m of a Post to r recipients that of recipient i stands at m·r + i (PROTOCOL §4.1).
// What is out of range or comes twice is nobody's.
func (a *answer) verdicts(letters, recipients int) []*mesh.EntryResponse {
	sorted := make([]*mesh.EntryResponse, letters*recipients)
	for i := range a.entries {
		if n := a.entries[i].IndexRequest; n >= 0 && n < int64(len(sorted)) && sorted[n] == nil {
			sorted[n] = &a.entries[i]
		}
	}
	return sorted
}

// outcomes are those of the letters of a Post, by position; one without any is to be sent again by itself, because the Post was refused
// as a whole and another letter may be the reason. earliest is when the destination takes letters again.
func (a *answer) outcomes(letters []*letter, now, earliest time.Time) []*outcome {
	r := len(letters[0].accounts)
	verdicts := a.verdicts(len(letters), r)
	code, permanent := a.permanent()
	all := make([]*outcome, len(letters))
	for m, l := range letters {
		o := new(outcome)
		for i, to := range l.GetTo() {
			s := settled(verdicts[m*r+i])
			switch {
			case s != nil:
			case permanent && a.reached && len(letters) > 1:
				continue
			case permanent:
				s = failed(code.Extended, mesh.KindOfCode(code).String())
			default:
				s = a.again(l, now, earliest)
			}
			s.Id = to.GetDeliveryId()
			o.settlements = append(o.settlements, s)
		}
		if len(o.settlements) == r { // a verdict for some of its recipients only: it is asked about again, which is harmless
			all[m] = o
		}
	}
	return all
}

// settled is the settlement of an entry with a verdict, nil for one without.
func settled(e *mesh.EntryResponse) *shardpb.Settlement {
	switch {
	case e == nil:
	case e.Result == mesh.ResultAccept:
		return &shardpb.Settlement{
			State:   shardpb.Settlement_STATE_DELIVERED,
			Verdict: &shardpb.AccessVerdict{Accepted: true, Rule: ruleDelivered},
		}
	case e.Result == mesh.ResultReject:
		for _, k := range mesh.Kinds() {
			if n := k.Code().Extended; n != 0 && k.String() == e.Reason {
				return failed(n, e.Reason)
			}
		}
		return failed(mesh.InsufficientPrivilege.Code().Extended, ruleRefused) // by a rule of theirs that has no name here
	}
	return nil
}

func failed(code int, rule string) *shardpb.Settlement {
	return &shardpb.Settlement{
		State:   shardpb.Settlement_STATE_FAILED,
		Verdict: &shardpb.AccessVerdict{Code: uint32(code), Rule: rule}, //nolint:gosec // a code of the registry
	}
}

// again puts a letter off, or gives it up when its life is over.
func (a *answer) again(l *letter, now, earliest time.Time) *shardpb.Settlement {
	if t := now.Add(a.retryAfter()); t.After(earliest) {
		earliest = t
	}
	life, rule := a.life()
	at, ok := next(now, l.first, earliest, int(l.GetAttempts()), life)
	if ok {
		return retry(at)
	}
	code := mesh.RateLimited.Code().Extended // nearest in the registry: it could not be served in time
	if rule != ruleExpired {
		code = mesh.UnknownAccount.Code().Extended
	}
	return failed(code, rule)
}

func retry(at time.Time) *shardpb.Settlement {
	return &shardpb.Settlement{State: shardpb.Settlement_STATE_RETRY, NextAttempt: timestamppb.New(at)}
}

// putOff is the outcome of a letter that was not sent.
func putOff(l *letter, s func() *shardpb.Settlement) outcome {
	var o outcome
	for _, to := range l.GetTo() {
		one := s()
		one.Id = to.GetDeliveryId()
		o.settlements = append(o.settlements, one)
	}
	return o
}
