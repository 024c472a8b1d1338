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

// epochAge bounds how often a scrape may read the partition table.
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
	return m, err
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
