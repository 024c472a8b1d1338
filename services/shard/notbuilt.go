package shard

import (
	"context"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// The verbs below are in the contract and not in this build. They answer a kind of the Mesh, not gRPC's Unimplemented:
// the gateway need not know which build its shards are.

// Publish implements AccountsService.
func (s *Server) Publish(context.Context, *shardpb.PublishRequest) (*shardpb.PublishResponse, error) {
	return nil, notBuilt("Publish")
}

// Connect implements AccountsService.
func (s *Server) Connect(context.Context, *shardpb.ConnectRequest) (*shardpb.ConnectResponse, error) {
	return nil, notBuilt("Connect")
}

// Complete implements AccountsService.
func (s *Server) Complete(context.Context, *shardpb.CompleteRequest) (*shardpb.CompleteResponse, error) {
	return nil, notBuilt("Complete")
}

// Claim implements AccountsService.
func (s *Server) Claim(context.Context, *shardpb.ClaimRequest) (*shardpb.ClaimResponse, error) {
	return nil, notBuilt("Claim")
}

// PollClaim implements AccountsService.
func (s *Server) PollClaim(context.Context, *shardpb.PollClaimRequest) (*shardpb.PollClaimResponse, error) {
	return nil, notBuilt("PollClaim")
}

// CreateGroup implements AccountsService.
func (s *Server) CreateGroup(context.Context, *shardpb.CreateGroupRequest) (*shardpb.CreateGroupResponse, error) {
	return nil, notBuilt("CreateGroup")
}

// Operate implements AccountsService.
func (s *Server) Operate(context.Context, *shardpb.OperateRequest) (*shardpb.OperateResponse, error) {
	return nil, notBuilt("Operate")
}
