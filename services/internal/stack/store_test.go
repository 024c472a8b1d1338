package stack

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
)

func TestOpenPartitions(t *testing.T) {
	store, err := OpenStore(t.Context(), SQLite, filepath.Join(t.TempDir(), "s00.db"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	s00 := func(ranges ...shardmap.Range) shardmap.Shard { return shardmap.Shard{Name: "s00", Ranges: ranges} }
	mine := s00(shardmap.Range{First: 3, Last: 5}, shardmap.Range{First: 9, Last: 9})
	if n, err := OpenPartitions(t.Context(), store, mine, 7); n != 4 || err != nil {
		t.Fatalf("%d, %v, want 4", n, err)
	}
	if err := store.SetPartitions(t.Context(), 4, 4, shard.PartitionFrozen, 8); err != nil {
		t.Fatal(err)
	}
	if n, err := OpenPartitions(t.Context(), store, mine, 9); n != 4 || err != nil {
		t.Errorf("again: %d, %v, want 4", n, err)
	}
	for what, others := range map[string]shardmap.Shard{
		"fewer":         s00(shardmap.Range{First: 3, Last: 5}),
		"more":          s00(shardmap.Range{First: 3, Last: 9}),
		"as many":       s00(shardmap.Range{First: 3, Last: 6}),
		"none":          s00(),
		"other numbers": s00(shardmap.Range{First: 3, Last: 4}, shardmap.Range{First: 8, Last: 9}),
	} {
		if _, err := OpenPartitions(t.Context(), store, others, 9); mesh.KindOf(err) != mesh.Conflict {
			t.Errorf("%s: %v, want Conflict", what, err)
		}
	}
	all, err := store.Partitions(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []shard.Partition{
		{Number: 3, State: shard.PartitionOpen, Epoch: 7},
		{Number: 4, State: shard.PartitionFrozen, Epoch: 8},
		{Number: 5, State: shard.PartitionOpen, Epoch: 7},
		{Number: 9, State: shard.PartitionOpen, Epoch: 7},
	}
	if len(all) != len(want) {
		t.Fatalf("%v, want %v", all, want)
	}
	for i := range want {
		if all[i] != want[i] {
			t.Errorf("%v, want %v", all[i], want[i])
		}
	}
}
