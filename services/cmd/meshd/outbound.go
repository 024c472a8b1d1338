package main

import (
	"context"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
)

func outboundCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "outbound --config FILE",
		Short: "Bring messages to other providers",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c config.Outbound
			if err := config.Load(file, os.Environ(), &c); err != nil {
				return err
			}
			return runOutbound(cmd.Context(), &c)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func runOutbound(ctx context.Context, c *config.Outbound) error {
	parts, source, err := outboundParts(ctx, c, os.Stderr)
	if err != nil {
		return err
	}
	log := parts.Telemetry.Log
	defer parts.Telemetry.Close(context.WithoutCancel(ctx))
	go source.Watch(ctx, func(err error) { log.ErrorContext(ctx, "shard map not re-read", slog.Any("err", err)) })
	if err := listenAll(to{"admin_listen", c.AdminListen, &parts.Admin}); err != nil {
		return err
	}
	if parts.Queue, err = dialQueue(ctx, c.NATS, rpc.Outbound, parts.Identity, parts.Telemetry); err != nil {
		return err
	}
	w, err := stack.StartOutbound(ctx, parts)
	if err != nil {
		return err
	}
	log.InfoContext(ctx, "working", slog.String("version", version))
	return untilSignal(ctx, w)
}

// outboundParts reads everything that the configuration names, and connects to nobody.
func outboundParts(ctx context.Context, c *config.Outbound, log io.Writer) (parts stack.OutboundParts, source *shardmap.File, err error) {
	if parts.Telemetry, err = newTelemetry(ctx, "outbound", c.LogFormat, c.LogLevel, c.LogKeyFile, c.OTLPEndpoint, log); err != nil {
		return parts, nil, err
	}
	if source, err = shardmap.OpenFile(c.ShardMapFile); err != nil {
		return parts, nil, err
	}
	parts.Map = source
	if parts.Identity, err = rpc.OpenIdentity(c.CertFile, c.KeyFile, c.CAFile, parts.Telemetry.Log); err != nil {
		return parts, nil, err
	}
	k, err := mesh.LoadOutbound(c.ProviderDir)
	if err != nil {
		return parts, nil, err
	}
	parts.Keys = []*mesh.OutboundKeys{k}
	parts.Client, err = others(c.DNS, c.TrustFile, c.AllowPrivate)
	return parts, source, err
}
