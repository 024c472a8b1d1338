// Package e2e runs a deployment as an operator would: the built programs as separate processes, each with its own YAML
// file, keys and database, set up by meshkey and meshctl. Scenarios, faults and kills stand on top of Start.
package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// startTime bounds the start of one process: seconds on a busy machine.
const startTime = 30 * time.Second

// Binaries is the folder of the built programs.
type Binaries struct{ Dir string }

// Build builds meshd, meshctl, meshkey and nats-server into dir, or takes those of the folder that MESH_E2E_BIN names. It is the go
// command's cache that makes the second time fast.
func Build(ctx context.Context, dir string) (Binaries, error) {
	if there := os.Getenv("MESH_E2E_BIN"); there != "" {
		return Binaries{there}, nil
	}
	const module = "github.com/mathmesh/meshd/"
	cmd := exec.CommandContext(ctx, "go", "build", "-o", dir+string(filepath.Separator),
		module+"services/cmd/meshd", module+"services/cmd/meshctl", module+"pkg/cmd/meshkey", "github.com/nats-io/nats-server/v2")
	if out, err := cmd.CombinedOutput(); err != nil {
		return Binaries{}, fmt.Errorf("building: %w\n%s", err, out)
	}
	return Binaries{dir}, nil
}

// Run runs one of the programs to its end and returns what it printed.
func (b Binaries) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := b.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// Command is one of the programs, not yet started, free of this process's MESHD_ variables.
func (b Binaries) Command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(b.Dir, name), args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	return cmd
}

// Options of a deployment. Databases makes a new database and returns where it is: a path of a SQLite file or a
// PostgreSQL URL; it is called once for each shard.
type Options struct {
	Binaries  Binaries
	Domain    string
	Shards    int
	Store     string
	Databases func(shard string) string
}

// Deployment is one provider: a gateway and its shards as separate processes. They are killed at the end of the test.
type Deployment struct {
	Options
	Dir       string
	StateFile string // for clients
	State     stack.ProviderState
	Gateway   *Process
	Shards    []*Process

	// With messaging (StartProviders).
	Zone              *Zone
	TrustFile         string // CAs of all providers
	NATS              []string
	Nodes             []*Process // of NATS
	Inbound, Outbound *Process
}

// Start sets a provider up and starts it. When it returns every process is ready.
func Start(t testing.TB, o Options) *Deployment {
	t.Helper()
	d := &Deployment{Options: o, Dir: t.TempDir()}
	d.keys(t)
	d.shards(t)
	d.gateway(t)
	d.start(t)
	return d
}

// Processes are all of them, in no order that counts.
func (d *Deployment) Processes() []*Process {
	all := append([]*Process{d.Gateway}, d.Shards...)
	if d.Inbound != nil {
		all = append(all, d.Inbound, d.Outbound)
	}
	return all
}

// start starts every process, and writes the state file when all are ready.
func (d *Deployment) start(t testing.TB) {
	t.Helper()
	for _, p := range d.Processes() {
		p.Start(t)
	}
	for _, p := range d.Processes() {
		p.WaitReady(t)
	}
	d.StateFile = filepath.Join(d.Dir, "state.json")
	if err := (&stack.State{Providers: []stack.ProviderState{d.State}}).Write(d.StateFile); err != nil {
		t.Fatal(err)
	}
}

func (d *Deployment) path(elem ...string) string {
	return filepath.Join(append([]string{d.Dir}, elem...)...)
}

// keys makes everything that is secret, and gives each role its part of the provider's keys only.
func (d *Deployment) keys(t testing.TB) {
	t.Helper()
	d.Binaries.Run(t, "meshkey", "provider", "--domain", d.Domain, "--out", d.path("provider"))
	for _, role := range []string{"gateway", "shard", "outbound"} {
		for _, part := range []string{"public", role} {
			to := d.path("roles", role, part)
			if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(to, os.DirFS(d.path("provider", part))); err != nil {
				t.Fatal(err)
			}
		}
	}
	d.Binaries.Run(t, "meshctl", "pki", "create", "--dir", d.path("pki"))
	d.Binaries.Run(t, "meshctl", "pki", "server", "--dir", d.path("tls"), "--domain", d.Domain, "--domain", "mmm."+d.Domain, "--ip", "127.0.0.1")
	d.Binaries.Run(t, "meshctl", "tickets", "rotate", "--ring", d.path("ring.json"))
}

