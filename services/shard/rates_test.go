package shard

import (
	"fmt"
	"testing"
	"time"
)

// An account may post sixty messages a minute and a thousand a day (PROTOCOL §1.7); another account's allowance is its own.
func TestRates(t *testing.T) {
	now := time.Unix(1_790_000_000, 0)
	r := newRates(func() time.Time { return now })
	take := func(account string, n int, want time.Duration) {
		t.Helper()
		if got := r.take(account, n); got.Round(time.Millisecond) != want {
			t.Errorf("%s takes %d: wait %v, want %v", account, n, got, want)
		}
	}
	take("alice", 60, 0)
	take("alice", 1, time.Second)
	take("alice", 32, 32*time.Second) // a refusal takes nothing
	take("bob", 60, 0)
	now = now.Add(time.Second)
	take("alice", 1, 0)
	take("alice", 1, time.Second)

	sent := 61 // of the day's thousand, which come back at 41.7 an hour
	for range 30 {
		now = now.Add(time.Minute)
		if r.take("alice", 60) == 0 {
			sent += 60
		}
	}
	if sent < 1000-60 || sent > 1000+30 {
		t.Errorf("%d messages within half an hour: the day's limit does not count", sent)
	}
	for i := range ratedAccounts + 1 {
		r.take(fmt.Sprint("crowd", i), 1)
	}
	if len(r.byAccount) != ratedAccounts || r.order.Len() != ratedAccounts {
		t.Errorf("%d accounts are remembered", len(r.byAccount))
	}
}
