//go:build e2e

package e2e_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/e2e"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// A running shard refuses who has no certificate, the certificate of another CA, no TLS at all, or the wrong role, and
// says so itself: what is looked at is what the server sent, not what a client of ours would have refused to do.
func TestShardRefusesStrangers(t *testing.T) {
	dir := t.TempDir()
	d := deploy(t, stack.SQLite, func(shard string) string { return filepath.Join(dir, shard+".db") })
	target := d.State.Shards[0].Target
	foreign := t.TempDir()
	d.Binaries.Run(t, "meshctl", "pki", "create", "--dir", foreign)

	for who, c := range map[string]struct {
		certificates []tls.Certificate
		want         string // in the alert
	}{
		"no certificate":              {nil, "certificate required"},
		"a certificate of another CA": {pair(t, foreign, "gateway"), "unknown certificate authority"},
		// That of the public listener: signed by a CA that the deployment has, for another purpose.
		"a certificate of the trial CA": {pair(t, d.Dir+"/tls", d.Domain), "unknown certificate authority"},
	} {
		if err := tlsAnswer(t, target, d.State.PKI, c.certificates); err == nil || !strings.Contains(err.Error(), "remote error: tls: "+c.want) {
			t.Errorf("%s: %v, want the server's alert: %s", who, err, c.want)
		}
	}
	if first := plaintextAnswer(t, target); first != 0 && first != alert {
		t.Errorf("plaintext: the server answered with a record of type %#x, want an alert or nothing", first)
	}

	// Verified certificates, and each of the services for one role only.
	served := map[string]bool{"Accounts": true, "Admin": true} // by this build
	for _, role := range rpc.Roles() {
		cc := roleDial(t, d, role)
		for service, c := range map[string]struct {
			owner rpc.Role
			call  func() error
		}{
			"Accounts": {rpc.Gateway, func() error {
				_, err := shardpb.NewAccountsServiceClient(cc).Resolve(within(t), &shardpb.ResolveRequest{})
				return err
			}},
			"Delivery": {rpc.Inbound, func() error {
				_, err := shardpb.NewDeliveryServiceClient(cc).Policy(within(t), &shardpb.PolicyRequest{})
				return err
			}},
			"Settlement": {rpc.Outbound, func() error {
				_, err := shardpb.NewSettlementServiceClient(cc).Settle(within(t), &shardpb.SettleRequest{})
				return err
			}},
			"Admin": {rpc.Meshctl, func() error {
				_, err := shardpb.NewAdminServiceClient(cc).ListPartitions(within(t), &shardpb.ListPartitionsRequest{})
				return err
			}},
		} {
			code := status.Code(c.call())
			switch {
			case code == codes.Unimplemented && !served[service]: // nobody's yet
			case role == c.owner && (code == codes.PermissionDenied || code == codes.Unavailable || code == codes.Unauthenticated):
				t.Errorf("%s calls %s: %v", role, service, code)
			case role != c.owner && code != codes.PermissionDenied:
				t.Errorf("%s calls %s: %v, want PermissionDenied", role, service, code)
			}
		}
	}
	d.Fsck(t)
}

func pair(t *testing.T, dir, name string) []tls.Certificate {
	t.Helper()
	c, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	return []tls.Certificate{c}
}

// tlsAnswer is what the shard says to a client that believes it and shows these certificates: in TLS 1.3 the client has
// finished before the server has looked at them, so the answer comes with the first read.
func tlsAnswer(t *testing.T, target, pki string, certificates []tls.Certificate) error {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(pki, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	c := &tls.Config{
		MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: rpc.Shard.DNSName(), NextProtos: []string{"h2"},
		// Shown whatever the server asks for: a client of ours would keep a foreign one to itself.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			if len(certificates) == 0 {
				return new(tls.Certificate), nil
			}
			return &certificates[0], nil
		},
	}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", target, c)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = conn.Read(make([]byte, 1))
	return err
}

// alert is the type of a TLS record.
const alert = 0x15

// plaintextAnswer sends the beginning of HTTP/2 without TLS and returns the first octet that comes back, 0 for none.
func plaintextAnswer(t *testing.T, target string) byte {
	t.Helper()
	conn, err := net.DialTimeout("tcp", target, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"
	if _, err := conn.Write([]byte(preface)); err != nil {
		t.Fatal(err)
	}
	var first [1]byte
	_, err = conn.Read(first[:])
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("plaintext: the server neither answered nor closed")
	} else if err != nil && !errors.Is(err, io.EOF) {
		t.Logf("plaintext: %v", err) // reset: refused too
	}
	return first[0]
}

func roleDial(t *testing.T, d *e2e.Deployment, role rpc.Role) *grpc.ClientConn {
	t.Helper()
	file := func(name string) string { return filepath.Join(d.State.PKI, name) }
	id, err := rpc.OpenIdentity(file(string(role)+".pem"), file(string(role)+"-key.pem"), file("ca.pem"), slog.Default())
	if err != nil {
		t.Fatal(err)
	}
	cc, err := rpc.Dial(d.State.Shards[0].Target, rpc.Shard, rpc.Options{Identity: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}
