//go:build e2e

package e2e_test

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/e2e"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// accounts of a crew: a gateway lets one address make twenty within the hour.
const accounts = 6

// A gateway and two shards are killed again and again under load, on either store: nothing acknowledged is missing, and
// nothing is there twice (docs/guarantees.md; C-012, C-145, C-219).
func TestKillProcesses(t *testing.T) {
	t.Run(stack.SQLite, func(t *testing.T) {
		dir := t.TempDir()
		d := deploy(t, stack.SQLite, func(shard string) string { return filepath.Join(dir, shard+".db") })
		killProcesses(t, d)
	})
	t.Run(stack.Postgres, func(t *testing.T) {
		db := newDatabase(t)
		d := deploy(t, stack.Postgres, db.create)
		killProcesses(t, d, victim{"postmaster", db.kill, db.start})
	})
}

func deploy(t *testing.T, store string, databases func(string) string) *e2e.Deployment {
	t.Helper()
	return e2e.Start(t, e2e.Options{Binaries: binaries(t), Domain: domain, Shards: 2, Store: store, Databases: databases})
}

func killProcesses(t *testing.T, d *e2e.Deployment, more ...victim) {
	c := recruit(t, meet(t, d.State), accounts)
	c.start(t)
	victims := more
	for _, p := range append([]*e2e.Process{d.Gateway}, d.Shards...) {
		victims = append(victims, victim{p.Name, func() { p.Kill(t) }, func() { p.Start(t); p.WaitReady(t) }})
	}
	rampage(t, 2, victims, victims)
	c.halt(t)
	c.check(t)
	d.Fsck(t)
}

// The whole of `meshd dev` is killed under load, its private PostgreSQL too.
func TestKillDev(t *testing.T) {
	for _, store := range []string{stack.SQLite, stack.Postgres} {
		t.Run(store, func(t *testing.T) {
			d := &dev{t: t, bin: binaries(t), dir: shortDir(t), store: store}
			d.start()
			s := meet(t, d.provider())
			c := recruit(t, s, accounts)
			c.start(t)
			back := func() {
				d.start()
				endpoint := d.provider().Endpoint
				s.endpoint.Store(&endpoint)
			}
			victims := []victim{{"meshd dev", d.kill, back}}
			if store == stack.Postgres {
				victims = append(victims, victim{"its postmaster, then itself", func() { d.killPostmaster(); d.kill() }, back})
			}
			rampage(t, 3, victims, nil)
			c.halt(t)
			c.check(t)
			d.fsck()
			d.stop()
		})
	}
}

// dev is a `meshd dev` of one provider.
type dev struct {
	t     *testing.T
	bin   e2e.Binaries
	dir   string
	store string
	state *stack.State
	run   *e2e.Process
}

func (d *dev) start() {
	d.t.Helper()
	file := filepath.Join(d.dir, "state.json")
	if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
	if d.run == nil {
		d.run = e2e.NewProcess(d.bin, "meshd dev", "dev", "--state", file, "--data", filepath.Join(d.dir, "data"), "--store", d.store, "--provider", domain)
	}
	d.run.Start(d.t)
	ctx, cancel := context.WithTimeout(d.t.Context(), time.Minute)
	defer cancel()
	for {
		var err error
		if d.state, err = stack.ReadState(file); err == nil {
			return
		}
		select {
		case <-ctx.Done():
			d.t.Fatalf("meshd dev is not ready: %v", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// killPostmaster kills the private PostgreSQL.
func (d *dev) killPostmaster() {
	d.t.Helper()
	text, err := os.ReadFile(filepath.Join(d.dir, "data", "postgres", "data", "postmaster.pid"))
	if err != nil {
		d.t.Fatal(err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	pid, err := strconv.Atoi(line)
	if err != nil || pid <= 1 {
		d.t.Fatalf("postmaster.pid says %q: %v", line, err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		d.t.Fatal(err)
	}
}

func (d *dev) provider() stack.ProviderState { return d.state.Providers[0] }
func (d *dev) kill()                         { d.t.Helper(); d.run.Kill(d.t) }
func (d *dev) stop()                         { d.t.Helper(); d.run.Stop(d.t) }

func (d *dev) fsck() {
	d.t.Helper()
	for _, s := range d.provider().Shards {
		if d.store == stack.SQLite {
			d.bin.Run(d.t, "meshctl", "fsck", "--sqlite", s.Database)
			continue
		}
		file := filepath.Join(d.dir, s.Name+".url")
		if err := os.WriteFile(file, []byte(s.Database), 0o600); err != nil {
			d.t.Fatal(err)
		}
		d.bin.Run(d.t, "meshctl", "fsck", "--url-file", file)
	}
}
