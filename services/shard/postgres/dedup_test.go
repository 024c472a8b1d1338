package postgres

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/services/shard"
)

// Outcomes live in the slot of their time and the next one; the table of a slot is emptied when two more have begun.
func TestDedupSlots(t *testing.T) {
	conn := connect(t, server.Database(t))
	digest := make([]byte, 32)
	key := func(slot int) []byte { return append(make([]byte, 31), byte(slot)) }
	recall := func(at, slot int) bool {
		t.Helper()
		var found bool
		if err := conn.QueryRow(t.Context(), `SELECT mesh_recall(1::smallint, $1, $2, $3) IS NOT NULL`, at, key(slot), digest).Scan(&found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	remember := func(slot int) error {
		_, err := conn.Exec(t.Context(), `SELECT mesh_remember(1::smallint, $1, $2, $3, '{1,0,7,1}')`, slot, key(slot), digest)
		return err
	}
	for slot := 100; slot < 112; slot++ {
		exec(t, conn, `SELECT mesh_sweep($1)`, slot)
		if err := remember(slot); err != nil {
			t.Fatal(err)
		}
		if err := remember(slot); err == nil {
			t.Errorf("slot %d: stored twice", slot)
		}
		if !recall(slot, slot) || !recall(slot+1, slot) || recall(slot+2, slot) {
			t.Errorf("slot %d is not remembered for two slots", slot)
		}
		if slot > 100 && !recall(slot, slot-1) {
			t.Errorf("slot %d: the sweep took the slot before", slot)
		}
		var rows int
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM request_dedup`).Scan(&rows); err != nil || rows > 3 {
			t.Errorf("slot %d: %d rows, %v", slot, rows, err)
		}
	}
	// Without a sweep for a whole turn the old rows are in the way of nobody.
	if recall(115, 111) || recall(116, 111) {
		t.Error("an outcome of an hour ago counts")
	}
	exec(t, conn, `SELECT mesh_remember(1::smallint, 115, $1, $2, '{}')`, key(111), digest)
}

// A sweep that fails is told.
func TestSweepFault(t *testing.T) {
	url := server.Database(t)
	var log bytes.Buffer
	s, err := Open(t.Context(), url, Log(slog.New(slog.NewTextHandler(&log, nil))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	conn := connect(t, url)
	for ring := range 4 {
		exec(t, conn, `INSERT INTO request_dedup (partition, ring, slot, key, digest, outcome) VALUES (1, $1, 1, '', '', '{}')`, ring)
	}
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `LOCK TABLE request_dedup IN ACCESS SHARE MODE`); err != nil {
		t.Fatal(err)
	}
	s.sweepOnce(t.Context())
	if n := strings.Count(log.String(), "deduplication table not emptied"); n != 1 {
		t.Errorf("%d lines of a failed sweep: %s", n, log.String())
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	log.Reset()
	s.sweepOnce(t.Context())
	var rows int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM request_dedup`).Scan(&rows); err != nil || rows != 3 || log.Len() > 0 {
		t.Errorf("%d rows, %v, %q, want 3", rows, err, log.String())
	}
}

// A request just before a boundary is known just after it.
func TestDedupOverBoundary(t *testing.T) {
	url := server.Database(t)
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	account(t, s)
	a := application("mmm_Archive", "m")
	first, err := s.Apply(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	move := func(slots int) {
		conn := connect(t, url)
		exec(t, conn, `CREATE TEMP TABLE moved AS SELECT * FROM request_dedup`)
		exec(t, conn, `TRUNCATE request_dedup`)
		exec(t, conn, `INSERT INTO request_dedup SELECT partition, (slot - $1) & 3, slot - $1, key, digest, outcome FROM moved`, slots)
	}
	a.Updates[0].Entries[0] = item("never looked at")
	move(-1) // the clock was put back, or another server with another clock took over
	if back, err := s.Apply(t.Context(), a); err != nil || len(back) != 1 || back[0] != first[0] {
		t.Errorf("before the boundary again: %v, %v, want %v", back, err, first)
	}
	move(2)
	again, err := s.Apply(t.Context(), a)
	if err != nil || len(again) != 1 || again[0] != first[0] {
		t.Errorf("after the boundary: %v, %v, want %v", again, err, first)
	}
	move(1)
	fresh, err := s.Apply(t.Context(), a)
	if err != nil || fresh[0] != (shard.Result{Outcome: shard.Accept, Index: 2}) {
		t.Errorf("after two: %v, %v", fresh, err)
	}
}
