package stack

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc"

	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// GatewayParts are what a gateway process is made of. What is given is the gateway's to close, also when StartGateway fails.
type GatewayParts struct {
	Domains   []gateway.Domain
	Map       shardmap.Source
	Queue     *queue.Conn // nil: no messaging
	Identity  *rpc.Identity
	Telemetry *telemetry.Telemetry
	Limits    gateway.Limits
	TLS       *tls.Config // with the certificates of the domains
	Listener  net.Listener
	Cleartext net.Listener // nil: none
	Admin     net.Listener // nil: none
}

// Gateway is a running gateway process.
type Gateway struct{ *process }

// StartGateway serves a gateway.
func StartGateway(ctx context.Context, parts GatewayParts) (*Gateway, error) {
	g := &Gateway{newProcess()}
	router := newRouter(parts.Map, parts.Identity, parts.Telemetry)
	g.onStop(func(context.Context) error { return router.Close() })
	waiter, err := g.listen(ctx, parts.Queue)
	if err != nil {
		closeAll(parts.Listener, parts.Cleartext, parts.Admin)
		return nil, g.abort(ctx, err)
	}
	core, err := gateway.New(gateway.Config{
		Domains:   parts.Domains,
		Router:    router,
		Queue:     parts.Queue,
		Waiter:    waiter,
		Telemetry: parts.Telemetry,
		Limits:    parts.Limits,
	})
	if err != nil {
		closeAll(parts.Listener, parts.Cleartext, parts.Admin)
		return nil, g.abort(ctx, err)
	}
	var ready telemetry.Readiness
	ready.Add("gateway", func(context.Context) error { return core.Ready() })
	if parts.Admin != nil {
		g.serveHTTP("admin", parts.Telemetry.AdminHandler(&ready), parts.Admin)
	}
	g.serveFront("gateway", core.TLSServer(parts.TLS), parts.Listener)
	if parts.Cleartext != nil {
		g.serveFront("cleartext", core.CleartextServer(), parts.Cleartext)
	}
	g.onStop(func(context.Context) error { ready.Down(); return nil })
	ready.Up()
	return g, nil
}

func (p *process) serveFront(name string, s *gateway.Server, l net.Listener) {
	p.run(name, func() error { return s.Serve(l) })
	p.onStop(s.Shutdown)
}

func closeAll(listeners ...net.Listener) {
	for _, l := range listeners {
		if l != nil {
			_ = l.Close() // nothing was served on it
		}
	}
}

// listen hears the verdicts for this gateway.
func (g *Gateway) listen(ctx context.Context, q *queue.Conn) (*queue.Waiter, error) {
	if q == nil {
		return nil, nil
	}
	g.onStop(q.Close)
	return q.Waiter(context.WithoutCancel(ctx)) // until the last Post has its answer
}

// newRouter is how a role reaches the shards.
func newRouter(source shardmap.Source, id *rpc.Identity, tel *telemetry.Telemetry) *rpc.Router {
	return rpc.NewRouter(source, func(target string) (*grpc.ClientConn, error) {
		return rpc.Dial(target, rpc.Shard, rpc.Options{Identity: id, Tracer: tel.Tracer, Meter: tel.Meter})
	})
}
