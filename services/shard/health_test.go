package shard_test

import (
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Who watches the health of a shard does not hold up its end.
func TestWatchEndsWithTheServer(t *testing.T) {
	w := newWorld(t)
	server := grpc.NewServer()
	w.server.Register(server)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer server.Stop()
	conn, err := grpc.NewClient(listener.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	client := healthpb.NewHealthClient(conn)
	stream, err := client.Watch(t.Context(), new(healthpb.HealthCheckRequest))
	if err != nil {
		t.Fatal(err)
	}
	wants := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if r, err := stream.Recv(); err != nil || r.GetStatus() != want {
			t.Fatalf("%v, %v, want %v", r, err, want)
		}
	}
	wants(healthpb.HealthCheckResponse_SERVING)

	w.server.Drain()
	w.server.Drain() // harmless
	wants(healthpb.HealthCheckResponse_NOT_SERVING)
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("%v, want the end of the stream", err)
	}
	if r, err := client.Check(t.Context(), new(healthpb.HealthCheckRequest)); err != nil || r.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("%v, %v while it drains", r, err)
	}
	stopped := make(chan struct{})
	go func() { server.GracefulStop(); close(stopped) }()
	select {
	case <-stopped:
	case <-time.After(5 * time.Second):
		t.Fatal("the server does not stop")
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
