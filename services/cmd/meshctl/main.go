// Command meshctl is the operator's tool of a Mesh Service: databases, shard map, ticket rings, certificates, checks. It
// reaches shards through their Admin service and NATS, with a certificate of the role meshctl, and nothing else.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker: -X main.version=….
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "meshctl:", err)
		os.Exit(exitCode(err))
	}
}

func command() *cobra.Command {
	var out output
	root := &cobra.Command{
		Use:   "meshctl",
		Short: "Operate a Mesh Service",
		Long: `meshctl operates a Mesh Service.

Setting up, in this order:
  meshctl pki create --dir pki                       certificates for the roles' own gRPC
  meshctl tickets rotate --ring ring.json            the first ticket ring, then hourly
  meshctl migrate --config shard.yaml                make or update a shard's database
  meshctl partitions init --config shard.yaml --shard-map map.yaml
  meshctl streams conf > nats.conf                   for the NATS servers, by which the roles pass on messages
  meshctl streams apply, meshctl streams check

Looking: account where, shardmap show, partitions show, fsck, streams check.

Commands that ask shards take --shard-map and --pki, or --state of a running "meshd dev".
Exit codes: 0 ok, 1 error, 2 usage, 3 not found, 4 refused, 5 conflict, 6 a check failed, 7 try later, 8 network.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.PersistentFlags().StringVarP(&out.format, "output", "o", "table", "table or json")
	root.AddCommand(
		accountCommand(&out), devCommand(), fsckCommand(&out), incidentCommand(&out), messageCommand(&out), migrateCommand(), partitionsCommand(&out), pkiCommand(),
		shardmapCommand(&out), streamsCommand(&out), ticketsCommand(&out),
	)
	return root
}
