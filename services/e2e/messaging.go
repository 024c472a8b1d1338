package e2e

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// natsNodes of each provider: JetStream's smallest cluster that survives the loss of one.
const natsNodes = 3

// StartProviders sets up providers that exchange messages: each with its own NATS cluster, databases and processes of all four roles, found
// by DNS. When it returns every process is ready. The state file names all of them.
func StartProviders(t testing.TB, options ...Options) []*Deployment {
	t.Helper()
	zone := NewZone(t)
	var all []*Deployment
	var authorities []string
	for _, o := range options {
		d := &Deployment{Options: o, Dir: t.TempDir(), Zone: zone}
		d.keys(t)
		d.queue(t)
		d.shards(t)
		d.gateway(t)
		endpoint, err := url.Parse(d.State.Endpoint)
		if err != nil {
			t.Fatal(err)
		}
		zone.Announce(t, d.Domain, endpoint.Host)
		authorities = append(authorities, d.State.CAFile)
		all = append(all, d)
	}
	trust := Trust(t, authorities...)
	state := &stack.State{DNS: zone.Address}
	for _, d := range all {
		d.TrustFile = trust
		d.workers(t)
		d.start(t)
		state.Providers = append(state.Providers, d.State)
	}
	for _, d := range all {
		if err := state.Write(d.StateFile); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Zone is a DNS server of the test's own, in which deployments announce themselves.
type Zone struct {
	Address string
	records map[string][]dns.RR
}

// NewZone starts a DNS server on loopback.
func NewZone(t testing.TB) *Zone {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	z := &Zone{Address: conn.LocalAddr().String(), records: make(map[string][]dns.RR)}
	for _, s := range []*dns.Server{{PacketConn: conn, Handler: z}, {Listener: l, Handler: z}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }() // ends with Shutdown
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return z
}

// Announce makes a provider findable: SRV, TXT and the address of its host. It is called before anybody asks.
func (z *Zone) Announce(t testing.TB, domain, endpoint string) {
	t.Helper()
	_, port, err := net.SplitHostPort(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"_mmm._tcp." + domain + ". 5 IN SRV 1 1 " + port + " mmm." + domain + ".",
		"_mmm._tcp." + domain + `. 5 IN TXT "path=/.well-known/mmm"`,
		"mmm." + domain + ". 5 IN A 127.0.0.1",
		domain + ". 5 IN A 127.0.0.1",
	} {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.ToLower(rr.Header().Name)
		z.records[name] = append(z.records[name], rr)
	}
}

// ServeDNS implements dns.Handler.
func (z *Zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Authoritative = true
	records, ok := z.records[strings.ToLower(q.Question[0].Name)]
	if !ok {
		m.Rcode = dns.RcodeNameError
	}
	for _, rr := range records {
		if rr.Header().Rrtype == q.Question[0].Qtype {
			m.Answer = append(m.Answer, rr)
		}
	}
	_ = w.WriteMsg(m)
}

// queue starts the provider's NATS cluster, makes its streams and stamps them as an operator does.
func (d *Deployment) queue(t testing.TB) {
	t.Helper()
	if err := rpc.WriteQueuePKI(d.path("pki"), []string{"127.0.0.1"}, time.Now()); err != nil {
		t.Fatal(err)
	}
	var routes, monitoring []string
	for range natsNodes {
		d.NATS, routes, monitoring = append(d.NATS, meshtest.FreeAddress(t)), append(routes, meshtest.FreeAddress(t)), append(monitoring, meshtest.FreeAddress(t))
	}
	for i := range natsNodes {
		name := fmt.Sprintf("n%d", i)
		conf := queue.Conf{
			Name: name, Listen: d.NATS[i], Monitoring: monitoring[i], Store: d.path("nats", name),
			Cert: d.path("pki", "nats.pem"), Key: d.path("pki", "nats-key.pem"), CA: d.path("pki", "ca.pem"), Cluster: routes[i], Routes: routes,
		}
		node := &Process{binaries: d.Binaries, program: "nats-server", Name: d.Domain + " " + name, args: []string{"-c", d.write(t, name+".conf", conf.Text()), "-l", d.path(name + ".log")}}
		node.Start(t)
		d.Nodes = append(d.Nodes, node)
	}
	for i := range natsNodes {
		d.NATS[i], monitoring[i] = "tls://"+d.NATS[i], "http://"+monitoring[i]
	}
	access := append(d.natsAccess(), "--replicas", strconv.Itoa(natsNodes))
	d.retry(t, append([]string{"streams", "apply"}, access...)...)
	for _, m := range monitoring {
		access = append(access, "--monitoring", m)
	}
	d.retry(t, append([]string{"streams", "check"}, access...)...)
}

// natsAccess are the flags by which meshctl reaches the queue.
func (d *Deployment) natsAccess() []string {
	flags := []string{"--pki", d.path("pki")}
	for _, s := range d.NATS {
		flags = append(flags, "--servers", s)
	}
	return flags
}

// retry runs meshctl until it succeeds: a cluster takes a moment to choose its leader.
func (d *Deployment) retry(t testing.TB, args ...string) {
	t.Helper()
	var out []byte
	for deadline := time.Now().Add(startTime); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		var err error
		if out, err = d.Binaries.Command("meshctl", args...).CombinedOutput(); err == nil {
			return
		}
	}
	t.Fatalf("meshctl %v: %s", args, out)
}

// workers makes the files of inbound and outbound.
func (d *Deployment) workers(t testing.TB) {
	t.Helper()
	common := func(role, admin string) string {
		return fmt.Sprintf(`admin_listen: %s
shard_map_file: %s
nats: [%s]
dns: %s
trust_file: %s
allow_private: true
cert_file: %s
key_file: %s
ca_file: %s
log_format: text
log_level: warn
`, admin, d.path("map.yaml"), strings.Join(d.NATS, ", "), d.Zone.Address, d.TrustFile, d.path("pki", role+".pem"), d.path("pki", role+"-key.pem"), d.path("pki", "ca.pem"))
	}
	for role, own := range map[string]string{
		"inbound":  fmt.Sprintf("services: [%s]\nsite_policy_file: %s\n", d.Domain, d.write(t, "site.yaml", "# nobody is refused here\n")),
		"outbound": fmt.Sprintf("provider_dir: %s\n", d.path("roles", "outbound")),
	} {
		admin := meshtest.FreeAddress(t)
		file := d.write(t, role+".yaml", own+common(role, admin))
		d.Binaries.Run(t, "meshd", "config", "check", role, file)
		p := &Process{binaries: d.Binaries, Name: d.Domain + " " + role, Admin: admin, Config: file, args: []string{role, "--config", file}}
		if role == "inbound" {
			d.Inbound = p
		} else {
			d.Outbound = p
		}
	}
}

// Trust writes one file with the CAs of several deployments' public listeners, for their workers.
func Trust(t testing.TB, files ...string) string {
	t.Helper()
	var all []byte
	for _, file := range files {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pem...)
	}
	path := filepath.Join(t.TempDir(), "trust.pem")
	if err := os.WriteFile(path, all, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
