package rpc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"

	"google.golang.org/grpc/credentials"
)

// Identity is what a role proves itself with: certificate, key, and the CA that it believes. Files are re-read when
// they change, so a renewed certificate needs no restart. Safe for concurrent use.
type Identity struct {
	files [3]string // certificate, key, CA; empty: in memory
	log   *slog.Logger

	mu     sync.Mutex
	stamps [3]os.FileInfo
	cert   tls.Certificate
	roots  *x509.CertPool
}

// OpenIdentity reads the three PEM files.
func OpenIdentity(cert, key, ca string, log *slog.Logger) (*Identity, error) {
	id := &Identity{files: [3]string{cert, key, ca}, log: log}
	if err := id.reload(); err != nil {
		return nil, err
	}
	return id, nil
}

// current returns certificate and roots, read anew when a file changed. A pair that does not fit together is taken for
// half of a change: the old one stays in use, and the next handshake tries again.
func (id *Identity) current() (tls.Certificate, *x509.CertPool) {
	id.mu.Lock()
	defer id.mu.Unlock()
	if id.files[0] != "" && id.changed() {
		if err := id.load(); err != nil {
			id.log.Error("identity not renewed", slog.Any("err", err))
		}
	}
	return id.cert, id.roots
}

func (id *Identity) reload() error {
	id.mu.Lock()
	defer id.mu.Unlock()
	return id.load()
}

func (id *Identity) changed() bool {
	for i, name := range id.files {
		info, err := os.Stat(name) // follows the links that Kubernetes swaps
		if err != nil {
			return true
		}
		old := id.stamps[i]
		if !os.SameFile(info, old) || info.ModTime() != old.ModTime() || info.Size() != old.Size() {
			return true
		}
	}
	return false
}

func (id *Identity) load() error {
	var stamps [3]os.FileInfo
	var data [3][]byte
	for i, name := range id.files {
		var err error
		if stamps[i], err = os.Stat(name); err != nil { // before reading: a later change shows again
			return fmt.Errorf("identity: %w", err)
		}
		if data[i], err = os.ReadFile(name); err != nil {
			return fmt.Errorf("identity: %w", err)
		}
	}
	cert, roots, err := parseIdentity(data[0], data[1], data[2])
	if err != nil {
		return fmt.Errorf("identity %s: %w", id.files[0], err)
	}
	id.stamps, id.cert, id.roots = stamps, cert, roots
	return nil
}

func parseIdentity(certPEM, keyPEM, caPEM []byte) (tls.Certificate, *x509.CertPool, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	if _, ok := roleOf(cert.Leaf); !ok {
		return tls.Certificate{}, nil, errors.New("the certificate names no role (URI mesh://role/…)")
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(caPEM) {
		return tls.Certificate{}, nil, errors.New("the CA file holds no certificate")
	}
	return cert, roots, nil
}

// ServerCredentials accept clients with a certificate of our CA over TLS 1.3.
func (id *Identity) ServerCredentials() credentials.TransportCredentials {
	return &reloading{tls: func() *tls.Config {
		cert, roots := id.current()
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{cert},
			ClientAuth:   tls.RequireAndVerifyClientCert,
			ClientCAs:    roots,
		}
	}}
}

// ClientCredentials reach a server of this role, whatever address it has.
func (id *Identity) ClientCredentials(server Role) credentials.TransportCredentials {
	return &reloading{tls: func() *tls.Config {
		cert, roots := id.current()
		return &tls.Config{
			MinVersion:   tls.VersionTLS13,
			Certificates: []tls.Certificate{cert},
			RootCAs:      roots,
			ServerName:   server.DNSName(),
		}
	}}
}

// reloading builds gRPC's own TLS credentials anew for each handshake. Handshakes are rare; three stat calls are cheap.
type reloading struct{ tls func() *tls.Config }

func (r *reloading) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(r.tls()).ClientHandshake(ctx, authority, conn)
}

func (r *reloading) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return credentials.NewTLS(r.tls()).ServerHandshake(conn)
}

func (r *reloading) Info() credentials.ProtocolInfo { return credentials.NewTLS(r.tls()).Info() }

func (r *reloading) Clone() credentials.TransportCredentials { return &reloading{tls: r.tls} }

func (r *reloading) OverrideServerName(string) error {
	return errors.New("rpc: the server's name is its role's")
}
