package rpc_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/mathmesh/meshd/pkg/mesh"
	callpb "github.com/mathmesh/meshd/proto/mesh/call/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

const exchangeMethod = "/mesh.call.v1.CallService/Exchange"

// resolver answers Resolve, a call that shares streams.
type resolver struct {
	shardpb.UnimplementedAccountsServiceServer
	resolve func(context.Context, *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error)
}

func (r resolver) Resolve(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
	return r.resolve(ctx, q)
}

// echo answers with the address that was asked for.
func echo(_ context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
	return &shardpb.ResolveResponse{Redirect: q.GetAddress()}, nil
}

type resolve func(context.Context, *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error)

// serve serves Resolve at addr; empty: anywhere.
func serve(t *testing.T, ca *rpc.CA, addr string, o rpc.Options, f resolve) (*rpc.Server, string) {
	t.Helper()
	o.Identity, o.Log = identity(t, ca, rpc.Shard), slog.New(slog.DiscardHandler)
	s := rpc.NewServer(o)
	shardpb.RegisterAccountsServiceServer(s, resolver{resolve: f})
	healthpb.RegisterHealthServer(s, health.NewServer())
	s.RegisterService(&strangerDesc, struct{}{})
	l, err := net.Listen("tcp", cmp.Or(addr, "127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return s, l.Addr().String()
}

func client(t *testing.T, ca *rpc.CA, addr string, o rpc.Options) shardpb.AccountsServiceClient {
	t.Helper()
	o.Identity = identity(t, ca, rpc.Gateway)
	cc, err := rpc.Dial(addr, rpc.Shard, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return shardpb.NewAccountsServiceClient(cc)
}

// hammer calls from many goroutines, and says what failed; each must get its own answer.
func hammer(ctx context.Context, c shardpb.AccountsServiceClient, callers, calls int) error {
	var wait sync.WaitGroup
	errs := make([]error, callers)
	for i := range callers {
		wait.Go(func() {
			for j := range calls {
				address := fmt.Sprintf("%d-%d", i, j) + strings.Repeat(" ", (i*j)%3000)
				r, err := c.Resolve(ctx, &shardpb.ResolveRequest{Address: address})
				if err == nil && r.GetRedirect() != address {
					err = fmt.Errorf("%.20q got the answer of %.20q", address, r.GetRedirect())
				}
				if err != nil {
					errs[i] = err
					return
				}
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// paths counts the ways by which calls came.
type paths struct {
	mu      sync.Mutex
	methods map[string]int
	streams map[grpc.ServerTransportStream]bool
}

func (p *paths) note(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.methods == nil {
		p.methods, p.streams = make(map[string]int), make(map[grpc.ServerTransportStream]bool)
	}
	s := grpc.ServerTransportStreamFromContext(ctx)
	p.methods[s.Method()]++
	p.streams[s] = true
}

// Each caller gets its own answer, and they all share a few streams.
func TestExchange(t *testing.T) {
	ca := newCA(t)
	var p paths
	_, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		p.note(ctx)
		return echo(ctx, q)
	})
	if err := hammer(within(t), client(t, ca, addr, rpc.Options{}), 200, 20); err != nil {
		t.Fatal(err)
	}
	if p.methods[exchangeMethod] < 200*20/2 { // some may have been too many at once
		t.Errorf("calls came as %v", p.methods)
	}
	if len(p.streams) > 10 {
		t.Errorf("%d streams", len(p.streams))
	}
}

// What is not small, or has options of its own, is a call of its own.
func TestAlone(t *testing.T) {
	ca := newCA(t)
	var p paths
	_, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		p.note(ctx)
		return echo(ctx, q)
	})
	c := client(t, ca, addr, rpc.Options{})
	large := strings.Repeat("a", rpc.MaxShared+1)
	if r, err := c.Resolve(within(t), &shardpb.ResolveRequest{Address: large}); err != nil || r.GetRedirect() != large {
		t.Fatalf("a large request: %v", err)
	}
	if _, err := c.Resolve(within(t), &shardpb.ResolveRequest{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	if p.methods[exchangeMethod] != 0 {
		t.Errorf("calls came as %v", p.methods)
	}
	if _, err := c.Resolve(within(t), &shardpb.ResolveRequest{Address: large[:rpc.MaxShared-10]}); err != nil {
		t.Fatal(err)
	}
	if p.methods[exchangeMethod] != 1 {
		t.Errorf("a smaller request came as %v", p.methods)
	}
}

// exchange opens a stream by hand.
func exchange(t *testing.T, ca *rpc.CA, addr string, role rpc.Role) callpb.CallService_ExchangeClient {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context()) // no deadline that calls could inherit
	t.Cleanup(cancel)
	stream, err := callpb.NewCallServiceClient(dial(t, addr, identity(t, ca, role), rpc.Shard)).Exchange(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// A stream gives no right: each call on it is refused or served as if it had come alone.
func TestExchangeAuthorizesEachCall(t *testing.T) {
	ca := newCA(t)
	var served atomic.Int64
	_, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		served.Add(1)
		return echo(ctx, q)
	})
	const second = int64(time.Second)
	for _, role := range rpc.Roles() {
		resolves := codes.PermissionDenied
		if role == rpc.Gateway {
			resolves = codes.OK
		}
		for _, c := range []struct {
			call *callpb.Call
			want codes.Code
		}{
			{&callpb.Call{Method: healthpb.Health_Check_FullMethodName, Timeout: second}, codes.OK},
			{&callpb.Call{Method: shardpb.AccountsService_Resolve_FullMethodName, Timeout: second}, resolves},
			{&callpb.Call{Method: "/mesh.test.Stranger/Call", Timeout: second}, codes.PermissionDenied},
			{&callpb.Call{Method: "/mesh.test.Nobody/Call", Timeout: second}, codes.Unimplemented},
			{&callpb.Call{Method: healthpb.Health_Watch_FullMethodName, Timeout: second}, codes.Unimplemented}, // a stream
			{&callpb.Call{Method: exchangeMethod, Timeout: second}, codes.Unimplemented},
			{&callpb.Call{Method: healthpb.Health_Check_FullMethodName}, codes.InvalidArgument}, // no deadline
			{&callpb.Call{Method: healthpb.Health_Check_FullMethodName, Timeout: second, Payload: []byte{1}}, codes.Internal},
		} {
			stream := exchange(t, ca, addr, role)
			c.call.Id = 7
			if err := stream.Send(&callpb.ExchangeRequest{Calls: []*callpb.Call{c.call}}); err != nil {
				t.Fatal(err)
			}
			r, err := stream.Recv()
			if err != nil {
				t.Fatalf("%s calls %s: the stream broke: %v", role, c.call.GetMethod(), err)
			}
			if len(r.GetAnswers()) != 1 || r.GetAnswers()[0].GetId() != 7 {
				t.Fatalf("%s calls %s: %v", role, c.call.GetMethod(), r)
			}
			st := status.New(codes.OK, "").Proto()
			if err := proto.Unmarshal(r.GetAnswers()[0].GetStatus(), st); err != nil {
				t.Fatal(err)
			}
			if got := codes.Code(st.GetCode()); got != c.want {
				t.Errorf("%s calls %s: %v, want %v", role, c.call.GetMethod(), got, c.want)
			}
			_ = stream.CloseSend()
			if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
				t.Errorf("after the caller's end: %v", err)
			}
		}
	}
	if served.Load() != 1 {
		t.Errorf("the handler ran %d times, want once, for the gateway", served.Load())
	}
}

func TestExchangeIsBounded(t *testing.T) {
	ca := newCA(t)
	_, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, _ *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	stream := exchange(t, ca, addr, rpc.Gateway)
	var r callpb.ExchangeRequest
	for i := range rpc.AtOnce + 1 {
		r.Calls = append(r.Calls, &callpb.Call{Id: uint64(i), Method: shardpb.AccountsService_Resolve_FullMethodName, Timeout: int64(time.Minute)})
	}
	if err := stream.Send(&r); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("%d calls at once: %v, want ResourceExhausted", len(r.Calls), err)
	}
}

// A fault keeps its kind and details; an answer that is too large is a fault of that call alone.
func TestExchangeFaults(t *testing.T) {
	ca := newCA(t)
	var p paths
	_, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		p.note(ctx)
		switch q.GetAddress() {
		case "stale":
			return nil, mesh.E("shard.Resolve", mesh.WrongShard, shardmap.Stale{Epoch: 9})
		case "panic":
			panic("secret")
		case "large":
			return &shardpb.ResolveResponse{ProfileMesh: make([]byte, rpc.MaxMessage)}, nil
		}
		return echo(ctx, q)
	})
	c := client(t, ca, addr, rpc.Options{})
	call := func(address string) error {
		_, err := c.Resolve(within(t), &shardpb.ResolveRequest{Address: address})
		return err
	}
	var stale shardmap.Stale
	if err := rpc.FromStatus("", call("stale")); mesh.KindOf(err) != mesh.WrongShard || !errors.As(err, &stale) || stale.Epoch != 9 {
		t.Errorf("a fault came as %v", err)
	}
	if err := call("panic"); status.Code(err) != codes.Internal || strings.Contains(err.Error(), "secret") {
		t.Errorf("after a panic: %v", err)
	}
	if err := call("large"); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("an answer of %d octets: %v, want ResourceExhausted", rpc.MaxMessage, err)
	}
	if err := call("alice"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if len(p.streams) != 1 || p.methods[exchangeMethod] != 4 {
		t.Errorf("calls came as %v on %d streams", p.methods, len(p.streams))
	}
}

// A caller that gives up ends the work; others on the stream do not notice.
func TestExchangeCancels(t *testing.T) {
	ca := newCA(t)
	started, ended := make(chan struct{}), make(chan error, 1)
	_, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		if q.GetAddress() == "wait" {
			close(started)
			<-ctx.Done()
			ended <- ctx.Err()
		}
		return echo(ctx, q)
	})
	c := client(t, ca, addr, rpc.Options{})
	ctx, cancel := context.WithCancel(within(t))
	go func() { <-started; cancel() }()
	if _, err := c.Resolve(ctx, &shardpb.ResolveRequest{Address: "wait"}); status.Code(err) != codes.Canceled {
		t.Errorf("the caller: %v, want Canceled", err)
	}
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the handler's context: %v, want canceled", err)
		}
	case <-time.After(2 * time.Second): // the deadline is at 5 s
		t.Error("the handler was not told")
	}
	if _, err := c.Resolve(within(t), &shardpb.ResolveRequest{Address: "next"}); err != nil {
		t.Error(err)
	}
}

