package e2e

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// draftHello is the request of draft §4.2.3 in an envelope, to the octet.
const draftHello = `[{},"ewogICJIZWxsbyI6IHt9fQ",{}]`

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
