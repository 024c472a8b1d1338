package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
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
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// draftHello is the request of draft §4.2.3 in an envelope, to the octet.
const draftHello = `[{},"ewogICJIZWxsbyI6IHt9fQ",{}]`

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

// §4.2.1: what TLS the gateway offers.
func TestConformanceTLS(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1})
	p := m.Provider(t, meshtest.Alpha)
	address := must[*url.URL](t)(url.Parse(p.Endpoint)).Host
	trust := meshtest.HTTP(t, p).Transport.(*http.Transport).TLSClientConfig

	t.Run("C-029, C-032, C-033", func(t *testing.T) {
		asked := false
		c := trust.Clone()
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return new(tls.Certificate), nil
		}
		conn := must[*tls.Conn](t)(tls.Dial("tcp", address, c))
		defer conn.Close()
		// The handshake of TLS 1.3 ends for the server with the client's Finished: an answer shows that it is content.
		if resp := roundTrip(t, conn, post("", draftHello)); resp.StatusCode != 201 {
			t.Errorf("HTTP %d", resp.StatusCode)
		}
		if v := conn.ConnectionState().Version; v != tls.VersionTLS13 {
			t.Errorf("TLS version %x", v)
		}
		if asked {
			t.Error("the server sent a CertificateRequest")
		}
	})
	t.Run("C-032, C-079 TLS 1.2", func(t *testing.T) {
		c := trust.Clone()
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		if conn, err := tls.Dial("tcp", address, c); err == nil {
			conn.Close()
			t.Error("accepted")
		} else if !strings.Contains(err.Error(), "protocol version") {
			t.Errorf("%v, want the alert of the transport layer", err)
		}
	})
	for _, v := range []struct {
		name      string
		protocols *http.Protocols
		want      string
	}{{"C-035", new(http.Protocols), "HTTP/1.1"}, {"C-036", new(http.Protocols), "HTTP/2.0"}} {
		t.Run(v.name, func(t *testing.T) {
			v.protocols.SetHTTP1(v.want == "HTTP/1.1")
			v.protocols.SetHTTP2(v.want == "HTTP/2.0")
			transport := &http.Transport{TLSClientConfig: trust.Clone(), Protocols: v.protocols}
			defer transport.CloseIdleConnections()
			d := alphaDoor(t, m)
			d.http = &http.Client{Transport: transport}
			resp, _ := d.post(t, []byte(draftHello))
			if resp.Proto != v.want || resp.StatusCode != 201 {
				t.Errorf("%s %d, want %s", resp.Proto, resp.StatusCode, v.want)
			}
		})
	}
}

// post is a request as text, with more header fields or others.
func post(fields, body string) string {
	if !strings.Contains(fields, "Transfer-Encoding") {
		fields += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	if !strings.Contains(fields, "Host:") {
		fields = "Host: " + meshtest.Alpha + "\r\n" + fields
	}
	return "POST /.well-known/mmm HTTP/1.1\r\n" + fields + "\r\n" + body
}

// roundTrip sends a request as it stands; the body of the answer has been read.
func roundTrip(t *testing.T, conn net.Conn, text string) *http.Response {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.80q: %v", text, err)
	}
	defer resp.Body.Close()
	body := must[[]byte](t)(io.ReadAll(resp.Body))
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp
}

