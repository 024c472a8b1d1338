package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
)

const (
	// pullTime is how long one request for messages waits at the server; a heartbeat every 5 s tells that somebody still waits.
	pullTime = 30 * time.Second
	// drainTime is how long handlers may go on when Consume is to end: two transactions with another provider (5 s each).
	drainTime = 10 * time.Second
	// retryMax bounds the wait of Retry: the twentieth try is half an hour after the first, well before the message's age ends.
	retryMax = 2 * time.Minute
	// absentMax is how long a consumer waits before it looks again for a stream that is not there.
	absentMax = 5 * time.Second
	// reasonMax: a reason is a sentence.
	reasonMax = 200
)

// Headers of a message in DEAD.
const (
	headerReason = "Mesh-Reason"
	headerSource = "Mesh-Source" // stream and sequence number
	headerTries  = "Mesh-Tries"
)

// Message is a delivery that came out of a stream. handle settles it before it returns, by one of Ack, Retry and Fail; one that it
// leaves unsettled comes again after the ack wait (30 s).
type Message struct {
	Delivery  *eventpb.Delivery
	ID        string    // with which it was published
	Tries     int       // this one included
	Published time.Time // by the server's clock

	conn    *Conn
	ctx     context.Context // of the trace: a message belongs to the call that handles it
	msg     jetstream.Msg
	meta    *jetstream.MsgMetadata
	outcome atomic.Pointer[string]
}

// Consume gives messages of a stream to handle until ctx ends: concurrently, at most inFlight, no more than that is taken from the
// server. It goes on over lost connections and absent streams; when ctx ends it returns nil. An error says that it cannot begin.
//
// handle's context carries the trace of the publisher, and does not end with ctx: what was begun is finished, or told to end after
// drainTime (10 s). A message that came more often than maxTries (20), or that cannot be parsed, goes to DEAD instead.
func (c *Conn) Consume(ctx context.Context, s Stream, inFlight int, handle func(context.Context, *Message)) error {
	if c.role.consumes != s {
		return fmt.Errorf("queue: role %s does not consume %s", c.role.name, s)
	}
	if inFlight < 1 {
		return fmt.Errorf("queue: %d messages in flight", inFlight)
	}
	handling, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &worker{conn: c, stream: s, handle: handle, slots: make(chan struct{}, inFlight), ctx: handling}
	for faults := 0; ctx.Err() == nil; {
		err := w.pull(ctx)
		if err == nil || ctx.Err() != nil {
			faults = 0
			continue
		}
		if faults++; faults == 1 {
			c.log.WarnContext(ctx, "queue: nothing to consume from", slog.String("stream", string(s)), slog.Any("err", err))
		}
		w.consumer = nil
		select {
		case <-time.After(backoff(faults, reconnectMin, absentMax)):
		case <-c.next():
		case <-ctx.Done():
		}
	}
	w.drain(cancel)
	return nil
}

// worker is one call of Consume.
type worker struct {
	conn     *Conn
	stream   Stream
	handle   func(context.Context, *Message)
	slots    chan struct{}   // one for each message in flight
	ctx      context.Context // of the handlers, which end later than the loop
	running  sync.WaitGroup
	consumer jetstream.Consumer // nil: to be looked up
}

// pull takes as many messages as there are free slots, at least one, and starts their handlers.
func (w *worker) pull(ctx context.Context) error {
	if w.consumer == nil {
		consumer, err := w.conn.js.Consumer(ctx, string(w.stream), w.conn.role.name)
		if err != nil {
			return err
		}
		w.consumer = consumer
	}
	n := w.acquire(ctx)
	if n == 0 {
		return nil
	}
	defer func() { w.release(n) }()
	ctx, cancel := context.WithTimeout(ctx, pullTime)
	defer cancel() // what is on its way to us then comes again after the ack wait
	go w.conn.whenReconnected(ctx, cancel)
	batch, err := w.consumer.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	for msg := range batch.Messages() {
		n--
		w.running.Go(func() {
			defer w.release(1)
			w.one(msg)
		})
	}
	if err := batch.Error(); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// whenReconnected ends a request for messages: the new connection knows nothing of it, and missing its heartbeats takes longer.
func (c *Conn) whenReconnected(ctx context.Context, end func()) {
	had := c.nc.Stats().Reconnects
	for {
		next := c.next()
		if c.nc.Stats().Reconnects != had {
			end()
			return
		}
		select {
		case <-next: // perhaps the late word of the connection that we have
		case <-ctx.Done():
			return
		}
	}
}

func (w *worker) acquire(ctx context.Context) (n int) {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return 0
	}
	for n = 1; n < cap(w.slots); n++ {
		select {
		case w.slots <- struct{}{}:
		default:
			return n
		}
	}
	return n
}

func (w *worker) release(n int) {
	for range n {
		<-w.slots
	}
}

// drain waits for the handlers.
func (w *worker) drain(cancel context.CancelFunc) {
	t := time.AfterFunc(drainTime, cancel)
	w.running.Wait()
	t.Stop()
	cancel()
}

