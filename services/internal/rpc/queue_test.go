package rpc

import (
	"crypto/tls"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What a role reaches the queue with is its files' content of the moment, certificate and CA.
func TestQueueClient(t *testing.T) {
	now := time.Now()
	dir := t.TempDir()
	write := func(ca *CA) {
		t.Helper()
		certPEM, keyPEM, err := ca.IssueRole(Shard, now)
		if err != nil {
			t.Fatal(err)
		}
		for name, data := range map[string][]byte{"cert": certPEM, "key": keyPEM, "ca": ca.CertPEM()} {
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	old, err := NewCA("old", now)
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := NewCA("new and of another length", now)
	if err != nil {
		t.Fatal(err)
	}
	write(old)
	id, err := OpenIdentity(filepath.Join(dir, "cert"), filepath.Join(dir, "key"), filepath.Join(dir, "ca"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	client := id.QueueClient()
	try := func(server *CA, config func(*CA) (*tls.Config, error)) error {
		t.Helper()
		c, err := config(server)
		if err != nil {
			t.Fatal(err)
		}
		l, err := tls.Listen("tcp", "127.0.0.1:0", c)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		done := make(chan error, 1)
		go func() {
			conn, err := l.Accept()
			if err == nil {
				err = conn.(*tls.Conn).HandshakeContext(t.Context())
				conn.Close()
			}
			done <- err
		}()
		conn, err := tls.Dial("tcp", l.Addr().String(), client)
		if err == nil {
			defer conn.Close()
		}
		return errors.Join(err, <-done)
	}
	queue := func(ca *CA) (*tls.Config, error) { return ca.QueueServer(now) }
	public := func(ca *CA) (*tls.Config, error) { // of our CA, but not of the queue
		certPEM, keyPEM, err := ca.IssueServer([]string{"alpha.example"}, nil, now)
		if err != nil {
			return nil, err
		}
		cert, err := tls.X509KeyPair(certPEM, keyPEM)
		return &tls.Config{Certificates: []tls.Certificate{cert}}, err
	}
	if err := try(old, queue); err != nil {
		t.Errorf("a server of the queue: %v", err)
	}
	if err := try(renewed, queue); err == nil {
		t.Error("a server of another CA")
	}
	if err := try(old, public); err == nil {
		t.Error("a server that is not the queue's")
	}
	write(renewed)
	if err := try(renewed, queue); err != nil {
		t.Errorf("after the renewal: %v", err)
	}
	if err := try(old, queue); err == nil {
		t.Error("a server of the old CA after the renewal")
	}
}
