package shard

import (
	"container/list"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What an account may post (PROTOCOL §1.7). Kept in the process: with N processes of a shard it is up to N times as much, and a
// restart forgets it (docs/guarantees.md).
const (
	postsPerMinute = 60
	postsPerDay    = 1000
	// ratedAccounts are remembered: those that posted last. Who is forgotten among so many has not posted for long.
	ratedAccounts = 65536
)

// rates are the allowances of accounts.
type rates struct {
	now func() time.Time

	mu        sync.Mutex
	order     *list.List // of *allowance, the last used in front
	byAccount map[string]*list.Element
}

type allowance struct {
	account     string
	minute, day *rate.Limiter
}

func newRates(now func() time.Time) *rates {
	return &rates{now: now, order: list.New(), byAccount: make(map[string]*list.Element)}
}

// take takes n messages out of the allowance of an account: 0, or after what time to try again; then nothing is taken. More than
// a minute's at once, which no Post has, is let through by an untouched allowance only.
func (r *rates) take(account string, n int) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	element, ok := r.byAccount[account]
	if !ok {
		element = r.order.PushFront(&allowance{
			account: account,
			minute:  rate.NewLimiter(rate.Every(time.Minute/postsPerMinute), postsPerMinute),
			day:     rate.NewLimiter(rate.Every(24*time.Hour/postsPerDay), postsPerDay),
		})
		r.byAccount[account] = element
		if r.order.Len() > ratedAccounts {
			delete(r.byAccount, r.order.Remove(r.order.Back()).(*allowance).account)
		}
	}
	r.order.MoveToFront(element)
	a, now := element.Value.(*allowance), r.now()
	n = min(n, postsPerMinute)
	var taken []*rate.Reservation
	for _, l := range []*rate.Limiter{a.minute, a.day} {
		reservation := l.ReserveN(now, n)
		taken = append(taken, reservation)
		if wait := reservation.DelayFrom(now); wait > 0 {
			for _, t := range taken {
				t.CancelAt(now)
			}
			return wait
		}
	}
	return 0
}
