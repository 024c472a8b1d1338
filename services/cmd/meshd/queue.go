package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"os"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/stack"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// dialQueue connects a role of a production deployment: its streams must carry the stamp of `meshctl streams check`. Without
// servers there is no queue.
func dialQueue(ctx context.Context, servers []string, role rpc.Role, id *rpc.Identity, tel *telemetry.Telemetry) (*queue.Conn, error) {
	if len(servers) == 0 {
		return nil, nil
	}
	return stack.DialQueue(ctx, servers, role, id, tel, true)
}

// others is how workers find other providers.
func others(dns, trustFile string, allowPrivate bool) (client.Config, error) {
	c := client.Config{DNS: dns, Public: !allowPrivate}
	if trustFile == "" {
		return c, nil
	}
	pem, err := os.ReadFile(trustFile)
	if err != nil {
		return c, fmt.Errorf("trust_file: %w", err)
	}
	c.Roots = x509.NewCertPool()
	if !c.Roots.AppendCertsFromPEM(pem) {
		return c, fmt.Errorf("trust_file: no certificate in %s", trustFile)
	}
	return c, nil
}
