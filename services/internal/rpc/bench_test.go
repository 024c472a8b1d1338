package rpc_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"syscall"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/trace/noop"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// uploads answers every Upload at once.
type uploads struct {
	shardpb.UnimplementedAccountsServiceServer
}

func (uploads) Upload(context.Context, *shardpb.UploadRequest) (*shardpb.UploadResponse, error) {
	index := int64(7)
	return &shardpb.UploadResponse{Entries: []*shardpb.EntryResult{{Result: shardpb.EntryResult_RESULT_ACCEPT, Index: &index}}}, nil
}

// BenchmarkUpload is the way of an Upload of 1 KiB from the gateway to the shard and back, without the work at either end.
// "cpu-µs/op" is the processor time of both sides.
func BenchmarkUpload(b *testing.B) {
	ca, err := rpc.NewCA("bench", time.Now())
	if err != nil {
		b.Fatal(err)
	}
	server, err := ca.Identity(rpc.Shard, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	client, err := ca.Identity(rpc.Gateway, time.Now())
	if err != nil {
		b.Fatal(err)
	}
	o := rpc.Options{Identity: server, Log: slog.New(slog.DiscardHandler), Tracer: noop.NewTracerProvider(), Meter: sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))}
	s := rpc.NewServer(o)
	shardpb.RegisterAccountsServiceServer(s, uploads{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	go s.Serve(l)
	defer s.Stop()
	o.Identity = client
	cc, err := rpc.Dial(l.Addr().String(), rpc.Shard, o)
	if err != nil {
		b.Fatal(err)
	}
	defer cc.Close()
	c := shardpb.NewAccountsServiceClient(cc)
	request := &shardpb.UploadRequest{
		Account: "alice@alpha.example",
		Caller:  &shardpb.Caller{Domain: "alpha.example", Account: "alice@alpha.example", RequestId: make([]byte, 16), RequestDigest: make([]byte, 32)},
		Updates: []*shardpb.Update{{Container: "mmm_Bookmark", Digest: make([]byte, 64), Entries: []*shardpb.Entry{{
			Header: bytes.Repeat([]byte("h"), 700), Payload: make([]byte, 1040), Trailer: bytes.Repeat([]byte("t"), 450), PayloadDigest: make([]byte, 64),
		}}}},
	}
	call := func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if _, err := c.Upload(ctx, request); err != nil {
			b.Error(err)
		}
	}
	call()
	b.ReportAllocs()
	b.SetParallelism(16)
	before := processor(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			call()
		}
	})
	b.ReportMetric(float64((processor(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// processor is what this process has spent.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
