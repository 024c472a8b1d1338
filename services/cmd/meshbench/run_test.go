package main

import (
	"context"
	"io"
	"path/filepath"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/internal/stack"
)

// startService runs `meshd dev` with one provider in this process and returns its state file.
func startService(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	d, err := stack.StartDev(t.Context(), stack.DevOptions{
		Dir: filepath.Join(dir, "data"), Store: stack.SQLite, Domains: []string{"alpha.example"}, Shards: 2,
		Log: io.Discard, LogLevel: "error", Profiling: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	file := filepath.Join(dir, "state.json")
	if err := d.State().Write(file); err != nil {
		t.Fatal(err)
	}
	return file
}

// Both transactions, both loops, both versions of HTTP: requests are answered, right and counted. How fast is not tested.
func TestRun(t *testing.T) {
	state := startService(t)
	for name, o := range map[string]runOptions{
		"upload, closed": {transaction: "Upload", load: load{clients: 3}},
		"upload, open":   {transaction: "Upload", load: load{clients: 2, rate: 40}},
		"status, HTTP/2": {transaction: "Status", load: load{clients: 2}, http2: true},
	} {
		t.Run(name, func(t *testing.T) {
			o.state, o.output = state, "json"
			o.load.duration, o.load.size = 300*time.Millisecond, 1<<10
			if err := o.check(); err != nil {
				t.Fatal(err)
			}
			r, err := o.run(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if r.Requests == 0 || r.Failures != 0 || r.P50 <= 0 || r.P99 < r.P50 || r.Allocations == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// An answer that is not what the request must get is a failure, not a figure.
func TestWrongAnswers(t *testing.T) {
	s, err := openService(t.Context(), startService(t), "")
	if err != nil {
		t.Fatal(err)
	}
	a, err := s.newAccount(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer a.close()
	batch, err := a.seal(upload, 2, 1<<10)
	if err != nil {
		t.Fatal(err)
	}
	if err := batch[1].send(t.Context(), a); err == nil {
		t.Error("an Upload that conflicts counts as one that was stored")
	}
	if err := batch[0].send(t.Context(), a); err != nil {
		t.Error(err)
	}
	// The account's own idea of the container is one frame behind now.
	late, err := a.seal(status, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := late[0].send(t.Context(), a); err == nil {
		t.Error("a Status that shows another state counts as right")
	}
	a.acknowledged = *batch[0].after
	if late, err = a.seal(status, 1, 0); err != nil {
		t.Fatal(err)
	}
	if err := late[0].send(t.Context(), a); err != nil {
		t.Error(err)
	}
	if err := late[0].send(t.Context(), a); err == nil {
		t.Error("a request that went out twice was answered twice")
	}
}

func TestCheck(t *testing.T) {
	good := runOptions{transaction: "Upload", output: "table", load: load{clients: 1, duration: time.Second}}
	if err := good.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*runOptions){
		"transaction": func(o *runOptions) { o.transaction = "Download" },
		"clients":     func(o *runOptions) { o.load.clients = 0 },
		"duration":    func(o *runOptions) { o.load.duration = 2 * time.Minute },
		"rate":        func(o *runOptions) { o.load.rate = 1e6 },
		"size":        func(o *runOptions) { o.load.size = 2 << 20 },
		"output":      func(o *runOptions) { o.output = "xml" },
	} {
		o := good
		change(&o)
		if o.check() == nil {
			t.Errorf("%s: was taken", name)
		}
	}
}
