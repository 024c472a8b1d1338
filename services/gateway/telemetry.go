package gateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// metrics are the gateway's instruments (docs/design.md, Contracts that tools rely on).
type metrics struct {
	duration   metric.Float64Histogram
	ticketHits metric.Int64Counter
	verdicts   metric.Int64Counter
	labels     sync.Map // label → metric.MeasurementOption: making a set costs more than recording
}

// label has few values: all of them are kept.
type label struct{ transaction, outcome, auth string }

func (m *metrics) record(ctx context.Context, l label, took time.Duration) {
	option, ok := m.labels.Load(l)
	if !ok {
		option, _ = m.labels.LoadOrStore(l, metric.WithAttributeSet(attribute.NewSet(
			attribute.String("transaction", l.transaction),
			attribute.String("outcome", l.outcome),
			attribute.String("auth", l.auth),
		)))
	}
	m.duration.Record(ctx, took.Seconds(), option.(metric.MeasurementOption))
}

// scope names the package in metrics and traces.
const scope = "github.com/mathmesh/meshd/services/gateway"

func newMetrics(p metric.MeterProvider) (*metrics, error) {
	meter := p.Meter(scope)
	duration, err := meter.Float64Histogram("mesh_transaction_duration_seconds", metric.WithUnit("s"),
		metric.WithDescription("Time from the head of a request to the end of its answer."),
		metric.WithExplicitBucketBoundaries(.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10))
	if err != nil {
		return nil, err
	}
	hits, err := meter.Int64Counter("mesh_ticket_cache_hits_total",
		metric.WithDescription("Requests whose ticket this gateway had opened before."))
	if err != nil {
		return nil, err
	}
	verdicts, err := meter.Int64Counter("mesh_verdict_total",
		metric.WithDescription("Verdicts on messages, by the rule that decided."))
	return &metrics{duration: duration, ticketHits: hits, verdicts: verdicts}, err
}

// Corners where a gateway refuses messages: of its own accounts, and of other services.
const (
	egress  = "egress"
	ingress = "ingress"
)

// countFaults counts the messages of a Post that are refused here, once for each recipient.
func (q *request) countFaults(ctx context.Context, corner string, p *posting) {
	for _, l := range p.letters {
		for _, place := range p.place {
			fault := l.fault
			if fault == 0 {
				fault = p.recipients[place].fault
			}
			if fault != 0 {
				q.metrics.verdicts.Add(ctx, 1, metric.WithAttributes(
					attribute.String("corner", corner), attribute.String("verdict", mesh.ResultReject), attribute.String("rule", fault.String())))
			}
		}
	}
}

// outcome is the low-cardinality result of a request.
func outcome(status int) string {
	switch {
	case status < 300:
		return "ok"
	case status == 300:
		return "pending"
	case status < 400:
		return "redirect"
	case status < 500:
		return "refused"
	}
	return "failed"
}

// record counts and logs a request: sizes, times, codes, the keyed hash of the account. Never an address, an envelope
// or a key.
func (q *request) record(ctx context.Context, span trace.Span, a *answer) {
	took := q.now().Sub(q.start)
	name := "none"
	if q.rule != nil {
		name = q.rule.name
	}
	if span.IsRecording() {
		span.SetName("gateway " + name)
		span.SetAttributes(attribute.Int("mesh.status", a.status), attribute.Int("mesh.extended", a.extended), attribute.String("mesh.auth", q.by.String()))
	}
	q.metrics.record(ctx, label{name, outcome(a.status), q.by.String()}, took)
	level := slog.LevelDebug
	switch {
	case a.status >= 500 && q.fault != nil && mesh.KindOf(q.fault) == mesh.Internal: // without a fault it was busy
		level = slog.LevelError
	case a.status >= 500:
		level = slog.LevelWarn
	}
	if !q.log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("transaction", name), slog.String("auth", q.by.String()), slog.Bool("cleartext", q.cleartext),
		slog.Int("status", a.status), slog.Int("extended", a.extended),
		slog.Int("in", q.size), slog.Int("out", len(a.body)), slog.Duration("took", took.Round(time.Microsecond)),
	}
	if q.who.account != "" {
		attrs = append(attrs, q.telemetry.Account(q.who.account))
	}
	if q.fault != nil {
		attrs = append(attrs, slog.String("kind", mesh.KindOf(q.fault).String()))
		if level == slog.LevelError {
			attrs = append(attrs, slog.Any("err", q.fault))
		}
	}
	q.log.LogAttrs(ctx, level, "request", attrs...)
}
