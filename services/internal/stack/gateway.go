package stack

import (
	"context"
	"crypto/tls"
	"net"

	"google.golang.org/grpc"

	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// GatewayParts are what a gateway process is made of. What is given is the gateway's to close, also when StartGateway fails.
type GatewayParts struct {
	Domains   []gateway.Domain
	Map       shardmap.Source
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
	router := rpc.NewRouter(parts.Map, func(target string) (*grpc.ClientConn, error) {
		return rpc.Dial(target, rpc.Shard, rpc.Options{
			Identity: parts.Identity,
			Tracer:   parts.Telemetry.Tracer,
			Meter:    parts.Telemetry.Meter,
		})
	})
	g.onStop(func(context.Context) error { return router.Close() })
	core, err := gateway.New(gateway.Config{
		Domains:   parts.Domains,
		Router:    router,
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