// §4.2.2, §4.2.3: requests as octets on a TLS connection. Refusals of HTTP carry a hint as body where they can (C-081).
func TestConformanceHTTP(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1})
	p := m.Provider(t, meshtest.Alpha)
	address := must[*url.URL](t)(url.Parse(p.Endpoint)).Host
	trust := meshtest.HTTP(t, p).Transport.(*http.Transport).TLSClientConfig
	chunks := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(draftHello), draftHello)
	at := func(method, path string) string {
		return strings.Replace(post("", draftHello), "POST /.well-known/mmm", method+" "+path, 1)
	}
	unknown := ""
	for i := range 20 {
		unknown += fmt.Sprintf("X-Unknown-%d: %d\r\n", i, i)
	}
	for _, c := range []struct {
		name, request string
		status        int
		extended      int64 // -1: a body is not asked for
	}{
		{"C-034 POST", post("", draftHello), 201, 0},
		{"C-034 GET", "GET /.well-known/mmm HTTP/1.1\r\nHost: alpha.example\r\n\r\n", 405, 0},
		{"C-034 PUT", at("PUT", "/.well-known/mmm"), 405, 0},
		{"C-034 DELETE", at("DELETE", "/.well-known/mmm"), 405, 0},
		{"C-037 the URI names no command", at("POST", "/.well-known/mmm/Status"), 404, 0},
		{"C-037 nor does a query", at("POST", "/.well-known/mmm?Status"), 201, 0},
		{"C-039 twenty unknown fields", post(unknown, draftHello), 201, 0},
		{"C-040, C-143 canonical with slash", at("POST", "/.well-known/mmm/"), 201, 0},
		{"C-040 as the draft prints it", at("POST", "/well-known/mmm"), 201, 0},
		{"C-040 of web service discovery", at("POST", "/.well-known/srv/mmm"), 201, 0},
		{"C-040 other", at("POST", "/"), 404, 0},
		{"C-041 no Host", "POST /.well-known/mmm HTTP/1.1\r\nContent-Length: 29\r\n\r\n" + draftHello, 400, -1},
		{"C-041 two Hosts", post("Host: alpha.example\r\nHost: alpha.example\r\n", draftHello), 400, -1},
		{"C-149 empty Host", post("Host: \r\n", draftHello), 400, -1},
		{"C-149 foreign Host", post("Host: beta.example\r\n", draftHello), 421, 0},
		{"C-042 JSON", post("Content-Type: application/json\r\n", draftHello), 201, 0},
		{"C-042 text", post("Content-Type: text/plain\r\n", draftHello), 415, 32},
		{"C-042 gzip", post("Content-Encoding: gzip\r\n", draftHello), 415, 32},
		{"C-043 chunked", post("Transfer-Encoding: chunked\r\n", chunks), 201, 0},
		{"C-043 both", post("Transfer-Encoding: chunked\r\nContent-Length: 29\r\n", chunks), 400, -1},
		{"C-043 both, in the other order", post("Content-Length: 29\r\nTransfer-Encoding: chunked\r\n", chunks), 400, -1},
		{"C-043 two lengths", post("Content-Length: 28\r\n", draftHello), 400, -1},
		{"C-043 neither", "POST /.well-known/mmm HTTP/1.1\r\nHost: alpha.example\r\n\r\n", 400, 0},
		{"C-065 JSON-B Hello", post("Content-Type: application/json-b\r\n", draftHello), 415, 32},
		{"C-144 two messages in one body", post("", draftHello+draftHello), 400, 0},
		{"C-144 two messages, white space between", post("", draftHello+"\r\n"+draftHello), 400, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := must[*tls.Conn](t)(tls.Dial("tcp", address, trust))
			defer conn.Close()
			resp := roundTrip(t, conn, c.request)
			body := must[[]byte](t)(io.ReadAll(resp.Body))
			if resp.StatusCode != c.status {
				t.Errorf("HTTP %d, want %d: %.200s", resp.StatusCode, c.status, body)
			}
			switch {
			case c.status == 201:
				readHello(t, body)
			case c.extended >= 0:
				readHint(t, resp, body).says(t, "body", int64(c.status), c.extended)
			}
			// C-038, C-045, C-046
			if c.extended >= 0 {
				if got := resp.Header.Get("Cache-Control"); got != "no-store" {
					t.Errorf("Cache-Control %q", got)
				}
				if got := resp.Header.Get("Content-Type"); got != "application/json" {
					t.Errorf("Content-Type %q", got)
				}
				if resp.ContentLength != int64(len(body)) {
					t.Errorf("Content-Length %d, the body has %d octets", resp.ContentLength, len(body))
				}
			}
		})
	}
	// C-144, the other way round: two requests on one connection are two transactions, answered in order.
	t.Run("C-144 pipelining", func(t *testing.T) {
		t.Parallel()
		conn := must[*tls.Conn](t)(tls.Dial("tcp", address, trust))
		defer conn.Close()
		id := base64.RawURLEncoding.EncodeToString([]byte("sixteen octets !"))
		if _, err := io.WriteString(conn, post("", draftHello)+post("", `{"Hello":{"ID":"`+id+`"}}`)); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(conn)
		for _, want := range []string{"", "sixteen octets !"} {
			resp := must[*http.Response](t)(http.ReadResponse(r, nil))
			h, _ := readHello(t, must[[]byte](t)(io.ReadAll(resp.Body)))
			if string(h.ID) != want {
				t.Errorf("ID %q, want %q", h.ID, want)
			}
		}
	})
}

