package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
)

const (
	// connectTime bounds one attempt to reach one server: several round trips of a slow network.
	connectTime = 2 * time.Second
	// reconnectMin and reconnectMax: soon enough that a restarted server is not missed, seldom enough that a thousand processes do
	// not keep one from starting.
	reconnectMin = 100 * time.Millisecond
	reconnectMax = 5 * time.Second
	// pingInterval finds a peer that died without a word within two of them; TCP alone would wait for minutes.
	pingInterval = 10 * time.Second
	// publishTime bounds the wait for one acknowledgement: a new leader is elected in less, and no caller has more to give.
	publishTime = 5 * time.Second
	// publishPending bounds what is published and not yet acknowledged, so what it occupies: 1,024 messages of at most MaxMessage.
	publishPending = 1024
	// readyTime: a probe waits for a second.
	readyTime = 800 * time.Millisecond
	// readyAge is how long a good answer is good: probes come more often than stamps.
	readyAge = 10 * time.Second
)

// Options say where the queue is and who we are.
type Options struct {
	Servers    []string    // tls://host:port; one is enough, the others are learnt
	TLS        *tls.Config // with the role's client certificate, which is its NATS user: rpc.Identity.QueueClient
	Role       string      // gateway, shard, inbound, outbound, meshctl
	Production bool        // un-ready without the stamp of `meshctl streams check`
	Log        *slog.Logger
	Meter      metric.MeterProvider // nil: no metrics
	Tracer     trace.TracerProvider // nil: the trace context is handed on as it came
}

// Conn is a role's connection to the queue. Safe for concurrent use.
type Conn struct {
	nc         *nats.Conn
	js         jetstream.JetStream
	role       role
	production bool
	maxTries   uint64
	log        *slog.Logger
	counts     *counts
	tracer     trace.Tracer

	mu      sync.Mutex
	back    chan struct{} // closed when there is a connection again
	goodTil time.Time     // streams carry the stamp
	fault   error         // of the last attempt to connect
}

// Dial makes a Conn. It does not wait for a server beyond one attempt (connectTime each), and reconnects for ever, also when it is
// refused: certificates are renewed. An error is one of the options.
func Dial(ctx context.Context, o Options) (*Conn, error) {
	r, ok := roleOf(o.Role)
	switch {
	case !ok:
		return nil, fmt.Errorf("queue: no role %q", o.Role)
	case o.TLS == nil:
		return nil, errors.New("queue: no TLS: the certificate is who we are")
	case len(o.Servers) == 0:
		return nil, errors.New("queue: no servers")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tracer == nil {
		o.Tracer = tracenoop.NewTracerProvider()
	}
	c := &Conn{role: r, production: o.Production, maxTries: maxTries, log: o.Log, tracer: o.Tracer.Tracer(scope), back: make(chan struct{})}
	var err error
	if c.counts, err = newCounts(o.Meter); err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	if c.nc, err = nats.Connect(strings.Join(o.Servers, ","), c.options(o)...); err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	c.js, err = jetstream.New(c.nc, jetstream.WithPublishAsyncTimeout(publishTime), jetstream.WithPublishAsyncMaxPending(publishPending),
		jetstream.WithDefaultTimeout(publishTime))
	if err != nil {
		c.nc.Close()
		return nil, fmt.Errorf("queue: %w", err)
	}
	return c, nil
}

func (c *Conn) options(o Options) []nats.Option {
	warn := func(what string) func(*nats.Conn, error) {
		return func(_ *nats.Conn, err error) {
			if err != nil {
				c.log.Warn("queue: "+what, slog.Any("err", err))
			}
		}
	}
	return []nats.Option{
		nats.Name("meshd " + o.Role),
		nats.Secure(o.TLS),
		nats.CustomInboxPrefix(c.role.inbox()), // replies to others are not for us to see
		nats.Timeout(connectTime),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(2),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.CustomReconnectDelay(func(attempts int) time.Duration { return backoff(attempts, reconnectMin, reconnectMax) }),
		nats.IgnoreAuthErrorAbort(),
		nats.ReconnectBufSize(-1), // what is said without a connection fails at once: nobody is told that it was sent
		nats.ConnectHandler(c.connected),
		nats.ReconnectHandler(c.connected),
		nats.DisconnectErrHandler(warn("connection lost")),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { c.unreached(err) }),
		nats.ErrorHandler(func(nc *nats.Conn, _ *nats.Subscription, err error) { warn("refused or dropped")(nc, err) }),
		nats.NoCallbacksAfterClientClose(),
	}
}

// connected wakes everybody who waits for a server.
func (c *Conn) connected(nc *nats.Conn) {
	c.log.Info("queue: connected", slog.String("server", nc.ConnectedServerName()))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fault = nil
	close(c.back)
	c.back = make(chan struct{})
}

// unreached notes why there is no connection; a reason is logged once.
func (c *Conn) unreached(err error) {
	c.mu.Lock()
	again := c.fault != nil && c.fault.Error() == err.Error()
	c.fault = err
	c.mu.Unlock()
	if !again {
		c.log.Warn("queue: not reached", slog.Any("err", err))
	}
}

// noServer is the error of a Conn without a connection.
func (c *Conn) noServer(why error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return fmt.Errorf("queue: no connection: %w", errors.Join(why, c.fault))
}

// next is closed at the next connection.
func (c *Conn) next() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.back
}

// Connected waits for a server, until ctx ends: for who needs one to begin with, as a tool does.
func (c *Conn) Connected(ctx context.Context) error {
	for {
		next := c.next()
		if c.nc.IsConnected() {
			return nil
		}
		select {
		case <-next:
		case <-ctx.Done():
			return c.noServer(ctx.Err())
		}
	}
}

// Close drains: consumers and waiters stop, what was said goes out, until ctx ends. Stop Consume first, by its context.
func (c *Conn) Close(ctx context.Context) error {
	defer c.nc.Close()
	if !c.nc.IsConnected() {
		return nil // nothing of ours is under way
	}
	closed := c.nc.StatusChanged(nats.CLOSED)
	if err := c.nc.Drain(); err != nil {
		return fmt.Errorf("queue: %w", err)
	}
	if c.nc.IsClosed() {
		return nil
	}
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("queue: not drained: %w", ctx.Err())
	}
}

// Ready says why the queue cannot be used: no connection, or, in production, a stream of this role that is absent or that
// `meshctl streams check` has not stamped. It answers within a second.
func (c *Conn) Ready() error {
	if !c.nc.IsConnected() {
		return c.noServer(errors.New(strings.ToLower(c.nc.Status().String())))
	}
	if !c.production {
		return nil
	}
	c.mu.Lock()
	good := time.Now().Before(c.goodTil)
	c.mu.Unlock()
	if good {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	for _, s := range c.role.streams() {
		if err := c.stamped(ctx, s); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.goodTil = time.Now().Add(readyAge)
	return nil
}

// backoff doubles from least to most with each attempt, the first being 1, and spreads: the upper half of each wait is random.
func backoff(attempt int, least, most time.Duration) time.Duration {
	d := min(least, most)
	for ; attempt > 1 && d < most; attempt-- {
		d = min(2*d, most)
	}
	return d/2 + rand.N(d/2+1)
}
