//go:build e2e

package e2e_test

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/e2e"
	"github.com/mathmesh/meshd/services/internal/stack"
)

const (
	alpha = "alpha.example"
	beta  = "beta.example"
	// soon is when a message must have crossed on a busy machine.
	soon = 20 * time.Second
	// late is when it must have after faults: a lease of two minutes, after which the relay publishes again, and a step of the
	// retry schedule.
	late = 4 * time.Minute
)

// providers starts two providers with all roles as processes, on a store.
func providers(t *testing.T, store string) (all []*e2e.Deployment, db *database) {
	t.Helper()
	dir := t.TempDir()
	if store == stack.Postgres {
		db = newDatabase(t)
	}
	var options []e2e.Options
	for i, domain := range []string{alpha, beta} {
		options = append(options, e2e.Options{Binaries: binaries(t), Domain: domain, Shards: 2, Store: store, Databases: func(shard string) string {
			name := []string{"a", "b"}[i] + shard
			if db != nil {
				return db.create(name)
			}
			return filepath.Join(dir, name+".db")
		}})
	}
	return e2e.StartProviders(t, options...), db
}

func member(t *testing.T, d *e2e.Deployment) *person {
	t.Helper()
	p, err := meet(t, d.State).join(t.Context(), someone(d.Domain), true)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Messages cross between two providers, each of four roles as processes with a NATS cluster and databases of its own, found by DNS
// (C-001, C-005, C-123, C-127, C-128, C-129, C-142, C-224, C-228).
func TestMessages(t *testing.T) {
	for _, store := range []string{stack.SQLite, stack.Postgres} {
		t.Run(store, func(t *testing.T) {
			all, _ := providers(t, store)
			messages(t, all[0], all[1])
		})
	}
}

func messages(t *testing.T, a, b *e2e.Deployment) {
	ctx := t.Context()
	alice, carol, bob := member(t, a), member(t, a), member(t, b)
	for what, c := range map[string]struct{ from, to *person }{
		"to another provider": {alice, bob}, "back": {bob, alice}, "to the same provider": {alice, carol},
	} {
		id, e, err := c.from.letter(c.to.address)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // the same message twice is one
			entries, err := c.from.dispatch(ctx, e, c.to.address)
			if err != nil || entries[0].Result != mesh.ResultAccept {
				t.Fatalf("%s: %+v, %v", what, entries, err)
			}
		}
		eventually(t, what+": arrives", soon, func() (bool, error) {
			n, err := c.to.count(ctx, mesh.SpoolInbound, id)
			return n > 0, err
		})
		eventually(t, what+": the sender is told", soon, func() (bool, error) {
			told, err := c.from.told(ctx, id)
			return told["Received"] == 1 && len(told) == 1, err
		})
		if n, err := c.to.count(ctx, mesh.SpoolInbound, id); n != 1 || err != nil {
			t.Errorf("%s: %d times, %v", what, n, err)
		}
	}

	// Nobody there: the sender is told, in both spools.
	id, e, err := alice.letter(someone(beta))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alice.dispatch(ctx, e, someone(beta)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a message to nobody fails", soon, func() (bool, error) {
		told, err := alice.told(ctx, id)
		return told["Failed"] == 1, err
	})

	// The other provider is away, and comes back (C-127).
	b.Gateway.Stop(t)
	id, e, err = alice.letter(bob.address)
	if err != nil {
		t.Fatal(err)
	}
	if entries, err := alice.dispatch(ctx, e, bob.address); err != nil || entries[0].Result != mesh.ResultAccept {
		t.Fatalf("while the other is away: %+v, %v", entries, err)
	}
	time.Sleep(2 * time.Second)
	b.Gateway.Start(t)
	b.Gateway.WaitReady(t)
	eventually(t, "arrives when the other is back", late, func() (bool, error) {
		n, err := bob.count(ctx, mesh.SpoolInbound, id)
		return n == 1, err
	})
}

// sender posts messages to everybody in turn until it is stopped, and remembers what was acknowledged.
type sender struct {
	*person
	mu    sync.Mutex
	acked map[string]*person // MessageID → recipient
}

func (s *sender) run(ctx context.Context, everybody []*person) error {
	for i := 0; ctx.Err() == nil; i++ {
		to := everybody[i%len(everybody)]
		id, e, err := s.letter(to.address)
		if err != nil {
			return err
		}
		entries, err := s.dispatch(context.WithoutCancel(ctx), e, to.address)
		var refused *refusal
		if errors.As(err, &refused) && refused.Status == 429 {
			time.Sleep(time.Second) // sixty a minute
			continue
		}
		if err != nil {
			return err
		}
		if entries[0].Result == mesh.ResultAccept {
			s.mu.Lock()
			s.acked[id] = to
			s.mu.Unlock()
		}
	}
	return nil
}

// Every role of both providers and a NATS server are killed again and again while messages go in all directions: each acknowledged one
// arrives, and arrives once (docs/guarantees.md; C-012, C-127, C-146).
func TestKillMessages(t *testing.T) {
	all, db := providers(t, stack.Postgres)
	var everybody []*person
	var senders []*sender
	for _, d := range all {
		for range 3 {
			p := member(t, d)
			everybody = append(everybody, p)
			senders = append(senders, &sender{person: p, acked: make(map[string]*person)})
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	for _, s := range senders {
		wait.Go(func() {
			if err := s.run(ctx, everybody); err != nil {
				t.Errorf("%s: %v", s.address, err)
			}
		})
	}
	victims := []victim{{"postmaster", db.kill, db.start}}
	for _, d := range all {
		for _, p := range append(d.Processes(), d.Nodes[0]) {
			victims = append(victims, victim{d.Domain + " " + p.Name, func() { p.Kill(t) }, func() { p.Start(t) }})
		}
	}
	rampage(t, 2, victims, victims)
	stop()
	wait.Wait()
	sent := 0
	for _, s := range senders {
		sent += len(s.acked)
	}
	t.Logf("%d messages acknowledged", sent)
	if sent < 20 {
		t.Fatalf("%d messages acknowledged: that is no load", sent)
	}
	var missing []string
	eventually(t, "everything acknowledged arrives", late, func() (bool, error) {
		missing = nil
		have := make(map[string]map[string]int)
		for _, p := range everybody {
			counts, err := p.counts(t.Context(), mesh.SpoolInbound)
			if err != nil {
				return false, err
			}
			have[p.address] = counts
		}
		for _, s := range senders {
			for id, to := range s.acked {
				switch have[to.address][id] {
				case 0:
					missing = append(missing, s.address+" → "+to.address+": "+id)
				case 1:
				default:
					t.Fatalf("%s is there %d times", id, have[to.address][id])
				}
			}
		}
		return len(missing) == 0, nil
	})
	for _, d := range all {
		d.Fsck(t)
	}
}
