// Package embedded runs a real nats-server with JetStream in this process, for `meshd dev` and tests: the same TLS, users and
// permissions as a production server gets from `meshctl streams conf`.
package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
)

// Options of a server.
type Options struct {
	Dir  string      // of the streams; made when absent, used again when there
	Addr string      // host:port to listen on; port 0: any
	TLS  *tls.Config // certificate and CA of clients: rpc.CA.QueueServer
	Log  *slog.Logger
}

// Server is a running server.
type Server struct{}

// Start starts a server. It is ready when Start returns. Streams are made by queue.Conn.Apply.
func Start(ctx context.Context, o Options) (*Server, error) {
	return nil, errors.New("embedded: not built yet")
}

// URL is where clients reach it.
func (s *Server) URL() string { return "" }

// Close stops it; what was acknowledged is on disk.
func (s *Server) Close() {}
