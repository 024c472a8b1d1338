package gateway

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// What a gateway tells about a request: kinds, sizes, times, and nothing of whose it was or what it said.
func TestTelemetry(t *testing.T) {
	reader, spans, log := metric.NewManualReader(), tracetest.NewInMemoryExporter(), new(bytes.Buffer)
	g := newLonely(t, func(c *Config) {
		c.Telemetry = &telemetry.Telemetry{
			Log:    slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
			Meter:  metric.NewMeterProvider(metric.WithReader(reader)),
			Tracer: trace.NewTracerProvider(trace.WithSyncer(spans)),
		}
	})
	d := newStranger(t)
	r := g.ask(t, d, `{"Hello":{"ID":"c2VjcmV0c2VjcmV0c2Vjcg"}}`, new(anyResponse))
	for range 2 {
		g.askTicket(t, r.ticket, `{"Complete":{"AccountAddress":"alice@alpha.example"}}`, nil).is(t, "Complete", 400, 24)
	}
	post(g.Handler(), []byte(`{"Status":{"Account":"alice@alpha.example"}}`), nil)
	e, p, err := g.client(d.key).Exchange(make1.Credential{Mode: make1.Profile, Account: "alice@alpha.example", Envelopes: []*dare.Envelope{d.profile}}, []byte(`{"Status":{}}`), g.clock)
	if err != nil {
		t.Fatal(err)
	}
	send(t, g.Handler(), e, p, nil).is(t, "shard away", 503, 31)

	var data metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &data); err != nil {
		t.Fatal(err)
	}
	var series []string
	for _, m := range data.ScopeMetrics[0].Metrics {
		switch v := m.Data.(type) {
		case metricdata.Histogram[float64]:
			for _, p := range v.DataPoints {
				var parts []string
				for _, kv := range p.Attributes.ToSlice() {
					parts = append(parts, string(kv.Key)+"="+kv.Value.AsString())
				}
				series = append(series, m.Name+" "+strings.Join(parts, " "))
			}
		case metricdata.Sum[int64]:
			series = append(series, fmt.Sprint(m.Name, " ", v.DataPoints[0].Value))
		}
	}
	slices.Sort(series)
	const name = "mesh_transaction_duration_seconds "
	want := []string{
		"mesh_ticket_cache_hits_total 1",
		name + "auth=device outcome=ok transaction=Hello",
		name + "auth=device-ticket outcome=refused transaction=Complete",
		name + "auth=null outcome=failed transaction=none",
		name + "auth=null outcome=refused transaction=Status",
	}
	if !slices.Equal(series, want) {
		t.Errorf("series\n%s\nwant\n%s", strings.Join(series, "\n"), strings.Join(want, "\n"))
	}
	if n := strings.Count(log.String(), "msg=request"); n != 5 {
		t.Errorf("%d log lines, want 5:\n%s", n, log)
	}
	for _, secret := range []string{"alice", "alpha.example", "c2VjcmV0", "secretsecret", d.key.KID(), "192.0.2.1"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log tells %q:\n%s", secret, log)
		}
	}
	var names []string
	for _, s := range spans.GetSpans() {
		if strings.HasPrefix(s.Name, "gateway") {
			names = append(names, s.Name)
		}
	}
	if want := []string{"gateway Hello", "gateway Complete", "gateway Complete", "gateway Status", "gateway none"}; !slices.Equal(names, want) {
		t.Errorf("spans %v, want %v", names, want)
	}
}
