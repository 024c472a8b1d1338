package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/internal/config"
)

func configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Look at configuration files"}
	cmd.AddCommand(&cobra.Command{
		Use:   "check ROLE FILE",
		Short: "Say what is wrong with the file of a role, also with the files that it names",
		Long: `check reads the YAML file of a role (gateway, shard, inbound or outbound) as the role would, MESHD_… variables included, and every key, certificate and
map that it names. It opens no port and no database. Exit code 0: the role would start.`,
		Args: exactly(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkConfig(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), "ok")
			return nil
		},
	})
	return cmd
}

func checkConfig(ctx context.Context, role, file string) error {
	switch role {
	case "gateway":
		var c config.Gateway
		if err := config.Load(file, os.Environ(), &c); err != nil {
			return err
		}
		_, _, err := gatewayParts(ctx, &c, io.Discard)
		return err
	case "shard":
		var c config.Shard
		if err := config.Load(file, os.Environ(), &c); err != nil {
			return err
		}
		_, err := shardParts(ctx, &c, io.Discard)
		return err
	case "inbound":
		var c config.Inbound
		if err := config.Load(file, os.Environ(), &c); err != nil {
			return err
		}
		_, _, err := inboundParts(ctx, &c, io.Discard)
		return err
	case "outbound":
		var c config.Outbound
		if err := config.Load(file, os.Environ(), &c); err != nil {
			return err
		}
		_, _, err := outboundParts(ctx, &c, io.Discard)
		return err
	}
	return usageError{fmt.Errorf("role %q: want gateway, shard, inbound or outbound", role)}
}
