package queue

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
)

// A stream whose leader is being elected has nobody who answers for a moment; a stream that is absent has not either.
const (
	absentTries = 2
	absentWait  = 100 * time.Millisecond
)

// Item is a delivery to publish.
type Item struct {
	ID       string // by which the server knows a repetition within DuplicateWindow; the outbox row, or of the gateway's making
	Delivery *eventpb.Delivery
}

// Publish stores items in a stream and returns when each is stored or has failed: the errors stand at the items' places, nil is stored
// (or known already by its ID). An error may hide a stored item, so publish it again with the same ID. Without a server or a stream it
// fails at once; it never takes much longer than publishTime (5 s). The trace context of ctx goes along.
func (c *Conn) Publish(ctx context.Context, s Stream, items ...Item) []error {
	ctx, span := c.tracer.Start(ctx, "publish "+string(s), trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(attribute.Int("messaging.batch.message_count", len(items))))
	defer span.End()
	errs := make([]error, len(items))
	futures := make([]jetstream.PubAckFuture, len(items))
	for i, item := range items {
		msg, err := encode(ctx, s, item)
		if err == nil {
			futures[i], err = c.js.PublishMsgAsync(msg, jetstream.WithExpectStream(string(s)),
				jetstream.WithRetryAttempts(absentTries), jetstream.WithRetryWait(absentWait), jetstream.WithStallWait(publishTime))
		}
		errs[i] = err
	}
	for i, future := range futures {
		if future != nil {
			errs[i] = settled(ctx, future)
		}
		if errs[i] == nil {
			add(ctx, c.counts.published, s)
			continue
		}
		errs[i] = fmt.Errorf("queue: %s: %w", s, errs[i])
		add(ctx, c.counts.failed, s)
		span.SetStatus(codes.Error, errs[i].Error())
	}
	return errs
}

func settled(ctx context.Context, f jetstream.PubAckFuture) error {
	select {
	case <-f.Ok():
		return nil
	case err := <-f.Err():
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func encode(ctx context.Context, s Stream, item Item) (*nats.Msg, error) {
	subject, ok := subjects[s]
	switch {
	case !ok:
		return nil, errors.New("not a stream that roles publish to")
	case item.ID == "":
		return nil, errors.New("a message without an ID")
	}
	data, err := proto.Marshal(item.Delivery)
	if err != nil {
		return nil, err
	}
	if len(data) > MaxMessage-maxHeader {
		return nil, fmt.Errorf("a delivery of %d octets: at most %d", len(data), MaxMessage-maxHeader)
	}
	msg := &nats.Msg{Subject: subject, Data: data, Header: nats.Header{}}
	msg.Header.Set(jetstream.MsgIDHeader, item.ID)
	propagation.TraceContext{}.Inject(ctx, carrier(msg.Header))
	return msg, nil
}

// carrier is a header in which a trace context travels. http.Header would change the case of names, NATS' does not.
type carrier nats.Header

func (h carrier) Get(key string) string { return nats.Header(h).Get(key) }

func (h carrier) Set(key, value string) { nats.Header(h).Set(key, value) }

func (h carrier) Keys() []string {
	keys := make([]string, 0, len(h))
	for k := range h {
		keys = append(keys, k)
	}
	return keys
}
