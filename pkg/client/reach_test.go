package client

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mathmesh/meshd/pkg/discover"
	"github.com/mathmesh/meshd/pkg/discover/zonetest"
)

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a.cert = must(x509.ParseCertificate(must(x509.CreateCertificate(rand.Reader, template, template, &a.key.PublicKey, a.key))))
	return a
}

func (a *authority) roots() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

func (a *authority) issue(names ...string) tls.Certificate {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: names, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	return tls.Certificate{
		Certificate: [][]byte{must(x509.CreateCertificate(rand.Reader, template, a.cert, &a.key.PublicKey, a.key))}, PrivateKey: a.key,
	}
}

// site is a service behind a certificate, with the paths that were asked for.
type site struct {
	*httptest.Server
	mu    sync.Mutex
	paths []string
	names []string // SNI
}

func newSite(t *testing.T, f *fakeService, path string, c tls.Certificate, version uint16) *site {
	t.Helper()
	s := &site{}
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.paths, s.names = append(s.paths, r.URL.Path), append(s.names, r.TLS.ServerName)
		s.mu.Unlock()
		if r.URL.Path != path {
			http.NotFound(w, r)
			return
		}
		f.ServeHTTP(w, r)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{c}, MaxVersion: version}
	s.Config.ErrorLog = nil
	s.EnableHTTP2 = true
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *site) port() uint16 {
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	return uint16(must(strconv.Atoi(port)))
}

// C-029, C-032, C-040, C-149; FLOWS §1.5: over real TLS, found by real DNS: the certificate must be for the host or the account's
// domain, TLS below 1.3 is refused, a path that is not there is followed by its alias, a dead host by the next.
func TestReach(t *testing.T) {
	f := newFake(t)
	ca, stranger := newAuthority(t), newAuthority(t)
	loopback := [4]byte{127, 0, 0, 1}
	reach := func(host string, records ...dnsmessage.SRVResource) (*ServiceInfo, error) {
		z := &zonetest.Zone{
			SRV: map[string][]dnsmessage.SRVResource{"_mmm._tcp.example.com": records},
			A:   map[string][4]byte{host: loopback, "dead.example.com": {127, 0, 0, 1}},
		}
		return Hello(t.Context(), Config{DNS: z.Serve(t), Roots: ca.roots()}, "example.com")
	}
	tests := []struct {
		name, host string
		cert       tls.Certificate
		version    uint16
		sni        string // empty: refused
	}{
		{"certificate of the host", "gw.example.com", ca.issue("gw.example.com"), 0, "gw.example.com"},
		{"certificate of the domain", "gw.example.com", ca.issue("example.com"), 0, "gw.example.com"},
		{"a host elsewhere with the domain's", "gw.host.example", ca.issue("example.com"), 0, "example.com"},
		{"a host elsewhere with its own", "gw.host.example", ca.issue("gw.host.example"), 0, ""},
		{"another domain's", "gw.example.com", ca.issue("example.org"), 0, ""},
		{"an unknown authority's", "gw.example.com", stranger.issue("gw.example.com"), 0, ""},
		{"TLS 1.2", "gw.example.com", ca.issue("gw.example.com"), tls.VersionTLS12, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSite(t, f, discover.PathDefault, test.cert, test.version)
			info, err := reach(test.host, zonetest.SRV(test.host, s.port(), 0))
			if test.sni == "" {
				var network *NetworkError
				if !errors.As(err, &network) || len(s.paths) != 0 {
					t.Errorf("%v, %d requests, want it refused before the first", err, len(s.paths))
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.names[0] != test.sni || info.ServiceUDF != f.provider.Gateway.Service.UDF() {
				t.Errorf("SNI %q, service %q", s.names[0], info.ServiceUDF)
			}
		})
	}
	t.Run("alias", func(t *testing.T) {
		s := newSite(t, f, discover.PathAlternate, ca.issue("gw.example.com"), 0)
		if _, err := reach("gw.example.com", zonetest.SRV("gw.example.com", s.port(), 0)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{discover.PathDefault, discover.PathAlternate}, s.paths); diff != "" {
			t.Errorf("paths (-want +got):\n%s", diff)
		}
	})
	t.Run("the next host", func(t *testing.T) {
		s := newSite(t, f, discover.PathDefault, ca.issue("gw.example.com"), 0)
		closed := must(net.Listen("tcp", "127.0.0.1:0"))
		_, port, _ := net.SplitHostPort(closed.Addr().String())
		closed.Close()
		dead := zonetest.SRV("dead.example.com", uint16(must(strconv.Atoi(port))), 0)
		if _, err := reach("gw.example.com", dead, zonetest.SRV("gw.example.com", s.port(), 1)); err != nil {
			t.Fatal(err)
		}
	})
}

func TestReachGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var network *NetworkError
	_, err := Hello(ctx, Config{Services: map[string]string{"example.com": "https://127.0.0.1:1/"}}, "example.com")
	if !errors.As(err, &network) {
		t.Errorf("%v, want a network error", err)
	}
}
