package shard

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// Every right of the protocol has a bit of its own, and a name that is none opens nothing.
func TestRights(t *testing.T) {
	seen := Right(0)
	for _, name := range mesh.Rights() {
		bit := rightOf(name)
		if bit == 0 || bit&(bit-1) != 0 || seen&bit != 0 {
			t.Errorf("%s: bits %b, seen before %b", name, bit, seen)
		}
		seen |= bit
	}
	if seen != AllRights {
		t.Errorf("all rights are %b, want %b", seen, AllRights)
	}
	for name, want := range map[mesh.RightName]Right{"": 0, mesh.RightAll: AllRights &^ Admin, "Everything": Admin} {
		if got := rightOf(name); got != want {
			t.Errorf("%q: %b, want %b", name, got, want)
		}
	}
}

func TestSignerCache(t *testing.T) {
	c := newSignerCache(2)
	key := func(b byte) keys.PublicKey { return keys.PublicKey{Curve: keys.Ed448, Octets: []byte{b}} }
	c.put("a", "1", key(1))
	c.put("a", "2", key(2))
	if _, ok := c.get("b", "1"); ok {
		t.Error("a key of one account counts for another")
	}
	if k, ok := c.get("a", "1"); !ok || !k.Equal(key(1)) { // now 2 is the older
		t.Errorf("1 is %v, %v", k, ok)
	}
	c.put("a", "1", key(9))
	c.put("a", "3", key(3))
	for kid, want := range map[string]bool{"1": true, "2": false, "3": true} {
		if _, ok := c.get("a", kid); ok != want {
			t.Errorf("%s is there: %v, want %v", kid, ok, want)
		}
	}
	if len(c.byKey) != 2 || c.order.Len() != 2 {
		t.Errorf("%d and %d entries in a cache for 2", len(c.byKey), c.order.Len())
	}
}

// partitions is a store that knows its partitions only.
type partitions struct {
	Store
	reads, counts int
	epoch         uint64
}

func (p *partitions) Epoch(context.Context) (uint64, error) {
	p.reads++
	return p.epoch, nil
}

func (p *partitions) Backlog(context.Context) (int64, time.Time, error) {
	p.counts++
	return 3, time.Now().Add(-time.Hour), nil
}

// frozen is a store that does not answer.
type frozen struct{ Store }

func (frozen) Epoch(ctx context.Context) (uint64, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestScrapeOfAFrozenStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m := &metrics{now: time.Now}
		if _, err := m.shardEpoch(context.Background(), frozen{}); err == nil || time.Since(began) > epochTime {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}

func TestMetrics(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	store := &partitions{epoch: 7}
	servers := make([]*Server, 2) // two shards in one process, as in meshd dev
	for i, name := range []string{"s00", "s01"} {
		var err error
		if servers[i], err = NewServer(Config{Name: name, Store: store, Meter: provider}); err != nil {
			t.Fatal(err)
		}
	}
	servers[0].metrics.appended(t.Context(), []ContainerUpdate{
		{Container: mesh.CatalogBookmark, Entries: make([]Entry, 3)},
		{Container: "acme_Notes", Entries: make([]Entry, 1)},
	}, 1, []Result{{Outcome: Accept}, {Outcome: Reject}, {Outcome: Accept}, {Outcome: Accept}, {Outcome: Conflict}})

	collect := func() map[string]map[string]int64 {
		t.Helper()
		var data metricdata.ResourceMetrics
		if err := reader.Collect(t.Context(), &data); err != nil {
			t.Fatal(err)
		}
		found := make(map[string]map[string]int64)
		note := func(name string, attrs attribute.Set, value int64) {
			if found[name] == nil {
				found[name] = make(map[string]int64)
			}
			found[name][attrs.ToSlice()[0].Value.AsString()] = value
		}
		for _, m := range data.ScopeMetrics[0].Metrics {
			switch d := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, p := range d.DataPoints {
					note(m.Name, p.Attributes, p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range d.DataPoints {
					note(m.Name, p.Attributes, p.Value)
				}
			}
		}
		return found
	}
	found := collect()
	if a := found["mesh_container_append"]; a[mesh.CatalogBookmark] != 2 || a["application"] != 1 || len(a) != 2 {
		t.Errorf("appends: %v", a)
	}
	if e := found["mesh_shard_epoch"]; e["s00"] != 7 || e["s01"] != 7 {
		t.Errorf("epochs: %v", e)
	}
	if n, age := found["mesh_outbox_rows"], found["mesh_outbox_oldest_seconds"]; n["s00"] != 3 || n["s01"] != 3 || age["s00"] < 3600 || age["s01"] < 3600 {
		t.Errorf("outbox: %v rows, %v seconds", n, age)
	}
	store.epoch = 8
	if collect(); store.reads != 2 {
		t.Errorf("%d reads of the partition table for two scrapes of two shards, want 2", store.reads)
	}
	if store.counts != 2 {
		t.Errorf("%d counts of the outbox for two scrapes of two shards, want 2", store.counts)
	}
	servers[0].metrics.forget()
	if e := collect()["mesh_shard_epoch"]; e["s00"] != 8 || e["s01"] != 7 {
		t.Errorf("epochs after a change: %v", e)
	}
}
