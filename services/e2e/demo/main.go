// Command demo runs the main job of meshd on real input and prints what it sees: two providers, two people, a thousand
// entries from real export files, a replica that comes back to the octet, a conflict in which both versions survive, a
// database that lies and is caught, a kill in which nothing acknowledged is lost; then messages between the providers, one of
// which is away for a while. It exits non-zero at the first thing that is not as it should be.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	bin := flag.String("bin", ".build", "folder with meshd, meshctl and mesh")
	data := flag.String("testdata", "cli/testdata", "folder with the export files")
	store := flag.String("store", "sqlite", "store of `meshd dev`: sqlite or postgres")
	compose := flag.String("compose", "", "run against this docker compose command line instead of `meshd dev`")
	control := flag.String("control", "", "run against the deployment of the end-to-end test at this URL instead of `meshd dev`")
	messages := flag.Bool("messages", true, "send messages between the providers; false where the deployment has no queue")
	keep := flag.Bool("keep", false, "keep the temporary folder")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	d := &demo{ctx: ctx, bin: *bin, testdata: *data, messages: *messages, began: time.Now()}
	os.Exit(run(d, *store, *compose, *control, *keep))
}

func run(d *demo, store, compose, control string, keep bool) int {
	work, err := os.MkdirTemp("", "mesh-demo-")
	if err == nil {
		err = os.Chmod(work, 0o711) // a private PostgreSQL runs as another user
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	d.work = work
	switch {
	case compose != "":
		d.service = &composeService{d: d, command: compose}
	case control != "":
		d.service = &remoteService{d: d, control: control}
	default:
		d.service = &devService{d: d, store: store}
	}
	err = d.scenario()
	d.service.stop()
	if err != nil {
		fmt.Printf("\nFAILED: %v\nwork folder: %s\n", err, work)
		return 1
	}
	if !keep {
		os.RemoveAll(work)
	}
	what := "Everything"
	if !d.messages {
		what = "Everything but messages, which were left out,"
	}
	fmt.Printf("\n%s was as it should be, in %.1f s.\n", what, time.Since(d.began).Seconds())
	return 0
}
