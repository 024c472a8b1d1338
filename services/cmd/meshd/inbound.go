package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/inbound"
	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
)

func inboundCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "inbound --config FILE",
		Short: "Decide which messages reach their recipients",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c config.Inbound
			if err := config.Load(file, os.Environ(), &c); err != nil {
				return err
			}
			return runInbound(cmd.Context(), &c)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func runInbound(ctx context.Context, c *config.Inbound) error {
	parts, source, err := inboundParts(ctx, c, os.Stderr)
	if err != nil {
		return err
	}
	log := parts.Telemetry.Log
	defer parts.Telemetry.Close(context.WithoutCancel(ctx))
	go source.Watch(ctx, func(err error) { log.ErrorContext(ctx, "shard map not re-read", slog.Any("err", err)) })
	if err := listenAll(to{"admin_listen", c.AdminListen, &parts.Admin}); err != nil {
		return err
	}
	if parts.Queue, err = dialQueue(ctx, c.NATS, rpc.Inbound, parts.Identity, parts.Telemetry); err != nil {
		return err
	}
	w, err := stack.StartInbound(ctx, parts)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "working", slog.String("version", version))
	return untilSignal(ctx, w)
}

// inboundParts reads everything that the configuration names, and connects to nobody.
func inboundParts(ctx context.Context, c *config.Inbound, log io.Writer) (parts stack.InboundParts, source *shardmap.File, err error) {
	parts.Domains = c.Services
	if parts.Telemetry, err = newTelemetry(ctx, "inbound", c.LogFormat, c.LogLevel, c.LogKeyFile, c.OTLPEndpoint, log); err != nil {
		return parts, nil, err
	}
	if source, err = shardmap.OpenFile(c.ShardMapFile); err != nil {
		return parts, nil, err
	}
	parts.Map = source
	if parts.Identity, err = rpc.OpenIdentity(c.CertFile, c.KeyFile, c.CAFile, parts.Telemetry.Log); err != nil {
		return parts, nil, err
	}
	if parts.Site, err = inbound.OpenSite(c.SitePolicyFile); err != nil {
		return parts, nil, err
	}
	parts.Client, err = others(c.DNS, c.TrustFile, c.AllowPrivate)
	return parts, source, err
}
