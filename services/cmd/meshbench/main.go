// Command meshbench measures a Mesh Service through its front door: TLS, sealed DARE requests, answers that are opened and
// checked. `meshbench run` loads a service that runs already and helps to size it; `meshbench compare` measures this build
// against a yardstick of the same machine and says where the time goes (docs/performance.md).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:   "meshbench",
		Short: "Measure a Mesh Service through TLS and sealed requests",
		Long: `meshbench makes accounts of its own at a service, seals requests beforehand and then sends them as fast as answers come (closed loop)
or at a given rate (open loop), over one connection per client, as our client does. Every answer is opened and checked.

To look at a service:    meshbench run --state /tmp/mesh.json
To judge this build:     meshbench compare

Two programs on one machine share its processors: the figures of meshbench include its own work, and so do those of any other client.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(runCommand(), compareCommand(), partsCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "meshbench:", err)
		os.Exit(exitCode(err))
	}
}

// usageError is a mistake on the command line.
type usageError struct{ error }

// exitCode: 1 error, 2 usage, as every tool of this repository.
func exitCode(err error) int {
	var usage usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

func noArgs(cmd *cobra.Command, args []string) error {
	if err := cobra.NoArgs(cmd, args); err != nil {
		return usageError{err}
	}
	return nil
}
