package pgcluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// passable returns a directory that the user of the server may reach.
func passable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o711); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func gone(pid int) bool {
	for range 200 {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return true
		}
		time.Sleep(10 * time.Millisecond)
	}
	return false
}

func TestTemporary(t *testing.T) {
	c, err := Start(t.Context(), Options{Settings: []string{"max_connections=17"}})
	if err != nil {
		t.Fatal(err)
	}
	pid := c.PID()
	conn, err := pgx.Connect(t.Context(), c.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	var n, listen, collation string
	if err := conn.QueryRow(t.Context(), `SELECT current_setting('max_connections'), current_setting('listen_addresses'), datcollate
		FROM pg_database WHERE datname = 'postgres'`).Scan(&n, &listen, &collation); err != nil || n != "17" || listen != "" || collation != "C" {
		t.Errorf("max_connections %s, listen_addresses %q, collation %s, %v", n, listen, collation, err)
	}
	info, err := os.Stat(c.sockets)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("others may connect: %v, %v", info.Mode(), err)
	}
	_ = conn.Close(t.Context())
	if err := c.Stop(); err != nil {
		t.Error(err)
	}
	if !gone(pid) {
		t.Error("the server runs on")
	}
	if _, err := os.Stat(c.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its directory is left: %v", err)
	}
}

func TestKept(t *testing.T) {
	dir := filepath.Join(passable(t), "cluster")
	for round := range 3 {
		c, err := Start(t.Context(), Options{Dir: dir, Durable: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := c.CreateDatabase(t.Context(), "shard-0"); err != nil {
				t.Fatal(err)
			}
		}
		conn, err := pgx.Connect(t.Context(), c.URL("shard-0"))
		if err != nil {
			t.Fatal(err)
		}
		var n int
		if err := conn.QueryRow(t.Context(), `CREATE TABLE IF NOT EXISTS t (n int); INSERT INTO t VALUES (1); SELECT count(*) FROM t`, pgx.QueryExecModeSimpleProtocol).Scan(&n); err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM t`).Scan(&n); err != nil || n != round+1 {
			t.Errorf("round %d: %d rows, %v", round, n, err)
		}
		var durable string
		if err := conn.QueryRow(t.Context(), `SELECT current_setting('fsync') || current_setting('synchronous_commit')`).Scan(&durable); err != nil || durable != "onon" {
			t.Errorf("durable: %q, %v", durable, err)
		}
		if round == 1 { // a crash loses nothing either
			_ = conn.Close(t.Context())
			if err := c.Crash(); err != nil {
				t.Error(err)
			}
			continue
		}
		if err := c.Stop(); err != nil { // with a connection open
			t.Error(err)
		}
		_ = conn.Close(context.Background())
	}
}

func TestNoBinaries(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := os.Stat("/usr/lib/postgresql"); err == nil {
		if dir, err := Binaries(); err != nil || !strings.HasPrefix(dir, "/usr/lib/postgresql/") {
			t.Errorf("not in PATH: %q, %v", dir, err)
		}
		return
	}
	if _, err := Binaries(); err == nil || !strings.Contains(err.Error(), "apt-get install postgresql") {
		t.Errorf("none: %v", err)
	}
}
