package e2e

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// seen is a request that passed an observer, with its answer.
type seen struct {
	host, method, path string
	tls                bool
	status             int
	request, response  []byte
}

// observer is a proxy before a gateway that sees what a client sends and gets: with a certificate it is the end of TLS.
type observer struct {
	*httptest.Server
	mu  sync.Mutex
	all []seen
}

// observe starts an observer of the gateway that p reaches at endpoint.
func observe(t *testing.T, p stack.ProviderState, endpoint string, cert *tls.Certificate) *observer {
	t.Helper()
	o := new(observer)
	gate := meshtest.HTTP(t, p)
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		forward, err := http.NewRequestWithContext(r.Context(), r.Method, endpoint, bytes.NewReader(body))
		if err != nil {
			t.Error(err)
			return
		}
		forward.Host, forward.Header = r.Host, r.Header.Clone()
		resp, err := gate.Do(forward)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
			return
		}
		o.mu.Lock()
		o.all = append(o.all, seen{r.Host, r.Method, r.URL.RequestURI(), r.TLS != nil, resp.StatusCode, body, answer})
		o.mu.Unlock()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		w.WriteHeader(resp.StatusCode)
		_, _ = w.Write(answer)
	}))
	if cert != nil {
		o.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS13}
		o.EnableHTTP2 = true
		o.StartTLS()
	} else {
		o.Start()
	}
	t.Cleanup(o.Close)
	return o
}

func (o *observer) requests() []seen {
	o.mu.Lock()
	defer o.mu.Unlock()
	return append([]seen(nil), o.all...)
}

func (o *observer) port(t *testing.T) uint16 {
	t.Helper()
	u := must[*url.URL](t)(url.Parse(o.URL))
	return uint16(must[int](t)(strconv.Atoi(u.Port())))
}

// serveZone answers from records over UDP and returns where.
func serveZone(t *testing.T, records ...string) string {
	t.Helper()
	var zone []dns.RR
	for _, text := range records {
		zone = append(zone, must[dns.RR](t)(dns.NewRR(text)))
	}
	conn := must[net.PacketConn](t)(net.ListenPacket("udp", "127.0.0.1:0"))
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Authoritative = true
		m.Rcode = dns.RcodeNameError
		for _, rr := range zone {
			if strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
				m.Rcode = dns.RcodeSuccess
				if rr.Header().Rrtype == q.Question[0].Qtype {
					m.Answer = append(m.Answer, rr)
				}
			}
		}
		_ = w.WriteMsg(m)
	})}
	done := make(chan error, 1)
	go func() { done <- s.ActivateAndServe() }()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
	return conn.LocalAddr().String()
}

func srvRecord(priority, weight int, port uint16, target string) string {
	return fmt.Sprintf("_mmm._tcp.alpha.example. 5 IN SRV %d %d %d %s.", priority, weight, port, target)
}

