package rpc

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/mathmesh/meshd/pkg/mesh"
	callpb "github.com/mathmesh/meshd/proto/mesh/call/v1"
)

// Traces and metrics of calls. otelgrpc makes sets of attributes anew for every message: a quarter of a call's processor
// time (docs/performance.md). So it works only where spans leave the process. Elsewhere the caller's trace context is handed
// on as it came, and the duration of calls is recorded here, with attributes that are made once.

// exports says whether spans go anywhere.
func (o Options) exports() bool {
	_, off := o.Tracer.(noop.TracerProvider)
	return o.Tracer != nil && !off
}

func (o Options) otel() []otelgrpc.Option {
	return []otelgrpc.Option{
		otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(filters.None(
			filters.HealthCheck(), // probes would drown the rest
			filters.ServiceName(callpb.CallService_ServiceDesc.ServiceName), // the calls on it have spans of their own
		)),
		otelgrpc.WithTracerProvider(o.Tracer),
		otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()), // see durations
	}
}

// observeClient hands the trace context of calls to the server; an empty option when outgoing does it.
func (o Options) observeClient() grpc.DialOption {
	if o.exports() {
		return grpc.WithStatsHandler(otelgrpc.NewClientHandler(o.otel()...))
	}
	return grpc.EmptyDialOption{}
}

// outgoing puts the trace context of ctx into the metadata of a call.
func outgoing(ctx context.Context) context.Context {
	if !trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	fields := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, fields)
	for name, value := range fields {
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	return ctx
}

// observeServer takes the trace context of callers; an empty option when unary does it.
func (o Options) observeServer() grpc.ServerOption {
	if o.exports() {
		return grpc.StatsHandler(otelgrpc.NewServerHandler(o.otel()...))
	}
	return grpc.EmptyServerOption{}
}

// extract puts the caller's trace context into ctx.
func extract(ctx context.Context) context.Context {
	parent := metadata.ValueFromIncomingContext(ctx, "traceparent")
	if len(parent) == 0 {
		return ctx
	}
	fields := propagation.MapCarrier{"traceparent": parent[0]}
	if state := metadata.ValueFromIncomingContext(ctx, "tracestate"); len(state) > 0 {
		fields["tracestate"] = state[0]
	}
	return propagation.TraceContext{}.Extract(ctx, fields)
}

// durations is mesh_rpc_duration_seconds{method,kind}.
type durations struct {
	histogram metric.Float64Histogram // nil: nobody asked
	options   sync.Map                // callKind → metric.RecordOption
}

type callKind struct {
	method string
	kind   mesh.Kind
	failed bool
}

func newDurations(p metric.MeterProvider) *durations {
	if p == nil {
		return new(durations)
	}
	h, err := p.Meter("github.com/mathmesh/meshd/services/internal/rpc").Float64Histogram("mesh_rpc_duration_seconds", metric.WithUnit("s"),
		metric.WithDescription("Time that a call between roles took in the role that served it."),
		metric.WithExplicitBucketBoundaries(.0002, .0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10))
	if err != nil { // a name or a bound that is wrong; both are constants
		return new(durations)
	}
	return &durations{histogram: h}
}

func (d *durations) record(ctx context.Context, method string, err error, took time.Duration) {
	if d.histogram == nil {
		return
	}
	key := callKind{method: method, failed: err != nil}
	if err != nil {
		key.kind = mesh.KindOf(FromStatus(method, err))
	}
	option, ok := d.options.Load(key)
	if !ok {
		kind := "ok"
		if key.failed {
			kind = key.kind.String()
		}
		option, _ = d.options.LoadOrStore(key, metric.WithAttributeSet(attribute.NewSet(
			attribute.String("method", method), attribute.String("kind", kind))))
	}
	d.histogram.Record(ctx, took.Seconds(), option.(metric.RecordOption))
}
