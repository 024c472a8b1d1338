package stack

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/inbound"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/queue/embedded"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// queueTime bounds making the streams of a server in this process: it takes milliseconds.
const queueTime = 10 * time.Second

// startQueue starts the provider's NATS server, and makes its streams as an operator does with `meshctl streams apply`.
func (p *provider) startQueue(ctx context.Context, run *process, tel *telemetry.Telemetry) error {
	ca, err := rpc.OpenCA(p.path("pki"), "mesh internal", time.Now())
	if err != nil {
		return err
	}
	conf, err := ca.QueueServer(time.Now())
	if err != nil {
		return err
	}
	if p.address.nats == "" {
		p.address.nats = "127.0.0.1:0"
	}
	server, err := embedded.Start(ctx, embedded.Options{Dir: p.path("nats"), Addr: p.address.nats, TLS: conf, Log: tel.Log})
	if err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	run.onStop(func(context.Context) error { server.Close(); return nil })
	p.address.nats = strings.TrimPrefix(server.URL(), "tls://")
	q, err := p.dialQueue(ctx, rpc.Meshctl, tel)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, queueTime)
	defer cancel()
	_, err = q.Apply(ctx, 1)
	return errors.Join(err, q.Close(ctx))
}

func (p *provider) dialQueue(ctx context.Context, role rpc.Role, tel *telemetry.Telemetry) (*queue.Conn, error) {
	id, err := p.identity(role, tel)
	if err != nil {
		return nil, err
	}
	return DialQueue(ctx, []string{"tls://" + p.address.nats}, role, id, tel, false)
}

// others is how this provider finds others: by the DNS of `meshd dev`.
func (p *provider) others() (client.Config, error) {
	pem, err := os.ReadFile(p.caFile)
	if err != nil {
		return client.Config{}, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return client.Config{}, fmt.Errorf("%s: no certificate", p.caFile)
	}
	return client.Config{DNS: p.dns, Roots: roots}, nil
}

func (p *provider) startInbound(ctx context.Context, source shardmap.Source, tel *telemetry.Telemetry) (*Worker, error) {
	conf, err := p.others()
	if err != nil {
		return nil, err
	}
	id, err := p.identity(rpc.Inbound, tel)
	if err != nil {
		return nil, err
	}
	site, err := inbound.OpenSite("")
	if err != nil {
		return nil, err
	}
	q, err := p.dialQueue(ctx, rpc.Inbound, tel)
	if err != nil {
		return nil, err
	}
	return StartInbound(ctx, InboundParts{Domains: []string{p.domain}, Queue: q, Map: source, Site: site, Client: conf, Identity: id, Telemetry: tel})
}

func (p *provider) startOutbound(ctx context.Context, source shardmap.Source, tel *telemetry.Telemetry) (*Worker, error) {
	conf, err := p.others()
	if err != nil {
		return nil, err
	}
	id, err := p.identity(rpc.Outbound, tel)
	if err != nil {
		return nil, err
	}
	k, err := mesh.LoadOutbound(p.path("provider"))
	if err != nil {
		return nil, err
	}
	q, err := p.dialQueue(ctx, rpc.Outbound, tel)
	if err != nil {
		return nil, err
	}
	return StartOutbound(ctx, OutboundParts{Keys: []*mesh.OutboundKeys{k}, Queue: q, Map: source, Client: conf, Identity: id, Telemetry: tel})
}
