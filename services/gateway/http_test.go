package gateway

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// draftHello is the request of draft §4.2.3 in an envelope, to the octet.
const draftHello = `[{},"ewogICJIZWxsbyI6IHt9fQ",{}]`

// Covers C-034, C-037, C-038, C-039, C-040, C-041, C-042, C-046, C-065, C-066, C-079, C-081, C-143, C-149, C-153.
func TestTransport(t *testing.T) {
	g := newLonely(t, nil)
	for _, c := range []struct {
		name             string
		change           func(*http.Request)
		body             string
		status, extended int64
	}{
		{"exact Hello", nil, draftHello, 201, 0},
		{"GET", func(r *http.Request) { r.Method = http.MethodGet }, "", 405, 0},
		{"PUT", func(r *http.Request) { r.Method = http.MethodPut }, draftHello, 405, 0},
		{"alias", func(r *http.Request) { r.URL.Path = "/.well-known/srv/mmm/" }, draftHello, 201, 0},
		{"path of the draft", func(r *http.Request) { r.URL.Path = "/well-known/mmm" }, draftHello, 201, 0},
		{"slash", func(r *http.Request) { r.URL.Path = "/.well-known/mmm/" }, draftHello, 201, 0},
		{"two slashes", func(r *http.Request) { r.URL.Path = "/.well-known/mmm//" }, draftHello, 404, 0},
		{"other path", func(r *http.Request) { r.URL.Path = "/" }, draftHello, 404, 0},
		{"query", func(r *http.Request) { r.URL.RawQuery = "x=Status" }, draftHello, 201, 0},
		{"foreign Host", func(r *http.Request) { r.Host = "beta.example" }, draftHello, 421, 0},
		{"no Host", func(r *http.Request) { r.Host = "" }, draftHello, 400, 0},
		{"Host with port, capitals and dot", func(r *http.Request) { r.Host = "Alpha.Example.:8443" }, draftHello, 201, 0},
		{"address as Host", func(r *http.Request) { r.Host = "[::1]:8443" }, draftHello, 421, 0},
		{"no Content-Type", func(r *http.Request) { r.Header.Del("Content-Type") }, draftHello, 201, 0},
		{"charset", func(r *http.Request) { r.Header.Set("Content-Type", "Application/JSON; charset=UTF-8") }, draftHello, 201, 0},
		{"other charset", func(r *http.Request) { r.Header.Set("Content-Type", "application/json; charset=latin1") }, draftHello, 415, 32},
		{"text", func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") }, draftHello, 415, 32},
		{"JSON-B", func(r *http.Request) { r.Header.Set("Content-Type", "application/json-b") }, draftHello, 415, 32},
		{"two types", func(r *http.Request) { r.Header.Add("Content-Type", "application/json") }, draftHello, 415, 32},
		{"gzip", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, draftHello, 415, 32},
		{"identity", func(r *http.Request) { r.Header.Set("Content-Encoding", "Identity") }, draftHello, 201, 0},
		{"twenty unknown fields", func(r *http.Request) {
			for i := range 20 {
				r.Header.Set(fmt.Sprintf("X-Unknown-%d", i), "1")
			}
		}, draftHello, 201, 0},
		{"empty", nil, "", 400, 0},
		{"two messages", nil, draftHello + draftHello, 400, 0}, // C-144
		{"not JSON", nil, "hello", 400, 0},
		{"deep", nil, strings.Repeat("[", 1000) + strings.Repeat("]", 1000), 400, 0},
		{"duplicate member", nil, `[{"a":1,"a":2},"e30"]`, 400, 0}, // C-150
		{"not UTF-8", nil, "[{\"a\":\"\xff\"},\"e30\"]", 400, 0},
		{"bare Hello", nil, "\n {\"Hello\": {}}", 201, 0},
		{"bare Status", nil, `{"Status":{}}`, 401, 7},
		{"bare nothing", nil, `{}`, 400, 0},
		{"null Status", nil, `[{},"eyJTdGF0dXMiOnt9fQ"]`, 401, 7},
		{"null garbage", nil, `[{},"AAAA"]`, 401, 7},
		{"Hello of a wrong type", nil, `{"Hello":{"ID":5}}`, 400, 0},
	} {
		w := post(g.Handler(), []byte(c.body), c.change)
		if c.status == 201 {
			if w.Code != 201 {
				t.Errorf("%s: HTTP %d: %s", c.name, w.Code, w.Body)
			}
		} else {
			readHint(t, w).is(t, c.name, c.status, c.extended)
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" {
			t.Errorf("%s: Cache-Control %q", c.name, got)
		}
		if got := w.Header().Get("Content-Type"); got != "application/json" {
			t.Errorf("%s: Content-Type %q", c.name, got)
		}
		if w.Header().Get("Set-Cookie") != "" {
			t.Errorf("%s: a cookie", c.name)
		}
	}
}

// Covers C-030, C-054: the cleartext listener takes nothing unauthenticated but Hello.
func TestCleartext(t *testing.T) {
	g := newLonely(t, nil)
	if w := post(g.CleartextHandler(), []byte(draftHello), nil); w.Code != 201 {
		t.Errorf("null Hello: HTTP %d", w.Code)
	}
	for _, body := range []string{`[{},"eyJTdGF0dXMiOnt9fQ"]`, `{"Status":{}}`} {
		readHint(t, post(g.CleartextHandler(), []byte(body), nil)).is(t, body, 401, 33)
	}
	strict := newLonely(t, func(c *Config) { c.NoCleartextHello = true })
	readHint(t, post(strict.CleartextHandler(), []byte(draftHello), nil)).is(t, "null Hello, switched off", 401, 33)
	if w := post(strict.Handler(), []byte(draftHello), nil); w.Code != 201 {
		t.Errorf("null Hello over TLS: HTTP %d", w.Code)
	}
	d := newStranger(t)
	e, p, err := g.client(d.key).Exchange(d.credential(), []byte(`{"Hello":{}}`), g.clock)
	if err != nil {
		t.Fatal(err)
	}
	body, err := e.MarshalJBCD()
	if err != nil {
		t.Fatal(err)
	}
	open(t, post(g.CleartextHandler(), body, nil), p, new(mesh.MeshHelloResponse)).is(t, "authenticated Hello", 201, 0)
}

func TestOversizedBody(t *testing.T) {
	g := newLonely(t, nil)
	big := "[{},\"" + strings.Repeat("A", maxBody) + "\"]"
	readHint(t, post(g.Handler(), []byte(big), nil)).is(t, "9 MiB", 413, 12)
	readHint(t, post(g.Handler(), []byte(big), func(r *http.Request) { r.ContentLength = -1 })).is(t, "9 MiB of unknown length", 413, 12)
	hello := `{"Hello":{"x":"` + strings.Repeat("x", small) + `"}}`
	readHint(t, post(g.Handler(), []byte(hello), nil)).is(t, "Hello over 64 KiB", 400, 12)
	tight := newLonely(t, func(c *Config) { c.Limits.Bodies = 20 << 10 })
	w := post(tight.Handler(), []byte(draftHello+strings.Repeat(" ", 64<<10)), nil)
	readHint(t, w).is(t, "no memory left", 503, 31)
	if w.Header().Get("Retry-After") == "" {
		t.Error("503 without Retry-After")
	}
	if w := post(tight.Handler(), []byte(draftHello), nil); w.Code != 201 {
		t.Errorf("afterwards: HTTP %d", w.Code)
	}
	if used := tight.bodies.used.Load(); used != 0 {
		t.Errorf("%d octets of bodies still count", used)
	}
}

func TestPanic(t *testing.T) {
	broken := false
	g := newLonely(t, func(c *Config) {
		ring := c.Domains[0].Ring
		c.Domains[0].Ring = func() *make1.Ring {
			if broken {
				panic("a fault of ours")
			}
			return ring()
		}
	})
	d := newStranger(t)
	ticket := g.ask(t, d, `{"Hello":{}}`, new(anyResponse)).ticket
	broken = true
	r := g.askTicket(t, ticket, `{"Hello":{}}`, nil)
	if r.is(t, "a panic", 500, 0); strings.Contains(r.StatusDescription, "fault") {
		t.Errorf("the client is told %q", r.StatusDescription)
	}
	broken = false
	g.askTicket(t, ticket, `{"Hello":{}}`, new(anyResponse)).is(t, "afterwards", 201, 0)
	if used := g.bodies.used.Load(); used != 0 {
		t.Errorf("%d octets of bodies still count", used)
	}
}

// Lengths that are announced and do not come leave the memory to others.
func TestAnnouncedBodies(t *testing.T) {
	g := newLonely(t, func(c *Config) { c.Now = time.Now })
	address := serving(t, g, g.CleartextServer())
	head := "POST /.well-known/mmm HTTP/1.1\r\nHost: " + domainName + "\r\n"
	const many = 64
	for range many {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n[", head, maxBody); err != nil {
			t.Fatal(err)
		}
	}
	for end := time.Now().Add(time.Second); g.bodies.used.Load() < many*firstBuffer && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if used := g.bodies.used.Load(); used == 0 || used > many*trustBuffer {
		t.Errorf("%d octets for %d bodies that have not come, want at most %d", used, many, many*trustBuffer)
	}
	if resp, body := raw(t, address, head+fmt.Sprintf("Connection: close\r\nContent-Length: %d\r\n\r\n%s", len(draftHello), draftHello)); resp.StatusCode != 201 {
		t.Errorf("beside them: HTTP %d %s", resp.StatusCode, body)
	}
}

// serving runs a gateway's server on loopback.
func serving(t *testing.T, g *lonely, s *Server) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Shutdown(t.Context()); err != nil && t.Context().Err() == nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

// certificate borrows that of httptest; only versions and protocols matter here.
func certificate() *tls.Config {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, ClientAuth: tls.RequestClientCert}
}

