package postgres

import (
	"os"
	"testing"

	"github.com/mathmesh/meshd/services/internal/pgtest"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/accountstest"
)

var server = pgtest.Server{Migrate: Migrate}

func TestMain(m *testing.M) { os.Exit(server.Main(m)) }

func open(t testing.TB) *Store {
	t.Helper()
	s, err := Open(t.Context(), server.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestConformance(t *testing.T) {
	accountstest.Run(t, func(t *testing.T) shard.Store { return open(t) })
}
