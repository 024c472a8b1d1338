package queue

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
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
type Conn struct{}

var errTODO = errors.New("queue: not built yet")

// Dial makes a Conn. It does not wait for a server, and reconnects for ever, also when it is refused: certificates are renewed. An
// error is one of the options.
func Dial(ctx context.Context, o Options) (*Conn, error) { return nil, errTODO }

// Close drains: consumers and waiters stop, what was said goes out, until ctx ends. Stop Consume first by its context.
func (c *Conn) Close(ctx context.Context) error { return errTODO }

// Ready says why the queue cannot be used: no connection, or, in production, a stream of this role that is absent or that
// `meshctl streams check` has not stamped. It answers within a second.
func (c *Conn) Ready() error { return errTODO }