// Covers C-029, C-032, C-033, C-035, C-036.
func TestTLS(t *testing.T) {
	g := newLonely(t, nil)
	address := serving(t, g, g.TLSServer(certificate()))
	for _, c := range []struct {
		protocols []string
		want      string
	}{{[]string{"h2"}, "HTTP/2.0"}, {[]string{"http/1.1"}, "HTTP/1.1"}, {nil, "HTTP/1.1"}} {
		asked := false
		config := &tls.Config{InsecureSkipVerify: true, NextProtos: c.protocols, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			asked = true
			return new(tls.Certificate), nil
		}}
		transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: len(c.protocols) > 0 && c.protocols[0] == "h2"}
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+address+"/.well-known/mmm", strings.NewReader(draftHello))
		if err != nil {
			t.Fatal(err)
		}
		r.Host = domainName
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatalf("%v: %v", c.protocols, err)
		}
		resp.Body.Close()
		if resp.Proto != c.want || resp.StatusCode != 201 {
			t.Errorf("%v: %s %d, want %s 201", c.protocols, resp.Proto, resp.StatusCode, c.want)
		}
		if asked {
			t.Error("a client certificate was asked for")
		}
		transport.CloseIdleConnections()
	}
	if conn, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}); err == nil {
		conn.Close()
		t.Error("TLS 1.2 was accepted")
	}
}