// readHello verifies the answer to a null Hello as a client without any other knowledge does.
func readHello(t *testing.T, body []byte) (*mesh.MeshHelloResponse, *dare.Envelope) {
	t.Helper()
	e, err := dare.Parse(body)
	if err != nil {
		t.Fatalf("%v: %.200s", err, body)
	}
	checkShape(t, e.Payload)
	r := new(mesh.MeshHelloResponse)
	if tag, err := mesh.DecodeResponse(e.Payload, r); err != nil || tag != mesh.TagMeshHelloResponse {
		t.Fatalf("%s, %v", tag, err)
	}
	service := must[*mesh.ProfileService](t)(mesh.VerifyProfileService(r.EnvelopedProfileService))
	host := must[*mesh.ProfileHost](t)(mesh.VerifyProfileHost(r.EnvelopedProfileHost, service))
	if err := e.Verify(*host.KeysOnlineSignature[0].PublicParameters); err != nil {
		t.Errorf("not signed by the host: %v", err)
	}
	return r, e
}

// C-037, C-149: two virtual services on one port; Host alone selects.
func TestConformanceVirtualServices(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Shards: 1})
	var domains []gateway.Domain
	ring := newTicketRing(t)
	udfs := make(map[string]string)
	for _, name := range []string{meshtest.Alpha, meshtest.Beta} {
		k := must[*mesh.GatewayKeys](t)(mesh.LoadGateway(m.Provider(t, name).Provider))
		domains = append(domains, serviceOf(k, ring))
		udfs[name] = must[*mesh.ProfileService](t)(mesh.VerifyProfileService(k.EnvelopedProfileService)).UDF()
	}
	d := serveGateway(t, m.Provider(t, meshtest.Alpha), time.Now, domains...)
	for name, udf := range udfs {
		resp, body := d.post(t, []byte(draftHello), func(r *http.Request) { r.Host = name })
		if resp.StatusCode != 201 {
			t.Fatalf("%s: HTTP %d", name, resp.StatusCode)
		}
		h, _ := readHello(t, body)
		if got := must[*mesh.ProfileService](t)(mesh.VerifyProfileService(h.EnvelopedProfileService)).UDF(); got != udf {
			t.Errorf("Host %s is served by %s, want %s", name, got, udf)
		}
	}
	d.hint(t, draftHello, func(r *http.Request) { r.Host = "gamma.example" }).says(t, "a third", 421, 0)
	// An exchange for one of them is none for the other, although the octets reach the same gateway.
	c := newResident(t, "alice@"+meshtest.Alpha).device.byDevice(t, d)
	s := c.sealExchange(t, []byte(`{"Hello":{}}`))
	if resp, _ := d.post(t, s.body, func(r *http.Request) { r.Host = meshtest.Beta }); resp.StatusCode != 401 {
		t.Errorf("an exchange with alpha sent to beta: HTTP %d", resp.StatusCode)
	}
	c.send(t, s, new(mesh.MeshHelloResponse)).is(t, "to alpha", 201, 0)
}

func serviceOf(k *mesh.GatewayKeys, ring *make1.Ring) gateway.Domain {
	return stack.GatewayDomain(k, func() *make1.Ring { return ring }, gateway.Open)
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

// C-054: the cleartext listener takes nothing that is not encrypted, but for the Hello that carries no secret.
func TestConformanceCleartext(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1})
	p := m.Provider(t, meshtest.Alpha)
	d := doorOf(t, p)
	d.url = p.CleartextEndpoint
	for _, tag := range mesh.Transactions()[1:] {
		d.hint(t, nullRequest(tag)).says(t, tag+" without enc", 401, 33)
		d.hint(t, `{"`+tag+`":{}}`).says(t, tag+" bare", 401, 33)
	}
	resp, body := d.post(t, []byte(draftHello))
	if resp.StatusCode != 201 {
		t.Errorf("null Hello: HTTP %d", resp.StatusCode)
	}
	readHello(t, body)
	// C-030: and all that is encrypted works.
	r := newResident(t, "carol@"+meshtest.Alpha)
	c := r.moveIn(t, d)
	c.upload(t, "Upload", []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"))}, "A1")
	if n, _ := c.state(t, mesh.CatalogBookmark); n != 2 {
		t.Errorf("%d frames, want 2", n)
	}
}

// nullRequest is a request in an envelope without any authentication.
func nullRequest(tag string) string {
	return `[{},"` + base64.RawURLEncoding.EncodeToString([]byte(`{"`+tag+`":{}}`)) + `"]`
}
