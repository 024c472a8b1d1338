package stack

import (
	"context"

	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// DialQueue connects a role to the queue, under its own certificate. It waits for nobody.
func DialQueue(ctx context.Context, servers []string, role rpc.Role, id *rpc.Identity, tel *telemetry.Telemetry, production bool) (*queue.Conn, error) {
	return queue.Dial(ctx, queue.Options{
		Servers:    servers,
		TLS:        id.QueueClient(),
		Role:       string(role),
		Production: production,
		Log:        tel.Log,
		Meter:      tel.Meter,
		Tracer:     tel.Tracer,
	})
}
