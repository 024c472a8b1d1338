package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/mathmesh/meshd/pkg/mesh"
	callpb "github.com/mathmesh/meshd/proto/mesh/call/v1"
)

const (
	// maxMessage bounds one message: a Download may carry 16 MiB of payload (PROTOCOL §1.7) and 10,000 headers and
	// trailers of about 1 KiB; twice the payload is room for both.
	maxMessage = 32 << 20
	// minRemaining: with less left, the caller is gone before the database has answered.
	minRemaining = 30 * time.Millisecond
	// shave makes the inner deadline pass first, so that the role that was slow reports it.
	shave = 10 * time.Millisecond
	// connAge: a client resolves names anew only when a connection ends; new processes get load within five minutes.
	connAge = 5 * time.Minute
	// connGrace lets the calls of an ending connection finish: the longest deadline that a gateway sets, and some.
	connGrace = 30 * time.Second
	// keepaliveTime finds dead peers behind silent firewalls well before the usual 5 min of a NAT table.
	keepaliveTime = 60 * time.Second
	// streams bounds what one client connection may have going at once; more waits at the client.
	streams = 1024
	// window of a call and of a connection, octets. Given ones spare the pings by which gRPC measures connections, two for
	// each message; a whole Upload (8 MiB) or Download (16 MiB) fits, several share a connection.
	window     = 16 << 20
	connWindow = 64 << 20
	// workers serve calls on stacks that have grown already: a goroutine for each call copies its stack two or three times on
	// the way down to the database, for a twelfth of our processor time. More calls at once than that get goroutines.
	workers = 64
)

// Options are the same for a server and a client.
type Options struct {
	Identity *Identity
	Log      *slog.Logger
	Tracer   trace.TracerProvider // nil or no-op: spans go nowhere, but the caller's trace context is handed on
	Meter    metric.MeterProvider // nil: no metrics

	exchangeLife time.Duration // of tests; 0: exchangeLife
}

// NewServer makes a gRPC server that serves only our roles, each its own services.
func NewServer(o Options) *Server {
	intercept := o.unary()
	s := &Server{d: newDispatcher(o, intercept)}
	s.Server = grpc.NewServer(
		grpc.Creds(o.Identity.ServerCredentials()),
		o.observeServer(),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxSendMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(streams),
		grpc.NumStreamWorkers(workers),
		grpc.InitialWindowSize(window),
		grpc.InitialConnWindowSize(connWindow),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionAge:      connAge,
			MaxConnectionAgeGrace: connGrace,
			Time:                  keepaliveTime,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveTime / 2, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(intercept),
		grpc.ChainStreamInterceptor(recoverStream(o.Log), allowStream),
	)
	callpb.RegisterCallServiceServer(s.Server, s.d)
	return s
}

// unary surrounds every call: one function instead of a chain, whose links would each be an allocation.
func (o Options) unary() grpc.UnaryServerInterceptor {
	d := newDurations(o.Meter)
	exports := o.exports()
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
		if !exports {
			ctx = extract(ctx)
		}
		begin := time.Now()
		defer func() {
			if p := recover(); p != nil {
				resp, err = nil, panicked(ctx, o.Log, info.FullMethod, p)
			}
			d.record(ctx, info.FullMethod, err, time.Since(begin))
		}()
		if err := authorize(ctx, info.FullMethod); err != nil {
			return nil, err
		}
		if resp, err = withDeadline(ctx, req, info, next); err != nil {
			return nil, fault(ctx, o.Log, info.FullMethod, err)
		}
		return resp, nil
	}
}

func allowStream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := authorize(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, ss)
}

func recoverStream(log *slog.Logger) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = panicked(ss.Context(), log, info.FullMethod, p)
			}
		}()
		return next(srv, ss)
	}
}

// panicked logs the stack and the type of the value, not the value: it may hold a request.
func panicked(ctx context.Context, log *slog.Logger, method string, p any) error {
	what := fmt.Sprintf("%T", p)
	if err, ok := p.(interface{ RuntimeError() }); ok {
		what = err.(error).Error() // an index, a nil pointer: no user data
	}
	log.ErrorContext(ctx, "panic", slog.String("method", method), slog.String("panic", what), slog.String("stack", string(debug.Stack())))
	return ToStatus(mesh.E("rpc", mesh.Internal, nil))
}

// fault is the one place where an error leaves the role: the text of an Internal one stays in the log.
func fault(ctx context.Context, log *slog.Logger, method string, err error) error {
	var e *mesh.Error
	if !errors.As(err, &e) && ctx.Err() == nil || e != nil && e.Kind == mesh.Internal {
		log.ErrorContext(ctx, "call failed", slog.String("method", method), slog.Any("err", err))
	}
	return ToStatus(err)
}

// withDeadline refuses calls without a deadline, and with too little left.
func withDeadline(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return nil, status.Errorf(codes.InvalidArgument, "%s: every call needs a deadline", info.FullMethod)
	}
	if time.Until(deadline) < minRemaining {
		return nil, mesh.E(info.FullMethod, mesh.Overloaded, context.DeadlineExceeded)
	}
	if d, ok := ctx.(due); ok {
		return next(d.Context, req)
	}
	ctx, cancel := context.WithDeadline(ctx, deadline.Add(-shave))
	defer cancel()
	return next(ctx, req)
}
