package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/config"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/stack"
)

func TestCheckDev(t *testing.T) {
	options := func() *stack.DevOptions {
		return &stack.DevOptions{Store: stack.SQLite, Shards: 2, Domains: []string{"alpha.example", "beta.example"}}
	}
	o := options()
	o.Domains[1] = "BETA.example"
	if err := checkDev(o, []string{"beta.example=closed", "alpha.example=manual"}); err != nil {
		t.Fatal(err)
	}
	if o.Domains[1] != "beta.example" || o.Policies["beta.example"] != gateway.Closed || o.Policies["alpha.example"] != gateway.Manual {
		t.Errorf("%+v", o)
	}
	for what, change := range map[string]func(*stack.DevOptions) []string{
		"no store":          func(o *stack.DevOptions) []string { o.Store = "mysql"; return nil },
		"no shards":         func(o *stack.DevOptions) []string { o.Shards = 0; return nil },
		"no domain":         func(o *stack.DevOptions) []string { o.Domains[0] = "not a domain"; return nil },
		"a domain twice":    func(o *stack.DevOptions) []string { o.Domains[0] = "Beta.Example"; return nil },
		"no such policy":    func(*stack.DevOptions) []string { return []string{"beta.example=friends"} },
		"no such provider":  func(*stack.DevOptions) []string { return []string{"gamma.example=open"} },
		"policy, no domain": func(*stack.DevOptions) []string { return []string{"open"} },
	} {
		o := options()
		if err := checkDev(o, change(o)); err == nil {
			t.Errorf("%s: accepted", what)
		}
	}
}

