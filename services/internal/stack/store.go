package stack

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/fsck"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/postgres"
	"github.com/mathmesh/meshd/services/shard/sqlite"
)

// The stores.
const (
	SQLite   = "sqlite"
	Postgres = "postgres"
)

// OpenStore opens the database of a shard: where is the path of a SQLite file or a PostgreSQL URL. Faults of its upkeep go to log.
func OpenStore(ctx context.Context, store, where string, log *slog.Logger) (shard.Store, error) {
	switch store {
	case SQLite:
		return sqlite.Open(ctx, where)
	case Postgres:
		return postgres.Open(ctx, where, postgres.Log(log))
	}
	return nil, fmt.Errorf("store %q: want sqlite or postgres", store)
}

// firstEpoch is that of the maps that we make ourselves.
const firstEpoch = 1

// OpenPartitions opens in a new database the partitions that the map gives to its shard, and says how many they are. A database
// that has exactly these is left as it is, whatever their state; one that has others is mesh.Conflict: its accounts would be out
// of reach, and partitions move by other means than this.
func OpenPartitions(ctx context.Context, store shard.Store, s shardmap.Shard, epoch uint64) (n int, err error) {
	have, err := store.Partitions(ctx)
	if err != nil {
		return 0, err
	}
	there := make(map[uint16]bool, len(have))
	for _, p := range have {
		there[p.Number] = true
	}
	missing := 0
	for _, r := range s.Ranges {
		for p := int(r.First); p <= int(r.Last); p++ {
			if n++; !there[uint16(p)] {
				missing++
			}
		}
	}
	if len(have) > 0 {
		if missing > 0 || n != len(have) {
			return 0, mesh.Errorf("stack.OpenPartitions", mesh.Conflict,
				"the database of %s has %d partitions already, and not those of the map: was the number of shards changed?", s.Name, len(have))
		}
		return n, nil
	}
	for _, r := range s.Ranges {
		if err := store.SetPartitions(ctx, r.First, r.Last, shard.PartitionOpen, epoch); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Walker reads a database as it lies, for a checker.
type Walker interface {
	fsck.Walker
	Close() error
}

// OpenWalker opens a database for a checker.
func OpenWalker(ctx context.Context, store, where string) (Walker, error) {
	switch store {
	case SQLite:
		return sqlite.OpenWalker(where)
	case Postgres:
		return postgres.OpenWalker(ctx, where)
	}
	return nil, fmt.Errorf("store %q: want sqlite or postgres", store)
}

// Migrate brings a database to this version's schema. A SQLite database is made when it is first opened.
func Migrate(ctx context.Context, store, where string) error {
	switch store {
	case SQLite:
		s, err := sqlite.Open(ctx, where)
		if err != nil {
			return err
		}
		return s.Close()
	case Postgres:
		return postgres.Migrate(ctx, where)
	}
	return fmt.Errorf("store %q: want sqlite or postgres", store)
}
