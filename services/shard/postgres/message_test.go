package postgres

import (
	"context"
	"crypto/sha512"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

const signKID = "MSGN"

// sender makes an account whose device signs, and that has a contact.
func sender(t testing.TB, s *Store) {
	t.Helper()
	account(t, s)
	device := item("device")
	device.Device = &shard.DeviceChange{DeviceUDF: "MDEV", AuthKID: kid, SignKID: signKID, SignCurve: "Ed448", SignKey: []byte("key"), Rights: shard.AllRights}
	bob := item("bob")
	bob.Contact = &shard.ContactChange{Addresses: []string{"bob@beta.example"}, ProfileUDF: "MBOB", Rights: shard.MayMessage}
	a := application("mmm_Device", "device")
	a.Updates = []shard.ContainerUpdate{{Container: "mmm_Device", Entries: []shard.Entry{device}}, {Container: "mmm_Contact", Entries: []shard.Entry{bob}}}
	if _, err := s.Apply(t.Context(), a); err != nil {
		t.Fatal(err)
	}
}

func letter(id string) shard.Entry {
	e := item(id)
	e.Event, e.MessageType = shard.NoEvent, "MessageText"
	return e
}

func posting(id string, recipients ...string) shard.Posting {
	l := shard.Letter{Entry: letter(id), SignKID: signKID}
	for _, r := range recipients {
		l.Recipients = append(l.Recipients, shard.Addressee{Address: r})
	}
	return shard.Posting{Partition: partition, Account: address, Caller: caller("post " + id), Letters: []shard.Letter{l}, Self: []shard.Entry{letter("self " + id)}}
}

func arrival(id string) shard.Arrival {
	return shard.Arrival{
		Partition: partition, Recipient: address, SenderAddress: "bob@beta.example", SenderUDF: "MBOB", Message: letter("to " + id),
		Verdict: shard.Verdict{Accepted: true, Rule: "contact"}, Inputs: `{}`,
	}
}

// settlement delivers a row, and tells the sender so.
func settlement(row shard.OutboxID, id string) shard.Settlement {
	event, failure := letter("event "+id), letter("failure "+id)
	return shard.Settlement{ID: row, State: shard.Failed, Verdict: shard.Verdict{Code: 17}, Event: &event, Failure: &failure}
}

// messages calls each verb of messages once.
func messages(ctx context.Context, s *Store, i int) error {
	for _, v := range verbs(s) {
		if err := v.do(ctx, fmt.Sprint(i)); err != nil {
			return fmt.Errorf("%s: %w", v.name, err)
		}
	}
	return nil
}

type verb struct {
	name string
	do   func(ctx context.Context, id string) error
}

// verbs are those of messages, in the order of a message's way.
func verbs(s *Store) []verb {
	var posted []shard.Posted
	return []verb{
		{"Post", func(ctx context.Context, id string) (err error) {
			posted, err = s.Post(ctx, posting(id, "bob@beta.example"))
			return err
		}},
		{"Claim", func(ctx context.Context, _ string) error {
			rows, err := s.Claim(ctx, 10, time.Hour)
			if err == nil && len(rows) != 1 {
				err = fmt.Errorf("%d rows", len(rows))
			}
			return err
		}},
		{"Settle", func(ctx context.Context, id string) error {
			n, err := s.Settle(ctx, partition, address, []shard.Settlement{settlement(posted[0].Row, id)})
			if err == nil && n != 1 {
				err = fmt.Errorf("%d took effect", n)
			}
			return err
		}},
		{"Outbox", func(ctx context.Context, id string) error {
			rows, err := s.Outbox(ctx, shard.OutboxQuery{Partition: partition, Account: address, EnvelopeID: id})
			if err == nil && len(rows) != 1 {
				err = fmt.Errorf("%d rows", len(rows))
			}
			return err
		}},
		{"Outbox by identifiers", func(ctx context.Context, _ string) error {
			rows, err := s.Outbox(ctx, shard.OutboxQuery{Partition: partition, Account: address, IDs: []shard.OutboxID{posted[0].Row}})
			if err == nil && len(rows) != 1 {
				err = fmt.Errorf("%d rows", len(rows))
			}
			return err
		}},
		{"Standing", func(ctx context.Context, id string) error {
			standing, err := s.Standing(ctx, shard.StandingQuery{Partition: partition, Recipient: address, SenderAddress: "bob@beta.example", SenderUDF: "MBOB", PIN: "self " + id})
			if err == nil && (!standing.Contact || standing.PIN == nil) {
				err = fmt.Errorf("%+v", standing)
			}
			return err
		}},
		{"Deliver", func(ctx context.Context, id string) error {
			_, err := s.Deliver(ctx, arrival(id))
			return err
		}},
		{"Verdicts", func(ctx context.Context, id string) error {
			records, err := s.Verdicts(ctx, partition, address, "to "+id)
			if err == nil && len(records) != 1 {
				err = fmt.Errorf("%d records", len(records))
			}
			return err
		}},
		{"Report", func(ctx context.Context, id string) error {
			_, err := s.Report(ctx, partition, letter(id))
			return err
		}},
		{"Incidents", func(ctx context.Context, _ string) error {
			frames, err := s.Incidents(ctx, partition, 1, 1)
			if err == nil && len(frames) != 1 {
				err = fmt.Errorf("%d frames", len(frames))
			}
			return err
		}},
	}
}

// Each verb is one round trip, after the first, which prepares it.
func TestRoundTripsOfMessages(t *testing.T) {
	s, trips := counting(t)
	sender(t, s)
	for i := range 3 {
		n := trips.of(func() {
			if err := messages(t.Context(), s, i); err != nil {
				t.Fatal(err)
			}
		})
		if want := int64(len(verbs(s))); i > 0 && n != want {
			t.Errorf("%d round trips for %d verbs", n, want)
		}
	}
}

// A backend is killed when its verb has written something and waits to write the rest: nothing of it is there, and the repetition has
// its effect once.
func TestKilledMessages(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	sender(t, s)
	conn := connect(t, url)
	posted, err := s.Post(t.Context(), posting("sent", "bob@beta.example"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Report(t.Context(), partition, letter("reported")); err != nil {
		t.Fatal(err)
	}
	contents := func() map[string]int64 {
		t.Helper()
		all := walk(t, url)
		all["outbox"], all["settled"] = count(t, url, `SELECT count(*) FROM outbox`), count(t, url, `SELECT count(*) FROM outbox WHERE state = 4`)
		all["verdicts"] = count(t, url, `SELECT count(*) FROM delivery`)
		return all
	}
	for _, c := range []struct {
		verb, waits string // for the row of this container, which is written last
		do          func() error
		effect      map[string]int64
	}{
		{"Post", "mmm_Local", func() error {
			got, err := s.Post(t.Context(), posting("m", "bob@beta.example", "carol@beta.example"))
			if err == nil && (len(got) != 3 || got[0].Row == got[1].Row || got[0].Index != 2 || got[2].Index != 2) {
				err = fmt.Errorf("%+v", got)
			}
			return err
		}, map[string]int64{"mmm_Outbound": 1, "mmm_Local": 1, "outbox": 2}},
		{"Settle", "mmm_Inbound", func() error {
			n, err := s.Settle(t.Context(), partition, address, []shard.Settlement{settlement(posted[0].Row, "sent")})
			if err == nil && n != 1 {
				err = fmt.Errorf("%d took effect", n)
			}
			return err
		}, map[string]int64{"mmm_Outbound": 1, "mmm_Inbound": 1, "settled": 1}},
		{"Deliver", "mmm_Inbound", func() error {
			_, err := s.Deliver(t.Context(), arrival("m"))
			return err
		}, map[string]int64{"mmm_Inbound": 1, "verdicts": 1}},
		{"Report", "mmms_Incident", func() error {
			_, err := s.Report(t.Context(), partition, letter("m"))
			return err
		}, map[string]int64{"mmms_Incident": 1}},
	} {
		want := contents()
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `SELECT FROM container WHERE name = $1 FOR UPDATE`, c.waits); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- c.do() }()
		for killed := 0; killed == 0; time.Sleep(10 * time.Millisecond) {
			if err := tx.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE application_name = 'meshd shard' AND datname = current_database() AND wait_event_type = 'Lock'`).Scan(&killed); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; mesh.KindOf(err) != mesh.Overloaded {
			t.Errorf("%s: %v", c.verb, err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, contents()); diff != "" {
			t.Errorf("%s was killed (-before +after):\n%s", c.verb, diff)
		}
		for range 2 {
			if err := c.do(); err != nil && c.verb != "Settle" {
				t.Errorf("%s again: %v", c.verb, err)
			}
		}
		for what, n := range c.effect {
			want[what] += n
		}
		if diff := cmp.Diff(want, contents()); diff != "" {
			t.Errorf("%s again (-want +got):\n%s", c.verb, diff)
		}
	}
}

func count(t testing.TB, url, statement string) (n int64) {
	t.Helper()
	if err := connect(t, url).QueryRow(t.Context(), statement).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// A claim waits for nobody: not for a row, an account or a partition.
func TestClaimWaitsForNobody(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	sender(t, s)
	rows, err := s.Post(t.Context(), posting("m", "bob@beta.example", "carol@beta.example"))
	if err != nil {
		t.Fatal(err)
	}
	conn := connect(t, url)
	claim := func(during string, args []any, want int) {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = tx.Rollback(t.Context()) }()
		if _, err := tx.Exec(t.Context(), during, args...); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		got, err := s.Claim(short, 10, 0)
		if err != nil || len(got) != want {
			t.Errorf("%s: %d rows, %v, want %d", during, len(got), err, want)
		}
	}
	claim(`SELECT 1`, nil, 2)
	claim(`SELECT FROM outbox WHERE id = $1 FOR UPDATE`, []any{[16]byte(rows[0].Row)}, 1)
	claim(`SELECT pg_advisory_xact_lock($1::smallint::integer, hashtext($2))`, []any{partition, address}, 2)
	claim(`SELECT mesh_set_partitions($1::smallint, $1::smallint, 2::smallint, 2)`, []any{partition}, 0)
	claim(`SELECT pg_advisory_xact_lock($1::smallint::bigint)`, []any{partition}, 0)
	if err := s.SetPartitions(t.Context(), partition, partition, shard.PartitionFrozen, 2); err != nil {
		t.Fatal(err)
	}
	claim(`SELECT 2`, nil, 0)
}

// What a statement that has waited for a freeze sees is the freeze, and a freeze waits for who is inside: of every writing verb.
func TestFenceOfMessages(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	sender(t, s)
	posted, err := s.Post(t.Context(), posting("first", "bob@beta.example"))
	if err != nil {
		t.Fatal(err)
	}
	before := walk(t, url)
	conn := connect(t, url)
	for name, do := range map[string]func() error{
		"Post": func() error { _, err := s.Post(t.Context(), posting("second", "bob@beta.example")); return err },
		"Settle": func() error {
			_, err := s.Settle(t.Context(), partition, address, []shard.Settlement{settlement(posted[0].Row, "first")})
			return err
		},
		"Deliver": func() error { _, err := s.Deliver(t.Context(), arrival("first")); return err },
		"Report":  func() error { _, err := s.Report(t.Context(), partition, letter("first")); return err },
	} {
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), `SELECT mesh_set_partitions($1::smallint, $1::smallint, 2::smallint, 2)`, partition); err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() { done <- do() }()
		select {
		case err := <-done:
			t.Fatalf("%s did not wait: %v", name, err)
		case <-time.After(200 * time.Millisecond):
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; mesh.KindOf(err) != mesh.Overloaded {
			t.Errorf("%s that waited for a freeze: %v", name, err)
		}
		exec(t, conn, `UPDATE partition SET state = 1, epoch = 1 WHERE partition = $1`, partition)
	}
	if diff := cmp.Diff(before, walk(t, url)); diff != "" {
		t.Errorf("frames (-before +after):\n%s", diff)
	}

	statement, args := postStatement(new(posting("third", "bob@beta.example")))
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), statement, args...); err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- s.SetPartitions(t.Context(), partition, partition, shard.PartitionFrozen, 2) }()
	select {
	case err := <-done:
		t.Fatalf("a freeze did not wait: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	if err := errors.Join(tx.Commit(t.Context()), <-done); err != nil {
		t.Fatal(err)
	}
	if n := walk(t, url)["mmm_Outbound"]; n != before["mmm_Outbound"]+1 {
		t.Errorf("%d frames", n)
	}
}

// Relays of several processes share the rows: each gets one once.
func TestClaimsShare(t *testing.T) {
	s := open(t, server.Database(t))
	sender(t, s)
	const rows, relays = 200, 4
	var recipients []string
	for i := range rows {
		recipients = append(recipients, fmt.Sprintf("r%d@beta.example", i))
	}
	if _, err := s.Post(t.Context(), posting("m", recipients...)); err != nil {
		t.Fatal(err)
	}
	got := make(chan []shard.OutboxRow)
	for range relays {
		go func() {
			var mine []shard.OutboxRow
			defer func() { got <- mine }()
			for misses := 0; misses < 3; { // rows that another holds are skipped
				some, err := s.Claim(t.Context(), 7, time.Hour)
				if err != nil {
					t.Error(err)
					return
				}
				if len(some) == 0 {
					misses++
				}
				mine = append(mine, some...)
			}
		}()
	}
	seen := make(map[string]int)
	for range relays {
		for _, row := range <-got {
			seen[row.Recipient]++
			if digest := sha512.Sum512(row.Frame.Payload); row.State != shard.Published || string(digest[:]) != string(row.Frame.PayloadDigest) {
				t.Errorf("row: %+v", row)
			}
		}
	}
	if len(seen) != rows {
		t.Errorf("%d of %d rows", len(seen), rows)
	}
	for r, n := range seen {
		if n != 1 {
			t.Errorf("%s: %d times", r, n)
		}
	}
}