// authority issues the certificates of observers.
func authority(t *testing.T) (roots *x509.CertPool, issue func(names ...string) *tls.Certificate) {
	t.Helper()
	ca := must[*rpc.CA](t)(rpc.NewCA("a test", time.Now()))
	roots = x509.NewCertPool()
	roots.AppendCertsFromPEM(ca.CertPEM())
	return roots, func(names ...string) *tls.Certificate {
		certPEM, keyPEM, err := ca.IssueServer(names, nil, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		cert := must[tls.Certificate](t)(tls.X509KeyPair(certPEM, keyPEM))
		return &cert
	}
}

// §4.1: a client that knows nothing but the domain, with a real DNS server and the requests as two targets see them.
func TestConformanceDiscovery(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1})
	p := m.Provider(t, meshtest.Alpha)
	roots, issue := authority(t)
	const a1, a2 = "a.alpha.example. 5 IN A 127.0.0.1", "b.alpha.example. 5 IN A 127.0.0.1"
	two := func(t *testing.T) (a, b *observer) {
		return observe(t, p, p.Endpoint, issue("a.alpha.example")), observe(t, p, p.Endpoint, issue("b.alpha.example"))
	}
	hello := func(t *testing.T, zone string) {
		t.Helper()
		if _, err := client.Hello(t.Context(), client.Config{Dir: t.TempDir(), DNS: zone, Roots: roots}, meshtest.Alpha); err != nil {
			t.Fatal(err)
		}
	}
	only := func(t *testing.T, o *observer, path string, n int) {
		t.Helper()
		all := o.requests()
		if len(all) != n {
			t.Errorf("%d requests, want %d", len(all), n)
		}
		for _, r := range all {
			if r.path != path || r.method != http.MethodPost || r.host != meshtest.Alpha || !r.tls {
				t.Errorf("%s %s of %s (TLS %t), want POST %s of %s over TLS", r.method, r.path, r.host, r.tls, path, meshtest.Alpha)
			}
		}
	}
	t.Run("C-026 SRV only", func(t *testing.T) {
		t.Parallel()
		a, b := two(t)
		hello(t, serveZone(t, a1, a2, srvRecord(1, 1, a.port(t), "a.alpha.example")))
		only(t, a, "/.well-known/mmm", 1)
		only(t, b, "", 0)
	})
	t.Run("C-026 DNS of meshd dev", func(t *testing.T) {
		t.Parallel()
		ca := x509.NewCertPool()
		ca.AppendCertsFromPEM(must[[]byte](t)(os.ReadFile(p.CAFile)))
		if _, err := client.Hello(t.Context(), client.Config{Dir: t.TempDir(), DNS: m.State().DNS, Roots: ca}, meshtest.Alpha); err != nil {
			t.Error(err)
		}
	})
	t.Run("C-027 priority and path", func(t *testing.T) {
		t.Parallel()
		a, b := two(t)
		const txt = `_mmm._tcp.alpha.example. 5 IN TXT "path=/service"`
		zone := serveZone(t, a1, a2, txt, srvRecord(20, 100, a.port(t), "a.alpha.example"), srvRecord(10, 1, b.port(t), "b.alpha.example"))
		for range 5 {
			hello(t, zone)
		}
		only(t, a, "", 0)
		only(t, b, "/service", 5)
		// The second is for when the first is away.
		b.Close()
		hello(t, zone)
		only(t, a, "/service", 1)
	})
	t.Run("C-027 weight", func(t *testing.T) {
		t.Parallel()
		a, b := two(t)
		zone := serveZone(t, a1, a2, srvRecord(1, 950, a.port(t), "a.alpha.example"), srvRecord(1, 50, b.port(t), "b.alpha.example"))
		const tries = 40
		for range tries {
			hello(t, zone)
		}
		// 38 are expected. Fewer than 30 happen once in a million runs; without weights 30 or more once in a thousand.
		if n := len(a.requests()); n < 30 || n+len(b.requests()) != tries {
			t.Errorf("%d of %d at the target of weight 0.95, %d at the other", n, tries, len(b.requests()))
		}
	})
	t.Run("C-031 https only", func(t *testing.T) {
		t.Parallel()
		l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
		t.Cleanup(func() { l.Close() })
		first := make(chan byte, 64)
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				var octet [1]byte
				if _, err := io.ReadFull(conn, octet[:]); err == nil {
					first <- octet[0]
				}
				conn.Close()
			}
		}()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		n := must[int](t)(strconv.Atoi(port))
		zone := serveZone(t, a1, srvRecord(1, 1, uint16(n), "a.alpha.example"))
		if _, err := client.Hello(t.Context(), client.Config{Dir: t.TempDir(), DNS: zone, Roots: roots}, meshtest.Alpha); err == nil {
			t.Error("a service that speaks no TLS was believed")
		}
		close(first)
		tried := 0
		for octet := range first {
			if tried++; octet != 0x16 { // handshake
				t.Errorf("the client began with octet %#x, want a TLS handshake", octet)
			}
		}
		if tried == 0 {
			t.Error("the client did not come")
		}
	})
	t.Run("C-031 http by option", func(t *testing.T) {
		t.Parallel()
		info, err := client.Hello(t.Context(), client.Config{Dir: t.TempDir(), StateFile: m.StateFile}, meshtest.Alpha)
		if err != nil {
			t.Fatal(err)
		}
		o := observe(t, p, p.CleartextEndpoint, nil)
		c := client.Config{Dir: t.TempDir(), Services: map[string]string{meshtest.Alpha: o.URL}, Pins: map[string]string{meshtest.Alpha: info.ServiceUDF}}
		if _, err := client.Hello(t.Context(), c, meshtest.Alpha); err != nil {
			t.Error(err)
		}
		if len(o.requests()) != 1 {
			t.Errorf("%d requests", len(o.requests()))
		}
	})
}