// Covers C-131: who stops sending is answered 408 by either version of HTTP, and others on the connection go on.
func TestSlowBody(t *testing.T) {
	g := newLonely(t, func(c *Config) { c.Now = time.Now })
	g.bodies.pace = pace{grace: time.Second, rate: 32 << 10, idle: 50 * time.Millisecond}
	address := serving(t, g, g.TLSServer(certificate()))
	for _, protocol := range []string{"h2", "http/1.1"} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}}, ForceAttemptHTTP2: protocol == "h2"}
		t.Cleanup(transport.CloseIdleConnections)
		ask := func(body io.Reader) int {
			t.Helper()
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+address+"/.well-known/mmm", body)
			if err != nil {
				t.Fatal(err)
			}
			r.Host = domainName
			resp, err := transport.RoundTrip(r)
			if err != nil {
				t.Fatalf("%s: %v", protocol, err)
			}
			defer resp.Body.Close()
			return resp.StatusCode
		}
		if code := ask(strings.NewReader(draftHello)); code != 201 {
			t.Errorf("%s: HTTP %d", protocol, code)
		}
		hanging, end := io.Pipe()
		go func() { _, _ = end.Write([]byte("[{},")) }() // and then nothing
		if code := ask(hanging); code != 408 {
			t.Errorf("%s: HTTP %d for a body that does not go on, want 408", protocol, code)
		}
		hanging.Close()
		if code := ask(strings.NewReader(draftHello)); code != 201 {
			t.Errorf("%s: HTTP %d afterwards", protocol, code)
		}
		if used := g.bodies.used.Load(); used != 0 {
			t.Errorf("%s: %d octets of bodies still count", protocol, used)
		}
	}
}

