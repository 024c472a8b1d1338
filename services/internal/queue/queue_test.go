package queue_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/queue/embedded"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// bed is a real server over loopback TLS.
type bed struct {
	ca     *rpc.CA
	dir    string
	server *embedded.Server
}

func newBed(t *testing.T) *bed {
	t.Helper()
	ca, err := rpc.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{ca: ca, dir: t.TempDir()}
	b.start(t, "127.0.0.1:0")
	t.Cleanup(func() { b.server.Close() })
	return b
}

func (b *bed) start(t *testing.T, address string) {
	t.Helper()
	config, err := b.ca.QueueServer(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.server, err = embedded.Start(t.Context(), embedded.Options{Dir: b.dir, Addr: address, TLS: config, Monitoring: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
}

// restart at the same address with the same data.
func (b *bed) restart(t *testing.T) {
	t.Helper()
	address := strings.TrimPrefix(b.server.URL(), "tls://")
	b.server.Close()
	b.start(t, address)
}

func clientTLS(t *testing.T, ca *rpc.CA, role rpc.Role) *tls.Config {
	t.Helper()
	id, err := ca.Identity(role, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return id.QueueClient()
}

func (b *bed) options(t *testing.T, role rpc.Role) queue.Options {
	t.Helper()
	o := queue.Options{Servers: []string{b.server.URL()}, TLS: clientTLS(t, b.ca, role), Role: string(role)}
	o.Log = testLog(string(role))
	return o
}

// testLog speaks with -v only.
func testLog(who string) *slog.Logger {
	if !testing.Verbose() {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil)).With(slog.String("who", who))
}

func dial(t *testing.T, o queue.Options) *queue.Conn {
	t.Helper()
	c, err := queue.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeConn(t, c) })
	return c
}

func closeConn(t *testing.T, c *queue.Conn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.Close(ctx); err != nil {
		t.Error(err)
	}
}

func (b *bed) dial(t *testing.T, role rpc.Role) *queue.Conn {
	t.Helper()
	return dial(t, b.options(t, role))
}

// streams applies the table with an ack wait of a second.
func (b *bed) streams(t *testing.T) *queue.Conn {
	t.Helper()
	c := b.dial(t, rpc.Meshctl)
	if err := c.ApplyQuick(limit(t), 1, time.Second, 64<<20); err != nil {
		t.Fatal(err)
	}
	return c
}

func limit(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func delivery(id string) *eventpb.Delivery {
	return &eventpb.Delivery{
		To:            []*eventpb.Address{{Address: "bob@beta.example", DeliveryId: id}},
		Envelope:      []byte(`{"dare":"x"}`),
		SenderAccount: "alice@alpha.example",
	}
}

func item(id string) queue.Item { return queue.Item{ID: id, Delivery: delivery(id)} }

func publish(t *testing.T, c *queue.Conn, s queue.Stream, ids ...string) {
	t.Helper()
	items := make([]queue.Item, len(ids))
	for i, id := range ids {
		items[i] = item(id)
	}
	if err := errors.Join(c.Publish(limit(t), s, items...)...); err != nil {
		t.Fatal(err)
	}
}

// consume handles messages until the test ends, or stop is called.
func consume(t *testing.T, c *queue.Conn, s queue.Stream, inFlight int, handle func(context.Context, *queue.Message)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Consume(ctx, s, inFlight, handle) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came in 20 s")
		panic("unreachable")
	}
}

// eventually waits until ok, for what a server does in its own time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 20 s: %s", what)
		}
	}
}

