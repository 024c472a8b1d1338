package queue

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
)

const scope = "github.com/mathmesh/meshd/services/internal/queue"

// What became of a message that was consumed.
const (
	acked   = "acked"
	retried = "retried"
	dead    = "dead"
	left    = "left" // by its handler, or for want of a connection: it comes again after the ack wait
)

// counts are the metrics mesh_queue_…_total.
type counts struct {
	published, failed, consumed, dead, lost metric.Int64Counter
}

func newCounts(p metric.MeterProvider) (*counts, error) {
	if p == nil {
		p = metricnoop.NewMeterProvider()
	}
	meter := p.Meter(scope)
	var c counts
	for _, i := range []struct {
		into       *metric.Int64Counter
		name, text string
	}{
		{&c.published, "mesh_queue_published", "Messages that a stream has stored."},
		{&c.failed, "mesh_queue_failed", "Messages that were not published; their rows are due again."},
		{&c.consumed, "mesh_queue_consumed", "Messages that were handled, by what became of them."},
		{&c.dead, "mesh_queue_dead", "Messages given up to DEAD: an operator should look."},
		{&c.lost, "mesh_queue_verdicts_lost", "Verdicts for which there was no room, or that could not be read."},
	} {
		counter, err := meter.Int64Counter(i.name, metric.WithDescription(i.text))
		if err != nil {
			return nil, err
		}
		*i.into = counter
	}
	return &c, nil
}

func add(ctx context.Context, c metric.Int64Counter, s Stream, more ...attribute.KeyValue) {
	c.Add(ctx, 1, metric.WithAttributes(append(more, attribute.String("stream", string(s)))...))
}