// one sees one message through.
func (w *worker) one(msg jetstream.Msg) {
	c := w.conn
	ctx := propagation.TraceContext{}.Extract(w.ctx, carrier(msg.Headers()))
	ctx, span := c.tracer.Start(ctx, "consume "+string(w.stream), trace.WithSpanKind(trace.SpanKindConsumer))
	defer span.End()
	m := &Message{conn: c, ctx: ctx, msg: msg, Delivery: &eventpb.Delivery{}, ID: msg.Headers().Get(jetstream.MsgIDHeader)}
	var err error
	if m.meta, err = msg.Metadata(); err != nil {
		c.log.WarnContext(ctx, "queue: not a message of a stream", slog.Any("err", err))
		return
	}
	m.Tries, m.Published = int(m.meta.NumDelivered), m.meta.Timestamp
	span.SetAttributes(attribute.Int("mesh.tries", m.Tries))
	switch {
	case m.meta.NumDelivered > c.maxTries:
		err = m.Fail(fmt.Sprintf("tried %d times", c.maxTries))
	case msg.Headers().Get(jetstream.ExpectedStreamHeader) != string(w.stream):
		err = m.Fail("not published to this stream") // the server can be made to hand messages from one to another (Users)
	case proto.Unmarshal(msg.Data(), m.Delivery) != nil:
		err = m.Fail("not a delivery")
	default:
		err = m.guard(w.handle)
	}
	if err != nil {
		c.log.ErrorContext(ctx, "queue: message not handled", slog.String("stream", string(w.stream)), slog.Any("err", err))
	}
	outcome := left
	if o := m.outcome.Load(); o != nil {
		outcome = *o
	}
	add(ctx, c.counts.consumed, w.stream, attribute.String("outcome", outcome))
}

// guard makes the fault of one message not the end of all: it comes again, and is dead after maxTries.
func (m *Message) guard(handle func(context.Context, *Message)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	handle(m.ctx, m)
	return nil
}

// Ack says that the message is done with: settled, or back in its row. As with Retry and Working, an error says that the server cannot
// have heard it, and without one it probably has: the message may come again either way.
func (m *Message) Ack() error { return m.settle(acked, m.msg.Ack) }

// Retry asks for the message again, after the first try not before after, then twice that, and so on up to retryMax (2 min). It
// counts as pending all the while: what waits for a destination that is down belongs to its row, not here.
func (m *Message) Retry(after time.Duration) error {
	after = max(0, after)
	wait := backoff(m.Tries, 2*after, max(2*after, retryMax)) // half of it is random, the other half at least after
	return m.settle(retried, func() error { return m.msg.NakWithDelay(wait) })
}

// Fail gives the message up: to DEAD, with a reason that names nobody. An operator is called. After an error it comes again.
func (m *Message) Fail(reason string) error {
	stream := Stream(m.meta.Stream)
	source := m.meta.Stream + " " + strconv.FormatUint(m.meta.Sequence.Stream, 10)
	msg := &nats.Msg{Subject: deadSubject(stream), Data: m.msg.Data(), Header: nats.Header{}}
	for name, values := range m.msg.Headers() {
		if !strings.HasPrefix(name, "Nats-") { // they would be instructions to the server again
			msg.Header[name] = values
		}
	}
	msg.Header.Set(jetstream.MsgIDHeader, source+" "+m.ID)
	msg.Header.Set(headerReason, clean(reason))
	msg.Header.Set(headerSource, source)
	msg.Header.Set(headerTries, strconv.Itoa(m.Tries))
	err := m.settle(dead, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(m.ctx), publishTime)
		defer cancel()
		if _, err := m.conn.js.PublishMsg(ctx, msg, jetstream.WithExpectStream(string(Dead))); err != nil {
			return err
		}
		return m.msg.TermWithReason("dead")
	})
	if err == nil {
		add(m.ctx, m.conn.counts.dead, stream)
		m.conn.log.ErrorContext(m.ctx, "queue: message given up", slog.String("stream", string(stream)), slog.String("id", m.ID),
			slog.Int("tries", m.Tries), slog.String("reason", reason))
	}
	return err
}

// Working asks for another ack wait from now on.
func (m *Message) Working() error {
	if err := m.msg.InProgress(); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

var errSettled = errors.New("queue: the message is settled already")

// settle does it once.
func (m *Message) settle(outcome string, say func() error) error {
	if !m.outcome.CompareAndSwap(nil, &outcome) {
		return errSettled
	}
	if err := say(); err != nil {
		m.outcome.Store(nil)
		return fmt.Errorf("queue: %w", err)
	}
	return nil
}

// clean makes a reason one line of a header.
func clean(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if r < ' ' || r == utf8.RuneError {
			return ' '
		}
		return r
	}, reason)
	if len(reason) > reasonMax {
		reason = strings.ToValidUTF8(reason[:reasonMax], "")
	}
	return reason
}
