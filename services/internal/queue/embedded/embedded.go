// Package embedded runs a real nats-server with JetStream in this process, for `meshd dev` and tests: the same TLS, users and
// permissions as a production server gets from `meshctl streams conf`.
package embedded

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/mathmesh/meshd/services/internal/queue"
)

// readyTime: a server alone is ready in some ms; one that reads large streams takes longer.
const readyTime = 10 * time.Second

// Options of a server.
type Options struct {
	Dir  string      // of the streams; made when absent, used again when there
	Addr string      // host:port to listen on; port 0: any
	TLS  *tls.Config // certificate and CA of clients: rpc.CA.QueueServer
	Log  *slog.Logger

	Monitoring string // host:port of plain HTTP that tells much; empty: none
}

// Server is a running server.
type Server struct{ server *server.Server }

// Start starts a server, and returns when it answers. It needs no more than this process: no signals are taken, nothing is written to
// the standard output. What it acknowledges is on disk. Streams are made by queue.Conn.Apply.
func Start(ctx context.Context, o Options) (*Server, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	opts, err := options(o)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	s, err := server.NewServer(opts)
	if err != nil {
		return nil, fmt.Errorf("embedded: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	fatal := make(chan error, 1)
	s.SetLoggerV2(logger{o.Log, fatal}, false, false, false)
	s.Start()
	ready := make(chan bool, 1)
	go func() { ready <- s.ReadyForConnections(readyTime) }()
	select {
	case ok := <-ready:
		if ok && s.Running() {
			return &Server{s}, nil
		}
		err = errors.New("embedded: not ready")
	case why := <-fatal:
		err = fmt.Errorf("embedded: %w", why)
	case <-ctx.Done():
		err = ctx.Err()
	}
	(&Server{s}).Close()
	return nil, err
}

func options(o Options) (*server.Options, error) {
	if o.TLS == nil {
		return nil, errors.New("no TLS: certificates are the users")
	}
	opts := &server.Options{
		NoSigs:            true,
		MaxPayload:        queue.MaxPayload,
		TLS:               true,
		TLSConfig:         o.TLS,
		TLSVerify:         true,
		TLSMap:            true,
		TLSTimeout:        5,
		JetStream:         true,
		StoreDir:          o.Dir,
		JetStreamMaxStore: queue.StoreOctets,
		SyncAlways:        true,
	}
	for _, u := range queue.Users() {
		opts.Users = append(opts.Users, &server.User{Username: u.Name, Permissions: &server.Permissions{
			Publish:   &server.SubjectPermission{Allow: u.Publish},
			Subscribe: &server.SubjectPermission{Allow: u.Subscribe},
		}})
	}
	var err error
	if opts.Host, opts.Port, err = split(o.Addr); err != nil {
		return nil, err
	}
	if o.Monitoring != "" {
		if opts.HTTPHost, opts.HTTPPort, err = split(o.Monitoring); err != nil {
			return nil, err
		}
	}
	return opts, nil
}

func split(address string) (host string, port int, err error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return "", 0, err
	}
	if n == 0 {
		return host, server.RANDOM_PORT, nil
	}
	return host, int(n), nil
}

// URL is where clients reach it.
func (s *Server) URL() string { return "tls://" + s.server.Addr().String() }

// Monitoring is the URL of the monitoring listener, or "".
func (s *Server) Monitoring() string {
	if a := s.server.MonitorAddr(); a != nil {
		return "http://" + a.String()
	}
	return ""
}

// Close stops it, within a second or two. What was acknowledged is on disk.
func (s *Server) Close() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

// logger gives the server's words to slog: what it does in its ordinary life is for those who debug.
type logger struct {
	log   *slog.Logger
	fatal chan<- error // the first is enough
}

func (l logger) Noticef(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }

func (l logger) Warnf(format string, v ...any) { l.log.Warn("nats: " + fmt.Sprintf(format, v...)) }

func (l logger) Errorf(format string, v ...any) { l.log.Error("nats: " + fmt.Sprintf(format, v...)) }

func (l logger) Debugf(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }

func (l logger) Tracef(format string, v ...any) { l.log.Debug("nats: " + fmt.Sprintf(format, v...)) }

// Fatalf is called where a server of its own would end the process; ours must not.
func (l logger) Fatalf(format string, v ...any) {
	err := fmt.Errorf(format, v...)
	l.log.Error("nats: cannot go on", slog.Any("err", err))
	select {
	case l.fatal <- err:
	default:
	}
}
