package queue_test

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

func TestMetrics(t *testing.T) {
	b := newBed(t)
	b.streams(t)
	reader := sdkmetric.NewManualReader()
	with := func(role rpc.Role) *queue.Conn {
		o := b.options(t, role)
		o.Meter = sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
		return dial(t, o)
	}
	read := func() map[string]int64 {
		var all metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &all); err != nil {
			t.Fatal(err)
		}
		values := make(map[string]int64)
		for _, s := range all.ScopeMetrics {
			for _, m := range s.Metrics {
				for _, p := range m.Data.(metricdata.Sum[int64]).DataPoints {
					values[m.Name+" "+p.Attributes.Encoded(attribute.DefaultEncoder())] = p.Value
				}
			}
		}
		return values
	}

	shard := with(rpc.Shard)
	shard.Publish(limit(t), queue.Outbound, item("acks"), item("fails"), item("retries"), item("leaves"), queue.Item{})
	want := map[string]int64{"mesh_queue_published stream=OUTBOUND": 4, "mesh_queue_failed stream=OUTBOUND": 1}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	reader = sdkmetric.NewManualReader()
	handled := make(chan bool, 10)
	stop := consume(t, with(rpc.Outbound), queue.Outbound, 1, func(_ context.Context, m *queue.Message) {
		var err error
		switch {
		case m.ID == "fails":
			err = m.Fail("reason")
		case m.ID == "retries" && m.Tries == 1:
			err = m.Retry(0)
		case m.ID != "leaves" || m.Tries > 1:
			err = m.Ack()
		}
		if err != nil {
			t.Error(err)
		}
		handled <- true
	})
	for range 6 {
		receive(t, handled)
	}
	stop()
	want = map[string]int64{
		"mesh_queue_consumed outcome=acked,stream=OUTBOUND":   3,
		"mesh_queue_consumed outcome=dead,stream=OUTBOUND":    1,
		"mesh_queue_consumed outcome=retried,stream=OUTBOUND": 1,
		"mesh_queue_consumed outcome=left,stream=OUTBOUND":    1,
		"mesh_queue_dead stream=OUTBOUND":                     1,
	}
	if diff := cmp.Diff(want, read()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	reader = sdkmetric.NewManualReader()
	waiter, err := with(rpc.Gateway).Waiter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := b.raw(t, rpc.Inbound).Publish("mesh.verdict."+waiter.Token(), []byte("\xff")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "counted", func() bool { return read()["mesh_queue_verdicts_lost "] == 1 })
}
