package shard

import (
	"context"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// health answers gRPC's health protocol: a shard is healthy when it can serve its own data.
type health struct{ store Store }

// Check implements Health.
func (h health) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	status := healthpb.HealthCheckResponse_SERVING
	if h.store.Ping(ctx) != nil {
		status = healthpb.HealthCheckResponse_NOT_SERVING
	}
	return &healthpb.HealthCheckResponse{Status: status}, nil
}

// List implements Health.
func (h health) List(ctx context.Context, _ *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	r, err := h.Check(ctx, nil)
	return &healthpb.HealthListResponse{Statuses: map[string]*healthpb.HealthCheckResponse{"": r}}, err
}

// Watch implements Health by one answer: a stream that reported changes would have to poll the database for each client.
func (h health) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	r, err := h.Check(stream.Context(), nil)
	if err != nil {
		return err
	}
	if err := stream.Send(r); err != nil {
		return err
	}
	<-stream.Context().Done()
	return stream.Context().Err()
}
