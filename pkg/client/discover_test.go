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
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"
)

// zone is a DNS server with a few records.
type zone struct {
	srv map[string][]dnsmessage.SRVResource
	txt map[string][]string
	a   map[string][4]byte
}

// serve answers on a UDP port of the loopback and returns it.
func (z *zone) serve(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buf := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buf[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			if out, err := z.answer(m).Pack(); err == nil {
				conn.WriteTo(out, from)
			}
		}
	}()
	return conn.LocalAddr().String()
}

func (z *zone) answer(m dnsmessage.Message) *dnsmessage.Message {
	q := m.Questions[0]
	name := strings.TrimSuffix(q.Name.String(), ".")
	add := func(b dnsmessage.ResourceBody) {
		m.Answers = append(m.Answers, dnsmessage.Resource{
			Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, TTL: 1}, Body: b,
		})
	}
	switch q.Type {
	case dnsmessage.TypeSRV:
		for _, r := range z.srv[name] {
			add(&r)
		}
	case dnsmessage.TypeTXT:
		for _, r := range z.txt[name] {
			add(&dnsmessage.TXTResource{TXT: []string{r}})
		}
	case dnsmessage.TypeA:
		if ip, ok := z.a[name]; ok {
			add(&dnsmessage.AResource{A: ip})
		}
	}
	m.Response, m.Authoritative, m.Additionals = true, true, nil
	if _, exists := z.a[name]; len(m.Answers) == 0 && !exists {
		m.RCode = dnsmessage.RCodeNameError
	}
	return &m
}

func srv(target string, port, priority uint16) dnsmessage.SRVResource {
	return dnsmessage.SRVResource{Target: dnsmessage.MustNewName(target + "."), Port: port, Priority: priority, Weight: 1}
}

// C-026, C-027, C-031; FLOWS §1: where a domain's service is.
func TestDiscover(t *testing.T) {
	z := &zone{
		srv: map[string][]dnsmessage.SRVResource{
			"_mmm._tcp.example.com":  {srv("b.example.com", 8443, 20), srv("a.example.com", 443, 10)},
			"_mmm._tcp.path.example": {srv("mesh.path.example", 443, 0), srv("other.path.example", 443, 1)},
			"_mmm._tcp.away.example": {srv("mesh.host.example", 443, 0)},
			"_mmm._tcp.old.example":  {srv("v2.old.example", 443, 0), srv("v3.old.example", 443, 1)},
			"_mmm._tcp.none.example": {srv("", 0, 0)},
		},
		txt: map[string][]string{
			"_mmm._tcp.path.example":      {"path=/service", "colour=red"},
			"_mmm._tcp.mesh.path.example": {"path=/host version=4.0-2.0"},
			"_mmm._tcp.v2.old.example":    {"version=2.1-1.0"},
			"_mmm._tcp.v3.old.example":    {"version=3.0", "encoding=json-b,json"},
		},
	}
	dns := z.serve(t)
	state := filepath.Join(t.TempDir(), "state.json")
	err := os.WriteFile(state, []byte(`{"providers":[{"domain":"Alpha.Example","endpoint":"https://127.0.0.1:9/x","metrics":"m"}],"dns":"127.0.0.1:1","pid":1}`), fileMode)
	if err != nil {
		t.Fatal(err)
	}
	https := func(text string) string { return "https://" + text }
	tests := []struct {
		name   string
		config Config
		domain string
		want   []string // url, alternate, names
	}{
		{"priority", Config{DNS: dns}, "example.com", []string{
			https("a.example.com/.well-known/mmm ") + https("a.example.com/.well-known/srv/mmm a.example.com,example.com"),
			https("b.example.com:8443/.well-known/mmm ") + https("b.example.com:8443/.well-known/srv/mmm b.example.com,example.com"),
		}},
		{"path of host, then of service", Config{DNS: dns}, "path.example", []string{
			https("mesh.path.example/host  mesh.path.example,path.example"),
			https("other.path.example/service  other.path.example,path.example"),
		}},
		{"a host elsewhere must have the domain's certificate", Config{DNS: dns}, "away.example", []string{
			https("mesh.host.example/.well-known/mmm ") + https("mesh.host.example/.well-known/srv/mmm away.example"),
		}},
		{"another version", Config{DNS: dns}, "old.example", []string{
			https("v3.old.example/.well-known/mmm ") + https("v3.old.example/.well-known/srv/mmm v3.old.example,old.example"),
		}},
		{"no SRV", Config{DNS: dns}, "plain.example", []string{
			https("mmm.plain.example/.well-known/mmm ") + https("mmm.plain.example/.well-known/srv/mmm mmm.plain.example,plain.example"),
			https("plain.example/.well-known/mmm ") + https("plain.example/.well-known/srv/mmm plain.example"),
		}},
		{"decidedly not there", Config{DNS: dns}, "none.example", nil},
		{"state file", Config{StateFile: state, DNS: dns}, "alpha.example", []string{https("127.0.0.1:9/x  alpha.example")}},
		{"not in the state file", Config{StateFile: state, DNS: dns}, "example.com", nil},
		{"override", Config{Services: map[string]string{"example.com": "http://127.0.0.1:8080"}, DNS: dns}, "example.com", []string{
			"http://127.0.0.1:8080/.well-known/mmm http://127.0.0.1:8080/.well-known/srv/mmm example.com",
		}},
		{"override that is none", Config{Services: map[string]string{"example.com": "ftp://x"}}, "example.com", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			found, err := discover(t.Context(), &test.config, test.domain)
			var got []string
			for _, e := range found {
				got = append(got, e.url+" "+e.alternate+" "+strings.Join(e.names, ","))
			}
			if diff := cmp.Diff(test.want, got); diff != "" || (err != nil) != (test.want == nil) {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

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
		z := &zone{
			srv: map[string][]dnsmessage.SRVResource{"_mmm._tcp.example.com": records},
			a:   map[string][4]byte{host: loopback, "dead.example.com": {127, 0, 0, 1}},
		}
		return Hello(t.Context(), Config{DNS: z.serve(t), Roots: ca.roots()}, "example.com")
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
			s := newSite(t, f, pathDefault, test.cert, test.version)
			info, err := reach(test.host, srv(test.host, s.port(), 0))
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
		s := newSite(t, f, pathAlternate, ca.issue("gw.example.com"), 0)
		if _, err := reach("gw.example.com", srv("gw.example.com", s.port(), 0)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{pathDefault, pathAlternate}, s.paths); diff != "" {
			t.Errorf("paths (-want +got):\n%s", diff)
		}
	})
	t.Run("the next host", func(t *testing.T) {
		s := newSite(t, f, pathDefault, ca.issue("gw.example.com"), 0)
		closed := must(net.Listen("tcp", "127.0.0.1:0"))
		_, port, _ := net.SplitHostPort(closed.Addr().String())
		closed.Close()
		dead := srv("dead.example.com", uint16(must(strconv.Atoi(port))), 0)
		if _, err := reach("gw.example.com", dead, srv("gw.example.com", s.port(), 1)); err != nil {
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
