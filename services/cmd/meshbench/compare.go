package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
	"github.com/spf13/cobra"

	"github.com/mathmesh/meshd/services/internal/pgcluster"
	"github.com/mathmesh/meshd/services/shard/postgres"
)

// What the project asks of itself (docs/performance.md). Nothing fails when it does not hold: a figure of a busy machine is no
// test. It is printed beside what was measured.
const (
	askedRatio     = 0.35 // Upload per second at the larger number of clients ÷ pgbench
	askedOwn       = 150  // µs of our own processor time per Upload
	askedDevMemory = 80   // MiB
	askedMemory    = 30   // MiB, of a gateway or a shard
)

type compareOptions struct {
	bin      string
	clients  []int
	pairs    int
	duration time.Duration
	size     int
	http2    bool
	profile  string
	keep     bool
	output   string
}

func compareCommand() *cobra.Command {
	o := compareOptions{}
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Measure this build beside pgbench with the statements that it sends",
		Long: `compare starts a private PostgreSQL (durable: fsync is on) and "meshd dev" on it, and measures Upload and Status through the whole path:
TLS, sealed requests, gateway, gRPC, shard, PostgreSQL. Beside it, turn and turn about in the same run, pgbench sends the statements that
the store sends to a database of the same schema on the same server. The medians of the pairs are printed, and their ratio: that is what
can be compared between machines.

It then says where the processor time of an Upload goes, and what memory the processes take when nothing happens: "meshd dev", a gateway
and a shard alone. It needs the machine for itself, ends only what it started, and takes about three minutes.

  meshbench compare
  meshbench compare --pairs 9 --duration 5s -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := o.check(); err != nil {
				return usageError{err}
			}
			r, err := o.compare(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if o.output == "json" {
				return writeJSON(cmd.OutOrStdout(), r)
			}
			return r.write(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.bin, "bin", "", "folder with meshd; default: that of this program")
	f.IntSliceVar(&o.clients, "clients", []int{1, 64}, "numbers of clients")
	f.IntVar(&o.pairs, "pairs", 5, "pairs of measurements whose medians count")
	f.DurationVar(&o.duration, "duration", 2*time.Second, "of each measurement, in whole seconds")
	f.IntVar(&o.size, "size", 1<<10, "octets of an entry before it is sealed")
	f.BoolVar(&o.http2, "http2", false, "HTTP/2 instead of HTTP/1.1")
	f.StringVar(&o.profile, "profile", "", "keep the processor profile of the Uploads in this file")
	f.BoolVar(&o.keep, "keep", false, "keep the temporary folder")
	f.StringVarP(&o.output, "output", "o", "table", "table or json")
	return cmd
}

func (o *compareOptions) check() error {
	switch {
	case len(o.clients) == 0 || slices.Min(o.clients) < 1 || slices.Max(o.clients) > 128:
		return errors.New("--clients: want 1 to 128")
	case o.pairs < 1 || o.pairs > 100:
		return errors.New("--pairs: want 1 to 100")
	case o.duration < time.Second || o.duration > time.Minute:
		return errors.New("--duration: want 1s to 1m")
	case o.size < 0 || o.size > 1<<20:
		return errors.New("--size: want 0 to 1048576")
	case o.output != "table" && o.output != "json":
		return fmt.Errorf("--output %s: want table or json", o.output)
	}
	if o.bin == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.bin = filepath.Dir(self)
	}
	return nil
}

// comparison is the whole result.
type comparison struct {
	Processors int        `json:"processors"`
	Load       string     `json:"load_average_before"` // of the machine, by what else ran
	Rows       []row      `json:"rows"`
	Breakdown  *breakdown `json:"upload_breakdown,omitempty"`
	Memory     memory     `json:"rss_anon_mib"`
}

// row is the median of the pairs of one transaction and number of clients.
type row struct {
	result
	Ratio           float64   `json:"ratio"` // to pgbench
	Ratios          []float64 `json:"ratios"`
	Pgbench         float64   `json:"pgbench_per_second"`
	Postgres        float64   `json:"postgres_us_per_request"` // processor time of the server
	PgbenchPostgres float64   `json:"pgbench_postgres_us_per_transaction"`
	Bench           float64   `json:"meshbench_us_per_request"` // processor time of the load itself
}

// memory is RssAnon at rest.
type memory struct {
	Dev     float64 `json:"meshd_dev"`
	Gateway float64 `json:"gateway"`
	Shard   float64 `json:"shard"`
}

// comparing is a comparison that is going on.
type comparing struct {
	*compareOptions
	dir      string
	program  string // pgbench
	cluster  *pgcluster.Cluster
	dev      *dev
	service  *service
	accounts []*account
	yards    map[transaction]*yardstick
	yardDB   string
	rates    map[transaction]map[int]float64 // what was measured last, to know how much to seal
	log      io.Writer
}

func (o *compareOptions) compare(ctx context.Context, log io.Writer) (r *comparison, err error) {
	c := &comparing{compareOptions: o, log: log, rates: map[transaction]map[int]float64{upload: {}, status: {}}}
	if c.dir, err = os.MkdirTemp("", "meshbench-"); err != nil {
		return nil, err
	}
	defer func() {
		if o.keep {
			fmt.Fprintln(log, "kept:", c.dir)
			return
		}
		err = errors.Join(err, os.RemoveAll(c.dir))
	}()
	r = &comparison{Processors: runtime.NumCPU(), Load: loadAverage()}
	if r.Memory.Dev, err = c.restingDev(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if err := c.start(ctx); err != nil {
		return nil, err
	}
	if r.Memory.Gateway, r.Memory.Shard, err = c.restingRoles(ctx); err != nil {
		return nil, err
	}
	if r.Rows, err = c.measureAll(ctx); err != nil {
		return nil, err
	}
	r.Breakdown, err = c.breakdown(ctx)
	return r, err
}

func (c *comparing) say(format string, args ...any) { fmt.Fprintf(c.log, format+"\n", args...) }

// restingDev is the memory of `meshd dev` as people start it, with two providers and the embedded store.
func (c *comparing) restingDev(ctx context.Context) (mib float64, err error) {
	c.say("meshd dev at rest")
	d, err := startDev(ctx, c.bin, filepath.Join(c.dir, "rest"))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, d.stop()) }()
	time.Sleep(restTime)
	return rssAnon(d.pid())
}

// start starts PostgreSQL and the service and makes accounts and yardsticks.
func (c *comparing) start(ctx context.Context) error {
	c.say("PostgreSQL, meshd dev, %d accounts", slices.Max(c.clients))
	bin, err := pgcluster.Binaries()
	if err != nil {
		return err
	}
	c.program = filepath.Join(bin, "pgbench")
	// Each client of pgbench has a connection of its own, beside those of the service.
	c.cluster, err = pgcluster.Start(ctx, pgcluster.Options{Durable: true, Settings: []string{"max_connections=300"}})
	if err != nil {
		return err
	}
	c.dev, err = startDev(ctx, c.bin, filepath.Join(c.dir, "dev"),
		"--store", "postgres", "--postgres", c.cluster.URL("postgres"), "--provider", "alpha.example", "--shards", "2", "--profiling")
	if err != nil {
		return err
	}
	if c.service, err = openService(ctx, c.dev.stateFile, ""); err != nil {
		return err
	}
	if c.accounts, err = c.service.newAccounts(ctx, slices.Max(c.clients), c.http2); err != nil {
		return err
	}
	if c.yardDB, err = c.database(ctx, "yardstick"); err != nil {
		return err
	}
	c.yards, err = newYardsticks(ctx, c.dir, c.yardDB, slices.Max(c.clients), c.size, c.accounts[0])
	return err
}

// database makes a database with the schema.
func (c *comparing) database(ctx context.Context, name string) (string, error) {
	if err := c.cluster.CreateDatabase(ctx, name); err != nil {
		return "", err
	}
	url := c.cluster.URL(name)
	return url, postgres.Migrate(ctx, url)
}

func (c *comparing) stop() error {
	closeAccounts(c.accounts)
	var errs []error
	if c.dev != nil {
		errs = append(errs, c.dev.stop())
	}
	if c.cluster != nil {
		errs = append(errs, c.cluster.Stop())
	}
	return errors.Join(errs...)
}

// restingRoles is the memory of a gateway and of a shard as processes of their own.
func (c *comparing) restingRoles(ctx context.Context) (gateway, shard float64, err error) {
	c.say("gateway and shard at rest")
	database, err := c.database(ctx, "rest")
	if err != nil {
		return 0, 0, err
	}
	dir := filepath.Join(c.dir, "roles")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, 0, err
	}
	r, err := startRoles(ctx, c.bin, dir, database, &c.dev.state.Providers[0])
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, r.stop()) }()
	time.Sleep(restTime)
	if gateway, err = rssAnon(r.gateway.pid()); err != nil {
		return 0, 0, err
	}
	shard, err = rssAnon(r.shard.pid())
	return gateway, shard, err
}

// pair is one measurement of ours and one of the yardstick.
type pair struct {
	result   result
	yard     *yardSample
	postgres [2]float64 // µs of the server per request: with ours, with pgbench
	bench    float64    // µs of this process per request
}

// measureAll measures the pairs: within a round each transaction and number of clients once, and who begins takes turns.
func (c *comparing) measureAll(ctx context.Context) ([]row, error) {
	type what struct {
		transaction transaction
		clients     int
	}
	var order []what
	for _, t := range []transaction{upload, status} {
		for _, n := range c.clients {
			order = append(order, what{t, n})
		}
	}
	c.say("warming up")
	for _, w := range order { // caches of plans and keys, and the first guess of what to seal
		if _, err := c.ours(ctx, w.transaction, w.clients, time.Second, nil); err != nil {
			return nil, err
		}
	}
	pairs := make(map[what][]pair)
	for i := range c.pairs {
		for _, w := range order {
			c.say("pair %d of %d: %s, %d clients", i+1, c.pairs, w.transaction, w.clients)
			p, err := c.pair(ctx, w.transaction, w.clients, i%2 == 1)
			if err != nil {
				return nil, err
			}
			pairs[w] = append(pairs[w], *p)
		}
	}
	var rows []row
	for _, w := range order {
		rows = append(rows, median(pairs[w]))
	}
	return rows, nil
}

func (c *comparing) pair(ctx context.Context, t transaction, clients int, yardFirst bool) (*pair, error) {
	var p pair
	if yardFirst {
		if err := c.theirs(ctx, t, clients, &p); err != nil {
			return nil, err
		}
	}
	s, err := c.ours(ctx, t, clients, c.duration, &p)
	if err != nil {
		return nil, err
	}
	if s.failures > 0 {
		return nil, fmt.Errorf("%s, %d clients: %d failed, the first: %w", t, clients, s.failures, s.failure)
	}
	if !yardFirst {
		err = c.theirs(ctx, t, clients, &p)
	}
	return &p, err
}

// ours measures the service; p gets what was spent.
func (c *comparing) ours(ctx context.Context, t transaction, clients int, d time.Duration, p *pair) (*sample, error) {
	l := load{transaction: t, clients: clients, duration: d, size: c.size, expect: c.rates[t][clients]}
	var errs []error
	read := func() (u usage, postgres, self float64) {
		u, err := runtimeUsage(ctx, c.service.admin)
		postgres, pgErr := treeSeconds(c.cluster.PID())
		self, selfErr := processorSeconds(os.Getpid())
		errs = append(errs, err, pgErr, selfErr)
		return u, postgres, self
	}
	var before, after usage
	var postgres, self float64
	s, err := l.run(ctx, c.accounts, func(measure func()) {
		u0, p0, s0 := read()
		measure()
		u1, p1, s1 := read()
		before, after, postgres, self = u0, u1, p1-p0, s1-s0
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	c.rates[t][clients] = s.perSecond()
	if p != nil {
		p.result = resultOf(s, after.minus(before))
		p.postgres[0] = postgres * 1e6 / float64(s.requests)
		p.bench = self * 1e6 / float64(s.requests)
	}
	return s, nil
}

// theirs measures the yardstick, and that it did what it says.
func (c *comparing) theirs(ctx context.Context, t transaction, clients int, p *pair) error {
	before, err := frames(ctx, c.yardDB, slices.Max(c.clients))
	if err != nil {
		return err
	}
	p0, err := treeSeconds(c.cluster.PID())
	if err != nil {
		return err
	}
	if p.yard, err = c.yards[t].pgbench(ctx, c.program, c.yardDB, clients, c.duration); err != nil {
		return err
	}
	p1, err := treeSeconds(c.cluster.PID())
	if err != nil {
		return err
	}
	p.postgres[1] = (p1 - p0) * 1e6 / float64(p.yard.transactions)
	after, err := frames(ctx, c.yardDB, slices.Max(c.clients))
	if err != nil {
		return err
	}
	if t == upload && after-before != p.yard.transactions {
		return fmt.Errorf("pgbench says that it did %d transactions, and there are %d frames more", p.yard.transactions, after-before)
	}
	return nil
}

// breakdown measures Uploads once more, with a profile.
func (c *comparing) breakdown(ctx context.Context) (*breakdown, error) {
	clients := slices.Max(c.clients)
	c.say("profile: Upload, %d clients", clients)
	l := load{transaction: upload, clients: clients, duration: profileTime, size: c.size, expect: c.rates[upload][clients]}
	var before, after usage
	var taken *profile.Profile
	errs := make([]error, 3)
	s, err := l.run(ctx, c.accounts, func(measure func()) {
		before, errs[0] = runtimeUsage(ctx, c.service.admin)
		done := make(chan struct{})
		go func() {
			defer close(done)
			taken, errs[1] = fetchProfile(ctx, c.service.admin, l.duration)
		}()
		measure()
		<-done
		after, errs[2] = runtimeUsage(ctx, c.service.admin)
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	if c.profile != "" {
		if err := saveProfile(c.profile, taken); err != nil {
			return nil, err
		}
	}
	return breakdownOf(taken, after.minus(before).processor*1e6/float64(s.requests))
}

// median takes the median of each figure by itself; of the ratios, not the ratio of medians.
func median(pairs []pair) row {
	of := func(figure func(p *pair) float64) float64 {
		list := make([]float64, len(pairs))
		for i := range pairs {
			list[i] = figure(&pairs[i])
		}
		slices.Sort(list)
		return (list[len(list)/2] + list[(len(list)-1)/2]) / 2
	}
	r := row{result: pairs[0].result}
	r.PerSecond = of(func(p *pair) float64 { return p.result.PerSecond })
	r.P50 = int64(of(func(p *pair) float64 { return float64(p.result.P50) }))
	r.P99 = int64(of(func(p *pair) float64 { return float64(p.result.P99) }))
	r.Allocations = of(func(p *pair) float64 { return p.result.Allocations })
	r.Octets = of(func(p *pair) float64 { return p.result.Octets })
	r.Processor = of(func(p *pair) float64 { return p.result.Processor })
	r.Max, r.Requests, r.Seconds, r.RanOut = 0, 0, 0, false
	for i := range pairs {
		p := &pairs[i].result
		r.Max, r.Requests, r.Seconds, r.RanOut = max(r.Max, p.Max), r.Requests+p.Requests, r.Seconds+p.Seconds, r.RanOut || p.RanOut
		r.Ratios = append(r.Ratios, p.PerSecond/pairs[i].yard.perSecond)
	}
	r.Ratio = of(func(p *pair) float64 { return p.result.PerSecond / p.yard.perSecond })
	r.Pgbench = of(func(p *pair) float64 { return p.yard.perSecond })
	r.Postgres = of(func(p *pair) float64 { return p.postgres[0] })
	r.PgbenchPostgres = of(func(p *pair) float64 { return p.postgres[1] })
	r.Bench = of(func(p *pair) float64 { return p.bench })
	return r
}

// loadAverage says how busy the machine is.
func loadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(text))[:3], " ")
}