// Who sends the largest body as slowly as is allowed has the time for an answer left: HTTP/2 resets the stream when
// WriteTimeout is over, whatever is set later.
func TestSlowBodyIsAnswered(t *testing.T) {
	p := bodyPace()
	slowest := p.grace + maxBody*time.Second/time.Duration(p.rate)
	if left := newLonely(t, nil).CleartextServer().http.WriteTimeout - slowest; left < answerTime {
		t.Errorf("%s are left for the answer, want %s", left, answerTime)
	}
}

// raw sends octets to the cleartext server and reads one answer.
func raw(t *testing.T, address, request string) (*http.Response, string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%q: %v", request, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// Covers C-043 and the rest of C-149.
func TestFraming(t *testing.T) {
	g := newLonely(t, nil)
	address := serving(t, g, g.CleartextServer())
	head := "POST /.well-known/mmm HTTP/1.1\r\nHost: " + domainName + "\r\nConnection: close\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(draftHello))
	chunked := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(draftHello), draftHello)
	for _, c := range []struct {
		name, request string
		want          int
	}{
		{"Content-Length", head + length + "\r\n" + draftHello, 201},
		{"chunked", head + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 201},
		{"both", head + length + "Transfer-Encoding: chunked\r\n\r\n" + chunked, 400},
		{"both, the other way round", head + "transfer-encoding: chunked\r\ncontent-LENGTH : 5\r\n\r\n" + chunked, 400},
		{"broken chunk", head + "Transfer-Encoding: chunked\r\n\r\nZZZ\r\n", 400},
		{"no Host", "POST /.well-known/mmm HTTP/1.1\r\nConnection: close\r\n" + length + "\r\n" + draftHello, 400},
		{"no Host, HTTP/1.0", "POST /.well-known/mmm HTTP/1.0\r\n" + length + "\r\n" + draftHello, 400},
		{"cut off", head + "Content-Length: 5000\r\n\r\n" + draftHello, 408},
	} {
		if c.name == "cut off" {
			g.bodies.pace = pace{grace: 300 * time.Millisecond, rate: 32 << 10, idle: 100 * time.Millisecond}
			g.bodies.now = time.Now
		}
		if resp, body := raw(t, address, c.request); resp.StatusCode != c.want {
			t.Errorf("%s: HTTP %d %s, want %d", c.name, resp.StatusCode, body, c.want)
		}
	}
}

