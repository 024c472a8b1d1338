package shard

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// Config is what a Server serves with.
type Config struct {
	Name  string // of the shard: s00 …
	Store Store
	// Keys holds the service encryption key of each domain (ProfileService.KeyEncryption), to read mmm_Device. Entries of other
	// domains are refused.
	Keys map[string]keys.Holder
	// Hosts sign for each domain what the service itself writes into spools: delivery events, errors, incidents.
	Hosts map[string]*keys.PrivateKey
	// Outbox is told when there is something to relay; nil: nobody relays.
	Outbox *Relay
	Log    *slog.Logger
	Meter  metric.MeterProvider
}

// Server serves AccountsService, DeliveryService, SettlementService, AdminService and health of one shard. Safe for concurrent use.
type Server struct {
	shardpb.UnimplementedAccountsServiceServer
	shardpb.UnimplementedAdminServiceServer
	shardpb.UnimplementedDeliveryServiceServer
	shardpb.UnimplementedSettlementServiceServer

	name    string
	store   Store
	keys    map[string]keys.Holder
	hosts   map[string]*keys.PrivateKey
	outbox  *Relay
	posts   *rates
	log     *slog.Logger
	signers *signerCache
	metrics *metrics
	drained chan struct{} // closed by Drain
	drain   sync.Once
}

// NewServer makes a Server; the Store stays the caller's to close.
func NewServer(c Config) (*Server, error) {
	s := &Server{name: c.Name, store: c.Store, keys: c.Keys, hosts: c.Hosts, outbox: c.Outbox, posts: newRates(time.Now), log: c.Log, signers: newSignerCache(signerCacheSize), drained: make(chan struct{})}
	var err error
	s.metrics, err = newMetrics(c.Meter, s)
	return s, err
}

// Register adds the services to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	shardpb.RegisterAccountsServiceServer(r, s)
	shardpb.RegisterDeliveryServiceServer(r, s)
	shardpb.RegisterSettlementServiceServer(r, s)
	shardpb.RegisterAdminServiceServer(r, s)
	healthpb.RegisterHealthServer(r, health{s})
}

// Drain ends what would keep a gRPC server from a graceful stop: watchers of health, who are told NOT_SERVING. Calls go on.
func (s *Server) Drain() { s.drain.Do(func() { close(s.drained) }) }

// Resolve implements AccountsService.
func (s *Server) Resolve(ctx context.Context, r *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
	a, err := s.store.Resolve(ctx, shardmap.Of(r.GetAddress()), r.GetAddress())
	if err != nil {
		return nil, err
	}
	return &shardpb.ResolveResponse{
		State:          stateToWire(a.State),
		Epoch:          a.Epoch,
		ProfileMesh:    a.ProfileMesh,
		ProfileAccount: a.ProfileAccount,
		ProfileGroup:   a.ProfileGroup,
		Redirect:       a.Redirect,
	}, nil
}

// DeleteAccount implements AccountsService. That the ticket is fresh is the gateway's to know.
func (s *Server) DeleteAccount(ctx context.Context, r *shardpb.DeleteAccountRequest) (*shardpb.DeleteAccountResponse, error) {
	frame, err := deletionFrame(r.GetAccount())
	if err != nil {
		return nil, err
	}
	err = s.store.Delete(ctx, Deletion{
		Partition:    shardmap.Of(r.GetAccount()),
		Account:      r.GetAccount(),
		Caller:       callerOf(r.GetCaller()),
		AccountFrame: frame,
	})
	if err != nil {
		return nil, err
	}
	return &shardpb.DeleteAccountResponse{}, nil
}

// notBuilt answers the verbs of later issues: authenticated 400/24 at the protocol.
func notBuilt(verb string) error {
	return mesh.Errorf("shard."+verb, mesh.UnknownOperation, "this build does not have it")
}