// deployment writes the files of a gateway and a shard.
func deployment(t *testing.T) (gatewayFile, shardFile, dir string) {
	t.Helper()
	dir = t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	p, err := mesh.NewProvider("alpha.example", time.Now(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.WriteProvider(at("provider")); err != nil {
		t.Fatal(err)
	}
	if err := rpc.WritePKI(at("pki"), time.Now()); err != nil {
		t.Fatal(err)
	}
	server(t, dir, "alpha.example")
	write(t, at("ring.json"), `[{"id":"AAAAAQ","key":"`+strings.Repeat("A", 43)+`","not_before":"2026-01-01T00:00:00Z"}]`)
	write(t, at("map.yaml"), "epoch: 1\nshards: [{name: s00, target: '127.0.0.1:1', ranges: [{first: 0, last: 4095}]}]\n")
	write(t, at("gateway.yaml"), fmt.Sprintf(`listen: 127.0.0.1:0
services: [{domain: alpha.example, provider_dir: %[1]s/provider, tls_cert_file: %[1]s/alpha.example.pem, tls_key_file: %[1]s/alpha.example-key.pem, ring_file: %[1]s/ring.json}]
shard_map_file: %[1]s/map.yaml
cert_file: %[1]s/pki/gateway.pem
key_file: %[1]s/pki/gateway-key.pem
ca_file: %[1]s/pki/ca.pem
`, dir))
	write(t, at("shard.yaml"), fmt.Sprintf(`name: s00
listen: 127.0.0.1:0
store: sqlite
database_file: %[1]s/s00.db
services: [{domain: alpha.example, provider_dir: %[1]s/provider}]
cert_file: %[1]s/pki/shard.pem
key_file: %[1]s/pki/shard-key.pem
ca_file: %[1]s/pki/ca.pem
`, dir))
	return at("gateway.yaml"), at("shard.yaml"), dir
}

func server(t *testing.T, dir, domain string) {
	t.Helper()
	ca, err := rpc.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.IssueServer([]string{domain}, []net.IP{net.IPv4(127, 0, 0, 1)}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, domain+"-key.pem"), string(keyPEM))
	write(t, filepath.Join(dir, domain+".pem"), string(certPEM))
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// `meshd config check` says what would keep a role from starting.
func TestConfigCheck(t *testing.T) {
	gatewayFile, shardFile, dir := deployment(t)
	for role, file := range map[string]string{"gateway": gatewayFile, "shard": shardFile} {
		if err := checkConfig(t.Context(), role, file); err != nil {
			t.Errorf("%s: %v", role, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "s00.db")); err == nil {
		t.Error("the check made a database")
	}
	var usage usageError
	if err := checkConfig(t.Context(), "meshctl", shardFile); !errors.As(err, &usage) {
		t.Errorf("a role without a file: %v", err)
	}
	refuse := func(role, file, from, to, want string) {
		t.Helper()
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		changed := filepath.Join(dir, "changed.yaml")
		write(t, changed, strings.Replace(string(data), from, to, 1))
		if err := checkConfig(t.Context(), role, changed); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s instead of %s: %v, want an error with %q", to, from, err, want)
		}
	}
	refuse("gateway", gatewayFile, "listen:", "lisen:", `did you mean "listen"`)
	refuse("gateway", gatewayFile, "ring.json", "none.json", "none.json")
	refuse("gateway", gatewayFile, "domain: alpha.example", "domain: beta.example", "provider of alpha.example")
	refuse("gateway", gatewayFile, "gateway-key.pem", "shard-key.pem", "private key does not match")
	refuse("gateway", gatewayFile, "map.yaml", "ring.json", "shard map")
	refuse("shard", shardFile, "/provider}", "/pki}", "no such file")
	refuse("shard", shardFile, "domain: alpha.example", "domain: beta.example", "not of beta.example")
	refuse("shard", shardFile, "store: sqlite", "store: none", "want postgres or sqlite")
}

// The certificate is that of the domain asked for, and a renewed one is taken up without a restart.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	var c certificates
	for _, domain := range []string{"alpha.example", "beta.example"} {
		server(t, dir, domain)
		s := config.Service{Domain: domain, TLSCertFile: filepath.Join(dir, domain+".pem"), TLSKeyFile: filepath.Join(dir, domain+"-key.pem")}
		if err := c.add(s, slog.Default()); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		"alpha.example": "alpha.example", "beta.example": "beta.example", "mmm.BETA.example": "beta.example",
		"": "alpha.example", "gamma.example": "alpha.example", "example": "alpha.example",
	} {
		cert, err := c.get(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(cert.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if leaf.DNSNames[0] != want {
			t.Errorf("%q gets the certificate of %s, want %s", name, leaf.DNSNames[0], want)
		}
	}
}

// The contract of `meshd dev` (docs/design.md, Contracts): the file appears when everything answers, and goes with it.
func TestDev(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	write(t, file, "of an earlier run")
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- runDev(ctx, stack.DevOptions{Store: stack.SQLite, Shards: 2, Domains: []string{"alpha.example", "beta.example"}, Log: t.Output()}, file)
	}()
	var state map[string]any
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if data, err := os.ReadFile(file); err == nil && json.Unmarshal(data, &state) == nil { // never half of it
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("no state file")
		}
	}
	providers, _ := state["providers"].([]any)
	if len(providers) != 2 || state["dns"] == nil {
		t.Fatalf("state: %v", state)
	}
	var data string
	for i, domain := range []string{"alpha.example", "beta.example"} {
		p, _ := providers[i].(map[string]any)
		text := func(key string) string { s, _ := p[key].(string); return s }
		if text("domain") != domain {
			t.Errorf("provider %d is %q, want %q", i, text("domain"), domain)
		}
		for key, pattern := range map[string]string{
			"endpoint":           `^https://127\.0\.0\.1:\d+/\.well-known/mmm$`,
			"cleartext_endpoint": `^http://127\.0\.0\.1:\d+/\.well-known/mmm$`,
			"ca_file":            `^/.*/tls/ca\.pem$`,
			"admin":              `^127\.0\.0\.1:\d+$`,
			"metrics":            `^http://127\.0\.0\.1:\d+/metrics$`,
		} {
			if !regexp.MustCompile(pattern).MatchString(text(key)) {
				t.Errorf("%s of %s: %q does not match %s", key, domain, text(key), pattern)
			}
		}
		if resp, err := http.Get("http://" + text("admin") + "/readyz"); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s is not ready: %v, %v", domain, resp, err)
		} else {
			resp.Body.Close()
		}
		if _, err := os.Stat(text("ca_file")); err != nil {
			t.Error(err)
		}
		data = filepath.Dir(filepath.Dir(text("ca_file")))
	}
	stop()
	if err := <-done; err != nil {
		t.Errorf("stopped with %v", err)
	}
	for _, path := range []string{file, data} {
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s is still there", path)
		}
	}
}
