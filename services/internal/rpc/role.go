package rpc

import (
	"context"
	"crypto/x509"
	"net/url"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	callpb "github.com/mathmesh/meshd/proto/mesh/call/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Role is who a process is: a name in its certificate (docs/design.md, Roles).
type Role string

// The roles. meshctl is the operator's tool.
const (
	Gateway  Role = "gateway"
	Shard    Role = "shard"
	Inbound  Role = "inbound"
	Outbound Role = "outbound"
	Meshctl  Role = "meshctl"
)

// Roles lists them.
func Roles() []Role { return []Role{Gateway, Shard, Inbound, Outbound, Meshctl} }

// DNSName is the name that a client asks for in the server's certificate.
func (r Role) DNSName() string { return string(r) + ".mesh.internal" }

func (r Role) uri() *url.URL { return &url.URL{Scheme: "mesh", Host: "role", Path: "/" + string(r)} }

// roleOf reads the one role of a certificate; a certificate with two is nobody's.
func roleOf(cert *x509.Certificate) (Role, bool) {
	if len(cert.URIs) != 1 {
		return "", false
	}
	uri := *cert.URIs[0]
	role := Role(strings.TrimPrefix(uri.Path, "/"))
	return role, uri == *role.uri() && slices.Contains(Roles(), role)
}

// allowed is the table of privileges: a gRPC service is a privilege, a role has exactly its own. What is not named is refused.
func allowed(service string, role Role) bool {
	switch service {
	case shardpb.AccountsService_ServiceDesc.ServiceName:
		return role == Gateway
	case shardpb.DeliveryService_ServiceDesc.ServiceName:
		return role == Inbound
	case shardpb.SettlementService_ServiceDesc.ServiceName:
		return role == Outbound
	case shardpb.AdminService_ServiceDesc.ServiceName:
		return role == Meshctl
	case healthpb.Health_ServiceDesc.ServiceName:
		return true // any of ours: the certificate has been verified by now
	case callpb.CallService_ServiceDesc.ServiceName:
		return true // likewise; what it carries is asked for each call
	}
	return false
}

// authorize says whether the peer of ctx may call the method, "/package.Service/Method".
func authorize(ctx context.Context, fullMethod string) error {
	role, err := peerRole(ctx)
	if err != nil {
		return err
	}
	service, _, _ := strings.Cut(strings.TrimPrefix(fullMethod, "/"), "/")
	if !allowed(service, role) {
		return status.Errorf(codes.PermissionDenied, "role %s may not call %s", role, service)
	}
	return nil
}

func peerRole(ctx context.Context) (Role, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return "", status.Error(codes.Unauthenticated, "no verified client certificate")
	}
	role, ok := roleOf(info.State.VerifiedChains[0][0])
	if !ok {
		return "", status.Error(codes.PermissionDenied, "the client certificate names no role")
	}
	return role, nil
}
