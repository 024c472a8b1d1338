package rpc

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/keepalive"
)

// reconnect: gRPC's own ceiling of two minutes would keep a restarted shard idle; a second costs one handshake.
const reconnect = time.Second

// Dial makes a connection to the processes of a role. It does not wait: the first call connects.
func Dial(target string, server Role, o Options) (*grpc.ClientConn, error) {
	return grpc.NewClient(target,
		grpc.WithTransportCredentials(o.Identity.ClientCredentials(server)),
		grpc.WithUnaryInterceptor((&exchanger{o: o}).intercept),
		o.observeClient(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig":[{"round_robin":{}}]}`),
		grpc.WithDisableServiceConfig(), // DNS TXT records do not configure us
		grpc.WithInitialWindowSize(window),
		grpc.WithInitialConnWindowSize(connWindow),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnect},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
}
