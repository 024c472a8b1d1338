package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Times and sizes of connections.
const (
	// headTime bounds handshake and request head, each: they are a few packets.
	headTime = 5 * time.Second
	// idleTime keeps a client's connection between its calls; proxies commonly drop at 60 s.
	idleTime = 2 * time.Minute
	// answerTime bounds handling and writing: 16 MiB at the pace that we ask of senders would be 512 s, a client that
	// slow asks for less. A minute also covers the longest Wait of a Status (D-52).
	answerTime = 2 * time.Minute
	// bodyTime is what the largest body may take at the slowest pace: 256 s, and the grace.
	bodyTime = maxBody/bodyRate*time.Second + bodyGrace
	// maxHead: the protocol needs four short fields, proxies add some.
	maxHead = 16 << 10
	// maxStreams of one HTTP/2 connection: a device has a handful of requests under way.
	maxStreams = 64
)

// Server serves the gateway on listeners of one kind: TLS or cleartext.
type Server struct {
	http   *http.Server
	config *tls.Config // nil: cleartext
}

// TLSServer serves HTTPS: TLS 1.3 only, HTTP/1.1 and HTTP/2, no client certificates. The certificates are config's.
func (g *Gateway) TLSServer(config *tls.Config) *Server {
	config = config.Clone()
	config.MinVersion, config.MaxVersion = tls.VersionTLS13, tls.VersionTLS13
	config.ClientAuth, config.ClientCAs = tls.NoClientCert, nil // draft §4.2.1: should not be used
	config.NextProtos = []string{"h2", "http/1.1"}
	return g.server(g.Handler(), config)
}

// CleartextServer serves HTTP/1.1 without TLS under the stricter rules of AUTH §7.
func (g *Gateway) CleartextServer() *Server { return g.server(g.CleartextHandler(), nil) }

func (g *Gateway) server(h http.Handler, config *tls.Config) *Server {
	return &Server{config: config, http: &http.Server{
		Handler:           h,
		TLSConfig:         config,
		ReadHeaderTimeout: headTime,
		IdleTimeout:       idleTime,
		WriteTimeout:      bodyTime + answerTime, // it begins with the end of the head
		MaxHeaderBytes:    maxHead,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		ErrorLog:          slog.NewLogLogger(g.log.Handler(), slog.LevelDebug), // scanners and broken pipes
		ConnState:         headState,
		ConnContext:       withHead,
		// 417 and the rest of HTTP's own refusals stay the server's: they never reach the protocol.
	}}
}

// Serve accepts connections of l until Shutdown or Close; then it returns nil.
func (s *Server) Serve(l net.Listener) error {
	if s.config == nil {
		l = plainListener{l}
	} else {
		l = newTLSListener(l, s.config)
	}
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Shutdown stops accepting, lets requests finish until ctx ends, then cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	if err := s.http.Shutdown(ctx); err != nil {
		return errors.Join(err, s.http.Close())
	}
	return nil
}

// net/http drops a Content-Length that comes with Transfer-Encoding before a handler can see it, but a request that has
// both is how requests are smuggled past a proxy, and is refused (C-043). So HTTP/1 connections look at their own heads.

// headConn is a connection of HTTP/1 that notices a Content-Length in the head of the present request.
type headConn struct {
	net.Conn

	mu     sync.Mutex
	state  headScan
	tail   []byte // of the head, when a piece ended inside a line
	length bool   // a Content-Length was seen
}

type headScan uint8

const (
	headOpen headScan = iota // inside a head
	headDone                 // its end was seen
)

func (c *headConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.scan(p[:n])
	}
	return n, err
}

func (c *headConn) scan(p []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == headDone {
		return
	}
	if len(c.tail) > 0 {
		p = append(c.tail, p...)
	}
	for {
		line, rest, whole := bytes.Cut(p, []byte{'\n'})
		if !whole {
			c.tail = append([]byte(nil), p[:min(len(p), maxHead)]...)
			return
		}
		p = rest
		line = bytes.TrimSuffix(line, []byte{'\r'})
		if len(line) == 0 {
			c.state, c.tail = headDone, nil
			return
		}
		if name, _, ok := bytes.Cut(line, []byte{':'}); ok && bytes.EqualFold(bytes.TrimSpace(name), []byte("content-length")) {
			c.length = true
		}
	}
}

// headState begins a new head when the server waits for one. A head that came together with the request before it (a
// pipeline) is not seen; then bothLengths errs on the side of refusing.
func headState(conn net.Conn, state http.ConnState) {
	if c, ok := conn.(*headConn); ok && state == http.StateIdle {
		c.mu.Lock()
		c.state, c.tail, c.length = headOpen, nil, false
		c.mu.Unlock()
	}
}

type headKey struct{}

func withHead(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*headConn); ok {
		return context.WithValue(ctx, headKey{}, c)
	}
	return ctx
}

// bothLengths says whether the head of a request with Transfer-Encoding had a Content-Length too, or was not seen.
func bothLengths(ctx context.Context) bool {
	c, ok := ctx.Value(headKey{}).(*headConn)
	if !ok {
		return false // HTTP/2, which has no Transfer-Encoding, or a server that is not ours
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.length || c.state != headDone
}

type plainListener struct{ net.Listener }

func (l plainListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &headConn{Conn: conn}, nil
}

// tlsListener makes the handshake itself, since only then it is known whether HTTP/2 (which needs the tls.Conn) or
// HTTP/1 (which gets a headConn around it) is spoken.
type tlsListener struct {
	net.Listener
	config *tls.Config
	ready  chan net.Conn
	failed chan error
	done   chan struct{}
	once   sync.Once
}

func newTLSListener(l net.Listener, config *tls.Config) net.Listener {
	t := &tlsListener{Listener: l, config: config, ready: make(chan net.Conn), failed: make(chan error), done: make(chan struct{})}
	go t.accept()
	return t
}

func (l *tlsListener) accept() {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.failed <- err:
				continue
			case <-l.done:
				return
			}
		}
		go l.handshake(tls.Server(conn, l.config))
	}
}

func (l *tlsListener) handshake(conn *tls.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), headTime)
	defer cancel()
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // scanners, and clients that do not trust us: theirs to report
		return
	}
	var ready net.Conn = conn
	if conn.ConnectionState().NegotiatedProtocol != "h2" {
		ready = &headConn{Conn: conn}
	}
	select {
	case l.ready <- ready:
	case <-l.done:
		_ = conn.Close() // we are going
	}
}

func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.ready:
		return conn, nil
	case err := <-l.failed:
		return nil, err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *tlsListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}
