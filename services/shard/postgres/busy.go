package postgres

import (
	"context"
	"slices"
	"sync"
)

// writersOfAccount is how many writers of one account may have a connection: one works, the next waits at the lock, so that
// there is no pause between them. More would wait too, and keep connections from other accounts.
const writersOfAccount = 2

// busy holds writers back whose account has as many as are useful. The order of effects is the database's: this is no lock,
// other processes know nothing of it. The zero value is ready. Safe for concurrent use.
type busy struct {
	mu       sync.Mutex
	accounts map[accountKey]turn
}

type accountKey struct {
	partition uint16
	address   string
}

// turn is the writers of an account: those who have a place, and those who wait for one, in their order.
type turn struct {
	inside  int
	waiting []chan struct{}
}

// enter waits for a place; leave gives it back.
func (b *busy) enter(ctx context.Context, key accountKey) error {
	b.mu.Lock()
	if b.accounts == nil {
		b.accounts = make(map[accountKey]turn)
	}
	t := b.accounts[key]
	if t.inside < writersOfAccount {
		t.inside++
		b.accounts[key] = t
		b.mu.Unlock()
		return nil
	}
	place := make(chan struct{})
	t.waiting = append(t.waiting, place)
	b.accounts[key] = t
	b.mu.Unlock()

	select {
	case <-place:
		return nil
	case <-ctx.Done():
		b.forget(key, place)
		return ctx.Err()
	}
}

// leave hands a place to the writer who has waited longest.
func (b *busy) leave(key accountKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := b.accounts[key]
	if len(t.waiting) > 0 {
		close(t.waiting[0])
		t.waiting = t.waiting[1:]
	} else if t.inside--; t.inside == 0 {
		delete(b.accounts, key)
		return
	}
	b.accounts[key] = t
}

// forget is of a writer who waits no longer. The place may have come at the same moment.
func (b *busy) forget(key accountKey, place chan struct{}) {
	b.mu.Lock()
	t := b.accounts[key]
	i := slices.Index(t.waiting, place)
	if i >= 0 {
		t.waiting = slices.Delete(t.waiting, i, i+1)
		b.accounts[key] = t
	}
	b.mu.Unlock()
	if i < 0 {
		b.leave(key)
	}
}

// count is how many accounts have writers.
func (b *busy) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.accounts)
}
