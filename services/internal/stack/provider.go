package stack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// GatewayDomain is the virtual service of a gateway that has these keys.
func GatewayDomain(k *mesh.GatewayKeys, ring func() *make1.Ring, policy gateway.Policy) gateway.Domain {
	d := gateway.Domain{
		Name:           k.Domain,
		ProfileService: k.EnvelopedProfileService,
		ProfileHost:    k.EnvelopedProfileHost,
		Keys:           keys.NewRing(append(k.Authentication, k.Signature)...),
		Signer:         k.Signature.KID(),
		Ring:           ring,
		Policy:         policy,
	}
	for _, next := range k.Authentication[1:] {
		d.Next = append(d.Next, next.KID())
	}
	return d
}

// provider is one of the providers of `meshd dev`: a gateway and its shards, which can be stopped and started again at
// the same addresses.
type provider struct {
	domain string
	policy gateway.Policy
	store  string
	dir    string
	shards []ShardState // Target is the address once the provider has run

	limits  gateway.Limits
	log     telemetry.Options
	names   []string // of the certificate
	ca      *rpc.CA  // of the public listeners
	caFile  string
	ring    *make1.Ring
	address struct{ tls, cleartext, admin, nats string }
	dns     string // by which it finds others

	running *process // nil: stopped
}

func (p *provider) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

// prepare makes what lives in files and is kept: the provider's keys, once, and certificates, at each start.
func (p *provider) prepare(now time.Time) error {
	if err := os.MkdirAll(p.dir, 0o700); err != nil {
		return err
	}
	if _, err := os.Stat(p.path("provider")); errors.Is(err, fs.ErrNotExist) {
		keys, err := mesh.NewProvider(p.domain, now, providerYears)
		if err != nil {
			return err
		}
		if err := keys.WriteProvider(p.path("provider")); err != nil {
			return err
		}
	}
	if err := rpc.WritePKI(p.path("pki"), now); err != nil {
		return err
	}
	entry := make1.NewRingEntry(now.Add(-time.Minute))
	var err error
	p.ring, err = make1.NewRing([]make1.RingEntry{entry})
	return err
}

// providerYears is how long the service authentication keys of a development provider are good.
const providerYears = 10

// start brings the provider up, the shards first.
func (p *provider) start(ctx context.Context) (err error) {
	run := newProcess()
	defer func() {
		if err != nil {
			err = run.abort(ctx, fmt.Errorf("%s: %w", p.domain, err))
		}
	}()
	tel, err := telemetry.New(ctx, p.log)
	if err != nil {
		return err
	}
	run.onStop(tel.Close)

	if err := p.startQueue(ctx, run, tel); err != nil {
		return err
	}
	shardListeners := make([]net.Listener, len(p.shards))
	targets := make([]string, len(p.shards))
	for i := range p.shards {
		if shardListeners[i], err = relisten(&p.shards[i].Target); err != nil {
			closeAll(shardListeners[:i]...)
			return err
		}
		targets[i] = p.shards[i].Target
	}
	source, err := p.writeMap(targets)
	if err != nil {
		closeAll(shardListeners...)
		return err
	}
	for i, s := range source.Map().Shards {
		child, err := p.startShard(ctx, s, p.shards[i].Database, tel, shardListeners[i])
		if err != nil {
			closeAll(shardListeners[i:]...)
			return err
		}
		run.adopt(child)
	}
	child, err := p.startGateway(ctx, source, tel)
	if err != nil {
		return err
	}
	run.adopt(child)
	for _, start := range []func(context.Context, shardmap.Source, *telemetry.Telemetry) (*Worker, error){p.startInbound, p.startOutbound} {
		worker, err := start(ctx, source, tel)
		if err != nil {
			return err
		}
		run.adopt(worker)
	}
	p.running = run
	return nil
}

