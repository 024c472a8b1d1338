//go:build e2e

package e2e_test

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/e2e"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// Bad input, from outside, against a running gateway and its shards: every answer is a code of the registry, no state
// changes, no process dies, and memory stays bounded (C-043, C-049, C-066, C-079, C-080, C-131, C-254).
func TestBadInput(t *testing.T) {
	dir := t.TempDir()
	d := deploy(t, stack.SQLite, func(shard string) string { return filepath.Join(dir, shard+".db") })
	s := meet(t, d.State)
	p, err := s.join(t.Context(), someone(s.Domain), false)
	if err != nil {
		t.Fatal(err)
	}
	memory := watch(t, d)
	t.Run("before anything is opened", p.strangersInput)
	t.Run("authenticated", p.ownersInput)
	t.Run("slow, cut off, too long", p.badBodies)
	t.Run("flood", p.flood)
	if err := p.write(t.Context()); err != nil {
		t.Errorf("a good request after all that: %v", err)
	}
	p.unchanged(t, "all that")
	memory(t)
	d.Fsck(t)
	for _, process := range append([]*e2e.Process{d.Gateway}, d.Shards...) {
		process.Stop(t) // which also wants exit code 0: nothing has died and come back
	}
}

// refused wants a hint with this code, and the HTTP status beside it.
func refused(t *testing.T, code int, content []byte, want mesh.Code) {
	t.Helper()
	e, err := dare.Parse(content)
	if err != nil {
		t.Errorf("HTTP %d, and no envelope: %v: %.100q", code, err, content)
		return
	}
	var r mesh.Response
	if _, err := mesh.DecodeResponse(e.Payload, &r); err != nil || string(e.Header) != "{}" {
		t.Errorf("HTTP %d, and no hint: %v: %.100q", code, err, content)
		return
	}
	named(t, &r)
	if int64(code) != r.Status {
		t.Errorf("HTTP %d beside Status %d", code, r.Status)
	}
	if r.Status != int64(want.Status) || r.StatusExtended != int64(want.Extended) {
		t.Errorf("%d/%d %s, want %d/%d", r.Status, r.StatusExtended, r.StatusDescription, want.Status, want.Extended)
	}
}

// named wants the description to be the registry's name of the code.
func named(t *testing.T, r *mesh.Response) {
	t.Helper()
	ok := slices.ContainsFunc(mesh.Kinds(), func(k mesh.Kind) bool {
		return k.String() == r.StatusDescription && int64(k.Code().Extended) == r.StatusExtended
	})
	if !ok {
		t.Errorf("%d/%d has no name of the registry: %q", r.Status, r.StatusExtended, r.StatusDescription)
	}
}

