// Command mesh is a person's tool for the Mathematical Mesh: an account, its encrypted catalogs, a replica on this machine.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mathmesh/meshd/cli/internal/command"
)

var version = "dev" // set by the linker

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Run(ctx, version, os.Args[1:], command.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	stop()
	os.Exit(code)
}
