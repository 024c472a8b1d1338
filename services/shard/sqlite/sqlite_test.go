package sqlite

import (
	"path/filepath"
	"testing"

	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/accountstest"
)

func TestConformance(t *testing.T) {
	accountstest.Run(t, func(t *testing.T) shard.Store {
		s, err := Open(t.Context(), filepath.Join(t.TempDir(), "shard.db"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		return s
	})
}
