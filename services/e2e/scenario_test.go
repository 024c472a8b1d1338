//go:build e2e

package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/services/e2e"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// The demo's scenario, the main job, against two providers whose roles are separate processes and whose shards have
// PostgreSQL databases of their own.
func TestDemoOnProcesses(t *testing.T) {
	db := newDatabase(t)
	bin := binaries(t)
	build := func(dir, program string) {
		t.Helper()
		if out, err := exec.Command("go", "build", "-o", dir+string(filepath.Separator), program).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if _, err := os.Stat(filepath.Join(bin.Dir, "mesh")); err != nil {
		build(bin.Dir, "github.com/mathmesh/meshd/cli/cmd/mesh")
	}
	own := t.TempDir()
	build(own, "github.com/mathmesh/meshd/services/e2e/demo")
	var told struct {
		State     string
		Databases []string
		Memory    string
	}
	state := new(stack.State)
	var processes []*e2e.Process
	for _, domain := range []string{"alpha.example", "beta.example"} {
		name, _, _ := strings.Cut(domain, ".")
		d := e2e.Start(t, e2e.Options{
			Binaries: bin, Domain: domain, Shards: 2, Store: stack.Postgres,
			Databases: func(shard string) string { return db.create(name + "_" + shard) },
		})
		defer d.Fsck(t)
		state.Providers = append(state.Providers, d.State)
		processes = append(append(processes, d.Gateway), d.Shards...)
		for _, s := range d.State.Shards {
			told.Databases = append(told.Databases, s.Database)
		}
	}
	told.State = filepath.Join(t.TempDir(), "state.json")
	if err := state.Write(told.State); err != nil {
		t.Fatal(err)
	}

	mux := http.NewServeMux()
	answer := func(pattern string, act func(p *e2e.Process)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			told.Memory = ""
			for _, p := range processes {
				act(p)
			}
			if err := json.NewEncoder(w).Encode(told); err != nil {
				t.Error(err)
			}
		})
	}
	answer("GET /", func(p *e2e.Process) {
		if rss, err := p.RSSAnon(); err == nil {
			told.Memory += fmt.Sprintf("\n%s: RssAnon %.1f MiB", p.Name, float64(rss)/(1<<20))
		}
	})
	answer("POST /kill", func(p *e2e.Process) { p.Kill(t) })
	answer("POST /restart", func(p *e2e.Process) { p.Start(t); p.WaitReady(t) })
	control := httptest.NewServer(mux)
	defer control.Close()

	demo := e2e.Binaries{Dir: own}.Command("demo", "-bin", bin.Dir, "-testdata", filepath.Join("..", "..", "cli", "testdata"), "-control", control.URL)
	out, err := demo.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
