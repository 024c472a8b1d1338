package postgres

import (
	"context"
	"os"
	"testing"

	"github.com/mathmesh/meshd/services/internal/pgtest"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/accountstest"
)

var server = pgtest.Server{Migrate: Migrate}

func TestMain(m *testing.M) { os.Exit(server.Main(m)) }

func open(t testing.TB, url string) *Store {
	t.Helper()
	s, err := Open(t.Context(), url)
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
	accountstest.Run(t, func(t *testing.T) (shard.Store, func(context.Context) (accountstest.Walker, error)) {
		url := server.Database(t)
		walk := func(ctx context.Context) (accountstest.Walker, error) { return OpenWalker(ctx, url) }
		return open(t, url), walk
	})
}
