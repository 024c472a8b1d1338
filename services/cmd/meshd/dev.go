package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/stack"
)

func devCommand() *cobra.Command {
	var state string
	var policies []string
	o := stack.DevOptions{Version: version, Log: os.Stderr}
	cmd := &cobra.Command{
		Use:   "dev --state FILE",
		Short: "Run whole providers in this process, over loopback, for development and tests",
		Long: `dev runs two providers, each a gateway and its shards, in one process: the same servers, TLS, gRPC and stores as in production,
over loopback. FILE appears when everything is ready and says where it is: endpoints, CA, DNS server, metrics.

  meshd dev --state /tmp/mesh.json                 until Ctrl-C; data in a temporary folder
  meshd dev --state /tmp/mesh.json --data ./data   data kept: keys, accounts, certificates
  mesh --state /tmp/mesh.json account create alice@alpha.example
  meshctl dev stop beta.example --state /tmp/mesh.json`,
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkDev(&o, policies); err != nil {
				return usageError{err}
			}
			return runDev(cmd.Context(), o, state)
		},
	}
	f := cmd.Flags()
	f.StringVar(&state, "state", "", "file that says where everything is, written when ready (required)")
	f.StringVar(&o.Dir, "data", "", "folder to keep data in; default: a temporary one, removed at the end")
	f.StringVar(&o.Store, "store", stack.SQLite, "store of the shards: sqlite or postgres")
	f.StringVar(&o.Postgres, "postgres", "", "PostgreSQL URL of a server to make the databases in; default: a private one under --data")
	f.StringArrayVar(&o.Domains, "provider", []string{"alpha.example", "beta.example"}, "domain of a provider; may be given again")
	f.IntVar(&o.Shards, "shards", 2, "shards of each provider")
	f.StringArrayVar(&policies, "policy", nil, "who may create accounts: DOMAIN=open, manual or closed; default: open")
	f.BoolVar(&o.Profiling, "profiling", false, "serve profiles of the process at /debug/pprof on the admin listeners")
	f.StringVar(&o.LogLevel, "log-level", "warn", "debug, info, warn or error")
	_ = cmd.MarkFlagRequired("state") // fails only for a flag that is not there
	return cmd
}

func checkDev(o *stack.DevOptions, policies []string) error {
	if o.Store != stack.SQLite && o.Store != stack.Postgres {
		return fmt.Errorf("--store %s: want sqlite or postgres", o.Store)
	}
	if o.Shards < 1 || o.Shards > 64 {
		return fmt.Errorf("--shards %d: want 1 to 64", o.Shards)
	}
	known := make(map[string]bool)
	for i, d := range o.Domains {
		domain, err := mesh.CanonicalDomain(d)
		if err != nil || known[domain] {
			return fmt.Errorf("--provider %s: no domain, or given twice", d)
		}
		o.Domains[i], known[domain] = domain, true
	}
	o.Policies = make(map[string]gateway.Policy)
	for _, p := range policies {
		domain, text, _ := strings.Cut(p, "=")
		policy, err := gateway.ParsePolicy(text)
		if err != nil {
			return fmt.Errorf("--policy %s: %w", p, err)
		}
		if !known[domain] {
			return fmt.Errorf("--policy %s: no such provider", p)
		}
		o.Policies[domain] = policy
	}
	return nil
}

func runDev(ctx context.Context, o stack.DevOptions, state string) (err error) {
	began := time.Now()
	if o.Dir == "" {
		if o.Dir, err = os.MkdirTemp("", "meshd-dev-"); err != nil {
			return err
		}
		temporary := o.Dir
		defer func() { err = errors.Join(err, os.RemoveAll(temporary)) }()
		if err := os.Chmod(temporary, 0o711); err != nil { // as StartDev makes a folder
			return err
		}
	}
	if o.Dir, err = filepath.Abs(o.Dir); err != nil { // tools read the state file from elsewhere
		return err
	}
	if err := os.Remove(state); err != nil && !errors.Is(err, os.ErrNotExist) { // of an earlier run: nothing is there now
		return err
	}
	d, err := stack.StartDev(ctx, o)
	if err != nil {
		return err
	}
	if err := d.State().Write(state); err != nil {
		return errors.Join(err, d.Stop(ctx))
	}
	debug.FreeOSMemory() // starting made and dropped a lot; at rest it should show
	fmt.Fprintf(os.Stderr, "meshd dev: ready after %v, state in %s\n", time.Since(began).Round(time.Millisecond), state)
	err = untilSignal(ctx, d)
	return errors.Join(err, os.Remove(state))
}
