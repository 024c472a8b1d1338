//go:build e2e

package e2e_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// refusalTime: a gateway gives a shard ten seconds, and this machine may be busy.
const refusalTime = 15 * time.Second

// One shard stops, is killed, hangs: its accounts get 503/31, sealed, in bounded time, and the others notice nothing. When it
// is back all is as it was (C-022, C-145).
func TestShardAway(t *testing.T) {
	db := newDatabase(t)
	d := deploy(t, stack.Postgres, db.create)
	s := meet(t, d.State)
	hers, his := residents(t, s)

	for _, how := range []struct {
		name       string
		away, back func()
	}{
		{"stopped", func() { d.Shards[0].Stop(t) }, func() { d.Shards[0].Start(t); d.Shards[0].WaitReady(t) }},
		{"killed", func() { d.Shards[0].Kill(t) }, func() { d.Shards[0].Start(t); d.Shards[0].WaitReady(t) }},
		{"hung", func() { d.Shards[0].Signal(t, syscall.SIGSTOP) }, func() { d.Shards[0].Signal(t, syscall.SIGCONT) }},
	} {
		how.away()
		// Hers begins first: when the shard hangs, his writes go on while she waits.
		answer := make(chan error, 1)
		began := time.Now()
		go func() {
			_, _, err := hers.status(t.Context())
			answer <- err
		}()
		for n := range 10 {
			if err := his.write(t.Context()); err != nil {
				t.Errorf("%s: write %d to the other shard: %v", how.name, n, err)
			}
		}
		his.unchanged(t, "writing while the other shard was "+how.name)
		wantUnavailable(t, how.name+": Status", <-answer)
		took := time.Since(began)
		t.Logf("%s: refused after %v", how.name, took.Round(time.Millisecond))
		if took > refusalTime {
			t.Errorf("%s: the refusal took %v", how.name, took)
		}
		how.back()

		hers.patient = true // a connection to a process that came back takes a moment
		hers.unchanged(t, "the shard was "+how.name)
		if err := hers.write(t.Context()); err != nil {
			t.Errorf("after the shard was %s: %v", how.name, err)
		}
		hers.patient = false
	}
	d.Fsck(t)
}

// Partitions that are frozen refuse writes with 503/31 and serve reads; thawed, they go on where they were (docs/design.md,
// Partitions and shards).
func TestFrozenPartition(t *testing.T) {
	dir := t.TempDir()
	for store, databases := range map[string]func(string) string{
		stack.SQLite:   func(shard string) string { return filepath.Join(dir, shard+".db") },
		stack.Postgres: newDatabase(t).create,
	} {
		t.Run(store, func(t *testing.T) {
			d := deploy(t, store, databases)
			hers, his := residents(t, meet(t, d.State))
			partitions := func(verb string) {
				t.Helper()
				d.Binaries.Run(t, "meshctl", "partitions", verb, fmt.Sprint(shardmap.Of(hers.address)), "--shard-map", d.State.ShardMap, "--pki", d.State.PKI)
			}
			partitions("freeze")
			wantUnavailable(t, "a write to a frozen partition", hers.write(t.Context()))
			hers.unchanged(t, "a refused write") // and reads go on
			if err := his.write(t.Context()); err != nil {
				t.Errorf("another partition: %v", err)
			}
			partitions("thaw")
			if err := hers.write(t.Context()); err != nil {
				t.Errorf("after the thaw: %v", err)
			}
			hers.unchanged(t, "the thaw")
			d.Fsck(t)
		})
	}
}

// residents are two people with accounts on the first and the second shard.
func residents(t *testing.T, s *service) (first, second *person) {
	t.Helper()
	for first == nil || second == nil {
		address := someone(s.Domain)
		who := &first
		if shardmap.Of(address) >= shardmap.Partitions/2 {
			who = &second
		}
		if *who != nil {
			continue
		}
		var err error
		if *who, err = s.join(t.Context(), address, false); err != nil {
			t.Fatal(err)
		}
	}
	return first, second
}

// wantUnavailable wants an authenticated 503/31.
func wantUnavailable(t *testing.T, what string, err error) {
	t.Helper()
	var r *refusal
	if !errors.As(err, &r) || r.hint || r.Status != 503 || r.StatusExtended != 31 {
		t.Errorf("%s: %v, want a sealed 503/31", what, err)
	}
}
