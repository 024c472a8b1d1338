package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

func gatewayCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "gateway --config FILE",
		Short: "Speak the Mesh Service Protocol to devices; hold nothing that may not be lost",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c config.Gateway
			if err := config.Load(file, os.Environ(), &c); err != nil {
				return err
			}
			return runGateway(cmd.Context(), &c)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func runGateway(ctx context.Context, c *config.Gateway) error {
	parts, source, err := gatewayParts(ctx, c, os.Stderr)
	if err != nil {
		return err
	}
	log := parts.Telemetry.Log
	defer parts.Telemetry.Close(context.WithoutCancel(ctx))
	go source.Watch(ctx, func(err error) { log.ErrorContext(ctx, "shard map not re-read", slog.Any("err", err)) })
	if err := listenAll(
		to{"listen", c.Listen, &parts.Listener},
		to{"cleartext_listen", c.CleartextListen, &parts.Cleartext},
		to{"admin_listen", c.AdminListen, &parts.Admin},
	); err != nil {
		return err
	}
	if parts.Queue, err = dialQueue(ctx, c.NATS, rpc.Gateway, parts.Identity, parts.Telemetry); err != nil {
		return err
	}
	g, err := stack.StartGateway(ctx, parts)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "serving", slog.String("address", parts.Listener.Addr().String()), slog.String("version", version))
	return untilSignal(ctx, g)
}

// gatewayParts reads everything that the configuration names, and opens no port.
func gatewayParts(ctx context.Context, c *config.Gateway, log io.Writer) (parts stack.GatewayParts, source *shardmap.File, err error) {
	if parts.Telemetry, err = newTelemetry(ctx, "gateway", c.LogFormat, c.LogLevel, c.LogKeyFile, c.OTLPEndpoint, log); err != nil {
		return parts, nil, err
	}
	if source, err = shardmap.OpenFile(c.ShardMapFile); err != nil {
		return parts, nil, err
	}
	parts.Map = source
	if parts.Identity, err = rpc.OpenIdentity(c.CertFile, c.KeyFile, c.CAFile, parts.Telemetry.Log); err != nil {
		return parts, nil, err
	}
	var certificates certificates
	for _, s := range c.Services {
		d, err := gatewayDomain(s, parts.Telemetry)
		if err != nil {
			return parts, nil, fmt.Errorf("%s: %w", s.Domain, err)
		}
		if err := certificates.add(s, parts.Telemetry.Log); err != nil {
			return parts, nil, fmt.Errorf("%s: %w", s.Domain, err)
		}
		parts.Domains = append(parts.Domains, d)
	}
	parts.TLS = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: certificates.get}
	return parts, source, nil
}

func gatewayDomain(s config.Service, tel *telemetry.Telemetry) (gateway.Domain, error) {
	keys, err := mesh.LoadGateway(s.ProviderDir)
	if err != nil {
		return gateway.Domain{}, err
	}
	if keys.Domain != s.Domain {
		return gateway.Domain{}, fmt.Errorf("%s is the provider of %s", s.ProviderDir, keys.Domain)
	}
	ring, err := config.Watch(s.RingFile, tel.Log, make1.ParseRing)
	if err != nil {
		return gateway.Domain{}, err
	}
	policy, err := gateway.ParsePolicy(s.Policy)
	if err != nil {
		return gateway.Domain{}, err
	}
	return stack.GatewayDomain(keys, ring.Get, policy), nil
}
