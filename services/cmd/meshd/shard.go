package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/stack"
)

func shardCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use:   "shard --config FILE",
		Short: "Keep the accounts of some partitions in one database",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var c config.Shard
			if err := config.Load(file, os.Environ(), &c); err != nil {
				return err
			}
			return runShard(cmd.Context(), &c)
		},
	}
	configFlag(cmd, &file)
	return cmd
}

func runShard(ctx context.Context, c *config.Shard) error {
	parts, err := shardParts(ctx, c, os.Stderr)
	if err != nil {
		return err
	}
	defer parts.Telemetry.Close(context.WithoutCancel(ctx))
	where, err := c.Database()
	if err != nil {
		return err
	}
	if parts.Store, err = stack.OpenStore(ctx, c.Store, where, parts.Telemetry.Log); err != nil {
		return err
	}
	if err := listenAll(to{"listen", c.Listen, &parts.Listener}, to{"admin_listen", c.AdminListen, &parts.Admin}); err != nil {
		return errors.Join(err, parts.Store.Close())
	}
	if parts.Queue, err = dialQueue(ctx, c.NATS, rpc.Shard, parts.Identity, parts.Telemetry); err != nil {
		return errors.Join(err, parts.Store.Close())
	}
	s, err := stack.StartShard(ctx, parts)
	if err != nil {
		return err
	}
	parts.Telemetry.Log.InfoContext(ctx, "serving", slog.String("shard", c.Name), slog.String("address", parts.Listener.Addr().String()), slog.String("version", version))
	return untilSignal(ctx, s)
}

// shardParts reads everything that the configuration names but the database, and opens no port.
func shardParts(ctx context.Context, c *config.Shard, log io.Writer) (parts stack.ShardParts, err error) {
	parts = stack.ShardParts{Name: c.Name, Keys: make(map[string]keys.Holder), Hosts: make(map[string]*keys.PrivateKey)}
	if parts.Telemetry, err = newTelemetry(ctx, "shard", c.LogFormat, c.LogLevel, c.LogKeyFile, c.OTLPEndpoint, log); err != nil {
		return parts, err
	}
	if parts.Identity, err = rpc.OpenIdentity(c.CertFile, c.KeyFile, c.CAFile, parts.Telemetry.Log); err != nil {
		return parts, err
	}
	for _, s := range c.Services {
		k, err := mesh.LoadShard(s.ProviderDir)
		if err != nil {
			return parts, fmt.Errorf("%s: %w", s.Domain, err)
		}
		if k.Domain != s.Domain {
			return parts, fmt.Errorf("%s is the provider of %s, not of %s", s.ProviderDir, k.Domain, s.Domain)
		}
		parts.Keys[k.Domain] = keys.NewRing(k.Encryption)
		parts.Hosts[k.Domain] = k.Signature
	}
	return parts, nil
}
