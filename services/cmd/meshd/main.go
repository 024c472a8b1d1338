// Command meshd is the Mesh Service: one binary, one sub-command per role (docs/design.md, Roles). Each role runs in
// any number of equal copies and can be killed at any moment.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker: -X main.version=….
var version = "devel"

// gcPercent: the live heap of a role is a few MiB, and each request leaves some tens of KiB. At Go's default of 100 the
// collector would run every few dozen requests, for a fifth of all processor time; so the heap may grow to four times what
// lives (docs/performance.md). GOGC and GOMEMLIMIT count as ever.
const gcPercent = 300

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "meshd",
		Short:         "Mathematical Mesh Service",
		Long:          "meshd is a Mesh Service (draft-hallambaker-mesh-protocol).\n\nTo try it:        meshd dev --state /tmp/mesh.json\nIn production:    meshd gateway, shard, inbound, outbound, each with one YAML file; meshctl operates them.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(gatewayCommand(), shardCommand(), inboundCommand(), outboundCommand(), devCommand(), configCommand(), healthCommand(), versionCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "meshd:", err)
		os.Exit(exitCode(err))
	}
}
