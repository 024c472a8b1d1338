package outbound

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

const scope = "github.com/mathmesh/meshd/services/outbound"

// metrics of the worker. None has a label for a destination: there may be any number.
type metrics struct {
	delivery metric.Float64Histogram
	post     metric.Float64Histogram
	letters  metric.Int64Counter
	changes  metric.Int64Counter
	gauges   metric.Registration
}

func newMetrics(provider metric.MeterProvider, w *Worker) (*metrics, error) {
	m := provider.Meter(scope)
	var x metrics
	var errs [8]error
	x.delivery, errs[0] = m.Float64Histogram("mesh_delivery_duration_seconds", metric.WithUnit("s"),
		metric.WithDescription("From when a message was first seen until it was delivered."),
		metric.WithExplicitBucketBoundaries(.05, .1, .25, .5, 1, 2.5, 5, 10, 60, 600, 3600, 6*3600, 24*3600, 72*3600))
	x.post, errs[1] = m.Float64Histogram("mesh_outbound_post_duration_seconds", metric.WithUnit("s"),
		metric.WithDescription("Duration of a Post to another provider."),
		metric.WithExplicitBucketBoundaries(.01, .025, .05, .1, .25, .5, 1, 2, 4, 5))
	x.letters, errs[2] = m.Int64Counter("mesh_outbound_settled_total", metric.WithDescription("Outcomes for one recipient."))
	x.changes, errs[3] = m.Int64Counter("mesh_outbound_concurrency_changes_total",
		metric.WithDescription("Adaptations of the number of calls to a destination: halved when 40 % take over 4 s, raised when 90 % take less than 1 s."))
	destinations, err := m.Int64ObservableGauge("mesh_outbound_destinations", metric.WithDescription("Destinations known, by state."))
	errs[4] = err
	concurrency, err := m.Int64ObservableGauge("mesh_outbound_concurrency",
		metric.WithDescription("Calls to other providers: allowed to all destinations that answer, and under way."))
	errs[5] = err
	held, err := m.Int64ObservableGauge("mesh_outbound_letters", metric.WithDescription("Messages in memory."))
	errs[6] = err
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	x.gauges, err = m.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := w.stand()
		for state, n := range s.destinations {
			o.ObserveInt64(destinations, n, metric.WithAttributes(attribute.String("state", state)))
		}
		o.ObserveInt64(concurrency, s.allowed, metric.WithAttributes(attribute.String("state", "allowed")))
		o.ObserveInt64(concurrency, s.running, metric.WithAttributes(attribute.String("state", "running")))
		o.ObserveInt64(held, s.held)
		return nil
	}, destinations, concurrency, held)
	return &x, err
}

// stand is what the gauges show.
type stand struct {
	destinations           map[string]int64
	allowed, running, held int64
}

func (w *Worker) stand() stand {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	s := stand{destinations: map[string]int64{"answers": 0, "unproven": 0, "left_alone": 0}}
	for _, d := range w.destinations {
		switch {
		case !d.closed(now):
			s.destinations["left_alone"]++
		case d.proven:
			s.destinations["answers"]++
			s.allowed += int64(d.allowed())
		default:
			s.destinations["unproven"]++
		}
	}
	for c := range classes {
		s.running += int64(w.calls[c])
		s.held += int64(w.held[c])
	}
	return s
}

// settled counts the outcomes of a letter.
func (m *metrics) settled(ctx context.Context, l *letter, o outcome, now time.Time) {
	for _, s := range o.settlements {
		state := "retry"
		switch s.GetState() {
		case shardpb.Settlement_STATE_DELIVERED:
			state = "delivered"
			m.delivery.Record(ctx, now.Sub(l.first).Seconds(), metric.WithAttributes(attribute.String("direction", "outbound")))
		case shardpb.Settlement_STATE_FAILED:
			state = "failed"
		}
		m.letters.Add(ctx, 1, metric.WithAttributes(attribute.String("state", state)))
	}
}

// posted counts a Post that was sent.
func (m *metrics) posted(ctx context.Context, a *answer) {
	if a.took > 0 {
		m.post.Record(ctx, a.took.Seconds(), metric.WithAttributes(attribute.String("fault", kind(a.err))))
	}
}

// paced counts an adaptation.
func (m *metrics) paced(ctx context.Context, changed int) {
	if changed == 0 {
		return
	}
	direction := "raised"
	if changed < 0 {
		direction = "halved"
	}
	m.changes.Add(ctx, 1, metric.WithAttributes(attribute.String("direction", direction)))
}

func (m *metrics) close() { _ = m.gauges.Unregister() }
