package postgres

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/mathmesh/meshd/services/shard"
)

const indexScans = `SELECT indexrelname, idx_scan FROM pg_stat_user_indexes`

// counts reads names and numbers.
func counts(t *testing.T, conn *pgx.Conn, statement string) map[string]int64 {
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

// notWhole ends the store and wants that it has read no table whole since the statistics began.
func notWhole(t *testing.T, s *Store, conn *pgx.Conn) {
	t.Helper()
	if err := s.Close(); err != nil { // its backends tell what they did when they end
		t.Fatal(err)
	}
	const here = `SELECT 'n', count(*) FROM pg_stat_activity WHERE application_name = 'meshd shard' AND datname = current_database()`
	for counts(t, conn, here)["n"] > 0 {
		time.Sleep(10 * time.Millisecond)
	}
	const whole = `SELECT relname, seq_scan FROM pg_stat_user_tables WHERE seq_scan > 0 AND relname NOT IN ('constant', 'goose_db_version')`
	if diff := cmp.Diff(map[string]int64{}, counts(t, conn, whole)); diff != "" {
		t.Errorf("tables read whole (-want +got):\n%s", diff)
	}
}

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
			notWhole(t, s, conn)
			if n := counts(t, conn, indexScans)["frame_envelope"]; n < messages-1 {
				t.Errorf("the index of envelopes was used %d times for %d messages", n, messages)
			}
		})
	}
}

// The same of messages, whose tables fill while the plans live: what each statement reads does not grow with them.
func TestPlansOfMessages(t *testing.T) {
	for name, before := range map[string]string{"new": `SELECT`, "analysed while empty": `ANALYZE`} {
		t.Run(name, func(t *testing.T) {
			url := server.Database(t)
			conn := connect(t, url)
			exec(t, conn, before)
			s, err := Open(t.Context(), url+"&pool_max_conns=1") // whose plans are generic after some calls
			if err != nil {
				t.Fatal(err)
			}
			sender(t, s)
			turn := func(i int) {
				t.Helper()
				if err := messages(t.Context(), s, i); err != nil {
					t.Fatal(err)
				}
			}
			const first, second = 10, 10
			for i := range first {
				turn(i)
			}
			// Much mail of others, of the account itself, and of partitions that are not open.
			exec(t, conn, `INSERT INTO partition (partition, state, epoch) SELECT p, 1 + p % 2, 1 FROM generate_series(100, 1099) p`)
			exec(t, conn, `INSERT INTO outbox (partition, account, id, frame, recipient, domain, waiter, state, created, next_attempt)
				SELECT 100 + n % 1000, 1 + n % 3, gen_random_uuid(), n, 'bob@beta.example', '', '', 1 + n % 4, now(), now() + interval '1 day' FROM generate_series(1, 20000) n`)
			exec(t, conn, `INSERT INTO outbox (partition, account, id, frame, recipient, domain, waiter, state, created, next_attempt)
				SELECT $1, 1, gen_random_uuid(), 1000 + n, 'bob@beta.example', '', '', 1 + n % 4, now(), now() + interval '1 day' FROM generate_series(1, 5000) n`, partition)
			exec(t, conn, `INSERT INTO delivery (partition, account, envelope_id, sender_udf, sender_address, message_type, digest, idx, accepted, code, rule, policy, inputs, at)
				SELECT $1, 1, 'e' || n, 'MSND', 'bob@beta.example', '', sha512(n::text::bytea), 1, true, 0, '', '', '', now() FROM generate_series(1, 5000) n`, partition)
			exec(t, conn, `INSERT INTO contact (partition, account, unique_id, profile_udf, rights, addresses) SELECT $1, 1, 'c' || n, 'M' || n, 1, '{}' FROM generate_series(1, 5000) n`, partition)
			exec(t, conn, `INSERT INTO contact_address (partition, account, address, unique_id) SELECT $1, 1, n || '@beta.example', 'c' || n FROM generate_series(1, 5000) n`, partition)
			exec(t, conn, `SELECT pg_stat_reset()`)
			for i := range second {
				turn(first + i)
			}
			notWhole(t, s, conn)
			const fetched = `SELECT indexrelname, idx_tup_read FROM pg_stat_user_indexes`
			for index, n := range counts(t, conn, fetched) {
				if n > second*100 {
					t.Errorf("%d entries of %s read", n, index)
				}
			}
			scans := counts(t, conn, indexScans)
			for _, index := range []string{"outbox_due", "outbox_pkey", "outbox_once", "delivery_pkey", "delivery_digest", "contact_pin", "contact_address_pkey", "frame_envelope"} {
				if scans[index] < second {
					t.Errorf("%s was used %d times", index, scans[index])
				}
			}
		})
	}
}

// A claim reads as many rows as it takes, however many are due in however many partitions, and whatever the planner thinks of them.
func TestPlanOfClaim(t *testing.T) {
	for name, c := range map[string]struct{ before, after string }{
		"new":                  {`SELECT`, `SELECT`},
		"analysed while empty": {`ANALYZE`, `SELECT`},
		"analysed":             {`SELECT`, `ANALYZE`},
	} {
		t.Run(name, func(t *testing.T) {
			url := server.Database(t)
			conn := connect(t, url)
			exec(t, conn, c.before)
			s, err := Open(t.Context(), url+"&pool_max_conns=1")
			if err != nil {
				t.Fatal(err)
			}
			exec(t, conn, `INSERT INTO partition (partition, state, epoch) SELECT p, 1, 1 FROM generate_series(0, 4095) p`)
			exec(t, conn, `INSERT INTO outbox (partition, account, id, frame, recipient, domain, waiter, state, created, next_attempt)
				SELECT n % 4096, 1, gen_random_uuid(), n, 'bob@beta.example', '', '', 1 + n % 4, now(), now() - n * interval '1 second' FROM generate_series(1, 20000) n`)
			exec(t, conn, c.after)
			exec(t, conn, `SELECT pg_stat_reset()`)
			const claims, limit = 10, 10
			for range claims {
				if _, err := s.Claim(t.Context(), limit, time.Hour); err != nil {
					t.Fatal(err)
				}
			}
			notWhole(t, s, conn)
			if n := count(t, url, `SELECT count(*) FROM outbox WHERE next_attempt > now()`); n != claims*limit {
				t.Errorf("%d rows claimed", n)
			}
			read := counts(t, conn, `SELECT indexrelname, idx_tup_read FROM pg_stat_user_indexes`)
			// Those of earlier claims stand at the beginning until they are cleared away.
			if n := read["outbox_due"]; n < claims*limit || n > claims*claims*limit {
				t.Errorf("%d entries of the index of due rows read for %d claims of %d", n, claims, limit)
			}
			if n := read["outbox_pkey"]; n > 4*claims*limit {
				t.Errorf("%d entries of the primary key read for %d claims of %d", n, claims, limit)
			}
		})
	}
}
