package postgres

import (
	"testing"

	"github.com/mathmesh/meshd/services/shard"
)

// Outcomes live in the slot of their time and the next one; the table of a slot is emptied when two more have begun.
func TestDedupSlots(t *testing.T) {
	conn := connect(t, server.Database(t))
	key, digest := make([]byte, 32), make([]byte, 32)
	recall := func(slot int) bool {
		t.Helper()
		var found bool
		if err := conn.QueryRow(t.Context(), `SELECT x.o_digest IS NOT NULL FROM mesh_recall(1::smallint, $1, $2) x`, slot, key).Scan(&found); err != nil {
			t.Fatal(err)
		}
		return found
	}
	for slot := 100; slot < 112; slot++ {
		exec(t, conn, `SELECT mesh_sweep($1)`, slot)
		if recall(slot) {
			t.Errorf("slot %d: an outcome of another turn of the ring", slot)
		}
		exec(t, conn, `SELECT mesh_remember(1::smallint, $1, $2, $3, '{1,0,7,1}')`, slot, key, digest)
		if !recall(slot) || slot > 100 && !recall(slot-1) {
			t.Errorf("slot %d: not remembered", slot)
		}
		if _, err := conn.Exec(t.Context(), `SELECT mesh_remember(1::smallint, $1, $2, $3, '{1,0,7,1}')`, slot, key, digest); err == nil {
			t.Errorf("slot %d: stored twice", slot)
		}
		var rows int
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM request_dedup`).Scan(&rows); err != nil || rows > 3 {
			t.Errorf("slot %d: %d rows, %v", slot, rows, err)
		}
	}
	// Without a sweep for a whole turn the old rows are in the way of nobody.
	exec(t, conn, `TRUNCATE request_dedup`)
	exec(t, conn, `SELECT mesh_remember(1::smallint, 200, $1, $2, '{}')`, key, digest)
	if recall(204) {
		t.Error("an outcome of an hour ago counts")
	}
	exec(t, conn, `SELECT mesh_remember(1::smallint, 204, $1, $2, '{}')`, key, digest)
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
	move(1)
	a.Updates[0].Entries[0] = item("never looked at")
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