// shards makes the map, and for each shard its file and its database.
func (d *Deployment) shards(t testing.TB) {
	t.Helper()
	targets := make([]string, d.Options.Shards)
	for i := range targets {
		targets[i] = meshtest.FreeAddress(t)
	}
	m := shardmap.Even(1, targets...)
	data, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	d.write(t, "map.yaml", string(data))
	for _, s := range m.Shards {
		where := d.Databases(s.Name)
		database := where
		if d.Store == stack.Postgres { // a URL is a secret: it comes in a file
			database = d.write(t, s.Name+".url", where+"\n")
		}
		admin := meshtest.FreeAddress(t)
		file := d.write(t, s.Name+".yaml", fmt.Sprintf(`name: %s
listen: %s
admin_listen: %s
store: %s
database_file: %s
services: [{domain: %s, provider_dir: %s}]
cert_file: %s
key_file: %s
ca_file: %s
nats: [%s]
log_format: text
log_level: warn
`, s.Name, s.Target, admin, d.Store, database, d.Domain, d.path("roles", "shard"), d.path("pki", "shard.pem"), d.path("pki", "shard-key.pem"), d.path("pki", "ca.pem"), strings.Join(d.NATS, ", ")))
		d.Binaries.Run(t, "meshctl", "migrate", "--config", file)
		d.Binaries.Run(t, "meshctl", "partitions", "init", "--config", file, "--shard-map", d.path("map.yaml"))
		d.Binaries.Run(t, "meshd", "config", "check", "shard", file)
		d.Shards = append(d.Shards, &Process{binaries: d.Binaries, Name: s.Name, Admin: admin, Config: file, args: []string{"shard", "--config", file}})
		d.State.Shards = append(d.State.Shards, stack.ShardState{Name: s.Name, Target: s.Target, Database: where})
	}
}

func (d *Deployment) gateway(t testing.TB) {
	t.Helper()
	public, cleartext, admin := meshtest.FreeAddress(t), meshtest.FreeAddress(t), meshtest.FreeAddress(t)
	file := d.write(t, "gateway.yaml", fmt.Sprintf(`listen: %s
cleartext_listen: %s
admin_listen: %s
services:
  - domain: %s
    provider_dir: %s
    tls_cert_file: %s
    tls_key_file: %s
    ring_file: %s
shard_map_file: %s
cert_file: %s
key_file: %s
ca_file: %s
nats: [%s]
log_format: text
log_level: warn
`, public, cleartext, admin, d.Domain, d.path("roles", "gateway"), d.path("tls", d.Domain+".pem"), d.path("tls", d.Domain+"-key.pem"),
		d.path("ring.json"), d.path("map.yaml"), d.path("pki", "gateway.pem"), d.path("pki", "gateway-key.pem"), d.path("pki", "ca.pem"), strings.Join(d.NATS, ", ")))
	d.Binaries.Run(t, "meshd", "config", "check", "gateway", file)
	d.Gateway = &Process{binaries: d.Binaries, Name: "gateway", Admin: admin, Config: file, args: []string{"gateway", "--config", file}}
	d.State.Domain = d.Domain
	d.State.Endpoint = "https://" + public + "/.well-known/mmm"
	d.State.CleartextEndpoint = "http://" + cleartext + "/.well-known/mmm"
	d.State.CAFile = d.path("tls", "ca.pem")
	d.State.Admin = admin
	d.State.Metrics = "http://" + admin + "/metrics"
	d.State.ShardMap = d.path("map.yaml")
	d.State.PKI = d.path("pki")
}

// Fsck checks every database with meshctl; what it finds fails the test.
func (d *Deployment) Fsck(t testing.TB) {
	t.Helper()
	for _, p := range d.Shards {
		d.Binaries.Run(t, "meshctl", "fsck", "--config", p.Config)
	}
}

func (d *Deployment) write(t testing.TB, name, content string) string {
	t.Helper()
	path := d.path(name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
