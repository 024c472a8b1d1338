package stack

import (
	"context"
	"net"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/telemetry"
	"github.com/mathmesh/meshd/services/shard"
)

// ShardParts are what a shard process is made of. What is given is the shard's to close, also when StartShard fails.
type ShardParts struct {
	Name      string
	Store     shard.Store
	Keys      map[string]keys.Holder      // service encryption key by domain
	Hosts     map[string]*keys.PrivateKey // host signature key by domain
	Queue     *queue.Conn                 // nil: messages are kept and not relayed
	Identity  *rpc.Identity
	Telemetry *telemetry.Telemetry
	Listener  net.Listener
	Admin     net.Listener // nil: none of its own
}

// Shard is a running shard process.
type Shard struct{ *process }

// StartShard serves a shard.
func StartShard(ctx context.Context, parts ShardParts) (*Shard, error) {
	s := &Shard{newProcess()}
	s.onStop(func(context.Context) error { return parts.Store.Close() })
	relay := s.relay(parts)
	server, err := shard.NewServer(shard.Config{
		Name:   parts.Name,
		Store:  parts.Store,
		Keys:   parts.Keys,
		Hosts:  parts.Hosts,
		Outbox: relay,
		Log:    parts.Telemetry.Log,
		Meter:  parts.Telemetry.Meter,
	})
	if err != nil {
		_ = parts.Listener.Close()
		return nil, s.abort(ctx, err)
	}
	grpcServer := rpc.NewServer(rpc.Options{
		Identity: parts.Identity,
		Log:      parts.Telemetry.Log,
		Tracer:   parts.Telemetry.Tracer,
		Meter:    parts.Telemetry.Meter,
	})
	server.Register(grpcServer)
	var ready telemetry.Readiness
	ready.Add("store", parts.Store.Ping)
	if parts.Admin != nil {
		s.serveHTTP("admin", parts.Telemetry.AdminHandler(&ready), parts.Admin)
	}
	s.serveGRPC("shard "+parts.Name, grpcServer, parts.Listener)
	s.onStop(func(context.Context) error { ready.Down(); server.Drain(); return nil })
	ready.Up()
	return s, nil
}

// relay publishes what lies in the outbox, as long as the shard runs.
func (s *Shard) relay(parts ShardParts) *shard.Relay {
	if parts.Queue == nil {
		return nil
	}
	s.onStop(parts.Queue.Close)
	relay := shard.NewRelay(parts.Store, parts.Queue, parts.Telemetry.Log)
	s.work(func(ctx context.Context) error { relay.Run(ctx); return nil })
	return relay
}
