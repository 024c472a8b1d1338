package shard

import (
	"context"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// health answers gRPC's health protocol: a shard is healthy when it can serve its own data, and is not about to stop.
type health struct{ *Server }

// Check implements Health.
func (h health) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	select {
	case <-h.drained:
		return notServing(), nil
	default:
	}
	if h.store.Ping(ctx) != nil {
		return notServing(), nil
	}
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_SERVING}, nil
}

// List implements Health.
func (h health) List(ctx context.Context, _ *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	r, err := h.Check(ctx, nil)
	return &healthpb.HealthListResponse{Statuses: map[string]*healthpb.HealthCheckResponse{"": r}}, err
}

func notServing() *healthpb.HealthCheckResponse {
	return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}
}

// Watch implements Health by one answer and one at the end: a stream that reported changes would have to poll the database for
// each client.
func (h health) Watch(_ *healthpb.HealthCheckRequest, stream healthpb.Health_WatchServer) error {
	r, err := h.Check(stream.Context(), nil)
	if err != nil {
		return err
	}
	if err := stream.Send(r); err != nil {
		return err
	}
	select {
	case <-stream.Context().Done():
		return stream.Context().Err()
	case <-h.drained:
		return stream.Send(notServing())
	}
}