func TestThrough(t *testing.T) {
	b := newBed(t)
	b.streams(t)
	shard, outbound := b.dial(t, rpc.Shard), b.dial(t, rpc.Outbound)
	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	before := time.Now().Add(-time.Second)
	if err := errors.Join(shard.Publish(trace.ContextWithSpanContext(limit(t), parent), queue.Outbound, item("row-1"))...); err != nil {
		t.Fatal(err)
	}
	type seen struct {
		*queue.Message
		span trace.SpanContext
	}
	got := make(chan seen, 1)
	stop := consume(t, outbound, queue.Outbound, 4, func(ctx context.Context, m *queue.Message) {
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
		if err := m.Retry(0); err == nil {
			t.Error("settled twice")
		}
		got <- seen{m, trace.SpanContextFromContext(ctx)}
	})
	m := receive(t, got)
	if diff := cmp.Diff(delivery("row-1"), m.Delivery, protocmp.Transform()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if m.ID != "row-1" || m.Tries != 1 || m.Published.Before(before) || m.Published.After(time.Now().Add(time.Second)) {
		t.Errorf("ID %q, try %d, published %v", m.ID, m.Tries, m.Published)
	}
	if m.span.TraceID() != parent.TraceID() || !m.span.IsSampled() {
		t.Errorf("trace %v, want %v", m.span, parent)
	}
	stop()
	eventually(t, "an acknowledged message is gone", func() bool { return b.messages(t, queue.Outbound) == 0 })
}

// messages in a stream, as an operator sees them.
func (b *bed) messages(t *testing.T, s queue.Stream) uint64 {
	t.Helper()
	c, err := queue.Dial(t.Context(), b.options(t, rpc.Meshctl))
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(t, c)
	stream, err := c.JetStream().Stream(limit(t), string(s))
	if err != nil {
		t.Fatal(err)
	}
	return stream.CachedInfo().State.Msgs
}

func TestDeduplication(t *testing.T) {
	b := newBed(t)
	b.streams(t)
	shard := b.dial(t, rpc.Shard)
	publish(t, shard, queue.Inbound, "row-1", "row-2", "row-1")
	publish(t, shard, queue.Inbound, "row-2")
	if n := b.messages(t, queue.Inbound); n != 2 {
		t.Errorf("%d messages of two IDs", n)
	}
}

func TestPublishRefused(t *testing.T) {
	b := newBed(t)
	admin := b.streams(t)
	shard := b.dial(t, rpc.Shard)
	big := item("big")
	big.Delivery.Envelope = make([]byte, queue.MaxMessage)
	errs := shard.Publish(limit(t), queue.Inbound, item("a"), big, queue.Item{Delivery: delivery("none")}, item("b"))
	for i, wantErr := range []bool{false, true, true, false} {
		if (errs[i] != nil) != wantErr {
			t.Errorf("item %d: %v", i, errs[i])
		}
	}
	if err := errors.Join(shard.Publish(limit(t), queue.Dead, item("a"))...); err == nil {
		t.Error("published to DEAD")
	}
	if n := b.messages(t, queue.Inbound); n != 2 {
		t.Errorf("%d messages stored, want 2", n)
	}

	// A full stream refuses, what is in it stays.
	if err := admin.ApplyQuick(limit(t), 1, time.Second, 300<<10); err != nil {
		t.Fatal(err)
	}
	large := func(id string) queue.Item {
		i := item(id)
		i.Delivery.Envelope = make([]byte, 200<<10)
		return i
	}
	errs = shard.Publish(limit(t), queue.Inbound, large("l1"), large("l2"))
	if errs[0] != nil || errs[1] == nil {
		t.Errorf("into a stream with room for one: %v", errs)
	}

	// An absent stream is an error at once.
	if err := admin.JetStream().DeleteStream(limit(t), string(queue.Inbound)); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	errs = shard.Publish(limit(t), queue.Inbound, item("c"), item("d"))
	if errs[0] == nil || errs[1] == nil || time.Since(start) > 3*time.Second {
		t.Errorf("no stream: %v after %v", errs, time.Since(start))
	}

	// So is an absent server.
	b.server.Close()
	eventually(t, "the lost connection shows", func() bool { return shard.Ready() != nil })
	start = time.Now()
	errs = shard.Publish(limit(t), queue.Inbound, item("e"))
	if errs[0] == nil || time.Since(start) > time.Second {
		t.Errorf("no server: %v after %v", errs, time.Since(start))
	}
}

// What a handler leaves comes again after the ack wait, and more work time postpones it.
func TestRedelivery(t *testing.T) {
	b := newBed(t)
	b.streams(t)
	publish(t, b.dial(t, rpc.Shard), queue.Inbound, "left", "panics", "works")
	type try struct {
		id   string
		when time.Time
	}
	tries := make(chan try, 10)
	consume(t, b.dial(t, rpc.Inbound), queue.Inbound, 8, func(_ context.Context, m *queue.Message) {
		defer func() { tries <- try{m.ID, time.Now()} }()
		switch {
		case m.Tries > 1:
			if err := m.Ack(); err != nil {
				t.Error(err)
			}
		case m.ID == "panics":
			panic("a test")
		case m.ID == "works":
			for range 5 {
				time.Sleep(400 * time.Millisecond) // twice the ack wait in all
				if err := m.Working(); err != nil {
					t.Error(err)
				}
			}
			if err := m.Ack(); err != nil {
				t.Error(err)
			}
		}
	})
	seen := make(map[string][]time.Time)
	for range 5 {
		got := receive(t, tries)
		seen[got.id] = append(seen[got.id], got.when)
	}
	for _, id := range []string{"left", "panics"} {
		if len(seen[id]) != 2 || seen[id][1].Sub(seen[id][0]) < 900*time.Millisecond {
			t.Errorf("%s: tried at %v, want twice, the ack wait of a second apart", id, seen[id])
		}
	}
	if len(seen["works"]) != 1 {
		t.Errorf("a message in work was tried %d times", len(seen["works"]))
	}
}

func TestRetry(t *testing.T) {
	b := newBed(t)
	b.streams(t)
	publish(t, b.dial(t, rpc.Shard), queue.Inbound, "m")
	tries := make(chan time.Time, 10)
	const after = 300 * time.Millisecond
	consume(t, b.dial(t, rpc.Inbound), queue.Inbound, 1, func(_ context.Context, m *queue.Message) {
		tries <- time.Now()
		var err error
		if m.Tries < 3 {
			err = m.Retry(after)
		} else {
			err = m.Ack()
		}
		if err != nil {
			t.Error(err)
		}
	})
	first, second, third := receive(t, tries), receive(t, tries), receive(t, tries)
	if second.Sub(first) < after || third.Sub(second) < 2*after {
		t.Errorf("tried again after %v and %v, want at least %v and twice that", second.Sub(first), third.Sub(second), after)
	}
}

// Every way to DEAD: by the handler, by too many tries, by octets that are no delivery.
func TestDead(t *testing.T) {
	b := newBed(t)
	admin := b.streams(t)
	publish(t, b.dial(t, rpc.Shard), queue.Inbound, "fails", "never")
	raw := b.raw(t, rpc.Shard)
	if err := raw.PublishMsg(&nats.Msg{Subject: "mesh.inbound", Data: []byte("\xff\xff"), Header: nats.Header{
		jetstream.MsgIDHeader: {"garbage"}, "traceparent": {"00-01000000000000000000000000000000-0200000000000000-01"}, jetstream.ExpectedStreamHeader: {"INBOUND"},
	}}); err != nil {
		t.Fatal(err)
	}
	worker := b.dial(t, rpc.Inbound)
	worker.SetMaxTries(2)
	consume(t, worker, queue.Inbound, 4, func(_ context.Context, m *queue.Message) {
		switch m.ID {
		case "fails":
			if err := m.Fail("a reason\r\nInjected: header " + strings.Repeat("x", 500)); err != nil {
				t.Error(err)
			}
		case "never":
			if m.Tries > 2 {
				t.Errorf("handled at try %d of 2", m.Tries)
			}
			if err := m.Retry(0); err != nil {
				t.Error(err)
			}
		default:
			t.Errorf("handled %s", m.ID)
		}
	})
	eventually(t, "all in DEAD", func() bool { return b.messages(t, queue.Dead) == 3 && b.messages(t, queue.Inbound) == 0 })
	stream, err := admin.JetStream().Stream(limit(t), string(queue.Dead))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]*jetstream.RawStreamMsg)
	for seq := range uint64(3) {
		m, err := stream.GetMsg(limit(t), seq+1)
		if err != nil {
			t.Fatal(err)
		}
		if m.Subject != "mesh.dead.inbound" {
			t.Errorf("subject %s", m.Subject)
		}
		_, id, _ := strings.Cut(strings.TrimPrefix(m.Header.Get(jetstream.MsgIDHeader), "INBOUND "), " ")
		found[id] = m
	}
	if m := found["fails"]; m == nil || !strings.HasPrefix(m.Header.Get(queue.HeaderReason), "a reason  Injected") || m.Header.Get("Injected") != "" ||
		len(m.Header.Get(queue.HeaderReason)) > 200 || m.Header.Get(queue.HeaderTries) != "1" || m.Header.Get(queue.HeaderSource) != "INBOUND 1" {
		t.Errorf("given up by the handler: %+v", m)
	} else {
		var d eventpb.Delivery
		if err := proto.Unmarshal(m.Data, &d); err != nil || d.GetTo()[0].GetDeliveryId() != "fails" {
			t.Errorf("its delivery: %v, %v", &d, err)
		}
	}
	if m := found["never"]; m == nil || m.Header.Get(queue.HeaderTries) != "3" || !strings.Contains(m.Header.Get(queue.HeaderReason), "tried 2 times") {
		t.Errorf("tried too often: %+v", m)
	}
	if m := found["garbage"]; m == nil || m.Header.Get(queue.HeaderReason) != "not a delivery" || m.Header.Get("traceparent") == "" || m.Header.Get("Nats-Expected-Stream") == "INBOUND" {
		t.Errorf("no delivery: %+v", m)
	}
}

