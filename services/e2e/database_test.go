//go:build e2e

package e2e_test

import (
	"context"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/internal/pgcluster"
)

// database is a private PostgreSQL that can be killed and comes back at the same address, as one that its supervisor
// starts again.
type database struct {
	t       *testing.T
	data    string
	address string // a link to the folder of its socket
	cluster *pgcluster.Cluster
}

func newDatabase(t *testing.T) *database {
	t.Helper()
	dir := shortDir(t)
	d := &database{t: t, data: filepath.Join(dir, "pg"), address: filepath.Join(dir, "at")}
	d.start()
	t.Cleanup(func() {
		if err := d.cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *database) start() {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	cluster, err := pgcluster.Start(ctx, pgcluster.Options{Dir: d.data, Durable: true})
	if err != nil {
		d.t.Fatal(err)
	}
	d.cluster = cluster
	socket := d.parse("postgres").Query().Get("host")
	if err := os.Remove(d.address); err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	if err := os.Symlink(socket, d.address); err != nil {
		d.t.Fatal(err)
	}
}

func (d *database) parse(name string) *url.URL {
	u, err := url.Parse(d.cluster.URL(name))
	if err != nil {
		d.t.Fatal(err)
	}
	return u
}

// kill kills the postmaster, as a lack of memory would.
func (d *database) kill() {
	d.t.Helper()
	if err := syscall.Kill(d.cluster.PID(), syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
	if err := d.cluster.Stop(); err != nil { // it is gone: this only clears its folder away
		d.t.Fatal(err)
	}
}

// create makes a database and returns its URL, which stays good when the server comes back.
func (d *database) create(name string) string {
	d.t.Helper()
	if err := d.cluster.CreateDatabase(d.t.Context(), name); err != nil {
		d.t.Fatal(err)
	}
	u := d.parse(name)
	q := u.Query()
	q.Set("host", d.address)
	u.RawQuery = q.Encode()
	return u.String()
}
