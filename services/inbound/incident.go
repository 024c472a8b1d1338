package inbound

import (
	"context"
	"log/slog"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// incident keeps a message that smells of abuse in the incident spool of the recipient's partition (draft §3.1): the message itself is the
// evidence, with its signatures. One that cannot even be read leaves a line in the log.
func (w *Worker) incident(ctx context.Context, f *facts, r *rule) error {
	if !r.incident {
		return nil
	}
	w.log.InfoContext(ctx, "incident", slog.String("rule", r.name), slog.String("service", f.delivery.GetServiceUdf()), slog.Int("octets", f.size))
	if f.letter == nil {
		return nil
	}
	return w.report(ctx, f)
}

func (w *Worker) report(ctx context.Context, f *facts) error {
	return w.shards.Delivery(ctx, f.recipient, func(ctx context.Context, c shardpb.DeliveryServiceClient) error {
		_, err := c.Report(ctx, &shardpb.ReportRequest{Partition: uint32(shardmap.Of(f.recipient)), Incident: entryOf(f)})
		return err
	})
}