// writeMap writes the map that meshctl and the gateway read. Its epoch follows that of the file: targets change with
// every start of `meshd dev`.
func (p *provider) writeMap(targets []string) (*shardmap.File, error) {
	path := p.path("shardmap.yaml")
	epoch := uint64(firstEpoch)
	if old, err := shardmap.OpenFile(path); err == nil {
		epoch = old.Map().Epoch + 1
	}
	data, err := shardmap.Even(epoch, targets...).Marshal()
	if err != nil {
		return nil, err
	}
	if err := config.ReplaceFile(path, data, 0o644); err != nil {
		return nil, err
	}
	return shardmap.OpenFile(path)
}

func (p *provider) identity(role rpc.Role, tel *telemetry.Telemetry) (*rpc.Identity, error) {
	return rpc.OpenIdentity(p.path("pki", string(role)+".pem"), p.path("pki", string(role)+"-key.pem"), p.path("pki", "ca.pem"), tel.Log)
}

func (p *provider) startShard(ctx context.Context, s shardmap.Shard, database string, tel *telemetry.Telemetry, l net.Listener) (*Shard, error) {
	k, err := mesh.LoadShard(p.path("provider"))
	if err != nil {
		return nil, err
	}
	id, err := p.identity(rpc.Shard, tel)
	if err != nil {
		return nil, err
	}
	store, err := OpenStore(ctx, p.store, database, tel.Log)
	if err != nil {
		return nil, err
	}
	if _, err := OpenPartitions(ctx, store, s, firstEpoch); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	q, err := p.dialQueue(ctx, rpc.Shard, tel)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return StartShard(ctx, ShardParts{
		Name:      s.Name,
		Store:     store,
		Keys:      map[string]keys.Holder{p.domain: keys.NewRing(k.Encryption)},
		Hosts:     map[string]*keys.PrivateKey{p.domain: k.Signature},
		Queue:     q,
		Identity:  id,
		Telemetry: tel,
		Listener:  l,
	})
}

func (p *provider) startGateway(ctx context.Context, source shardmap.Source, tel *telemetry.Telemetry) (*Gateway, error) {
	k, err := mesh.LoadGateway(p.path("provider"))
	if err != nil {
		return nil, err
	}
	id, err := p.identity(rpc.Gateway, tel)
	if err != nil {
		return nil, err
	}
	certPEM, keyPEM, err := p.ca.IssueServer(p.names, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now())
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	q, err := p.dialQueue(ctx, rpc.Gateway, tel)
	if err != nil {
		return nil, err
	}
	parts := GatewayParts{
		Queue:     q,
		Domains:   []gateway.Domain{GatewayDomain(k, func() *make1.Ring { return p.ring }, p.policy)},
		Map:       source,
		Identity:  id,
		Telemetry: tel,
		Limits:    p.limits,
		TLS:       &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}},
	}
	if parts.Listener, err = relisten(&p.address.tls); err != nil {
		return nil, err
	}
	if parts.Cleartext, err = relisten(&p.address.cleartext); err != nil {
		closeAll(parts.Listener)
		return nil, err
	}
	if parts.Admin, err = relisten(&p.address.admin); err != nil {
		closeAll(parts.Listener, parts.Cleartext)
		return nil, err
	}
	return StartGateway(ctx, parts)
}

// stop takes the provider down; its data and addresses stay.
func (p *provider) stop(ctx context.Context) error {
	if p.running == nil {
		return nil
	}
	err := p.running.Stop(ctx)
	p.running = nil
	return err
}

func (p *provider) state() ProviderState {
	return ProviderState{
		Domain:            p.domain,
		Endpoint:          "https://" + p.address.tls + "/.well-known/mmm",
		CleartextEndpoint: "http://" + p.address.cleartext + "/.well-known/mmm",
		CAFile:            p.caFile,
		Admin:             p.address.admin,
		Metrics:           "http://" + p.address.admin + "/metrics",
		Provider:          p.path("provider"),
		ShardMap:          p.path("shardmap.yaml"),
		PKI:               p.path("pki"),
		Shards:            p.shards,
	}
}

// relisten listens at the address that was used before, the first time at any free port of loopback, and notes it.
func relisten(address *string) (net.Listener, error) {
	if *address == "" {
		*address = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", *address)
	if err != nil {
		return nil, err
	}
	*address = l.Addr().String()
	return l, nil
}
