package e2e_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/e2e"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/pgcluster"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
)

const domain = "alpha.example"

// One gateway and two shards with a database each, as separate processes from YAML files.
func TestSeparateProcesses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	bin, err := e2e.Build(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Run(stack.SQLite, func(t *testing.T) {
		dir := t.TempDir()
		scenario(t, e2e.Start(t, e2e.Options{
			Binaries: bin, Domain: domain, Shards: 2, Store: stack.SQLite,
			Databases: func(shard string) string { return filepath.Join(dir, shard+".db") },
		}))
	})
	t.Run(stack.Postgres, func(t *testing.T) {
		server := postgresServer(ctx, t)
		scenario(t, e2e.Start(t, e2e.Options{
			Binaries: bin, Domain: domain, Shards: 2, Store: stack.Postgres,
			Databases: func(shard string) string {
				where, err := pgcluster.CreateDatabase(ctx, server, strings.ToLower("mesh_e2e_"+rand.Text()[:8]+"_"+shard))
				if err != nil {
					t.Fatal(err)
				}
				return where
			},
		}))
	})
}

// postgresServer is the server that MESH_TEST_POSTGRES names, or a private one.
func postgresServer(ctx context.Context, t *testing.T) string {
	t.Helper()
	if url := os.Getenv("MESH_TEST_POSTGRES"); url != "" {
		return url
	}
	cluster, err := pgcluster.Start(ctx, pgcluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cluster.Stop(); err != nil {
			t.Error(err)
		}
	})
	return cluster.URL("postgres")
}

func scenario(t *testing.T, d *e2e.Deployment) {
	// C-044: the Hello of the draft.
	code, body := meshtest.Hello(t, meshtest.HTTP(t, d.State), d.State)
	if code != 201 || !strings.HasPrefix(body, "[") {
		t.Fatalf("Hello: %d %.100s", code, body)
	}
	for _, p := range append([]*e2e.Process{d.Gateway}, d.Shards...) {
		rss, err := p.RSSAnon()
		t.Logf("%s: RssAnon %.1f MiB (%v)", p.Name, float64(rss)/(1<<20), err)
		if rss > 30<<20 {
			t.Errorf("%s takes more than 30 MiB at rest", p.Name)
		}
	}

	onFirst, onSecond := addresses()
	alice, dave := create(t, d, onFirst), create(t, d, onSecond)
	for _, a := range []*client.Account{alice, dave} {
		if err := put(t, a, "before"); err != nil {
			t.Fatalf("%s: %v", a.Address(), err)
		}
	}
	for address, want := range map[string]string{onFirst: "s00", onSecond: "s01"} {
		out := d.Binaries.Run(t, "meshctl", "account", "where", address, "--shard-map", d.State.ShardMap, "--pki", d.State.PKI)
		if !strings.Contains(out, want) {
			t.Errorf("%s is not on %s:\n%s", address, want, out)
		}
	}

	// C-022: a shard that is gone takes its own accounts away and no others.
	d.Shards[0].Kill(t)
	var refused *client.ServiceError
	if err := put(t, alice, "while s00 is down"); !errors.As(err, &refused) || refused.Code.Status != 503 {
		t.Errorf("an account of the shard that is down: %v, want 503", err)
	}
	if err := put(t, dave, "while s00 is down"); err != nil {
		t.Errorf("an account of the other shard: %v", err)
	}
	d.Shards[0].Start(t)
	d.Shards[0].WaitReady(t)
	if err := put(t, alice, "after"); err != nil {
		t.Errorf("after the restart: %v", err)
	}
	// C-145: a gateway keeps nothing that it cannot lose, not even tickets.
	d.Gateway.Kill(t)
	d.Gateway.Start(t)
	d.Gateway.WaitReady(t)
	if err := put(t, alice, "after the gateway's restart"); err != nil {
		t.Errorf("after the gateway's restart: %v", err)
	}

	if out, err := d.Binaries.Command("meshctl", "account", "where", "nobody@"+domain, "--shard-map", d.State.ShardMap, "--pki", d.State.PKI).CombinedOutput(); err == nil {
		t.Errorf("found an account that is not there: %s", out)
	}
	d.Fsck(t)
	d.Gateway.Stop(t)
	for _, p := range d.Shards {
		p.Stop(t)
	}
}

// addresses returns one address of each half of the partitions.
func addresses() (first, second string) {
	for _, name := range []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"} {
		address := name + "@" + domain
		if shardmap.Of(address) < shardmap.Partitions/2 {
			first = address
		} else {
			second = address
		}
	}
	return first, second
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func create(t *testing.T, d *e2e.Deployment, address string) *client.Account {
	t.Helper()
	a, err := client.Create(within(t), client.Config{Dir: t.TempDir(), StateFile: d.StateFile}, address, client.CreateOptions{Description: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

// put makes one bookmark and brings it to the service.
func put(t *testing.T, a *client.Account, name string) error {
	t.Helper()
	c, err := a.Catalog(mesh.CatalogBookmark)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(&mesh.CatalogedBookmark{Path: name, URI: "https://example.com"}); err != nil {
		t.Fatal(err)
	}
	_, err = a.Sync(within(t), nil)
	return err
}
