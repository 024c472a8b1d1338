// Package meshtest runs a whole Mesh in a test's process: providers, each a gateway and its shards, with real TLS, real
// gRPC with mutual TLS, and real stores over loopback. It assembles through package stack, as `meshd dev` does.
package meshtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// The providers of a Mesh whose Options name none.
const (
	Alpha = "alpha.example"
	Beta  = "beta.example"
)

// Options of a Mesh. The zero value is two open providers with two shards each on SQLite.
type Options struct {
	Domains  []string
	Shards   int
	Store    string // stack.SQLite, stack.Postgres
	Postgres string // with stack.Postgres: URL of a server to make databases in; empty: a private one
	Policies map[string]gateway.Policy
	Dir      string // data of an earlier Mesh; empty: new
}

// Mesh is running providers. They stop with the test.
type Mesh struct {
	*stack.Dev
	Dir       string
	StateFile string // for clients
}

// Start starts a Mesh. A fault of one of its servers fails the test.
func Start(t testing.TB, o Options) *Mesh {
	t.Helper()
	if len(o.Domains) == 0 {
		o.Domains = []string{Alpha, Beta}
	}
	if o.Shards == 0 {
		o.Shards = 2
	}
	if o.Store == "" {
		o.Store = stack.SQLite
	}
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	d, err := stack.StartDev(t.Context(), stack.DevOptions{
		Dir: o.Dir, Store: o.Store, Postgres: o.Postgres, Domains: o.Domains, Shards: o.Shards, Policies: o.Policies,
		Version: "test", Log: t.Output(), LogLevel: "warn",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(context.Background()); err != nil {
			t.Errorf("stopping: %v", err)
		}
		select {
		case err := <-d.Failed():
			t.Errorf("a server failed: %v", err)
		default:
		}
	})
	m := &Mesh{Dev: d, Dir: o.Dir, StateFile: filepath.Join(t.TempDir(), "state.json")}
	if err := d.State().Write(m.StateFile); err != nil {
		t.Fatal(err)
	}
	return m
}

// Provider is the state of one provider.
func (m *Mesh) Provider(t testing.TB, domain string) stack.ProviderState {
	t.Helper()
	for _, p := range m.State().Providers {
		if p.Domain == domain {
			return p
		}
	}
	t.Fatalf("no provider %s", domain)
	return stack.ProviderState{}
}

// HTTP is a client that believes the provider's CA and asks for its domain, wherever it listens.
func HTTP(t testing.TB, p stack.ProviderState) *http.Client {
	t.Helper()
	ca, err := os.ReadFile(p.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, ServerName: p.Domain},
		DialContext:       (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 10 * time.Second}
}

// Hello sends the example of the draft (§4.2.3) and returns HTTP status and body; status 0 and the error as text when
// nobody answers.
func Hello(t testing.TB, c *http.Client, p stack.ProviderState) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.Endpoint, bytes.NewReader([]byte(`{"Hello":{}}`)))
	if err != nil {
		t.Fatal(err)
	}
	req.Host = p.Domain
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
