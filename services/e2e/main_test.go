//go:build e2e

package e2e_test

import (
	"context"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/mathmesh/meshd/services/e2e"
)

// built are the programs, once for all tests.
var built struct {
	sync.Once
	e2e.Binaries
	temporary string
	err       error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.temporary != "" {
		if err := os.RemoveAll(built.temporary); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

func binaries(t *testing.T) e2e.Binaries {
	t.Helper()
	built.Do(func() {
		if built.temporary, built.err = os.MkdirTemp("", "mesh-e2e"); built.err == nil {
			built.Binaries, built.err = e2e.Build(context.Background(), built.temporary)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.Binaries
}

// shortDir is a folder whose path leaves room for the name of a socket (107 octets), and which the user that a private
// PostgreSQL runs as may pass through.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "mesh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}