// C-028, C-030, C-049, C-054, C-055, C-058: what passes between a real client and a gateway, over TLS and in the clear. All is
// DARE; the first message is a Hello, and everything after it is encrypted.
func TestConformanceCapture(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1})
	p := m.Provider(t, meshtest.Alpha)
	roots, issue := authority(t)
	info, err := client.Hello(t.Context(), client.Config{Dir: t.TempDir(), StateFile: m.StateFile}, meshtest.Alpha)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, address string
		cleartext     bool
	}{{"TLS", "alicia@alpha.example", false}, {"cleartext", "bobby@alpha.example", true}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var o *observer
			config := client.Config{Dir: t.TempDir()}
			if c.cleartext {
				o = observe(t, p, p.CleartextEndpoint, nil)
				config.Services, config.Pins = map[string]string{meshtest.Alpha: o.URL}, map[string]string{meshtest.Alpha: info.ServiceUDF}
			} else {
				o = observe(t, p, p.Endpoint, issue("a.alpha.example"))
				config.DNS = serveZone(t, "a.alpha.example. 5 IN A 127.0.0.1", srvRecord(1, 1, o.port(t), "a.alpha.example"))
				config.Roots = roots
			}
			machine := &machine{t, config}
			machine.create(c.address)
			machine.put(mesh.CatalogCredential, login(1, "secret"))
			machine.sync()
			all := o.requests()
			if len(all) < 3 {
				t.Fatalf("%d requests", len(all))
			}
			for i, r := range all {
				local, _, _ := strings.Cut(c.address, "@")
				for what, text := range map[string][]byte{"request": r.request, "response": r.response} {
					e, err := dare.Parse(text)
					if err != nil {
						t.Fatalf("%s %d is not DARE: %v", what, i, err)
					}
					h := must[*dare.Header](t)(e.ParseHeader())
					switch {
					case i == 0 && h.Enc != "":
						t.Errorf("the first %s of a client that knows nothing is encrypted", what)
					case i > 0 && (h.Enc != "A256GCM" || jbcd.Valid(e.Payload, jbcd.DefaultLimits) == nil):
						t.Errorf("%s %d is not encrypted: %.100s", what, i, text)
					case i > 0 && (bytes.Contains(text, []byte(local)) || bytes.Contains(e.Payload, []byte(local))):
						t.Errorf("%s %d shows the account", what, i)
					}
				}
			}
			tag, _, err := mesh.DecodeRequest(must[*dare.Envelope](t)(dare.Parse(all[0].request)).Payload)
			if err != nil || tag != mesh.TagHello {
				t.Errorf("the first request is %s, %v; want a Hello", tag, err)
			}
			hello, _ := readHello(t, all[0].response)
			host := must[*mesh.ProfileHost](t)(readHost(hello.EnvelopedProfileHost))
			second := must[*dare.Header](t)(must[*dare.Envelope](t)(dare.Parse(all[1].request)).ParseHeader())
			if len(second.Recipients) != 1 || !dare.SameKID(second.Recipients[0].KID, host.KeyAuthentication.KID()) {
				t.Errorf("the second request is not for the key of the Hello: %+v", second.Recipients)
			}
		})
	}
}
