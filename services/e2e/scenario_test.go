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
	"testing"

	"github.com/mathmesh/meshd/services/e2e"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// The demo's scenario, the main job and messages, against two providers whose roles are separate processes, with a NATS cluster each
// and PostgreSQL databases of their own.
func TestDemoOnProcesses(t *testing.T) {
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
	named := make(map[string]*e2e.Deployment)
	var everything []*e2e.Process
	deployments, _ := providers(t, stack.Postgres)
	for _, d := range deployments {
		named[d.Domain] = d
		defer d.Fsck(t)
		everything = append(everything, d.Processes()...)
		for _, s := range d.State.Shards {
			told.Databases = append(told.Databases, s.Database)
		}
	}
	told.State = deployments[0].StateFile // names both

	mux := http.NewServeMux()
	answer := func(pattern string, act func(p *e2e.Process)) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			told.Memory = ""
			processes := everything
			if d := named[r.URL.Query().Get("domain")]; d != nil {
				processes = d.Processes()
			}
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
	answer("POST /away", func(p *e2e.Process) { p.Stop(t) })
	answer("POST /back", func(p *e2e.Process) { p.Start(t); p.WaitReady(t) })
	control := httptest.NewServer(mux)
	defer control.Close()

	demo := e2e.Binaries{Dir: own}.Command("demo", "-bin", bin.Dir, "-testdata", filepath.Join("..", "..", "cli", "testdata"), "-control", control.URL)
	out, err := demo.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatal(err)
	}
}
