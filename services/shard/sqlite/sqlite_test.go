package sqlite

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/accountstest"
)

func TestConformance(t *testing.T) {
	accountstest.Run(t, func(t *testing.T) (shard.Store, func(context.Context) (accountstest.Walker, error)) {
		path := filepath.Join(t.TempDir(), "shard.db")
		s, err := Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s, func(context.Context) (accountstest.Walker, error) { return OpenWalker(path) }
	})
}

// Time that ends between two statements is the caller's, not a fault of ours.
func TestTimeEndsBetweenStatements(t *testing.T) {
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "shard.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithCancel(t.Context())
	err = s.write(ctx, "test", func(tx *sql.Tx) error {
		cancel()
		for { // package sql rolls back a moment later
			if _, err := tx.ExecContext(t.Context(), `SELECT 1`); err != nil {
				return err
			}
		}
	})
	if mesh.KindOf(err) != mesh.Overloaded {
		t.Errorf("%v, want Overloaded", err)
	}
}
