// Command meshkey makes the keys of a provider, offline: ProfileService, the ProfileHosts of the service and of its
// forwarding worker, and one folder of private keys for each role (AUTH §9). It opens no socket, and whoever reviews
// pkg/go.mod has seen all that it is made of.
//
// Of the folder it makes, offline/ goes to a safe; public/ goes to every role; gateway/, shard/ and outbound/ each go
// to the role of that name, and to no other.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
)

var version = "dev" // set by the linker

const usage = `usage:
  meshkey provider --domain DOMAIN --out DIR [--years N]   make the keys of a provider
  meshkey show DIR                                         check a folder and say what is in it
  meshkey version
`

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// errUsage says that the command line is wrong; why has been printed.
var errUsage = errors.New("usage")

func run(args []string, stdout, stderr io.Writer) int {
	err := errUsage
	switch {
	case len(args) == 0:
		_, _ = fmt.Fprint(stderr, usage)
	case args[0] == "provider":
		err = provider(args[1:], stdout, stderr)
	case args[0] == "show":
		err = show(args[1:], stdout, stderr)
	case args[0] == "version":
		_, err = fmt.Fprintln(stdout, version)
	case args[0] == "help", args[0] == "-h", args[0] == "--help":
		_, err = fmt.Fprint(stdout, usage)
	default:
		_, _ = fmt.Fprintf(stderr, "meshkey: no command %q\n%s", args[0], usage)
	}
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	}
	_, _ = fmt.Fprintf(stderr, "meshkey: %v\n", err)
	return exitFailed
}

// parse parses args, of which n must be left over.
func parse(flags *flag.FlagSet, args []string, n int, stderr io.Writer) error {
	flags.SetOutput(stderr)
	flags.Usage = func() { _, _ = fmt.Fprint(stderr, usage) }
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return errUsage
	}
	if flags.NArg() != n {
		_, _ = fmt.Fprint(stderr, usage)
		return errUsage
	}
	return nil
}

func provider(args []string, stdout, stderr io.Writer) error {
	flags := flag.NewFlagSet("provider", flag.ContinueOnError)
	domain := flags.String("domain", "", "domain of the accounts")
	out := flags.String("out", "", "folder to make; it must not exist, or be empty")
	// Two years: a certificate's old longest life, and long enough that the first rollover is a rehearsed one.
	years := flags.Int("years", 2, "years until the service authentication key retires")
	if err := parse(flags, args, 0, stderr); err != nil {
		return err
	}
	if *domain == "" || *out == "" || *years < 1 || *years > maxYears {
		_, _ = fmt.Fprintf(stderr, "meshkey: --domain and --out are needed, --years is 1 to %d\n%s", maxYears, usage)
		return errUsage
	}
	p, err := mesh.NewProvider(*domain, time.Now(), *years)
	if err != nil {
		return err
	}
	if err := p.WriteProvider(*out); err != nil {
		return err
	}
	return show([]string{*out}, stdout, stderr)
}

// maxYears bounds the life of an authentication key: what is recorded today is opened by whoever gets it in the end.
const maxYears = 10