// Without DEAD a message is not given up but comes again.
func TestDeadIsAbsent(t *testing.T) {
	b := newBed(t)
	admin := b.streams(t)
	if err := admin.JetStream().DeleteStream(limit(t), string(queue.Dead)); err != nil {
		t.Fatal(err)
	}
	publish(t, b.dial(t, rpc.Shard), queue.Inbound, "m")
	failed := make(chan error, 1)
	acked := make(chan bool, 1)
	consume(t, b.dial(t, rpc.Inbound), queue.Inbound, 1, func(_ context.Context, m *queue.Message) {
		if m.Tries == 1 {
			failed <- m.Fail("reason")
			return
		}
		acked <- m.Ack() == nil
	})
	if err := receive(t, failed); err == nil {
		t.Error("given up to nowhere")
	}
	if !receive(t, acked) {
		t.Error("not acknowledged at the second try")
	}
}

// No more than inFlight at once, and none is taken from the server that nobody works on.
func TestInFlight(t *testing.T) {
	b := newBed(t)
	admin := b.streams(t)
	var ids []string
	for i := range 30 {
		ids = append(ids, fmt.Sprint("m", i))
	}
	publish(t, b.dial(t, rpc.Shard), queue.Inbound, ids...)
	begun, goOn := make(chan bool, 30), make(chan bool)
	var mu sync.Mutex
	now, most := 0, 0
	consume(t, b.dial(t, rpc.Inbound), queue.Inbound, 3, func(_ context.Context, m *queue.Message) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		begun <- true
		<-goOn
		mu.Lock()
		now--
		mu.Unlock()
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	})
	for range 3 {
		receive(t, begun)
	}
	consumer, err := admin.JetStream().Consumer(limit(t), "INBOUND", "inbound")
	if err != nil {
		t.Fatal(err)
	}
	if info := consumer.CachedInfo(); info.NumAckPending != 3 || info.NumPending != 27 {
		t.Errorf("%d with the worker, %d waiting; want 3 and 27", info.NumAckPending, info.NumPending)
	}
	close(goOn)
	for range 27 {
		receive(t, begun)
	}
	mu.Lock()
	defer mu.Unlock()
	if most != 3 {
		t.Errorf("%d at once, want 3", most)
	}
}

