package postgres

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"iter"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/pgcluster"
	"github.com/mathmesh/meshd/services/shard"
)

const (
	partition = 5
	address   = "alice@alpha.example"
	kid       = "MKID"
)

func item(id string) shard.Entry {
	digest := sha512.Sum512([]byte(id))
	return shard.Entry{Header: []byte(`{}`), Payload: []byte(id), PayloadDigest: digest[:], EnvelopeID: id, UniqueID: id, Event: shard.New}
}

func caller(request string) shard.Caller {
	digest := sha256.Sum256([]byte(request))
	return shard.Caller{Domain: "alpha.example", AuthKID: kid, RequestID: []byte(request), RequestDigest: digest[:]}
}

func application(container, id string) shard.Application {
	return shard.Application{Partition: partition, Account: address, Caller: caller(id), Updates: []shard.ContainerUpdate{{Container: container, Entries: []shard.Entry{item(id)}}}}
}

// account makes an account whose device has no entry.
func account(t testing.TB, s *Store) {
	t.Helper()
	if err := s.SetPartitions(t.Context(), partition, partition, shard.PartitionOpen, 1); err != nil {
		t.Fatal(err)
	}
	_, err := s.Create(t.Context(), shard.Creation{
		Partition: partition, Address: address, Caller: caller("create"), ProfileUDF: "MPRO", MeshUDF: "MMSH",
		ProfileMesh: []byte(`[]`), ProfileAccount: []byte(`[]`), AccountFrame: item(address), State: shard.Connected,
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestKinds(t *testing.T) {
	url := server.Database(t)
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	account(t, s)
	conn := connect(t, url)

	// A busy account: the caller's time runs out, or the server's.
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1::smallint::integer, hashtext($2))`, partition, address); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	start := time.Now()
	_, err = s.Apply(short, application("mmm_Bookmark", "late"))
	cancel()
	if mesh.KindOf(err) != mesh.Overloaded || time.Since(start) > 5*time.Second {
		t.Errorf("out of time: %v after %v", err, time.Since(start))
	}
	if _, err := s.Status(t.Context(), shard.StatusQuery{Partition: partition, Account: address, Caller: caller("status")}); err != nil {
		t.Errorf("readers wait for nobody: %v", err)
	}
	_ = tx.Rollback(t.Context())

	for name, c := range map[string]struct {
		raise string
		want  mesh.Kind
	}{
		"serialization": {`RAISE EXCEPTION 'secret' USING ERRCODE = '40001'`, mesh.Overloaded},
		"deadlock":      {`RAISE EXCEPTION 'secret' USING ERRCODE = '40P01'`, mesh.Overloaded},
		"connections":   {`RAISE EXCEPTION 'secret' USING ERRCODE = '53300'`, mesh.Overloaded},
		"lock timeout":  {`RAISE EXCEPTION 'secret' USING ERRCODE = '55P03'`, mesh.Overloaded},
		"read-only":     {`RAISE EXCEPTION 'secret' USING ERRCODE = '25006'`, mesh.Overloaded},
		"ours":          {`RAISE EXCEPTION 'secret' USING ERRCODE = 'MS021'`, mesh.Conflict},
		"a bug":         {`RAISE EXCEPTION 'secret' USING ERRCODE = '22012'`, mesh.Internal},
	} {
		_, err := s.pool.Exec(t.Context(), `DO $$ BEGIN `+c.raise+`; END $$`)
		if err := wrap("op", err); mesh.KindOf(err) != c.want || !strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// device makes an account whose device has an entry and some rights, with a bookmark: the next is out of nothing's order.
func device(t testing.TB, s *Store) {
	t.Helper()
	account(t, s)
	entry := application("mmm_Device", "device")
	entry.Updates[0].Entries[0].Device = &shard.DeviceChange{DeviceUDF: "MDEV", AuthKID: kid, Rights: shard.Bookmark}
	for _, a := range []shard.Application{entry, application("mmm_Bookmark", "first")} {
		if _, err := s.Apply(t.Context(), a); err != nil {
			t.Fatal(err)
		}
	}
}

// The function for one entry stores what is in order by itself, and nothing else.
func TestOne(t *testing.T) {
	url := server.Database(t)
	s := open(t, url)
	device(t, s)
	conn := connect(t, url)
	exec(t, conn, `SET track_functions = 'pl'`)
	general := func(a shard.Application) (n int) {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		statement, args := ApplyStatement(a)
		if _, err := tx.Exec(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
		if err := tx.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_xact_user_functions WHERE funcname = 'mesh_apply'`).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		return n
	}
	with := func(id string, change func(*shard.Application)) shard.Application {
		a := application("mmm_Bookmark", id)
		a.Updates[0].Right = shard.Bookmark
		change(&a)
		return a
	}
	event := func(e shard.Event) func(*shard.Application) {
		return func(a *shard.Application) { a.Updates[0].Entries[0].Event = e }
	}
	for name, a := range map[string]shard.Application{
		"new":      with("new", func(*shard.Application) {}),
		"update":   with("first", func(a *shard.Application) { event(shard.Update)(a); a.Caller.RequestID = []byte("update") }),
		"delete":   with("first", func(a *shard.Application) { event(shard.Delete)(a); a.Caller.RequestID = []byte("delete") }),
		"unnamed":  with("unnamed", func(a *shard.Application) { a.Caller.RequestID = nil }),
		"ordinary": with("ordinary", func(a *shard.Application) { a.Caller.ProfileUDF, a.Caller.Epoch = "MPRO", 1 }),
	} {
		if n := general(a); n != 0 {
			t.Errorf("%s: mesh_apply was called", name)
		}
	}

	const restore = `UPDATE partition SET state = 1; UPDATE account SET state = 2, redirect = ''; UPDATE device SET removed = false`
	accepted, conflict := shard.Accept, shard.Conflict
	stale := int64(1)
	for name, c := range map[string]struct {
		change string // of the database
		a      func(*shard.Application)
		kind   mesh.Kind
		result shard.Outcome
	}{
		"frozen":          {`UPDATE partition SET state = 2`, nil, mesh.Overloaded, 0},
		"moved":           {`UPDATE partition SET state = 3`, nil, mesh.WrongShard, 0},
		"pending":         {`UPDATE account SET state = 1`, nil, mesh.AccountPending, 0},
		"blocked":         {`UPDATE account SET state = 3`, nil, mesh.NotAuthorized, 0},
		"deleted":         {`UPDATE account SET state = 4`, nil, mesh.UnknownAccount, 0},
		"redirect":        {`UPDATE account SET redirect = 'bob@beta.example'`, nil, mesh.Redirect, 0},
		"device removed":  {`UPDATE device SET removed = true`, nil, mesh.NotAuthorized, 0},
		"another device":  {``, func(a *shard.Application) { a.Caller.AuthKID = "MOTHER" }, mesh.NotAuthorized, 0},
		"another profile": {``, func(a *shard.Application) { a.Caller.ProfileUDF = "MOTHER" }, mesh.NotAuthorized, 0},
		"another epoch":   {``, func(a *shard.Application) { a.Caller.Epoch = 9 }, mesh.TicketExpired, 0},
		"another right":   {``, func(a *shard.Application) { a.Updates[0].Right = shard.Contact }, mesh.NotAuthorized, 0},
		"a right more":    {``, func(a *shard.Application) { a.Updates[0].Right |= shard.Contact }, mesh.NotAuthorized, 0},
		"identifier used": {``, func(a *shard.Application) { a.Caller.RequestID = []byte("first") }, mesh.Conflict, 0},
		"old index":       {``, func(a *shard.Application) { a.Updates[0].Index = &stale }, 0, conflict},
		"old digest":      {``, func(a *shard.Application) { a.Updates[0].Digest = make([]byte, 64) }, 0, conflict},
		"new again":       {``, func(a *shard.Application) { a.Updates[0].Entries[0].UniqueID = "first" }, 0, conflict},
		"delete of none":  {``, event(shard.Delete), 0, conflict},
		"update of none":  {``, event(shard.Update), 0, accepted},
		"of a device": {``, func(a *shard.Application) {
			a.Updates[0].Container, a.Updates[0].Entries[0].UniqueID = "mmm_Device", "second"
		}, 0, accepted},
		"of a contact": {``, func(a *shard.Application) { a.Updates[0].Container = "mmm_Contact" }, 0, accepted},
	} {
		if c.a == nil {
			c.a = func(*shard.Application) {}
		}
		if c.change != "" {
			exec(t, conn, c.change)
		}
		a := with(name, c.a)
		if n := general(a); n != 1 && name != "update of none" {
			t.Errorf("%s: mesh_apply was called %d times", name, n)
		}
		results, err := s.Apply(t.Context(), a)
		if c.kind != 0 {
			if mesh.KindOf(err) != c.kind {
				t.Errorf("%s: %v, want kind %v", name, err, c.kind)
			}
		} else if err != nil || len(results) != 1 || results[0].Outcome != c.result {
			t.Errorf("%s: %v, %v, want outcome %v", name, results, err, c.result)
		}
		exec(t, conn, restore)
	}
	var second int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM device WHERE unique_id = 'second'`).Scan(&second); err != nil || second != 1 {
		t.Errorf("%d devices, %v", second, err)
	}
}

// The fence is a lock: a freeze waits for writers that are inside, and who waits for a freeze sees it.
func TestFence(t *testing.T) {
	for name, newAccount := range map[string]func(testing.TB, *Store){"creator": account, "device": device} {
		t.Run(name, func(t *testing.T) { testFence(t, newAccount) })
	}
}

func testFence(t *testing.T, newAccount func(testing.TB, *Store)) {
	url := server.Database(t)
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	newAccount(t, s)
	before := max(walk(t, url)["mmm_Bookmark"], 1) // frame 0
	conn := connect(t, url)
	inside := func(statement string, args ...any) pgx.Tx {
		t.Helper()
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), statement, args...); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	waits := func(what string, done <-chan error, tx pgx.Tx) error {
		t.Helper()
		select {
		case err := <-done:
			t.Fatalf("%s did not wait: %v", what, err)
		case <-time.After(300 * time.Millisecond):
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		return <-done
	}
	done := make(chan error)

	statement, args := ApplyStatement(application("mmm_Bookmark", "a"))
	tx := inside(statement, args...)
	go func() { done <- s.SetPartitions(t.Context(), partition, partition, shard.PartitionFrozen, 2) }()
	if err := waits("a freeze", done, tx); err != nil {
		t.Fatal(err)
	}
	if err := s.SetPartitions(t.Context(), partition, partition, shard.PartitionOpen, 3); err != nil {
		t.Fatal(err)
	}

	tx = inside(`SELECT mesh_set_partitions($1, $1, $2, 4)`, int16(partition), int16(shard.PartitionFrozen))
	go func() {
		_, err := s.Apply(t.Context(), application("mmm_Bookmark", "b"))
		done <- err
	}()
	if err := waits("a writer", done, tx); mesh.KindOf(err) != mesh.Overloaded {
		t.Errorf("a writer that waited for a freeze: %v", err)
	}
	if frames := walk(t, url)["mmm_Bookmark"]; frames != before+1 {
		t.Errorf("%d frames, want %d", frames, before+1)
	}
}

// One statement per writing verb, one batch per reading verb: one round trip each, after the first, which prepares it.
func TestRoundTrips(t *testing.T) {
	s, trips := counting(t)
	pool := s.pool
	account(t, s)
	one := trips.of(func() {
		if _, err := pool.Exec(t.Context(), `SELECT $1::text`, ""); err != nil {
			t.Fatal(err)
		}
	})
	for i := range 3 {
		for verb, do := range map[string]func() error{
			"Apply": func() error {
				_, err := s.Apply(t.Context(), application("mmm_Bookmark", fmt.Sprint(i)))
				return err
			},
			"Apply of two": func() error {
				a := application("mmm_Archive", fmt.Sprint("a", i))
				a.Updates[0].Entries = append(a.Updates[0].Entries, item(fmt.Sprint("b", i)))
				_, err := s.Apply(t.Context(), a)
				return err
			},
			"Read": func() error {
				_, err := s.Read(t.Context(), shard.ReadQuery{
					Partition: partition, Account: address, Caller: caller("r"), MaxEntries: 1, MaxBytes: 1,
					Select: []shard.Selection{{Container: "mmm_Bookmark"}, {Container: "mmm_Inbound"}},
				})
				return err
			},
		} {
			n := trips.of(func() {
				if err := do(); err != nil {
					t.Fatal(err)
				}
			})
			if i > 0 && n != 1 {
				t.Errorf("%s: %d round trips", verb, n)
			}
		}
	}
	if one != 2 {
		t.Errorf("a statement with its preparation: %d round trips, the count is wrong", one)
	}
}

// counting is a store of one connection whose trips are counted.
func counting(t *testing.T) (*Store, *trips) {
	t.Helper()
	config, err := pgxpool.ParseConfig(server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	trips := new(trips)
	dial := config.ConnConfig.DialFunc
	config.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &counted{conn, trips}, err
	}
	config.MaxConns = 1
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return &Store{pool: pool}, trips
}

// trips counts how often this side spoke after it had listened.
type trips struct {
	n        atomic.Int64
	speaking atomic.Bool
}

func (t *trips) of(do func()) int64 {
	before := t.n.Load()
	do()
	return t.n.Load() - before
}

type counted struct {
	net.Conn
	trips *trips
}

func (c *counted) Write(b []byte) (int, error) {
	if !c.trips.speaking.Swap(true) {
		c.trips.n.Add(1)
	}
	return c.Conn.Write(b)
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.trips.speaking.Store(false)
	return n, err
}

// What the direct call writes and reads is what pgx does.
func TestWire(t *testing.T) {
	conn := connect(t, server.Database(t))
	seven := int64(7)
	for _, args := range [][]any{
		{"", "häß", int16(-2), int32(1 << 20), int64(-1 << 40), true, false, []byte{}, []byte{0, 255}, []byte(nil), (*int64)(nil), &seven},
		{"x", "", int16(0), int32(0), int64(0), false, true, []byte{1}, []byte{}, []byte("b"), &seven, (*int64)(nil)},
	} {
		types := []uint32{
			pgtype.TextOID, pgtype.TextOID, pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.BoolOID, pgtype.BoolOID,
			pgtype.ByteaOID, pgtype.ByteaOID, pgtype.ByteaOID, pgtype.Int8OID, pgtype.Int8OID,
		}
		var w wire
		w.small = make([]byte, 0, 1) // grows on the way
		if err := w.encode(args); err != nil {
			t.Fatal(err)
		}
		size := 0
		for i, arg := range args {
			want, err := conn.TypeMap().Encode(types[i], pgtype.BinaryFormatCode, arg, []byte{})
			if err != nil || (want == nil) != (w.values[i] == nil) || !bytes.Equal(want, w.values[i]) {
				t.Errorf("%T %v: %x, want %x, %v", arg, arg, w.values[i], want, err)
			}
			size += 4 + len(want)
		}
		if w.size() < size {
			t.Errorf("room for %d octets of %d", w.size(), size)
		}
	}
	if err := new(wire).encode([]any{1}); err == nil {
		t.Error("an int has no type in PostgreSQL")
	}

	for literal, want := range map[string][]int64{"NULL": nil, "'{}'": {}, "'{1}'": {1}, "'{-1,9223372036854775807}'": {-1, math.MaxInt64}} {
		var raw []byte
		if err := conn.QueryRow(t.Context(), `SELECT array_send(`+literal+`::bigint[])`).Scan(&raw); err != nil {
			t.Fatal(err)
		}
		got, err := bigints(raw)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", literal, err, diff)
		}
		for n := range raw {
			if got, err := bigints(raw[:n]); err == nil {
				t.Errorf("%s: %d of %d octets: %v", literal, n, len(raw), got)
			}
		}
	}
	for _, literal := range []string{"'{NULL}'::bigint[]", "'{1}'::integer[]", "'{{1}}'::bigint[]"} {
		var raw []byte
		if err := conn.QueryRow(t.Context(), `SELECT array_send(`+literal+`)`).Scan(&raw); err != nil {
			t.Fatal(err)
		}
		if got, err := bigints(raw); err == nil {
			t.Errorf("%s: %v", literal, got)
		}
	}
	if err := new(answer).decode([][]byte{nil}); err == nil {
		t.Error("an answer of one column")
	}
}

// A connection whose statements are gone, as a pooler makes it, fails once and is replaced; a URL that wants none has none.
func TestPrepared(t *testing.T) {
	url := server.Database(t) + "&pool_max_conns=1"
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	account(t, s)
	prepared := func(s *Store) (n int) {
		t.Helper()
		if err := s.pool.QueryRow(t.Context(), `SELECT count(*) FROM pg_prepared_statements WHERE name = $1`, applyOneName).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if _, err := s.Apply(t.Context(), application("mmm_Archive", "1")); err != nil || prepared(s) != 1 {
		t.Errorf("%d prepared, %v", prepared(s), err)
	}
	if _, err := s.pool.Exec(t.Context(), `DEALLOCATE `+applyOneName); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(t.Context(), application("mmm_Archive", "2")); mesh.KindOf(err) != mesh.Internal {
		t.Errorf("without the statement: %v", err)
	}
	if _, err := s.Apply(t.Context(), application("mmm_Archive", "3")); err != nil || prepared(s) != 1 {
		t.Errorf("the next: %d prepared, %v", prepared(s), err)
	}

	plain, err := Open(t.Context(), url+"&default_query_exec_mode=exec")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = plain.Close() }()
	results, err := plain.Apply(t.Context(), application("mmm_Archive", "4"))
	if diff := cmp.Diff([]shard.Result{{Outcome: shard.Accept, Index: 3}}, results); diff != "" || err != nil || prepared(plain) != 0 {
		t.Errorf("%d prepared where none is wanted, %v (-want +got):\n%s", prepared(plain), err, diff)
	}
}

// Backends are killed under load: a request that failed had no effect or had it whole, and its retry tells which.
func TestKilledBackends(t *testing.T) {
	url := server.Database(t)
	s, err := Open(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	account(t, s)
	conn := connect(t, url)
	var enough atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; !enough.Load(); i++ {
			a := application("mmm_Bookmark", fmt.Sprint(i))
			a.Updates = append(a.Updates, shard.ContainerUpdate{Container: "mmm_Calendar", Entries: []shard.Entry{item(fmt.Sprint(i))}})
			want := []shard.Result{{Outcome: shard.Accept, Index: int64(i + 1)}, {Outcome: shard.Accept, Index: int64(i + 1)}}
			for {
				got, err := s.Apply(t.Context(), a)
				if err == nil {
					if diff := cmp.Diff(want, got); diff != "" {
						t.Errorf("request %d (-want +got):\n%s", i, diff)
					}
					break
				}
				if mesh.KindOf(err) != mesh.Overloaded {
					t.Errorf("request %d: %v", i, err)
					return
				}
			}
		}
	}()
	killed := 0
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(3 * time.Millisecond):
			if enough.Load() {
				continue
			}
			var k int
			if err := conn.QueryRow(t.Context(), `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
				WHERE application_name = 'meshd shard' AND datname = current_database() AND state = 'active'`).Scan(&k); err != nil {
				t.Fatal(err)
			}
			killed += k
			enough.Store(killed >= 30)
		}
	}
	t.Logf("%d backends killed", killed)
	if killed == 0 {
		t.Error("none was killed")
	}
	walk(t, url)
}

// The server dies at once and comes back: what was answered is there.
func TestCrashOfServer(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	allow(t, dir)
	options := pgcluster.Options{Dir: dir, Durable: true}
	c, err := pgcluster.Start(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() {
		if !stopped {
			_ = c.Stop()
		}
	}()
	if err := c.CreateDatabase(t.Context(), "shard"); err != nil {
		t.Fatal(err)
	}
	if err := Migrate(t.Context(), c.URL("shard")); err != nil {
		t.Fatal(err)
	}
	s, err := Open(t.Context(), c.URL("shard"))
	if err != nil {
		t.Fatal(err)
	}
	account(t, s)
	answered := int64(0)
	crash := make(chan error, 1)
	go func() {
		time.Sleep(150 * time.Millisecond)
		crash <- c.Crash()
	}()
	for i := 0; ; i++ {
		if _, err := s.Apply(t.Context(), application("mmm_Archive", fmt.Sprint(i))); err != nil {
			if mesh.KindOf(err) != mesh.Overloaded {
				t.Errorf("server away: %v", err)
			}
			break
		}
		answered++
	}
	if err := <-crash; err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); mesh.KindOf(err) != mesh.Overloaded {
		t.Errorf("ping: %v", err)
	}
	_ = s.Close()
	if c, err = pgcluster.Start(t.Context(), options); err != nil {
		t.Fatal(err)
	}
	frames := walk(t, c.URL("shard"))["mmm_Archive"]
	if frames < answered+1 || frames > answered+2 { // frame 0; one more may have lost only its answer
		t.Errorf("%d frames, %d answered", frames, answered)
	}
	t.Logf("%d answered before the crash", answered)
	stopped = true
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
}

// allow makes the parents of dir passable for the user that the server runs as.
func allow(t *testing.T, dir string) {
	t.Helper()
	for d := filepath.Dir(dir); d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
}

// walk reads the database with the checker's reader, and returns the number of frames by container name.
func walk(t testing.TB, url string) map[string]int64 {
	t.Helper()
	w, err := OpenWalker(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	frames := map[string]int64{}
	if err := w.Walk(t.Context(), func(c shard.RawContainer, all iter.Seq2[shard.RawFrame, error]) error {
		n := int64(0)
		for f, err := range all {
			if err != nil {
				return err
			}
			if sum := sha512.Sum512(f.Payload); f.Index != n || string(sum[:]) != string(f.PayloadDigest) {
				t.Errorf("%s: frame %d at %d", c.Name, f.Index, n)
			}
			n++
		}
		if n != c.Frames {
			t.Errorf("%s: %d frames, the row says %d", c.Name, n, c.Frames)
		}
		frames[c.Name] = n
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return frames
}
