package stack

import (
	"context"
	"fmt"
	"log/slog"

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

// ensurePartitions opens the partitions of a shard in a new database. In one that has partitions they must be the
// ones that the map gives it: otherwise its accounts would be out of reach.
func ensurePartitions(ctx context.Context, store shard.Store, s shardmap.Shard) error {
	have, err := store.Partitions(ctx)
	if err != nil {
		return err
	}
	wanted := 0
	for _, r := range s.Ranges {
		wanted += int(r.Last) - int(r.First) + 1
	}
	if len(have) == 0 {
		for _, r := range s.Ranges {
			if err := store.SetPartitions(ctx, r.First, r.Last, shard.PartitionOpen, firstEpoch); err != nil {
				return err
			}
		}
		return nil
	}
	if len(have) != wanted || have[0].Number != s.Ranges[0].First {
		return fmt.Errorf("the database of shard %s has other partitions than the map: was the number of shards changed?", s.Name)
	}
	return nil
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
