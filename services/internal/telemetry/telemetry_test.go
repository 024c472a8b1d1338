package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/mathmesh/meshd/services/internal/telemetry"
)

func open(t *testing.T, o telemetry.Options) (*telemetry.Telemetry, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	o.Out, o.Role = &out, "shard"
	tel, err := telemetry.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return tel, &out
}

func get(t *testing.T, tel *telemetry.Telemetry, r *telemetry.Readiness, path string) (int, string) {
	t.Helper()
	rec := httptest.NewRecorder()
	tel.AdminHandler(r).ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
	return rec.Code, rec.Body.String()
}

func TestReadiness(t *testing.T) {
	tel, _ := open(t, telemetry.Options{})
	var r telemetry.Readiness
	var fault error
	r.Add("store", func(context.Context) error { return fault })
	want := func(what string, code int, text string) {
		t.Helper()
		gotCode, got := get(t, tel, &r, "/readyz?verbose")
		if gotCode != code || !strings.Contains(got, text) {
			t.Errorf("%s: %d %q, want %d and %q", what, gotCode, got, code, text)
		}
	}
	want("before Up", 503, "[-] up")
	r.Up()
	want("up", 200, "[+] store")
	fault = errors.New("no database")
	want("store away", 503, "[-] store: no database")
	if code, _ := get(t, tel, &r, "/livez"); code != 200 {
		t.Errorf("livez %d while un-ready: a restart would not help", code)
	}
	fault = nil
	r.Down()
	want("stopping", 503, "[-] up")
}

func TestMetricNames(t *testing.T) {
	tel, _ := open(t, telemetry.Options{})
	m := tel.Meter.Meter("test")
	c, err := m.Int64Counter("mesh_container_append")
	if err != nil {
		t.Fatal(err)
	}
	c.Add(t.Context(), 3)
	h, err := m.Float64Histogram("mesh_transaction_duration", metric.WithUnit("s"))
	if err != nil {
		t.Fatal(err)
	}
	h.Record(t.Context(), 0.1)
	g, err := m.Int64Gauge("mesh_shard_epoch")
	if err != nil {
		t.Fatal(err)
	}
	g.Record(t.Context(), 9)
	_, body := get(t, tel, new(telemetry.Readiness), "/metrics")
	for _, want := range []string{"mesh_container_append_total 3", "mesh_transaction_duration_seconds_count 1", "mesh_shard_epoch 9", "go_goroutines", "process_resident_memory_bytes"} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in\n%s", want, body)
		}
	}
}

func TestLog(t *testing.T) {
	const address = "alice@alpha.example"
	tel, out := open(t, telemetry.Options{HashKey: []byte("k")})
	other, _ := open(t, telemetry.Options{HashKey: []byte("other")})
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}}))
	tel.Log.InfoContext(ctx, "append", tel.Account(address))
	line := out.String()
	if strings.Contains(line, "alice") || !strings.Contains(line, `"account":"`) {
		t.Errorf("account in the log: %s", line)
	}
	if !strings.Contains(line, `"trace":"0100`) || !strings.Contains(line, `"role":"shard"`) {
		t.Errorf("no trace or role in %s", line)
	}
	if tel.Account(address).Equal(other.Account(address)) {
		t.Error("the hash does not depend on its key")
	}
	if !tel.Account(address).Equal(tel.Account(address)) || tel.Account(address).Equal(tel.Account("bob@alpha.example")) {
		t.Error("the hash does not name the account")
	}
	tel.Log.Debug("hidden")
	if strings.Contains(out.String(), "hidden") {
		t.Error("debug is shown at level info")
	}
	for _, o := range []telemetry.Options{{Format: "xml"}, {Level: "loud"}} {
		o.Out = out
		if _, err := telemetry.New(t.Context(), o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

// Profiles are served when they were asked for, and not otherwise.
func TestProfiles(t *testing.T) {
	var r telemetry.Readiness
	off, _ := open(t, telemetry.Options{})
	on, _ := open(t, telemetry.Options{Profiling: true})
	for path, want := range map[string]int{
		"/debug/pprof/heap?debug=1":      200,
		"/debug/pprof/none":              404,
		"/debug/pprof/profile?seconds=0": 400,
	} {
		if code, _ := get(t, off, &r, path); code != 404 {
			t.Errorf("%s: %d without Profiling", path, code)
		}
		if code, body := get(t, on, &r, path); code != want || code == 200 && !strings.Contains(body, "# Mallocs = ") {
			t.Errorf("%s: %d with Profiling, want %d", path, code, want)
		}
	}
}