// strangersInput is what somebody without keys may send.
func (p *person) strangersInput(t *testing.T) {
	status, err := mesh.EncodeRequest(mesh.TagStatus, &mesh.StatusRequest{RequestUser: mesh.RequestUser{Account: p.address}})
	if err != nil {
		t.Fatal(err)
	}
	e, _, err := p.ticket.Seal(status, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	good, err := e.MarshalJBCD()
	if err != nil {
		t.Fatal(err)
	}
	bad, unauthenticated := mesh.BadRequest.Code(), mesh.NotAuthenticated.Code()
	null := func(payload string) string {
		return `[{},"` + base64.RawURLEncoding.EncodeToString([]byte(payload)) + `"]`
	}
	for name, c := range map[string]struct {
		body string
		want mesh.Code
	}{
		"nothing":                     {"", bad},
		"no JSON":                     {"hello", bad},
		"a bare request":              {`{"Status":{}}`, unauthenticated},
		"half an envelope":            {string(good[:len(good)/2]), bad},
		"an envelope and more":        {string(good) + "[]", bad},
		"a header that is no object":  {`["x","e30"]`, bad},
		"a payload that is no base64": {`[{},"***"]`, bad},
		"four elements":               {`[{},"e30",{},{}]`, bad},
		"a member twice":              {`[{"Salt":"AA","Salt":"AB"},"e30"]`, bad},
		"a member twice, escaped":     {`[{"Salt":"AA","S\u0061lt":"AB"},"e30"]`, bad},
		"deep nesting":                {`[{"x":` + strings.Repeat("[", 1<<16) + strings.Repeat("]", 1<<16) + `},"e30"]`, bad},
		"deep nesting, not closed":    {strings.Repeat("[", 1<<20), bad},
		"a header of 100 KiB":         {`[{"x":"` + strings.Repeat("x", 100<<10) + `"},"e30"]`, bad},
		"invalid UTF-8":               {"[{\"kid\":\"\xff\xfe\"},\"e30\"]", bad},
		"half a surrogate":            {`[{"kid":"\ud800"},"e30"]`, bad},
		"a NUL":                       {"[{},\"e30\"]\x00", bad},
		"a million members":           {`[{` + strings.Repeat(`"a":0,`, 1<<20) + `"b":0},"e30"]`, bad},
		"a null request":              {null(string(status)), unauthenticated},
		"a null Hello twice in one":   {null(`{"Hello":{},"Hello":{}}`), unauthenticated},
		"a Hello of 1 MiB":            {null(`{"Hello":{"x":"` + strings.Repeat("x", 1<<20) + `"}}`), mesh.RequestSize.Code()},
	} {
		t.Run(name, func(t *testing.T) {
			code, content, err := p.post(t.Context(), strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			refused(t, code, content, c.want)
			p.unchanged(t, name)
		})
	}

	t.Run("another media type", func(t *testing.T) {
		code, content, err := p.post(t.Context(), bytes.NewReader(good), func(r *http.Request) { r.Header.Set("Content-Type", "text/plain") })
		if err != nil {
			t.Fatal(err)
		}
		refused(t, code, content, mesh.EncodingUnsupported.Code())
	})
	t.Run("compressed", func(t *testing.T) {
		code, content, err := p.post(t.Context(), bytes.NewReader(good), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") })
		if err != nil {
			t.Fatal(err)
		}
		refused(t, code, content, mesh.EncodingUnsupported.Code())
	})
	// Each octet of a sealed request counts: a flip anywhere is refused, as a hint or sealed.
	t.Run("flipped octets", func(t *testing.T) {
		for at := 0; at < len(good); at += 97 {
			flipped := bytes.Clone(good)
			flipped[at] ^= 0x04
			code, _, err := p.post(t.Context(), bytes.NewReader(flipped))
			if err != nil || code != http.StatusBadRequest && code != http.StatusUnauthorized {
				t.Errorf("octet %d: HTTP %d, %v", at, code, err)
			}
		}
		p.unchanged(t, "flipped octets")
	})
}

// ownersInput is what the owner of an account may send, sealed as it should be.
func (p *person) ownersInput(t *testing.T) {
	frame, err := p.entry("never stored", false)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(v *mesh.UploadRequest) string {
		v.Account, v.ID = p.address, newID()
		payload, err := mesh.EncodeRequest(mesh.TagUpload, v)
		if err != nil {
			t.Fatal(err)
		}
		return string(payload)
	}
	upload := func(container string, envelopes ...*dare.Envelope) string {
		return encode(&mesh.UploadRequest{Updates: []mesh.ContainerUpdate{{Container: container, Envelopes: envelopes}}})
	}
	bad := mesh.BadRequest.Code()
	for name, c := range map[string]struct {
		payload string
		want    mesh.Code
	}{
		"no JSON":                 {"hello", bad},
		"nothing":                 {"", bad},
		"two requests":            {`{"Status":{},"Hello":{}}`, bad},
		"a member twice":          {`{"Status":{"Account":"a@b","Account":"` + p.address + `"}}`, bad},
		"deep nesting":            {`{"Status":{"x":` + strings.Repeat("[", 1<<16) + strings.Repeat("]", 1<<16) + `}}`, bad},
		"invalid UTF-8":           {"{\"Status\":{\"Account\":\"\xff\"}}", bad},
		"another type":            {`{"Status":{"Account":7}}`, bad},
		"an integer out of range": {`{"Upload":{"Updates":[{"Container":"mmm_Bookmark","Index":99999999999999999999}]}}`, bad},
		"no transaction":          {`{"Frobnicate":{}}`, mesh.UnknownOperation.Code()},
		"a transaction not built": {`{"Claim":{}}`, mesh.UnknownOperation.Code()},
		"another's account":       {`{"Status":{"Account":"somebody@` + p.Domain + `"}}`, mesh.NotAuthorized.Code()},
		"no such container":       {upload("mmm_Nothing", frame), mesh.UnknownContainer.Code()},
		"half a million updates":  {`{"Upload":{"Updates":[` + strings.Repeat(`{},`, 1<<19) + `{}]}}`, bad},
		"1001 entries":            {upload(catalog, slices.Repeat([]*dare.Envelope{frame}, 1001)...), mesh.RequestSize.Code()},
	} {
		t.Run(name, func(t *testing.T) {
			var res mesh.Response
			err := p.ask(t.Context(), []byte(c.payload), &res)
			var r *refusal
			if !errors.As(err, &r) || r.hint {
				t.Fatalf("%v, want a sealed refusal", err)
			}
			named(t, &r.Response)
			if r.Status != int64(c.want.Status) || r.StatusExtended != int64(c.want.Extended) {
				t.Errorf("%v, want %d/%d", r, c.want.Status, c.want.Extended)
			}
			p.unchanged(t, name)
		})
	}

	// Entries that are wrong are named in a success: the request was good.
	changed := *frame
	changed.Payload = bytes.Clone(frame.Payload)
	changed.Payload[0] ^= 1
	for name, e := range map[string]*dare.Envelope{
		"a payload that is not what was signed": &changed,
		"a header that is no envelope's":        {Header: []byte(`{"EnvelopeID":7}`), Payload: []byte("x")},
		"no ContentMetaData":                    {Header: []byte(`{"EnvelopeID":"MAAA"}`), Payload: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			var res mesh.UploadResponse
			if err := p.ask(t.Context(), []byte(upload(catalog, e)), &res); err != nil {
				var r *refusal
				if !errors.As(err, &r) || r.hint || r.Status != http.StatusBadRequest {
					t.Fatal(err)
				}
			} else if len(res.Entries) != 1 || res.Entries[0].Result != "Reject" {
				t.Errorf("%+v, want a Reject", res.Entries)
			}
			p.unchanged(t, name)
		})
	}
	t.Run("unknown members are ignored", func(t *testing.T) {
		if err := p.ask(t.Context(), []byte(`{"Status":{"Account":"`+p.address+`","x-unknown":{"deep":[1,2,3]}}}`), new(mesh.StatusResponse)); err != nil {
			t.Error(err)
		}
	})

	status := []byte(`{"Status":{"Account":"` + p.address + `"}}`)
	for name, at := range map[string]time.Duration{"of ten minutes ago": -10 * time.Minute, "of ten minutes hence": 10 * time.Minute} {
		t.Run("a request "+name, func(t *testing.T) {
			e, pending, err := p.ticket.Seal(status, time.Now().Add(at))
			if err != nil {
				t.Fatal(err)
			}
			_, err = p.send(t.Context(), e, pending, new(mesh.StatusResponse))
			wantStale(t, err)
		})
	}
	t.Run("a replay", func(t *testing.T) {
		write, err := p.uploadPayload(newID(), frame)
		if err != nil {
			t.Fatal(err)
		}
		e, pending, err := p.ticket.Seal(write, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		var res mesh.UploadResponse
		if _, err := p.send(t.Context(), e, pending, &res); err != nil {
			t.Fatal(err)
		}
		if err := p.accepted(&res, []*dare.Envelope{frame}); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			_, err := p.send(t.Context(), e, pending, new(mesh.UploadResponse))
			wantStale(t, err)
		}
		p.unchanged(t, "a replay")
	})
}

// wantStale wants a sealed 401/11.
func wantStale(t *testing.T, err error) {
	t.Helper()
	var r *refusal
	if !errors.As(err, &r) || r.hint || r.Status != 401 || r.StatusExtended != 11 {
		t.Errorf("%v, want a sealed 401/11", err)
	}
}

// badBodies speaks HTTP by hand.
func (p *person) badBodies(t *testing.T) {
	const head = "POST /.well-known/mmm HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\n"
	for name, c := range map[string]struct {
		more  string // of the head
		send  func(conn *tls.Conn)
		want  int // 0: the connection just ends
		limit time.Duration
	}{
		// Two seconds without an octet, five for the whole of a short body (PROTOCOL §1.7).
		"a body that stops":     {"Content-Length: 1000\r\n", func(c *tls.Conn) { _, _ = io.WriteString(c, "[{}") }, 408, 4 * time.Second},
		"a body drop by drop":   {"Content-Length: 1000\r\n", drip, 408, 8 * time.Second},
		"a body cut off":        {"Content-Length: 1000\r\n", func(c *tls.Conn) { _, _ = io.WriteString(c, "[{}"); _ = c.CloseWrite() }, 400, 2 * time.Second},
		"a body too long":       {"Content-Length: 9000000\r\n", func(*tls.Conn) {}, 413, 2 * time.Second},
		"chunks without end":    {"Transfer-Encoding: chunked\r\n", chunks, 413, 15 * time.Second},
		"no number of a length": {"Content-Length: x\r\n", func(*tls.Conn) {}, 400, 2 * time.Second},
		"both ways of a length": {"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", func(c *tls.Conn) { _, _ = io.WriteString(c, "4\r\n[{}]\r\n0\r\n\r\n") }, 400, 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // they wait
			conn := p.dial(t)
			if _, err := fmt.Fprintf(conn, head+c.more+"\r\n", p.Domain); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			go c.send(conn)
			_ = conn.SetReadDeadline(began.Add(c.limit + slack))
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
			defer res.Body.Close()
			if res.StatusCode != c.want {
				t.Errorf("HTTP %d, want %d", res.StatusCode, c.want)
			}
			if took := time.Since(began); took > c.limit+slack {
				t.Errorf("answered after %v", took)
			}
		})
	}
}

// slack is for a machine that does other things too.
const slack = 5 * time.Second

func (p *person) dial(t *testing.T) *tls.Conn {
	t.Helper()
	u, err := url.Parse(p.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	c := trust(t, p.ProviderState)
	c.NextProtos = []string{"http/1.1"}
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: 5 * time.Second}, "tcp", u.Host, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func drip(c *tls.Conn) {
	for {
		if _, err := io.WriteString(c, " "); err != nil {
			return
		}
		time.Sleep(300 * time.Millisecond)
	}
}

func chunks(c *tls.Conn) {
	chunk := fmt.Sprintf("%x\r\n%s\r\n", 1<<16, strings.Repeat(" ", 1<<16))
	for {
		if _, err := io.WriteString(c, chunk); err != nil {
			return
		}
	}
}

// flood sends three times as many of the largest bodies at once as the gateway's budget (128 MiB) has room for.
func (p *person) flood(t *testing.T) {
	const (
		senders = 48
		rounds  = 2
	)
	// Valid up to its end, so that all of it is read and parsed: an envelope whose payload nobody has asked for.
	body := []byte(`[{"enc":"A256GCM"},"` + strings.Repeat("A", 8<<20-64) + `"]`)
	var group sync.WaitGroup
	var mu sync.Mutex
	codes := map[int]int{}
	for range senders {
		group.Go(func() {
			own := *p.service
			own.http = browser(t, p.ProviderState, time.Minute)
			for range rounds {
				code, _, err := own.post(t.Context(), bytes.NewReader(body))
				mu.Lock()
				if codes[code]++; err != nil {
					t.Logf("flood: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	group.Wait()
	t.Logf("answers by HTTP code: %v", codes)
	for code, n := range codes {
		// 0: the connection was closed while the body was still coming, which a refusal before its end does.
		if code != 0 && code != 400 && code != 401 && code != 503 && code != 408 {
			t.Errorf("%d answers %d", n, code)
		}
	}
	p.unchanged(t, "a flood")
}

// Bounds of RssAnon. A gateway keeps 128 MiB of bodies at most; decoding takes nearly as much again, the collector lets a
// heap double, and 48 connections have their buffers. A shard sees only what a gateway lets through.
const (
	gatewayMemory = 640 << 20
	shardMemory   = 128 << 20
)

// watch samples the memory of every process until what it returns is called, which judges the maxima.
func watch(t *testing.T, d *e2e.Deployment) func(t *testing.T) {
	most := map[string]int64{}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			for _, p := range append([]*e2e.Process{d.Gateway}, d.Shards...) {
				if rss, err := p.RSSAnon(); err == nil {
					most[p.Name] = max(most[p.Name], rss)
				}
			}
			select {
			case <-done:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}()
	return func(t *testing.T) {
		close(done)
		<-ended
		for name, rss := range most {
			t.Logf("%s: at most %d MiB", name, rss>>20)
			limit := int64(shardMemory)
			if name == d.Gateway.Name {
				limit = gatewayMemory
			}
			if rss > limit {
				t.Errorf("%s took %d MiB, want at most %d", name, rss>>20, limit>>20)
			}
		}
		if len(most) != 1+len(d.Shards) {
			t.Errorf("memory of %d processes was seen, want %d", len(most), 1+len(d.Shards))
		}
	}
}