// The second request of a connection is looked at like the first.
func TestFramingOfLaterRequests(t *testing.T) {
	g := newLonely(t, nil)
	address := serving(t, g, g.CleartextServer())
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	head := "POST /.well-known/mmm HTTP/1.1\r\nHost: " + domainName + "\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(draftHello))
	chunked := fmt.Sprintf("Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(draftHello), draftHello)
	answers := bufio.NewReader(conn)
	for i, c := range []struct {
		request string
		want    int
	}{
		{head + length + "\r\n" + draftHello, 201},
		{head + chunked, 201},
		{head + length + "\r\n" + draftHello, 201},
		{head + chunked, 201},
		{head + length + chunked, 400},
	} {
		if _, err := io.WriteString(conn, c.request); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != c.want {
			t.Errorf("request %d: HTTP %d, want %d", i, resp.StatusCode, c.want)
		}
	}
}

// Covers C-131 as far as a body's pace is concerned: with the clock given, without waiting.
func TestPace(t *testing.T) {
	now := time.Unix(0, 0)
	p := &pacer{
		pace: bodyPace(), w: httptest.NewRecorder(), start: now, now: func() time.Time { return now },
		body: pieces{func(b []byte) int { now = now.Add(time.Second); return min(len(b), 40<<10) }},
	}
	buf := make([]byte, 64<<10)
	for i := range 60 {
		if _, err := p.Read(buf); err != nil {
			t.Fatalf("40 KiB/s, second %d: %v", i, err)
		}
	}
	now = p.start
	p.n, p.body = 0, pieces{func([]byte) int { now = now.Add(time.Second); return 20 << 10 }}
	var err error
	for err == nil {
		_, err = p.Read(buf)
	}
	if took := now.Sub(p.start); took < 5*time.Second || took > 20*time.Second {
		t.Errorf("20 KiB/s were cut off after %s", took)
	}
}

type pieces struct{ next func([]byte) int }

func (p pieces) Read(b []byte) (int, error) { return p.next(b), nil }

// Covers C-044, C-047, C-048, C-056, C-084, C-155, C-181 to C-187, and that ID decides about the cache (AUTH §8).
func TestNullHello(t *testing.T) {
	g := newLonely(t, nil)
	read := func(body string) (*mesh.MeshHelloResponse, *dare.Envelope) {
		t.Helper()
		w := post(g.Handler(), []byte(body), nil)
		e, err := dare.Parse(w.Body.Bytes())
		if err != nil {
			t.Fatalf("HTTP %d: %v", w.Code, err)
		}
		var r mesh.MeshHelloResponse
		if tag, err := mesh.DecodeResponse(e.Payload, &r); err != nil || tag != "MeshHelloResponse" {
			t.Fatalf("%s %v", tag, err)
		}
		service, err := mesh.VerifyProfileService(r.EnvelopedProfileService)
		if err != nil {
			t.Fatal(err)
		}
		host, err := mesh.VerifyProfileHost(r.EnvelopedProfileHost, service)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Verify(*host.KeysOnlineSignature[0].PublicParameters); err != nil {
			t.Errorf("the answer is not signed by the host: %v", err)
		}
		return &r, e
	}
	r, first := read(draftHello)
	switch v := r.Version; {
	case r.Status != 201, v == nil, v.Major != 3, v.Minor != 0, len(v.Encodings) != 1, v.Encodings[0].ID[0] != "application/json":
		t.Errorf("%+v", r)
	}
	if *r.ConstraintsPost.BytesMax != 65536 || *r.ConstraintsUpdate.MaxEntries != 1000 || *r.PolicyAccount.Maximum != 64 || r.PolicyAccount.InvalidCharacters == "" {
		t.Errorf("constraints: %+v", r)
	}
	if len(r.ID) != 0 {
		t.Error("an ID that nobody sent")
	}
	g.clock = g.clock.Add(helloLife - time.Second)
	if _, again := read(`{"Hello":{}}`); string(again.Trailer) != string(first.Trailer) {
		t.Error("a Hello without ID within a minute was signed anew")
	}
	for _, id := range []string{"AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAQ"} {
		r, _ := read(`{"Hello":{"ID":"` + id + `"}}`)
		if got := base64.RawURLEncoding.EncodeToString(r.ID); got != id {
			t.Errorf("ID %s, want %s", got, id)
		}
	}
}
