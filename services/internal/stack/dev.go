package stack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/pgcluster"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// relaxed is by how much limits per address are wider than in production: everybody comes from 127.0.0.1.
const relaxed = 1000

// DevOptions are those of `meshd dev`.
type DevOptions struct {
	Dir      string   // data, made when absent, used again when there
	Store    string   // SQLite or Postgres
	Postgres string   // URL of a server to make databases in; empty: a private one under Dir
	Domains  []string // providers
	Shards   int      // of each provider
	Policies map[string]gateway.Policy

	Version  string
	Log      io.Writer
	LogLevel string

	Profiling bool // the admin listeners serve profiles
}

// Dev is a running `meshd dev`: providers in one process, over real loopback TLS and gRPC.
type Dev struct {
	*process
	dns     string
	control string

	mu        sync.Mutex // held while a provider is stopped or started
	providers []*provider
}

// StartDev starts every provider. What it returns is ready.
func StartDev(ctx context.Context, o DevOptions) (*Dev, error) {
	d := &Dev{process: newProcess()}
	if err := d.start(ctx, o); err != nil {
		return nil, d.abort(ctx, err)
	}
	return d, nil
}

func (d *Dev) start(ctx context.Context, o DevOptions) error {
	now := time.Now()
	// Others may pass: a private PostgreSQL runs as another user when we are root. The folders inside are ours alone.
	if err := os.MkdirAll(o.Dir, 0o711); err != nil {
		return err
	}
	ca, err := rpc.OpenCA(filepath.Join(o.Dir, "tls"), "meshd dev", now)
	if err != nil {
		return err
	}
	databases, err := d.databases(ctx, o)
	if err != nil {
		return err
	}
	var names []string // every certificate covers all: a wrong Host is refused by the gateway, not by TLS
	for _, domain := range o.Domains {
		names = append(names, domain, "mmm."+domain)
	}
	z := newZone() // the workers of the providers find each other by it
	if d.dns, err = d.serveDNS(z); err != nil {
		return err
	}
	errs := make([]error, len(o.Domains))
	var wait sync.WaitGroup
	for i, domain := range o.Domains {
		p := &provider{
			domain: domain,
			policy: gateway.Open,
			store:  o.Store,
			dir:    filepath.Join(o.Dir, domain),
			limits: gateway.Limits{
				ExchangeRate: 10 * relaxed, ExchangeBurst: 50 * relaxed, CreateRate: 20. * relaxed / 3600, CreateBurst: 20 * relaxed,
				ForwardRate: 200 * relaxed, ForwardBurst: 1000 * relaxed,
			},
			log:    telemetry.Options{Role: "dev", Version: o.Version, Out: o.Log, Format: "text", Level: o.LogLevel, Profiling: o.Profiling},
			names:  names,
			ca:     ca,
			caFile: filepath.Join(o.Dir, "tls", "ca.pem"),
			shards: databases[domain],
			dns:    d.dns,
		}
		if policy, ok := o.Policies[domain]; ok {
			p.policy = policy
		}
		d.providers = append(d.providers, p)
		wait.Go(func() { errs[i] = errors.Join(p.prepare(now)) })
	}
	wait.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	for _, p := range d.providers {
		d.onStop(p.stop)
		if err := p.start(ctx); err != nil {
			return err
		}
		if err := d.announce(z, p); err != nil {
			return err
		}
		d.watch(p.running)
	}
	return d.serve()
}

// announce puts a provider that has started for the first time into the DNS.
func (d *Dev) announce(z *zone, p *provider) error {
	_, port, err := net.SplitHostPort(p.address.tls)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	z.add(p.domain, uint16(n))
	return nil
}

// serve opens the control listener of `meshctl dev`.
func (d *Dev) serve() error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	d.control = l.Addr().String()
	d.serveHTTP("control", d.controlHandler(), l)
	return nil
}

// databases makes the database of each shard of each provider, or finds it.
func (d *Dev) databases(ctx context.Context, o DevOptions) (map[string][]ShardState, error) {
	server := o.Postgres
	if o.Store == Postgres && server == "" {
		cluster, err := pgcluster.Start(ctx, pgcluster.Options{
			Dir:      filepath.Join(o.Dir, "postgres"),
			Durable:  true,
			Settings: []string{fmt.Sprintf("max_connections=%d", 20+poolSize*o.Shards*len(o.Domains))},
		})
		if err != nil {
			return nil, err
		}
		d.onStop(func(context.Context) error { return cluster.Stop() })
		server = cluster.URL("postgres")
	}
	all := make(map[string][]ShardState)
	for _, domain := range o.Domains {
		for i := range o.Shards {
			s := ShardState{Name: fmt.Sprintf("s%02d", i)}
			if o.Store == SQLite {
				s.Database = filepath.Join(o.Dir, domain, s.Name+".db")
			} else {
				where, err := pgcluster.CreateDatabase(ctx, server, "mesh_"+strings.NewReplacer(".", "_", "-", "_").Replace(domain)+"_"+s.Name)
				if err != nil {
					return nil, err
				}
				if err := Migrate(ctx, Postgres, where); err != nil { // production: meshctl migrate
					return nil, err
				}
				s.Database = where
			}
			all[domain] = append(all[domain], s)
		}
	}
	return all, nil
}

// poolSize bounds the connections of one shard to a PostgreSQL that all shards of a machine share.
const poolSize = 8

// watch makes a fault of a provider a fault of the whole, as long as it should run.
func (d *Dev) watch(run *process) {
	go func() {
		select {
		case err := <-run.Failed():
			d.fail(err)
		case <-run.stopped:
		}
	}()
}

// State says where everything is.
func (d *Dev) State() *State {
	s := &State{DNS: d.dns, Control: d.control, PID: os.Getpid()}
	for _, p := range d.providers {
		s.Providers = append(s.Providers, p.state())
	}
	return s
}

// StopProvider takes one provider down, as a crash of its whole data centre would: no request of it is answered.
func (d *Dev) StopProvider(ctx context.Context, domain string) error {
	return d.with(domain, func(p *provider) error { return p.stop(ctx) })
}

// StartProvider brings it up again, at the same addresses with the same data.
func (d *Dev) StartProvider(ctx context.Context, domain string) error {
	return d.with(domain, func(p *provider) error {
		if p.running != nil {
			return nil
		}
		if err := p.start(ctx); err != nil {
			return err
		}
		d.watch(p.running)
		return nil
	})
}

var errNoProvider = errors.New("no such provider")

func (d *Dev) with(domain string, f func(*provider) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	i := slices.IndexFunc(d.providers, func(p *provider) bool { return p.domain == domain })
	if i < 0 {
		return fmt.Errorf("%s: %w", domain, errNoProvider)
	}
	return f(d.providers[i])
}

// ControlHeader must be set in requests to the control listener: a web page cannot set it across origins.
const ControlHeader = "Meshd-Dev"

// controlHandler serves POST /stop?domain=… and /start?domain=….
func (d *Dev) controlHandler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern string, act func(context.Context, string) error) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(ControlHeader) == "" {
				http.Error(w, "for meshctl only", http.StatusForbidden)
				return
			}
			switch err := act(context.WithoutCancel(r.Context()), r.URL.Query().Get("domain")); {
			case errors.Is(err, errNoProvider):
				http.Error(w, err.Error(), http.StatusNotFound)
			case err != nil:
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle("POST /stop", d.StopProvider)
	handle("POST /start", d.StartProvider)
	return mux
}
