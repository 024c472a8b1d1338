package stack

import (
	"context"
	"net"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/telemetry"
	"github.com/mathmesh/meshd/services/outbound"
)

// OutboundParts are what an outbound process is made of. What is given is its to close, also when StartOutbound fails.
type OutboundParts struct {
	Keys      []*mesh.OutboundKeys // one for each domain
	Queue     *queue.Conn
	Map       shardmap.Source
	Client    client.Config // how other providers are found
	Identity  *rpc.Identity
	Telemetry *telemetry.Telemetry
	Admin     net.Listener // nil: none
}

// StartOutbound starts a worker that brings messages to other providers.
func StartOutbound(ctx context.Context, parts OutboundParts) (*Worker, error) {
	w := &Worker{newProcess()}
	w.onStop(parts.Queue.Close)
	router := newRouter(parts.Map, parts.Identity, parts.Telemetry)
	w.onStop(func(context.Context) error { return router.Close() })
	core, err := outbound.NewWorker(outbound.Config{
		Queue:        parts.Queue,
		Router:       router,
		Keys:         parts.Keys,
		Telemetry:    parts.Telemetry,
		DNS:          parts.Client.DNS,
		Roots:        parts.Client.Roots,
		AllowPrivate: !parts.Client.Public,
	})
	if err != nil {
		closeAll(parts.Admin)
		return nil, w.abort(ctx, err)
	}
	w.serveWorker(core.Run, core.Ready, parts.Telemetry, parts.Admin)
	return w, nil
}