// A server that dies fails the calls that it has, each once, and the next server gets the next ones.
func TestExchangeBreaks(t *testing.T) {
	ca := newCA(t)
	const callers = 10
	var runs atomic.Int64
	all, ended := make(chan struct{}), make(chan error, callers)
	s, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, _ *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		if runs.Add(1) == callers {
			close(all)
		}
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	c := client(t, ca, addr, rpc.Options{})
	results := make(chan error, callers)
	for range callers {
		go func() {
			_, err := c.Resolve(within(t), &shardpb.ResolveRequest{})
			results <- err
		}()
	}
	<-all
	s.Stop()
	for range callers {
		if err := <-results; status.Code(err) != codes.Unavailable {
			t.Errorf("%v, want Unavailable", err)
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the handler's context: %v, want canceled", err)
		}
	}
	begin := time.Now()
	if _, err := c.Resolve(within(t), &shardpb.ResolveRequest{}); status.Code(err) != codes.Unavailable || time.Since(begin) > time.Second {
		t.Errorf("nobody there: %v after %v, want Unavailable at once", err, time.Since(begin))
	}
	serve(t, ca, addr, rpc.Options{}, echo)
	var err error
	for ctx := within(t); ctx.Err() == nil; {
		if err = hammer(ctx, c, 10, 10); err == nil {
			break
		}
	}
	if err != nil {
		t.Errorf("the next server: %v", err)
	}
	if runs.Load() != callers {
		t.Errorf("%d calls ran %d times", callers, runs.Load())
	}
}

