package shard

import (
	"context"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// epochAge bounds how often a scrape may read the partition table, and the outbox.
const epochAge = 10 * time.Second

// epochTime bounds the read: a scrape has no deadline of its own, and would wait for a database that is frozen, the next behind it.
const epochTime = time.Second

// metrics are the shard's own instruments (docs/design.md, Contracts); gRPC's come from package rpc.
type metrics struct {
	appends metric.Int64Counter
	now     func() time.Time

	mu    sync.Mutex
	epoch int64
	read  time.Time

	outbox  sync.Mutex
	rows    int64
	oldest  time.Time // zero: no rows
	counted time.Time
}

func newMetrics(provider metric.MeterProvider, s *Server) (*metrics, error) {
	m := &metrics{now: time.Now}
	meter := provider.Meter("github.com/mathmesh/meshd/services/shard")
	var err error
	m.appends, err = meter.Int64Counter("mesh_container_append", metric.WithDescription("Frames appended, by container."))
	if err != nil {
		return nil, err
	}
	epoch, err := meter.Int64ObservableGauge("mesh_shard_epoch",
		metric.WithDescription("Newest epoch of the shard map that a partition of this shard has seen."))
	if err != nil {
		return nil, err
	}
	// Not with the instrument: two shards in one process (meshd dev) make one instrument, whose first callback alone would count.
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		n, err := m.shardEpoch(ctx, s.store)
		if err == nil {
			o.ObserveInt64(epoch, n, metric.WithAttributes(attribute.String("shard", s.name)))
		}
		return err
	}, epoch)
	if err != nil {
		return nil, err
	}
	return m, m.observeOutbox(meter, s)
}

// observeOutbox tells what waits for a verdict: what an operator watches to see that messages go.
func (m *metrics) observeOutbox(meter metric.Meter, s *Server) error {
	rows, err := meter.Int64ObservableGauge("mesh_outbox_rows", metric.WithDescription("Messages on their way, once for each recipient."))
	if err != nil {
		return err
	}
	oldest, err := meter.Int64ObservableGauge("mesh_outbox_oldest_seconds", metric.WithUnit("s"),
		metric.WithDescription("Age of the oldest message on its way; 0 without any."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		n, age, err := m.backlog(ctx, s.store)
		if err == nil {
			shard := metric.WithAttributes(attribute.String("shard", s.name))
			o.ObserveInt64(rows, n, shard)
			o.ObserveInt64(oldest, int64(age.Seconds()), shard)
		}
		return err
	}, rows, oldest)
	return err
}

// backlog is what Store.Backlog said at most epochAge ago.
func (m *metrics) backlog(ctx context.Context, store Store) (rows int64, age time.Duration, err error) {
	m.outbox.Lock()
	defer m.outbox.Unlock()
	if m.counted.IsZero() || m.now().Sub(m.counted) >= epochAge {
		ctx, cancel := context.WithTimeout(ctx, epochTime)
		defer cancel()
		rows, oldest, err := store.Backlog(ctx)
		if err != nil {
			return 0, 0, err
		}
		m.rows, m.oldest, m.counted = rows, oldest, m.now()
	}
	if m.rows > 0 {
		age = max(0, m.now().Sub(m.oldest))
	}
	return m.rows, age, nil
}

func (m *metrics) shardEpoch(ctx context.Context, store Store) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.read.IsZero() && m.now().Sub(m.read) < epochAge {
		return m.epoch, nil
	}
	ctx, cancel := context.WithTimeout(ctx, epochTime)
	defer cancel()
	epoch, err := store.Epoch(ctx)
	if err != nil {
		return 0, err
	}
	m.epoch, m.read = int64(epoch), m.now()
	return m.epoch, nil
}

// forget makes the next scrape read the partition table.
func (m *metrics) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.read = time.Time{}
}

// appended counts accepted entries; results are positional over updates, then self.
func (m *metrics) appended(ctx context.Context, updates []ContainerUpdate, self int, results []Result) {
	count := func(container string, n int) {
		accepted := int64(0)
		for _, r := range results[:min(n, len(results))] {
			if r.Outcome == Accept {
				accepted++
			}
		}
		results = results[min(n, len(results)):]
		if accepted > 0 {
			m.appends.Add(ctx, accepted, metric.WithAttributes(attribute.String("container", label(container))))
		}
	}
	for _, u := range updates {
		count(u.Container, len(u.Entries))
	}
	count(mesh.SpoolInbound, self)
}

// label keeps the cardinality low: names of application catalogs are the users' to choose.
func label(container string) string {
	if strings.HasPrefix(container, "mmm_") {
		return container
	}
	return "application"
}
