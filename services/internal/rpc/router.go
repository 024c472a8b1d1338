package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// callTimeout bounds a call whose caller set no deadline: what a Mesh transaction may take (PROTOCOL §1.7), doubled for
// the retry after a WrongShard.
const callTimeout = 10 * time.Second

// Router finds the shard of an account and calls it; a WrongShard refreshes the map, and a newer one is tried once.
type Router struct {
	source shardmap.Source
	dial   func(target string) (*grpc.ClientConn, error)

	mu    sync.Mutex
	conns map[string]*grpc.ClientConn // by target
	epoch uint64                      // of the map that conns was last compared with
}

// NewRouter makes a Router; dial opens the connection to a shard's target.
func NewRouter(source shardmap.Source, dial func(target string) (*grpc.ClientConn, error)) *Router {
	return &Router{source: source, dial: dial, conns: make(map[string]*grpc.ClientConn)}
}

// Accounts calls f with the client of the shard that has the address. Errors are *mesh.Error. f may run twice: the
// second time with the client of another shard.
func (r *Router) Accounts(ctx context.Context, address string, f func(context.Context, shardpb.AccountsServiceClient) error) error {
	return r.call(ctx, "rpc.Accounts", shardmap.Of(address), func(ctx context.Context, cc *grpc.ClientConn) error {
		return f(ctx, shardpb.NewAccountsServiceClient(cc))
	})
}

// Delivery calls f with the delivery client of the shard that has the address: for inbound.
func (r *Router) Delivery(ctx context.Context, address string, f func(context.Context, shardpb.DeliveryServiceClient) error) error {
	return r.call(ctx, "rpc.Delivery", shardmap.Of(address), func(ctx context.Context, cc *grpc.ClientConn) error {
		return f(ctx, shardpb.NewDeliveryServiceClient(cc))
	})
}

// Settlement calls f with the settlement client of the shard that has the address: for outbound.
func (r *Router) Settlement(ctx context.Context, address string, f func(context.Context, shardpb.SettlementServiceClient) error) error {
	return r.call(ctx, "rpc.Settlement", shardmap.Of(address), func(ctx context.Context, cc *grpc.ClientConn) error {
		return f(ctx, shardpb.NewSettlementServiceClient(cc))
	})
}

// Admin calls f with the admin client of the shard that has the address.
func (r *Router) Admin(ctx context.Context, address string, f func(context.Context, shardpb.AdminServiceClient) error) error {
	return r.call(ctx, "rpc.Admin", shardmap.Of(address), func(ctx context.Context, cc *grpc.ClientConn) error {
		return f(ctx, shardpb.NewAdminServiceClient(cc))
	})
}

func (r *Router) call(ctx context.Context, op string, partition uint16, f func(context.Context, *grpc.ClientConn) error) error {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callTimeout)
		defer cancel()
	}
	m := r.source.Map()
	err := r.once(ctx, op, m, partition, f)
	if mesh.KindOf(err) != mesh.WrongShard {
		return err
	}
	if refreshErr := r.source.Refresh(); refreshErr != nil {
		return mesh.E(op, mesh.WrongShard, errors.Join(err, refreshErr))
	}
	newer := r.source.Map()
	if newer.Epoch <= m.Epoch {
		return err // the same shard would say the same again
	}
	return r.once(ctx, op, newer, partition, f)
}

func (r *Router) once(ctx context.Context, op string, m *shardmap.Map, partition uint16, f func(context.Context, *grpc.ClientConn) error) error {
	shard, ok := m.Lookup(partition)
	if !ok {
		return mesh.Errorf(op, mesh.Internal, "partition %d is not in the map", partition)
	}
	cc, err := r.conn(m, shard.Target)
	if err != nil {
		return mesh.E(op, mesh.Internal, err)
	}
	return FromStatus(op, f(ctx, cc))
}

func (r *Router) conn(m *shardmap.Map, target string) (*grpc.ClientConn, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m.Epoch > r.epoch {
		r.epoch = m.Epoch
		r.drop(m)
	}
	if cc := r.conns[target]; cc != nil {
		return cc, nil
	}
	cc, err := r.dial(target)
	if err != nil {
		return nil, err
	}
	r.conns[target] = cc
	return cc, nil
}

// drop forgets connections to targets that the map no longer names: they would be tried again for ever. They close when
// the calls that are under way on them are over.
func (r *Router) drop(m *shardmap.Map) {
	named := make(map[string]bool)
	for _, s := range m.Shards {
		named[s.Target] = true
	}
	for target, cc := range r.conns {
		if !named[target] {
			delete(r.conns, target)
			time.AfterFunc(2*callTimeout, func() { _ = cc.Close() })
		}
	}
}

// Ready says whether the router has a map; it never asks peers.
func (r *Router) Ready() error {
	if r.source.Map() == nil {
		return errors.New("no shard map")
	}
	return nil
}

// Close closes the connections; calls that are going on fail.
func (r *Router) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for target, cc := range r.conns {
		errs = append(errs, cc.Close())
		delete(r.conns, target)
	}
	return errors.Join(errs...)
}
