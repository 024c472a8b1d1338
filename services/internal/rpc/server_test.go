package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

// server is a real gRPC server over loopback with every service of a shard, none of which does anything: a call that
// gets through answers Unimplemented.
type server struct {
	addr string
	ca   *rpc.CA
	log  *bytes.Buffer
}

type accounts struct {
	shardpb.UnimplementedAccountsServiceServer
	resolve func(context.Context) error
}

func (a accounts) Resolve(ctx context.Context, _ *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
	if a.resolve == nil {
		return a.UnimplementedAccountsServiceServer.Resolve(ctx, nil)
	}
	return &shardpb.ResolveResponse{Epoch: 5}, a.resolve(ctx)
}

// stranger is a service that the table of privileges does not name.
type stranger interface{}

var strangerDesc = grpc.ServiceDesc{
	ServiceName: "mesh.test.Stranger",
	HandlerType: (*stranger)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Call", Handler: func(srv any, ctx context.Context, dec func(any) error, ic grpc.UnaryServerInterceptor) (any, error) {
		in := new(emptypb.Empty)
		if err := dec(in); err != nil {
			return nil, err
		}
		return ic(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: "/mesh.test.Stranger/Call"},
			func(context.Context, any) (any, error) { return in, nil })
	}}},
}

func start(t *testing.T, ca *rpc.CA, id *rpc.Identity, a accounts) *server {
	t.Helper()
	s := &server{ca: ca, log: new(bytes.Buffer)}
	srv := rpc.NewServer(rpc.Options{Identity: id, Log: slog.New(slog.NewTextHandler(s.log, nil))})
	shardpb.RegisterAccountsServiceServer(srv, a)
	shardpb.RegisterDeliveryServiceServer(srv, shardpb.UnimplementedDeliveryServiceServer{})
	shardpb.RegisterSettlementServiceServer(srv, shardpb.UnimplementedSettlementServiceServer{})
	shardpb.RegisterAdminServiceServer(srv, shardpb.UnimplementedAdminServiceServer{})
	healthpb.RegisterHealthServer(srv, health.NewServer())
	srv.RegisterService(&strangerDesc, struct{}{})
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = lis.Addr().String()
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(lis) }()
	t.Cleanup(func() { srv.Stop(); <-done })
	return s
}

