package sqlite

import (
	"context"
	"crypto/sha512"
	"iter"
	"path/filepath"
	"strings"
	"testing"
	"time"

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

func application(request, id string) shard.Application {
	return shard.Application{
		Partition: partition, Account: address, Caller: shard.Caller{AuthKID: kid, RequestID: []byte(request), RequestDigest: make([]byte, 32)},
		Updates: []shard.ContainerUpdate{{Container: "mmm_Archive", Entries: []shard.Entry{item(id)}}},
	}
}

func makeAccount(t *testing.T, s *Store) {
	t.Helper()
	if err := s.SetPartitions(t.Context(), partition, partition, shard.PartitionOpen, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Create(t.Context(), shard.Creation{
		Partition: partition, Address: address, Caller: shard.Caller{AuthKID: kid}, ProfileUDF: "MPRO", MeshUDF: "MMSH",
		AccountFrame: item(address), State: shard.Connected,
	}); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for change, want := range map[string]string{
		`UPDATE constant SET value = '1024' WHERE name = 'partitions'`: `partitions is "1024"`,
		`UPDATE constant SET value = 'crc32' WHERE name = 'hash'`:      `hash is "crc32"`,
		`PRAGMA user_version = 99`:                                     "schema 99",
	} {
		path := filepath.Join(t.TempDir(), "shard.db")
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.writer.ExecContext(t.Context(), change); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(t.Context(), path); err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Open: %v, want %q", err, want)
		}
	}
}

// A name with what means something in a URL is a name all the same; the data is there after reopening.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?c=d#e%20f.db")
	for round := int64(1); round <= 2; round++ {
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if round == 1 {
			makeAccount(t, s)
		}
		got, err := s.Apply(t.Context(), application("", string(rune('a'+round))))
		if err != nil || got[0].Index != round {
			t.Fatalf("round %d: %v, %v", round, got, err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w, err := OpenWalker(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	var seen []string
	if err := w.Walk(context.Background(), func(c shard.RawContainer, all iter.Seq2[shard.RawFrame, error]) error {
		n := int64(0)
		for f, err := range all {
			if err != nil {
				return err
			}
			if sum := sha512.Sum512(f.Payload); f.Index != n || string(sum[:]) != string(f.PayloadDigest) || f.Own != (n == 0) {
				t.Errorf("%s: frame %d at %d", c.Name, f.Index, n)
			}
			n++
		}
		if n != c.Frames || len(c.Peaks) == 0 || (c.Account != 0) != (c.Address == address) {
			t.Errorf("%+v: %d frames", c, n)
		}
		seen = append(seen, c.Name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(seen, " "); got != "mmms_Account mmm_Inbound mmm_Local mmm_Outbound mmm_Archive" {
		t.Errorf("walked %s", got)
	}
}

func TestDurable(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "shard.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	var mode string
	var sync int
	if err := s.writer.QueryRowContext(t.Context(), `PRAGMA journal_mode`).Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal_mode %q, %v", mode, err)
	}
	if err := s.writer.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&sync); err != nil || sync != 2 {
		t.Errorf("synchronous %d, want 2 (FULL), %v", sync, err)
	}
}

// Outcomes are forgotten after their life, and their rows go.
func TestDedupLife(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "shard.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	now := time.Unix(1_800_000_000, 0)
	s.now = func() time.Time { return now }
	makeAccount(t, s)
	index := func(request, id string) int64 {
		t.Helper()
		got, err := s.Apply(t.Context(), application(request, id))
		if err != nil {
			t.Fatal(err)
		}
		return got[0].Index
	}
	if i := index("r", "a"); i != 1 {
		t.Fatal(i)
	}
	now = now.Add(shard.DedupLife)
	if i := index("r", "b"); i != 1 {
		t.Errorf("at the end of its life: index %d", i)
	}
	now = now.Add(time.Second)
	if i := index("r", "b"); i != 2 {
		t.Errorf("after its life: index %d", i)
	}
	for i := range 30 {
		now = now.Add(time.Minute)
		index(string(rune('A'+i)), string(rune('A'+i)))
	}
	var rows int
	if err := s.writer.QueryRowContext(t.Context(), `SELECT count(*) FROM request_dedup`).Scan(&rows); err != nil || rows > 17 {
		t.Errorf("%d outcomes kept, %v", rows, err)
	}
}
