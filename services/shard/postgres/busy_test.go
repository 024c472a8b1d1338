package postgres

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

// A pool that is busy is ready; a database that does not answer is not.
func TestPing(t *testing.T) {
	url := server.Database(t)
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for range s.pool.Config().MaxConns {
		c, err := s.pool.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Release()
	}
	within, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for range 2 {
		if err := s.Ping(within); err != nil {
			t.Fatalf("while the pool is busy: %v", err)
		}
	}
	tx, err := connect(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE constant`); err != nil {
		t.Fatal(err)
	}
	short, cancelled := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancelled()
	if err := s.Ping(short); mesh.KindOf(err) != mesh.Overloaded {
		t.Errorf("without an answer: %v, want Overloaded", err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(within); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// One account whose writers wait for each other does not take the connections of all others.
func TestBusyAccount(t *testing.T) {
	url := server.Database(t)
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	account(t, s)
	tx, err := connect(t, url).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1::integer, hashtext($2))`, partition, address); err != nil {
		t.Fatal(err)
	}

	const writers = 2 * connections
	done := make(chan error)
	for i := range writers {
		go func() {
			_, err := s.Apply(t.Context(), application("mmm_Archive", strconv.Itoa(i)))
			done <- err
		}()
	}
	time.Sleep(300 * time.Millisecond) // they are all there; fewer would only make the test easier
	other, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := s.Create(other, shard.Creation{
		Partition: partition, Address: "bob@alpha.example", Caller: caller("bob"), ProfileUDF: "MBOB", MeshUDF: "MMSH",
		ProfileMesh: []byte(`[]`), ProfileAccount: []byte(`[]`), AccountFrame: item("bob@alpha.example"), State: shard.Connected,
	}); err != nil {
		t.Errorf("another account while one is busy: %v", err)
	}
	given, cancelled := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancelled()
	if _, err := s.Apply(given, application("mmm_Archive", "late")); err == nil {
		t.Error("a writer got past the lock")
	}

	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range writers {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if frames := walk(t, url)["mmm_Archive"]; frames != writers+1 {
		t.Errorf("%d frames, want %d", frames, writers+1)
	}
	if s.busy.count() != 0 {
		t.Errorf("%d accounts are held for nobody", s.busy.count())
	}
}