func newCA(t *testing.T) *rpc.CA {
	t.Helper()
	ca, err := rpc.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func identity(t *testing.T, ca *rpc.CA, role rpc.Role) *rpc.Identity {
	t.Helper()
	id, err := ca.Identity(role, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func dial(t *testing.T, addr string, id *rpc.Identity, server rpc.Role) *grpc.ClientConn {
	t.Helper()
	cc, err := rpc.Dial(addr, server, rpc.Options{Identity: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// calls has one call of each service.
var calls = map[string]struct {
	role rpc.Role
	call func(context.Context, *grpc.ClientConn) error
}{
	"Accounts": {rpc.Gateway, func(ctx context.Context, cc *grpc.ClientConn) error {
		_, err := shardpb.NewAccountsServiceClient(cc).Status(ctx, &shardpb.StatusRequest{})
		return err
	}},
	"Delivery": {rpc.Inbound, func(ctx context.Context, cc *grpc.ClientConn) error {
		_, err := shardpb.NewDeliveryServiceClient(cc).Policy(ctx, &shardpb.PolicyRequest{})
		return err
	}},
	"Settlement": {rpc.Outbound, func(ctx context.Context, cc *grpc.ClientConn) error {
		_, err := shardpb.NewSettlementServiceClient(cc).Settle(ctx, &shardpb.SettleRequest{})
		return err
	}},
	"Admin": {rpc.Meshctl, func(ctx context.Context, cc *grpc.ClientConn) error {
		_, err := shardpb.NewAdminServiceClient(cc).Where(ctx, &shardpb.WhereRequest{})
		return err
	}},
}

func callHealth(ctx context.Context, cc *grpc.ClientConn) error {
	_, err := healthpb.NewHealthClient(cc).Check(ctx, &healthpb.HealthCheckRequest{})
	return err
}

func watchHealth(ctx context.Context, cc *grpc.ClientConn) error {
	stream, err := healthpb.NewHealthClient(cc).Watch(ctx, &healthpb.HealthCheckRequest{})
	if err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// Each role opens exactly its own service; the refusal comes from the server.
func TestAllowList(t *testing.T) {
	ca := newCA(t)
	s := start(t, ca, identity(t, ca, rpc.Shard), accounts{})
	for _, role := range rpc.Roles() {
		cc := dial(t, s.addr, identity(t, ca, role), rpc.Shard)
		for name, c := range calls {
			want := codes.PermissionDenied
			if c.role == role {
				want = codes.Unimplemented // it got through
			}
			if got := status.Code(c.call(within(t), cc)); got != want {
				t.Errorf("%s calls %s: %v, want %v", role, name, got, want)
			}
		}
		if err := callHealth(within(t), cc); err != nil {
			t.Errorf("%s asks for health: %v", role, err)
		}
		if err := watchHealth(within(t), cc); err != nil {
			t.Errorf("%s watches health: %v", role, err)
		}
		err := cc.Invoke(within(t), "/mesh.test.Stranger/Call", &emptypb.Empty{}, &emptypb.Empty{})
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s calls a service that the table does not name: %v", role, err)
		}
	}
}

// A client without our CA's certificate, and one without TLS, is refused by the server before any service hears of it.
func TestStrangersRefused(t *testing.T) {
	ca := newCA(t)
	reached := false
	s := start(t, ca, identity(t, ca, rpc.Shard), accounts{resolve: func(context.Context) error { reached = true; return nil }})

	// The client trusts the server but its own certificate comes from another CA.
	other := newCA(t)
	dir := t.TempDir()
	certPEM, keyPEM, err := other.IssueRole(rpc.Gateway, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	files := writeIdentity(t, dir, certPEM, keyPEM, ca.CertPEM())
	mixed, err := rpc.OpenIdentity(files[0], files[1], files[2], slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	plain, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plain.Close() })
	expired := expiredIdentity(t, ca)

	for who, cc := range map[string]*grpc.ClientConn{
		"a certificate of another CA": dial(t, s.addr, mixed, rpc.Shard),
		"an expired certificate":      dial(t, s.addr, expired, rpc.Shard),
		"plaintext":                   plain,
	} {
		for name, c := range calls {
			if got := status.Code(c.call(within(t), cc)); got != codes.Unavailable {
				t.Errorf("%s calls %s: %v, want Unavailable", who, name, got)
			}
		}
		if got := status.Code(callHealth(within(t), cc)); got != codes.Unavailable {
			t.Errorf("%s asks for health: %v", who, got)
		}
	}
	if reached {
		t.Error("a handler ran")
	}

	// And the client refuses a server that is not the role it wants, though the CA is right.
	cc := dial(t, s.addr, identity(t, ca, rpc.Gateway), rpc.Inbound)
	if got := status.Code(callHealth(within(t), cc)); got != codes.Unavailable {
		t.Errorf("a shard passed for an inbound worker: %v", got)
	}
}

func expiredIdentity(t *testing.T, ca *rpc.CA) *rpc.Identity {
	t.Helper()
	id, err := ca.Identity(rpc.Gateway, time.Now().Add(-2*rpc.CertLife))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func writeIdentity(t *testing.T, dir string, certPEM, keyPEM, caPEM []byte) [3]string {
	t.Helper()
	files := [3]string{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "ca.pem")}
	for i, data := range [][]byte{certPEM, keyPEM, caPEM} {
		if err := os.WriteFile(files[i], data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}

func TestIdentityReload(t *testing.T) {
	old, fresh := newCA(t), newCA(t)
	dir := t.TempDir()
	put := func(ca *rpc.CA) [3]string {
		certPEM, keyPEM, err := ca.IssueRole(rpc.Shard, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return writeIdentity(t, dir, certPEM, keyPEM, ca.CertPEM())
	}
	files := put(old)
	id, err := rpc.OpenIdentity(files[0], files[1], files[2], slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, old, id, accounts{})
	check := func(what string, ca *rpc.CA, want bool) {
		t.Helper()
		err := callHealth(within(t), dial(t, s.addr, identity(t, ca, rpc.Gateway), rpc.Shard))
		if (err == nil) != want {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("before", old, true)
	check("before, the new CA", fresh, false)

	// Half of a change: the key of another pair. The old identity stays.
	_, keyPEM, err := fresh.IssueRole(rpc.Shard, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(files[1], append(keyPEM, '\n'), 0o600); err != nil {
		t.Fatal(err)
	}
	check("half of a change", old, true)

	put(fresh)
	check("after", fresh, true)
	check("after, the old CA", old, false)
}

func TestDeadline(t *testing.T) {
	ca := newCA(t)
	var left time.Duration
	s := start(t, ca, identity(t, ca, rpc.Shard), accounts{resolve: func(ctx context.Context) error {
		deadline, _ := ctx.Deadline()
		left = time.Until(deadline)
		return nil
	}})
	client := shardpb.NewAccountsServiceClient(dial(t, s.addr, identity(t, ca, rpc.Gateway), rpc.Shard))
	if _, err := client.Resolve(within(t), &shardpb.ResolveRequest{}); err != nil {
		t.Fatal(err)
	}
	if left <= 0 || left > 5*time.Second-5*time.Millisecond {
		t.Errorf("the handler has %v left, want a little less than 5 s", left)
	}
	if _, err := client.Resolve(context.Background(), &shardpb.ResolveRequest{}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("without a deadline: %v, want InvalidArgument", err)
	}
	left = 0
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := client.Resolve(ctx, &shardpb.ResolveRequest{}); mesh.KindOf(rpc.FromStatus("", err)) != mesh.Overloaded || left != 0 {
		t.Errorf("with 20 ms left: %v, handler saw %v; want Overloaded, handler not run", err, left)
	}
}

func TestPanicAndFaults(t *testing.T) {
	ca := newCA(t)
	var fault func() error
	s := start(t, ca, identity(t, ca, rpc.Shard), accounts{resolve: func(context.Context) error { return fault() }})
	client := shardpb.NewAccountsServiceClient(dial(t, s.addr, identity(t, ca, rpc.Gateway), rpc.Shard))

	fault = func() error { panic("secret of a user") }
	_, err := client.Resolve(within(t), &shardpb.ResolveRequest{})
	if mesh.KindOf(rpc.FromStatus("", err)) != mesh.Internal || status.Code(err) != codes.Internal {
		t.Errorf("after a panic: %v", err)
	}
	if strings.Contains(err.Error(), "secret") || strings.Contains(s.log.String(), "secret") {
		t.Error("the value of a panic was told")
	}
	if !strings.Contains(s.log.String(), "TestPanicAndFaults") {
		t.Error("no stack in the log")
	}

	fault = func() error { return errors.New("driver text") }
	_, err = client.Resolve(within(t), &shardpb.ResolveRequest{})
	if mesh.KindOf(rpc.FromStatus("", err)) != mesh.Internal || strings.Contains(err.Error(), "driver") {
		t.Errorf("unknown error: %v", err)
	}
	if !strings.Contains(s.log.String(), "driver text") {
		t.Error("the text of an unknown error is not in the log")
	}

	fault = func() error { return fmt.Errorf("x: %w", mesh.E("shard.Resolve", mesh.UnknownAccount, nil)) }
	_, err = client.Resolve(within(t), &shardpb.ResolveRequest{})
	if mesh.KindOf(rpc.FromStatus("", err)) != mesh.UnknownAccount {
		t.Errorf("UnknownAccount came as %v", err)
	}
}

// source is a shard map whose Refresh brings the next one.
type source struct {
	maps      []*shardmap.Map
	refreshed int
}

func (s *source) Map() *shardmap.Map { return s.maps[min(s.refreshed, len(s.maps)-1)] }
func (s *source) Refresh() error     { s.refreshed++; return nil }

func TestRouterFollowsTheMap(t *testing.T) {
	ca := newCA(t)
	moved := start(t, ca, identity(t, ca, rpc.Shard), accounts{resolve: func(context.Context) error {
		return mesh.E("shard.Resolve", mesh.WrongShard, shardmap.Stale{Epoch: 2})
	}})
	right := start(t, ca, identity(t, ca, rpc.Shard), accounts{resolve: func(context.Context) error { return nil }})
	gateway := identity(t, ca, rpc.Gateway)
	dialer := func(target string) (*grpc.ClientConn, error) {
		return rpc.Dial(target, rpc.Shard, rpc.Options{Identity: gateway})
	}
	resolve := func(r *rpc.Router) (n int, err error) {
		err = r.Accounts(within(t), "alice@alpha.example", func(ctx context.Context, c shardpb.AccountsServiceClient) error {
			n++
			_, err := c.Resolve(ctx, &shardpb.ResolveRequest{})
			return err
		})
		return n, err
	}

	src := &source{maps: []*shardmap.Map{shardmap.Even(1, moved.addr), shardmap.Even(2, right.addr)}}
	r := rpc.NewRouter(src, dialer)
	defer r.Close()
	if n, err := resolve(r); err != nil || n != 2 || src.refreshed != 1 {
		t.Errorf("after a move: %d calls, %d refreshes, %v; want 2, 1, nil", n, src.refreshed, err)
	}
	if n, err := resolve(r); err != nil || n != 1 {
		t.Errorf("afterwards: %d calls, %v; want 1, nil", n, err)
	}
	if targets := r.Targets(); len(targets) != 1 || targets[0] != right.addr {
		t.Errorf("connections to %v, want to %s only: the map no longer names the other", targets, right.addr)
	}

	src = &source{maps: []*shardmap.Map{shardmap.Even(1, moved.addr)}}
	r2 := rpc.NewRouter(src, dialer)
	defer r2.Close()
	if n, err := resolve(r2); mesh.KindOf(err) != mesh.WrongShard || n != 1 || src.refreshed != 1 {
		t.Errorf("a map that stays stale: %d calls, %d refreshes, %v; want 1, 1, WrongShard", n, src.refreshed, err)
	} else if stale := (shardmap.Stale{}); !errors.As(err, &stale) || stale.Epoch != 2 {
		t.Errorf("%v does not tell the epoch of the shard", err)
	}
	src = &source{maps: []*shardmap.Map{shardmap.Even(1, moved.addr), shardmap.Even(2, moved.addr), shardmap.Even(3, right.addr)}}
	r4 := rpc.NewRouter(src, dialer)
	defer r4.Close()
	if n, err := resolve(r4); mesh.KindOf(err) != mesh.WrongShard || n != 2 || src.refreshed != 1 {
		t.Errorf("two maps behind: %d calls, %d refreshes, %v; want 2, 1, WrongShard", n, src.refreshed, err)
	}

	src = &source{maps: []*shardmap.Map{shardmap.Even(1, "127.0.0.1:1")}}
	r3 := rpc.NewRouter(src, dialer)
	defer r3.Close()
	if n, err := resolve(r3); mesh.KindOf(err) != mesh.Overloaded || n != 1 {
		t.Errorf("a shard that is down: %d calls, %v; want 1, Overloaded", n, err)
	}
}

func TestWritePKI(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if err := rpc.WritePKI(dir, time.Now()); err != nil {
		t.Fatal(err)
	}
	open := func(role rpc.Role) *rpc.Identity {
		t.Helper()
		id, err := rpc.OpenIdentity(filepath.Join(dir, string(role)+".pem"), filepath.Join(dir, string(role)+"-key.pem"), filepath.Join(dir, "ca.pem"), slog.Default())
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	shard := open(rpc.Shard)
	caBefore, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := rpc.WritePKI(dir, time.Now()); err != nil { // renewal keeps the CA
		t.Fatal(err)
	}
	caAfter, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil || !bytes.Equal(caBefore, caAfter) {
		t.Errorf("renewal changed the CA (%v)", err)
	}
	s := start(t, nil, shard, accounts{})
	for _, role := range rpc.Roles() {
		if err := callHealth(within(t), dial(t, s.addr, open(role), rpc.Shard)); err != nil {
			t.Errorf("%s: %v", role, err)
		}
		info, err := os.Stat(filepath.Join(dir, string(role)+"-key.pem"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: key file %v, %v; want mode 0600", role, info, err)
		}
	}
}

// The trace of the caller goes on in the shard, from the first commit on (docs/design.md, Errors, context, logs).
func TestTraceContext(t *testing.T) {
	ca := newCA(t)
	var seen trace.SpanContext
	s := start(t, ca, identity(t, ca, rpc.Shard), accounts{resolve: func(ctx context.Context) error {
		seen = trace.SpanContextFromContext(ctx)
		return nil
	}})
	tracer := sdktrace.NewTracerProvider() // samples everything, exports nothing
	cc, err := rpc.Dial(s.addr, rpc.Shard, rpc.Options{Identity: identity(t, ca, rpc.Gateway), Tracer: tracer})
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ctx, span := tracer.Tracer("test").Start(within(t), "request")
	if _, err := shardpb.NewAccountsServiceClient(cc).Resolve(ctx, &shardpb.ResolveRequest{}); err != nil {
		t.Fatal(err)
	}
	if !seen.IsValid() || seen.TraceID() != span.SpanContext().TraceID() {
		t.Errorf("the shard is in trace %v, the gateway in %v", seen.TraceID(), span.SpanContext().TraceID())
	}
}