// A graceful stop waits for the calls that are under way, and for no more than that.
func TestExchangeDrains(t *testing.T) {
	ca := newCA(t)
	started, release := make(chan struct{}), make(chan struct{})
	s, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		if q.GetAddress() == "wait" {
			close(started)
			<-release
		}
		return echo(ctx, q)
	})
	c := client(t, ca, addr, rpc.Options{}.WithExchangeLife(time.Hour))
	idle := client(t, ca, addr, rpc.Options{}.WithExchangeLife(time.Hour))
	if err := hammer(within(t), idle, 1, 1); err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() {
		_, err := c.Resolve(within(t), &shardpb.ResolveRequest{Address: "wait"})
		result <- err
	}()
	<-started
	stopped := make(chan struct{})
	go func() { s.GracefulStop(); close(stopped) }()
	select {
	case <-stopped:
		t.Error("stopped before the call was answered")
	case <-time.After(50 * time.Millisecond):
	}
	close(release)
	if err := <-result; err != nil {
		t.Errorf("the call that was under way: %v", err)
	}
	select {
	case <-stopped:
	case <-time.After(3 * time.Second):
		t.Error("the server does not stop")
	}
}

// A server that stops gracefully while another takes its place loses no call that it began.
func TestExchangeMovesOn(t *testing.T) {
	ca := newCA(t)
	var begun, done atomic.Int64
	handle := func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		begun.Add(1)
		return echo(ctx, q)
	}
	s, addr := serve(t, ca, "", rpc.Options{}, handle)
	c := client(t, ca, addr, rpc.Options{})
	ctx, cancel := context.WithCancel(within(t))
	var wait sync.WaitGroup
	for i := range 20 {
		wait.Go(func() {
			for ctx.Err() == nil {
				_, err := c.Resolve(within(t), &shardpb.ResolveRequest{Address: strconv.Itoa(i)})
				if err == nil {
					done.Add(1)
				} else if status.Code(err) != codes.Unavailable { // nobody listens
					t.Error(err)
				}
			}
		})
	}
	for done.Load() < 1000 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	s.GracefulStop()
	serve(t, ca, addr, rpc.Options{}, handle)
	for n := done.Load(); done.Load() < n+1000 && ctx.Err() == nil; {
		time.Sleep(time.Millisecond)
	}
	cancel()
	wait.Wait()
	if begun.Load() != done.Load() {
		t.Errorf("%d calls begun, %d answered", begun.Load(), done.Load())
	}
}

