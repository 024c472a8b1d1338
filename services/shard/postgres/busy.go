package postgres

import (
	"context"
	"sync"
)

// writersOfAccount is how many writers of one account may have a connection: one works, the next waits at the lock, so that
// there is no pause between them. More would wait too, and keep connections from other accounts.
const writersOfAccount = 2

// busy holds writers back whose account has as many as are useful. The order of effects is the database's: this is no lock,
// other processes know nothing of it. The zero value is ready. Safe for concurrent use.
type busy struct {
	mu       sync.Mutex
	accounts map[accountKey]*turn
}

type accountKey struct {
	partition uint16
	address   string
}

type turn struct {
	users int // holders and waiters
	slots chan struct{}
}

// enter waits for a place; done gives it back.
func (b *busy) enter(ctx context.Context, partition uint16, address string) (done func(), err error) {
	key := accountKey{partition, address}
	b.mu.Lock()
	if b.accounts == nil {
		b.accounts = make(map[accountKey]*turn)
	}
	t := b.accounts[key]
	if t == nil {
		t = &turn{slots: make(chan struct{}, writersOfAccount)}
		b.accounts[key] = t
	}
	t.users++
	b.mu.Unlock()

	leave := func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(b.accounts, key)
		}
	}
	select {
	case t.slots <- struct{}{}:
		return func() { <-t.slots; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// count is how many accounts have writers.
func (b *busy) count() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.accounts)
}
