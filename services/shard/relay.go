package shard

import (
	"context"
	"log/slog"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/dare"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
)

const (
	// relayBatch rows are claimed at once: at 64 KiB each 16 MiB.
	relayBatch = 256
	// relayLease is how long a claimed row may be on its way before it is published again. Longer than a worker needs for everything that it has
	// in hand (5 s for a transaction, a few of them one after the other), so that a healthy system publishes nothing twice; short
	// enough that what a lost stream held is under way again within two minutes.
	relayLease = 2 * time.Minute
	// relayIdle: rows whose time comes are looked for so often; new ones kick.
	relayIdle = time.Second
	// relayFault is the pause after a fault of database or queue.
	relayFault = 2 * time.Second
)

// Relay publishes outbox rows whose time has come. The rows are the truth: what it publishes may be lost, and comes again when the lease
// is over. Several relays may run on one database; none waits for another.
type Relay struct {
	store Store
	queue *queue.Conn
	log   *slog.Logger
	kick  chan struct{}
}

// NewRelay makes a relay.
func NewRelay(store Store, q *queue.Conn, log *slog.Logger) *Relay {
	return &Relay{store: store, queue: q, log: log, kick: make(chan struct{}, 1)}
}

// Kick says that there may be new rows. It never waits; a nil Relay takes no notice.
func (r *Relay) Kick() {
	if r == nil {
		return
	}
	select {
	case r.kick <- struct{}{}:
	default: // it will look anyway
	}
}

// Run publishes until ctx ends.
func (r *Relay) Run(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := r.round(ctx)
		pause := relayIdle
		switch {
		case err != nil && ctx.Err() == nil:
			r.log.WarnContext(ctx, "relay", slog.Any("err", err))
			pause = relayFault
		case n == relayBatch: // there may be more
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		case <-r.kick:
		}
	}
}

// round claims and publishes one batch. Rows that could not be published are due again after the lease: if the queue is away there is no hurry.
func (r *Relay) round(ctx context.Context) (int, error) {
	if err := r.queue.Ready(); err != nil {
		return 0, err // or each row would be claimed for nothing
	}
	rows, err := r.store.Claim(ctx, relayBatch, relayLease)
	if err != nil {
		return 0, err
	}
	var first error
	for stream, items := range letters(rows, r.log) {
		for _, err := range r.queue.Publish(ctx, stream, items...) {
			if err != nil && first == nil {
				first = err
			}
		}
	}
	return len(rows), first
}

// letters makes deliveries of rows: one for each message and destination.
func letters(rows []OutboxRow, log *slog.Logger) map[queue.Stream][]queue.Item {
	type key struct {
		account, domain, waiter string
		frame                   int64
		attempts                int
	}
	together := make(map[key]*eventpb.Delivery)
	items := make(map[queue.Stream][]queue.Item)
	for i := range rows {
		row := &rows[i]
		to := &eventpb.Address{Address: row.Recipient, DeliveryId: row.ID.String()}
		k := key{row.Account, row.Domain, row.Waiter, row.Frame.Index, row.Attempts}
		if d := together[k]; d != nil {
			d.To = append(d.To, to)
			continue
		}
		envelope, err := (&dare.Envelope{Header: row.Frame.Header, Payload: row.Frame.Payload, Trailer: row.Frame.Trailer}).MarshalJBCD()
		if err != nil { // the frame was parsed when it was stored
			log.Error("outbox row without envelope", slog.Int("partition", int(row.Partition)), slog.Any("err", err))
			continue
		}
		d := &eventpb.Delivery{
			To:            []*eventpb.Address{to},
			Envelope:      envelope,
			SenderAccount: row.Account,
			FirstSeen:     timestamppb.New(row.Created),
			Attempts:      uint32(row.Attempts),
			Waiter:        row.Waiter,
		}
		together[k] = d
		stream := queue.Outbound
		if row.Domain == "" {
			stream = queue.Inbound
		} else {
			d.Domain = row.Domain
		}
		// The time of the claim is in the identifier: a row that is published again after its lease is no duplicate.
		id := row.ID.String() + "." + row.NextAttempt.UTC().Format("20060102150405")
		items[stream] = append(items[stream], queue.Item{ID: id, Delivery: d})
	}
	return items
}