// A consumer lives through its stream's end and comes to life with the next.
func TestStreamComesBack(t *testing.T) {
	b := newBed(t)
	worker := b.dial(t, rpc.Inbound)
	got := make(chan string, 10)
	consume(t, worker, queue.Inbound, 4, func(_ context.Context, m *queue.Message) { // before there is a stream at all
		got <- m.ID
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	})
	shard := b.dial(t, rpc.Shard)
	admin := b.streams(t)
	publish(t, shard, queue.Inbound, "first")
	if id := receive(t, got); id != "first" {
		t.Errorf("got %s", id)
	}
	if err := admin.JetStream().DeleteStream(limit(t), string(queue.Inbound)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(shard.Publish(limit(t), queue.Inbound, item("nowhere"))...); err == nil {
		t.Error("published to a stream that is not there")
	}
	if err := admin.ApplyQuick(limit(t), 1, time.Second, 64<<20); err != nil {
		t.Fatal(err)
	}
	publish(t, shard, queue.Inbound, "second")
	if id := receive(t, got); id != "second" {
		t.Errorf("got %s", id)
	}
}

func TestServerRestarts(t *testing.T) {
	b := newBed(t)
	b.streams(t)
	shard, worker, gateway := b.dial(t, rpc.Shard), b.dial(t, rpc.Inbound), b.dial(t, rpc.Gateway)
	waiter, err := gateway.Waiter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	publish(t, shard, queue.Inbound, "before") // acknowledged, so it must be there afterwards
	b.restart(t)
	got := make(chan string, 10)
	consume(t, worker, queue.Inbound, 4, func(_ context.Context, m *queue.Message) {
		got <- m.ID
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	})
	if id := receive(t, got); id != "before" {
		t.Errorf("got %s", id)
	}
	b.restart(t) // under the running consumer
	for _, c := range []*queue.Conn{shard, worker, gateway} {
		eventually(t, "connected again", func() bool { return c.Ready() == nil })
	}
	start := time.Now()
	publish(t, shard, queue.Inbound, "after")
	if id := receive(t, got); id != "after" {
		t.Errorf("got %s", id)
	}
	if time.Since(start) > 5*time.Second {
		t.Errorf("a consumer needed %v to ask again", time.Since(start))
	}
	if err := worker.SendVerdict(waiter.Token(), &eventpb.Verdict{DeliveryId: "v"}); err != nil {
		t.Fatal(err)
	}
	if got := waiter.Wait(limit(t), []string{"v"}); got["v"] == nil {
		t.Error("a waiter hears nothing after the restart")
	}
}

// A Conn may be made before its server is there.
func TestDialBeforeServer(t *testing.T) {
	b := newBed(t)
	address := strings.TrimPrefix(b.server.URL(), "tls://")
	o := b.options(t, rpc.Shard)
	b.server.Close()
	shard := dial(t, o)
	if shard.Ready() == nil {
		t.Error("ready without a server")
	}
	b.start(t, address)
	eventually(t, "connected", func() bool { return shard.Ready() == nil })
	b.streams(t)
	publish(t, shard, queue.Inbound, "m")
}

func TestDialRefuses(t *testing.T) {
	b := newBed(t)
	good := b.options(t, rpc.Shard)
	for name, change := range map[string]func(*queue.Options){
		"unknown role": func(o *queue.Options) { o.Role = "nobody" },
		"no TLS":       func(o *queue.Options) { o.TLS = nil },
		"no servers":   func(o *queue.Options) { o.Servers = nil },
		"bad address":  func(o *queue.Options) { o.Servers = []string{"tls://[::1"} },
	} {
		o := good
		change(&o)
		if c, err := queue.Dial(t.Context(), o); err == nil {
			t.Errorf("%s: no error", name)
			closeConn(t, c)
		}
	}
	if err := b.dial(t, rpc.Shard).Consume(limit(t), queue.Inbound, 1, nil); err == nil {
		t.Error("a shard consumes")
	}
	if err := b.dial(t, rpc.Inbound).Consume(limit(t), queue.Outbound, 1, nil); err == nil {
		t.Error("inbound consumes OUTBOUND")
	}
	if err := b.dial(t, rpc.Inbound).Consume(limit(t), queue.Inbound, 0, nil); err == nil {
		t.Error("a consumer of nothing")
	}
}

// Close lets go out what was said, and Consume lets finish what was begun.
func TestDrain(t *testing.T) {
	b := newBed(t)
	b.streams(t)
	publish(t, b.dial(t, rpc.Shard), queue.Inbound, "m")
	o := b.options(t, rpc.Inbound)
	worker, err := queue.Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	begun, done := make(chan bool), make(chan error, 1)
	go func() {
		done <- worker.Consume(ctx, queue.Inbound, 1, func(ctx context.Context, m *queue.Message) {
			begun <- true
			time.Sleep(300 * time.Millisecond)
			if ctx.Err() != nil {
				t.Error("the handler's context ended with the loop's")
			}
			if err := m.Ack(); err != nil {
				t.Error(err)
			}
		})
	}()
	receive(t, begun)
	cancel()
	if err := receive(t, done); err != nil {
		t.Error(err)
	}
	gateway := b.dial(t, rpc.Gateway)
	waiter, err := gateway.Waiter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range 500 {
		ids = append(ids, fmt.Sprint(i))
		if err := worker.SendVerdict(waiter.Token(), &eventpb.Verdict{DeliveryId: ids[i]}); err != nil {
			t.Fatal(err)
		}
	}
	closeConn(t, worker)
	if n := len(waiter.Wait(limit(t), ids)); n != len(ids) {
		t.Errorf("%d of %d verdicts went out", n, len(ids))
	}
	if n := b.messages(t, queue.Inbound); n != 0 {
		t.Error("the last acknowledgement was lost")
	}
	if err := worker.Ready(); err == nil {
		t.Error("ready after Close")
	}
}

func TestWaiter(t *testing.T) {
	b := newBed(t)
	gateway, inbound := b.dial(t, rpc.Gateway), b.dial(t, rpc.Inbound)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := gateway.Waiter(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other, err := gateway.Waiter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if w.Token() == other.Token() {
		t.Fatal("two waiters, one token")
	}
	send := func(token, id string, code uint32) {
		t.Helper()
		if err := inbound.SendVerdict(token, &eventpb.Verdict{DeliveryId: id, Code: code}); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(n int) func() bool { return func() bool { k, _, _ := w.Sizes(); return k == n } }

	// Before Wait; of two the first stands.
	send(w.Token(), "early", 1)
	send(w.Token(), "early", 2)
	send(other.Token(), "elsewhere", 3)
	eventually(t, "kept", kept(1))
	// After it began.
	time.AfterFunc(100*time.Millisecond, func() { send(w.Token(), "late", 4) })
	got := w.Wait(limit(t), []string{"early", "late", "late"})
	if len(got) != 2 || got["early"].GetCode() != 1 || got["late"].GetCode() != 4 {
		t.Errorf("got %v", got)
	}
	// When ctx ends, what is there.
	short, done := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer done()
	if got := w.Wait(short, []string{"early", "never", "elsewhere"}); len(got) != 1 || got["early"] == nil {
		t.Errorf("got %v, want the early one", got)
	}
	if _, _, waits := w.Sizes(); waits != 0 {
		t.Errorf("%d entries are left of waits that ended", waits)
	}
	if got := w.Wait(t.Context(), nil); len(got) != 0 {
		t.Errorf("of nothing: %v", got)
	}

	// Kept for 5 s, and no more than fit.
	now := time.Now()
	w.SetClock(func() time.Time { return now.Add(queue.KeepTime + time.Second) })
	if got := w.Wait(short, []string{"early"}); len(got) != 0 {
		t.Errorf("kept too long: %v", got)
	}
	for i := range queue.KeepMax + 100 {
		id := fmt.Sprint("n", i)
		send(w.Token(), id, 0)
		if i%500 == 499 || i == queue.KeepMax+99 { // not more at once than a slow reader's buffer takes
			if got := w.Wait(limit(t), []string{id}); len(got) != 1 {
				t.Fatalf("%s is not there", id)
			}
		}
	}
	if k, order, _ := w.Sizes(); k > queue.KeepMax || order > queue.KeepMax {
		t.Errorf("%d kept, %d in order; at most %d", k, order, queue.KeepMax)
	}
	if got := w.Wait(short, []string{"n0"}); len(got) != 0 {
		t.Error("the oldest was not dropped")
	}

	// Octets that are no verdict harm nobody, and tokens that are none become no subject.
	raw := b.raw(t, rpc.Inbound)
	for _, data := range [][]byte{nil, []byte("\xff\xff"), make([]byte, 5000)} {
		if err := raw.Publish("mesh.verdict."+w.Token(), data); err != nil {
			t.Fatal(err)
		}
	}
	for _, token := range []string{">", "*", "a.b", strings.ToLower(w.Token()), w.Token() + "A", w.Token()[1:] + " "} {
		if err := inbound.SendVerdict(token, &eventpb.Verdict{DeliveryId: "x"}); err == nil {
			t.Errorf("sent to %q", token)
		}
	}
	if err := inbound.SendVerdict("", &eventpb.Verdict{}); err != nil {
		t.Errorf("nobody waits: %v", err)
	}
	send(w.Token(), "last", 0)
	if got := w.Wait(limit(t), []string{"last"}); len(got) != 1 {
		t.Error("the waiter is deaf")
	}
	cancel()
	eventually(t, "unsubscribed", func() bool {
		send(w.Token(), "after", 0)
		short, done := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer done()
		return len(w.Wait(short, []string{"after"})) == 0
	})
}

// Many at once, for the race detector.
func TestWaiterConcurrently(t *testing.T) {
	b := newBed(t)
	gateway, inbound := b.dial(t, rpc.Gateway), b.dial(t, rpc.Inbound)
	w, err := gateway.Waiter(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	for i := range 50 {
		ids := []string{fmt.Sprint(i, "a"), fmt.Sprint(i, "b"), "shared"}
		wait.Go(func() {
			if n := len(w.Wait(limit(t), ids)); n != 3 {
				t.Errorf("%d of 3", n)
			}
		})
		wait.Go(func() {
			for _, id := range slices.Backward(ids) {
				if err := inbound.SendVerdict(w.Token(), &eventpb.Verdict{DeliveryId: id}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wait.Wait()
}

// raw is a client that does as it likes, with the certificate of a role.
func (b *bed) raw(t *testing.T, role rpc.Role, more ...nats.Option) *nats.Conn {
	t.Helper()
	nc, err := nats.Connect(b.server.URL(), append([]nats.Option{nats.Secure(clientTLS(t, b.ca, role)), nats.CustomInboxPrefix("_INBOX." + string(role))}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}
