// Package telemetry is how a role is seen from outside: logs by slog, traces and metrics by OpenTelemetry, and the
// admin listener with /livez, /readyz and /metrics.
//
// What is logged and counted never contains an address, an envelope or a key: an account appears as a keyed hash
// (docs/design.md, Errors, context, logs). Nothing here is global: two providers in one process have one Telemetry each.
package telemetry

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Options say what a role tells about itself, and where.
type Options struct {
	Role    string // service.name is meshd-<role>
	Version string

	Out    io.Writer // of the log
	Format string    // "json" (default) or "text"
	Level  string    // "debug", "info" (default), "warn", "error"

	HashKey  []byte // of account hashes; empty: random, so hashes compare within this process only
	Endpoint string // OTLP over gRPC, http://host:4317; empty: no traces leave the process

	Profiling bool // the admin listener serves profiles of the process: for development and measurements
}

// Telemetry is what New assembled.
type Telemetry struct {
	Log    *slog.Logger
	Tracer trace.TracerProvider
	Meter  metric.MeterProvider

	hashKey   []byte
	profiling bool
	registry  *prometheus.Registry
	closers   []func(context.Context) error
}

// New assembles. It connects to nothing before the first span is exported.
func New(ctx context.Context, o Options) (*Telemetry, error) {
	log, err := newLogger(o)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{Log: log, Tracer: noop.NewTracerProvider(), hashKey: o.HashKey, profiling: o.Profiling, registry: prometheus.NewRegistry()}
	if len(t.hashKey) == 0 {
		t.hashKey = make([]byte, 32)
		rand.Read(t.hashKey)
	}
	res := resource.NewSchemaless(
		attribute.String("service.name", "meshd-"+o.Role),
		attribute.String("service.version", o.Version),
	)

	t.registry.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	exporter, err := otelprom.New(otelprom.WithRegisterer(t.registry), otelprom.WithoutScopeInfo())
	if err != nil {
		return nil, fmt.Errorf("telemetry: %w", err)
	}
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(res))
	t.Meter = meter
	t.closers = append(t.closers, meter.Shutdown)

	if o.Endpoint != "" {
		spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(o.Endpoint))
		if err != nil {
			return nil, fmt.Errorf("telemetry: %w", err)
		}
		tracer := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(res))
		t.Tracer = tracer
		t.closers = append(t.closers, tracer.Shutdown)
	}
	return t, nil
}

// Account is the log attribute of an account: the first 8 octets of HMAC-SHA-256 of its address. Enough to follow one
// account through the logs of a day, useless to who has no key.
func (t *Telemetry) Account(address string) slog.Attr {
	mac := hmac.New(sha256.New, t.hashKey)
	mac.Write([]byte(address))
	return slog.String("account", hex.EncodeToString(mac.Sum(nil)[:8]))
}

// Close sends what has not been sent.
func (t *Telemetry) Close(ctx context.Context) error {
	var errs []error
	for _, c := range t.closers {
		errs = append(errs, c(ctx))
	}
	return errors.Join(errs...)
}
