package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/pprof/profile"
	"github.com/spf13/cobra"
)

type runOptions struct {
	state, provider string
	transaction     string
	load            load
	http2           bool
	profile         string
	output          string
}

func runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run --state FILE",
		Short: "Load a running service and say how it answers",
		Long: `run makes one account per client at a service, seals requests for all of them, sends them and checks every answer.

Closed loop (the default): each client sends when its last answer has come. This finds what the service can do.
Open loop (--rate R): R requests per second are due, whatever the service does, and each is timed from when it was due. This is what
people experience at that rate: p50 and p99 of a closed loop look better the worse the service stalls.

Upload appends one new entry, encrypted and signed as our client does it, under the Index and Digest of its container. Status asks for
all containers of the account. Requests are sealed beforehand, and a sealed request is good for two minutes: that bounds --duration.

Columns: allocations, KiB and processor time are those of the service per request, read from its admin listener. For --profile the
service must have been started with --profiling. The accounts stay at the service; their names begin with "bench-".

  meshbench run --state /tmp/mesh.json
  meshbench run --state /tmp/mesh.json --transaction Status --clients 64 --duration 10s
  meshbench run --state /tmp/mesh.json --clients 64 --rate 500 -o json
  meshbench run --state /tmp/mesh.json --clients 64 --profile cpu.pb.gz`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			r, err := o.run(cmd.Context())
			if err != nil {
				return err
			}
			if o.output == "json" {
				err = writeJSON(cmd.OutOrStdout(), r)
			} else if err = writeResults(cmd.OutOrStdout(), *r); err == nil && r.Breakdown != nil {
				fmt.Fprintln(cmd.OutOrStdout())
				err = r.Breakdown.write(cmd.OutOrStdout())
			}
			if err == nil && r.Failures > 0 {
				err = fmt.Errorf("%d clients failed, the first: %s", r.Failures, r.Failure)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.state, "state", "", "state file that `meshd dev` wrote (required)")
	f.StringVar(&o.provider, "provider", "", "domain of the service; default: the first of the state file")
	f.StringVar(&o.transaction, "transaction", string(upload), "Upload or Status")
	f.IntVar(&o.load.clients, "clients", 8, "accounts, each with a connection of its own and one request at a time")
	f.DurationVar(&o.load.duration, "duration", 5*time.Second, "how long to measure")
	f.Float64Var(&o.load.rate, "rate", 0, "requests due per second over all clients (open loop); 0: closed loop")
	f.Float64Var(&o.load.expect, "expect", 0, "closed loop: requests per second to seal for; default: 2500")
	f.IntVar(&o.load.size, "size", 1<<10, "octets of an entry before it is sealed")
	f.BoolVar(&o.http2, "http2", false, "HTTP/2 instead of HTTP/1.1")
	f.StringVar(&o.profile, "profile", "", "take a processor profile of the service, write it to this file and say where the time goes")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	_ = cmd.MarkFlagRequired("state") // fails only for a flag that is not there
	return cmd
}

func (o *runOptions) check() error {
	o.load.transaction = transaction(o.transaction)
	switch {
	case o.load.transaction != upload && o.load.transaction != status:
		return fmt.Errorf("--transaction %s: want Upload or Status", o.transaction)
	case o.load.clients < 1 || o.load.clients > 4096:
		return fmt.Errorf("--clients %d: want 1 to 4096", o.load.clients)
	case o.load.duration < 100*time.Millisecond || o.load.duration > sealedLife:
		return fmt.Errorf("--duration %v: want 100ms to %v", o.load.duration, sealedLife)
	case o.load.rate < 0, o.load.expect < 0, o.load.rate*o.load.duration.Seconds() > maxSealed:
		return fmt.Errorf("--rate, --expect: not negative, and at most %d requests in all", maxSealed)
	case o.load.size < 0 || o.load.size > 1<<20:
		return fmt.Errorf("--size %d: want 0 to 1048576", o.load.size)
	case o.output != "table" && o.output != "json":
		return fmt.Errorf("--output %s: want table or json", o.output)
	}
	return nil
}

func (o *runOptions) run(ctx context.Context) (*result, error) {
	s, err := openService(ctx, o.state, o.provider)
	if err != nil {
		return nil, err
	}
	accounts, err := s.newAccounts(ctx, o.load.clients, o.http2)
	if err != nil {
		return nil, err
	}
	defer closeAccounts(accounts)
	var before, after usage
	var taken *profile.Profile
	var profileErr error
	measured, err := o.load.run(ctx, accounts, func(measure func()) {
		before, _ = runtimeUsage(ctx, s.admin) // out of reach: then the columns stay empty
		var wait sync.WaitGroup
		if o.profile != "" {
			wait.Go(func() { taken, profileErr = fetchProfile(ctx, s.admin, min(o.load.duration, profileTime)) })
		}
		measure()
		wait.Wait()
		after, _ = runtimeUsage(ctx, s.admin)
	})
	if err = errors.Join(err, profileErr); err != nil {
		return nil, err
	}
	r := resultOf(measured, after.minus(before))
	if taken == nil {
		return &r, nil
	}
	if r.Breakdown, err = breakdownOf(taken, r.Processor); err != nil {
		return nil, err
	}
	return &r, saveProfile(o.profile, taken)
}

// newAccounts makes n accounts, two at a time for each processor.
func (s *service) newAccounts(ctx context.Context, n int, http2 bool) ([]*account, error) {
	accounts := make([]*account, n)
	errs := make([]error, n)
	var next atomic.Int64
	var failed atomic.Bool
	var wait sync.WaitGroup
	for range 2 * runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(n) && !failed.Load(); i = next.Add(1) - 1 {
				if accounts[i], errs[i] = s.newAccount(ctx, http2); errs[i] != nil {
					failed.Store(true)
				}
			}
		})
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		closeAccounts(accounts)
		return nil, err
	}
	return accounts, nil
}

func closeAccounts(accounts []*account) {
	for _, a := range accounts {
		if a != nil {
			a.close()
		}
	}
}
