package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/queue/embedded"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// An operator sets up streams, and looks at them.
func TestStreams(t *testing.T) {
	pki := filepath.Join(t.TempDir(), "pki")
	want(t, 0, "", "pki", "create", "--dir", pki, "--nats", "127.0.0.1")
	if _, err := os.Stat(filepath.Join(pki, "nats.pem")); err != nil {
		t.Error(err)
	}
	ca, err := rpc.OpenCA(pki, "", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.QueueServer(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	s, err := embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Addr: "127.0.0.1:0", TLS: config, Monitoring: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	at := []string{"--servers", s.URL(), "--pki", pki, "--replicas", "1"}
	run := func(code int, text, verb string, more ...string) string {
		t.Helper()
		return want(t, code, text, append(append([]string{"streams", verb}, at...), more...)...)
	}
	run(6, "stream INBOUND is absent", "check")
	run(0, "created", "apply")
	if out := run(0, "unchanged", "apply"); strings.Contains(out, "created") {
		t.Errorf("made twice:\n%s", out)
	}
	run(0, "not stamped", "check")
	run(0, "stamped", "check", "--monitoring", s.Monitoring())
	var r queue.Report
	if err := json.Unmarshal([]byte(run(0, "", "check", "-o", "json")), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Streams) != 3 || !strings.Contains(r.Streams[0].Checked, "sync_interval=always") {
		t.Errorf("%+v", r)
	}
	want(t, 6, "num_replicas is 1, want 3", "streams", "check", "--servers", s.URL(), "--pki", pki)
	want(t, 2, "--replicas", "streams", "check", "--servers", s.URL(), "--pki", pki, "--replicas", "2")
	want(t, 2, "", "streams", "apply", "--pki", pki)
	want(t, 3, "no such file", "streams", "apply", "--servers", s.URL(), "--pki", t.TempDir())
	s.Close()
	run(8, "no connection", "apply")
}

func TestStreamsConf(t *testing.T) {
	out := want(t, 0, "sync_interval: always", "streams", "conf", "--cluster", "0.0.0.0:6222", "--route", "a:6222", "--route", "b:6222")
	for _, text := range []string{"mesh://role/gateway", "verify_and_map: true", "nats-route://b:6222", "server_name: $HOSTNAME"} {
		if !strings.Contains(out, text) {
			t.Errorf("without %q:\n%s", text, out)
		}
	}
	want(t, 2, "belong together", "streams", "conf", "--route", "a:6222")
}