// Streams come and go under load without a call being lost.
func TestExchangeRotates(t *testing.T) {
	ca := newCA(t)
	var p paths
	_, addr := serve(t, ca, "", rpc.Options{}, func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		p.note(ctx)
		return echo(ctx, q)
	})
	c := client(t, ca, addr, rpc.Options{}.WithExchangeLife(2*time.Millisecond))
	for len(p.streams) < 20 {
		if err := hammer(within(t), c, 20, 50); err != nil {
			t.Fatal(err)
		}
	}
	if p.methods[exchangeMethod] == 0 || len(p.methods) != 1 {
		t.Errorf("calls came as %v", p.methods)
	}
}

// A server of an older build knows no exchanges.
func TestExchangeUnknown(t *testing.T) {
	ca := newCA(t)
	s := grpc.NewServer(grpc.Creds(identity(t, ca, rpc.Shard).ServerCredentials()))
	shardpb.RegisterAccountsServiceServer(s, resolver{resolve: echo})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve(l)
	defer s.Stop()
	if err := hammer(within(t), client(t, ca, l.Addr().String(), rpc.Options{}), 20, 10); err != nil {
		t.Error(err)
	}
}

// valve forwards connections to a server until it is shut.
type valve struct {
	net.Listener
	open sync.RWMutex // held while shut
}

func newValve(t *testing.T, target string) *valve {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", target)
			if err != nil {
				return
			}
			go v.forward(a, b)
			go v.forward(b, a)
		}
	}()
	return v
}

func (v *valve) forward(to, from net.Conn) {
	defer to.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		v.open.RLock()
		_, writeErr := to.Write(b[:n])
		v.open.RUnlock()
		if err != nil || writeErr != nil {
			return
		}
	}
}

// A stream that stands still holds its callers until their deadlines, and goes on when it can.
func TestExchangeStalls(t *testing.T) {
	ca := newCA(t)
	_, addr := serve(t, ca, "", rpc.Options{}, echo)
	v := newValve(t, addr)
	c := client(t, ca, v.Addr().String(), rpc.Options{}.WithExchangeLife(time.Hour))
	if err := hammer(within(t), c, 1, 1); err != nil {
		t.Fatal(err)
	}
	v.open.Lock()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	var wait sync.WaitGroup
	for range 200 { // 12 MB: more than sockets and windows hold
		wait.Go(func() {
			_, err := c.Resolve(ctx, &shardpb.ResolveRequest{Address: strings.Repeat("a", 60000)})
			if status.Code(err) != codes.DeadlineExceeded {
				t.Errorf("on a stream that stands still: %v, want DeadlineExceeded", err)
			}
		})
	}
	wait.Wait()
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("callers with 200 ms waited %v", took)
	}
	v.open.Unlock()
	if err := hammer(within(t), c, 10, 10); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// Where spans are exported, a call has one on each side, in one trace.
func TestExchangeSpans(t *testing.T) {
	ca := newCA(t)
	spans := tracetest.NewSpanRecorder()
	tracer := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	var p paths
	_, addr := serve(t, ca, "", rpc.Options{Tracer: tracer}, func(ctx context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
		p.note(ctx)
		return echo(ctx, q)
	})
	c := client(t, ca, addr, rpc.Options{Tracer: tracer})
	ctx, root := tracer.Tracer("test").Start(within(t), "request")
	if _, err := c.Resolve(ctx, &shardpb.ResolveRequest{}); err != nil {
		t.Fatal(err)
	}
	ended := spans.Ended()
	if p.methods[exchangeMethod] != 1 || len(ended) != 2 {
		t.Fatalf("calls came as %v, with %d spans, want 2", p.methods, len(ended))
	}
	server, client := ended[0], ended[1]
	if server.SpanKind() != trace.SpanKindServer || client.SpanKind() != trace.SpanKindClient ||
		server.Parent().SpanID() != client.SpanContext().SpanID() || client.Parent().SpanID() != root.SpanContext().SpanID() ||
		server.Name() != "mesh.shard.v1.AccountsService/Resolve" {
		t.Errorf("spans %s (%v) and %s (%v) do not fit", server.Name(), server.SpanKind(), client.Name(), client.SpanKind())
	}
}
