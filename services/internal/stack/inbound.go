package stack

import (
	"context"
	"net"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/services/inbound"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// InboundParts are what an inbound process is made of. What is given is its to close, also when StartInbound fails.
type InboundParts struct {
	Domains   []string // of this provider
	Queue     *queue.Conn
	Map       shardmap.Source
	Site      *inbound.SiteFile
	Client    client.Config // how other providers are found
	Identity  *rpc.Identity
	Telemetry *telemetry.Telemetry
	Admin     net.Listener // nil: none
}

// Worker is a running inbound or outbound process.
type Worker struct{ *process }

// StartInbound starts a worker that decides on messages.
func StartInbound(ctx context.Context, parts InboundParts) (*Worker, error) {
	w := &Worker{newProcess()}
	w.onStop(parts.Queue.Close)
	router := newRouter(parts.Map, parts.Identity, parts.Telemetry)
	w.onStop(func(context.Context) error { return router.Close() })
	core, err := inbound.New(inbound.Config{
		Queue:   parts.Queue,
		Shards:  router,
		Site:    parts.Site,
		Lookup:  lookup(parts.Client),
		Domains: parts.Domains,
		Log:     parts.Telemetry.Log,
		Meter:   parts.Telemetry.Meter,
	})
	if err != nil {
		closeAll(parts.Admin)
		return nil, w.abort(ctx, err)
	}
	w.serveWorker(core.Run, core.Ready, parts.Telemetry, parts.Admin)
	return w, nil
}

// lookup asks a domain's service who it is.
func lookup(conf client.Config) inbound.Lookup {
	return func(ctx context.Context, domain string) (string, error) {
		info, err := client.Hello(ctx, conf, domain)
		if err != nil {
			return "", err
		}
		return info.ServiceUDF, nil
	}
}

func (w *Worker) serveWorker(run func(context.Context) error, isReady func() error, tel *telemetry.Telemetry, admin net.Listener) {
	var ready telemetry.Readiness
	ready.Add("queue and map", func(context.Context) error { return isReady() })
	if admin != nil {
		w.serveHTTP("admin", tel.AdminHandler(&ready), admin)
	}
	w.work(run)
	w.onStop(func(context.Context) error { ready.Down(); return nil })
	ready.Up()
}
