package postgres

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/mathmesh/meshd/services/shard"
)

// Plans are made on tables that are empty, and kept while these fill: none may read a table whole, nor a spool to find a duplicate.
func TestPlans(t *testing.T) {
	for name, before := range map[string]string{"new": `SELECT`, "analysed while empty": `ANALYZE`} {
		t.Run(name, func(t *testing.T) {
			url := server.Database(t)
			conn := connect(t, url)
			exec(t, conn, before)
			s, err := Open(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			account(t, s)
			scans := func(statement string) map[string]int64 {
				t.Helper()
				rows, err := conn.Query(t.Context(), statement)
				if err != nil {
					t.Fatal(err)
				}
				all := make(map[string]int64)
				var name string
				var n int64
				if _, err := pgx.ForEachRow(rows, []any{&name, &n}, func() error { all[name] = n; return nil }); err != nil {
					t.Fatal(err)
				}
				return all
			}
			const whole = `SELECT relname, seq_scan FROM pg_stat_user_tables WHERE seq_scan > 0 AND relname NOT IN ('constant', 'goose_db_version')`
			exec(t, conn, `SELECT pg_stat_reset()`)

			const messages = 20
			for i := range messages {
				a := application("mmm_Archive", strconv.Itoa(i))
				a.Updates = append(a.Updates, shard.ContainerUpdate{Container: "mmm_Bookmark", Entries: []shard.Entry{item(strconv.Itoa(i))}})
				if _, err := s.Apply(t.Context(), a); err != nil {
					t.Fatal(err)
				}
			}
			c := caller("")
			if _, err := s.Status(t.Context(), shard.StatusQuery{Partition: partition, Account: address, Caller: c}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Read(t.Context(), shard.ReadQuery{
				Partition: partition, Account: address, Caller: c, MaxEntries: 10, MaxBytes: 1000, Payload: true,
				Select: []shard.Selection{{Container: "mmm_Archive"}},
			}); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil { // its backends tell what they did when they end
				t.Fatal(err)
			}
			const here = `SELECT 'n', count(*) FROM pg_stat_activity WHERE application_name = 'meshd shard' AND datname = current_database()`
			for scans(here)["n"] > 0 {
				time.Sleep(10 * time.Millisecond)
			}
			if diff := cmp.Diff(map[string]int64{}, scans(whole)); diff != "" {
				t.Errorf("tables read whole (-want +got):\n%s", diff)
			}
			if n := scans(`SELECT indexrelname, idx_scan FROM pg_stat_user_indexes`)["frame_envelope"]; n < messages-1 {
				t.Errorf("the index of envelopes was used %d times for %d messages", n, messages)
			}
		})
	}
}
