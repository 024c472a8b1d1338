package meshtest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/fsck"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// C-037, C-044, C-145: two virtual services answer, and each can be taken down and up without the other.
func TestProviders(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{})
	hello := func(domain string) int {
		p := m.Provider(t, domain)
		code, body := meshtest.Hello(t, meshtest.HTTP(t, p), p)
		t.Logf("%s: %d %.60s", domain, code, body)
		return code
	}
	before := m.Provider(t, meshtest.Beta)
	for _, domain := range []string{meshtest.Alpha, meshtest.Beta} {
		if code := hello(domain); code != 201 {
			t.Errorf("Hello of %s: %d", domain, code)
		}
	}
	if err := m.StopProvider(t.Context(), meshtest.Beta); err != nil {
		t.Fatal(err)
	}
	if code := hello(meshtest.Beta); code != 0 {
		t.Errorf("a stopped provider answers %d", code)
	}
	if code := hello(meshtest.Alpha); code != 201 {
		t.Errorf("the other provider answers %d", code)
	}
	if err := m.StartProvider(t.Context(), meshtest.Beta); err != nil {
		t.Fatal(err)
	}
	if code := hello(meshtest.Beta); code != 201 {
		t.Errorf("started again it answers %d", code)
	}
	if after := m.Provider(t, meshtest.Beta); after.Endpoint != before.Endpoint || after.Admin != before.Admin {
		t.Errorf("its addresses changed from %v to %v", before, after)
	}
	if err := m.StopProvider(t.Context(), "gamma.example"); err == nil {
		t.Error("stopped a provider that is not there")
	}
	// C-149: a foreign Host is refused by the gateway, not by TLS.
	wrong := m.Provider(t, meshtest.Alpha)
	c := meshtest.HTTP(t, wrong)
	wrong.Domain = meshtest.Beta
	if code, _ := meshtest.Hello(t, c, wrong); code != 421 {
		t.Errorf("beta's Host at alpha: %d, want 421", code)
	}
}

// What a provider has it still has after a restart: accounts, keys, certificates (docs/design.md, Contracts).
func TestDataIsKept(t *testing.T) {
	dir, home := t.TempDir(), t.TempDir()
	var udf string
	var ca []byte
	t.Run("first", func(t *testing.T) {
		m := meshtest.Start(t, meshtest.Options{Dir: dir})
		a := create(t, m, home, "alice@"+meshtest.Alpha)
		put(t, a)
		udf, ca = serviceUDF(t, m), caOf(t, m)
	})
	t.Run("again", func(t *testing.T) {
		m := meshtest.Start(t, meshtest.Options{Dir: dir})
		if got := serviceUDF(t, m); got != udf {
			t.Errorf("the service is %s, was %s", got, udf)
		}
		if string(caOf(t, m)) != string(ca) {
			t.Error("the CA is another")
		}
		a, err := client.Open(client.Config{Dir: home, StateFile: m.StateFile}, "alice@"+meshtest.Alpha)
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		if _, err := a.Status(within(t)); err != nil {
			t.Error(err)
		}
		for _, s := range m.Provider(t, meshtest.Alpha).Shards {
			w, err := stack.OpenWalker(t.Context(), stack.SQLite, s.Database)
			if err != nil {
				t.Fatal(err)
			}
			defer w.Close()
			if r, err := fsck.Check(t.Context(), w); err != nil || len(r.Faults) > 0 {
				t.Errorf("%s: %v, %v", s.Name, r.Faults, err)
			}
		}
	})
	t.Run("other shards", func(t *testing.T) {
		_, err := stack.StartDev(t.Context(), stack.DevOptions{Dir: dir, Store: stack.SQLite, Domains: []string{meshtest.Alpha}, Shards: 3, Log: t.Output()})
		if err == nil {
			t.Error("the same data with three shards instead of two: accounts would be out of reach")
		}
	})
}

// C-059 and the closed policy, through every layer.
func TestClosedPolicy(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1, Policies: map[string]gateway.Policy{meshtest.Alpha: gateway.Closed}})
	_, err := client.Create(within(t), client.Config{Dir: t.TempDir(), StateFile: m.StateFile}, "alice@"+meshtest.Alpha, client.CreateOptions{})
	if err == nil {
		t.Fatal("a closed provider made an account")
	}
	t.Log(err)
}

// C-022: accounts on both shards through one endpoint.
func TestShardsShareAccounts(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}})
	for _, name := range []string{"alice", "bob", "dave", "frank"} {
		put(t, create(t, m, t.TempDir(), name+"@"+meshtest.Alpha))
	}
	for _, s := range m.Provider(t, meshtest.Alpha).Shards {
		w, err := stack.OpenWalker(t.Context(), stack.SQLite, s.Database)
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		r, err := fsck.Check(t.Context(), w)
		if err != nil || len(r.Faults) > 0 {
			t.Errorf("%s: %v, %v", s.Name, r.Faults, err)
		}
		if r.Containers == 0 {
			t.Errorf("%s has none of four accounts", s.Name)
		}
	}
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func create(t *testing.T, m *meshtest.Mesh, dir, address string) *client.Account {
	t.Helper()
	a, err := client.Create(within(t), client.Config{Dir: dir, StateFile: m.StateFile}, address, client.CreateOptions{Description: "test"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Close() })
	return a
}

func put(t *testing.T, a *client.Account) {
	t.Helper()
	c, err := a.Catalog(mesh.CatalogBookmark)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Put(&mesh.CatalogedBookmark{Path: "a/b", URI: "https://example.com"}); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Sync(within(t), nil); err != nil {
		t.Fatal(err)
	}
}

func serviceUDF(t *testing.T, m *meshtest.Mesh) string {
	t.Helper()
	info, err := client.Hello(within(t), client.Config{Dir: t.TempDir(), StateFile: m.StateFile}, meshtest.Alpha)
	if err != nil {
		t.Fatal(err)
	}
	return info.ServiceUDF
}

func caOf(t *testing.T, m *meshtest.Mesh) []byte {
	t.Helper()
	data, err := os.ReadFile(m.Provider(t, meshtest.Alpha).CAFile)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
