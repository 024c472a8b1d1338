// Package rpc is what our roles have in common on the gRPC wire: mutual TLS with an allow-list per service,
// the mapping of mesh.Error to status details and back, deadlines, trace context, and routing by account.
package rpc

import (
	"context"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"google.golang.org/grpc"
)

// ToStatus makes the gRPC error of a mesh.Error: a status whose only detail is a Fault, no inner text.
func ToStatus(err error) error { panic("stub") }

// FromStatus makes a *mesh.Error of a gRPC error; transport faults are mesh.Overloaded.
func FromStatus(op string, err error) error { panic("stub") }

// Router finds the shard of an account and calls it; WrongShard refreshes the map and is tried once more.
type Router struct{ _ struct{} }

// NewRouter makes a Router; dial opens the connection to a shard's target.
func NewRouter(source shardmap.Source, dial func(target string) (*grpc.ClientConn, error)) *Router {
	panic("stub")
}

// Accounts calls f with the client of the shard that has the address. Errors are *mesh.Error.
func (r *Router) Accounts(ctx context.Context, address string, f func(context.Context, shardpb.AccountsServiceClient) error) error {
	panic("stub")
}

// Ready says whether the router has a map; it never asks peers.
func (r *Router) Ready() error { panic("stub") }
