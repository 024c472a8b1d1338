package inbound

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// incident keeps a message that smells of abuse in the incident spool of the recipient's partition (draft §3.1): the message itself is the
// evidence, with its signatures. One that cannot even be read, or is one of too many, leaves a line in the log.
func (w *Worker) incident(ctx context.Context, f *facts, r *rule) error {
	if !r.incident {
		return nil
	}
	w.log.InfoContext(ctx, "incident", slog.String("rule", r.name), slog.String("service", f.delivery.GetServiceUdf()), slog.Int("octets", f.size))
	if f.letter == nil || !w.incidents.take(f.source()) {
		return nil
	}
	return w.report(ctx, f)
}

// report writes to the incident spool.
func (w *Worker) report(ctx context.Context, f *facts) error {
	return w.shards.Delivery(ctx, f.recipient, func(ctx context.Context, c shardpb.DeliveryServiceClient) error {
		_, err := c.Report(ctx, &shardpb.ReportRequest{Partition: uint32(shardmap.Of(f.recipient)), Incident: entryOf(f)})
		return err
	})
}

// What may go into the incident spools, which are never emptied: anybody can make a service and messages that smell. The first ones show an operator
// what is going on; 64 KiB each, all together are below a GiB a day for one worker.
const (
	incidentBurst       = 20
	incidentInterval    = time.Minute // one more of one source
	incidentBurstAll    = 200
	incidentIntervalAll = 6 * time.Second
	// incidentSources are remembered; the table begins anew when it is full, and incidentBurstAll holds.
	incidentSources = 4096
)

// allowances bound incidents and reports, by who transmitted them and all together.
type allowances struct {
	now func() time.Time

	mu       sync.Mutex
	all      *rate.Limiter
	bySource map[string]*rate.Limiter
}

func newAllowances(now func() time.Time) *allowances {
	return &allowances{now: now, all: rate.NewLimiter(rate.Every(incidentIntervalAll), incidentBurstAll), bySource: make(map[string]*rate.Limiter)}
}

// take takes one out of the allowance of a source.
func (a *allowances) take(source string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := a.bySource[source]
	if one == nil {
		if len(a.bySource) >= incidentSources {
			clear(a.bySource)
		}
		one = rate.NewLimiter(rate.Every(incidentInterval), incidentBurst)
		a.bySource[source] = one
	}
	return one.AllowN(a.now(), 1) && a.all.AllowN(a.now(), 1)
}
