package gateway

import (
	"context"
	"mime"
	"net"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// contentType is the one encoding that Hello advertises (D-02, D-49).
const contentType = "application/json"

// isEndpoint knows the canonical path and its aliases (D-01).
func isEndpoint(path string) bool {
	switch strings.TrimSuffix(path, "/") {
	case "/.well-known/mmm", "/well-known/mmm", "/.well-known/srv/mmm":
		return true
	}
	return false
}

// front is the HTTP side of a gateway: one for TLS, one for cleartext.
type front struct {
	*Gateway
	cleartext bool
}

// ServeHTTP takes one request, of any shape, and writes one answer.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// A trace begins here: what a client says of traces is a stranger's word.
	ctx, span := f.tracer.Start(r.Context(), "gateway", trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	q := &request{Gateway: f.Gateway, cleartext: f.cleartext, peer: r.RemoteAddr, start: f.now()}
	a := f.serve(ctx, q, w, r)
	write(w, r, a)
	q.record(ctx, span, a)
}

// serve is ServeHTTP up to the answer. A fault of ours ends the request, not the process, and is logged as what it is.
func (f *front) serve(ctx context.Context, q *request, w http.ResponseWriter, r *http.Request) (a *answer) {
	defer func() {
		if p := recover(); p != nil {
			a = q.refuse(mesh.Errorf("gateway.serve", mesh.Internal, "panic: %v\n%s", p, debug.Stack()))
		}
	}()
	d, refusal := f.admit(r)
	if refusal != nil {
		return refusal
	}
	q.domain = d
	body, refusal := f.bodies.read(w, r)
	if refusal != nil {
		return refusal
	}
	defer f.bodies.release(body)
	q.size = len(body)
	return q.handle(ctx, body)
}

// admit checks everything of a request but its body.
func (f *front) admit(r *http.Request) (*domain, *answer) {
	switch {
	case !isEndpoint(r.URL.Path):
		return nil, transportRefusal(http.StatusNotFound)
	case r.Method != http.MethodPost:
		return nil, transportRefusal(http.StatusMethodNotAllowed)
	case r.Host == "":
		return nil, transportRefusal(http.StatusBadRequest)
	}
	d := f.domains[hostDomain(r.Host)]
	if d == nil {
		return nil, transportRefusal(http.StatusMisdirectedRequest)
	}
	if !acceptable(r.Header) {
		return nil, hint(mesh.E("gateway.admit", mesh.EncodingUnsupported, nil))
	}
	if len(r.TransferEncoding) > 0 && bothLengths(r.Context()) {
		return nil, transportRefusal(http.StatusBadRequest) // RFC 9112 §6.3: smuggling
	}
	return d, nil
}

// hostDomain is the domain that a Host field names: lower case, without port and the root's dot.
func hostDomain(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

// acceptable says whether the body's type and encoding are ones that Hello advertises; a missing type is JSON.
func acceptable(h http.Header) bool {
	for _, e := range h["Content-Encoding"] {
		if e = strings.TrimSpace(e); e != "" && !strings.EqualFold(e, "identity") {
			return false
		}
	}
	types := h["Content-Type"]
	switch {
	case len(types) == 0 || len(types) == 1 && (types[0] == contentType || types[0] == ""):
		return true
	case len(types) > 1:
		return false
	}
	media, params, err := mime.ParseMediaType(types[0])
	if err != nil || media != contentType {
		return false
	}
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8")
}

// remote is the network address whose limits count: an IPv4 address, or the /64 of an IPv6 one, which is what a
// subscriber gets.
func (q *request) remote() string {
	host, _, err := net.SplitHostPort(q.peer)
	if err != nil {
		return q.peer
	}
	ip := net.ParseIP(host)
	if ip == nil || ip.To4() != nil {
		return host
	}
	return ip.Mask(net.CIDRMask(64, 128)).String()
}

// answer is what goes back: the envelope and what HTTP says beside it.
type answer struct {
	status     int    // of the payload
	extended   int    // of the payload
	body       []byte // the envelope; nil: none
	retryAfter time.Duration
	closing    bool // the connection is of no use any more
}

// httpStatus is the HTTP code: the payload's, but 300 goes as 200 so that intermediaries stay quiet (PROTOCOL §5).
func (a *answer) httpStatus() int {
	if a.status == http.StatusMultipleChoices {
		return http.StatusOK
	}
	return a.status
}

func write(w http.ResponseWriter, r *http.Request, a *answer) {
	h := w.Header()
	h["Cache-Control"], h["Content-Type"] = []string{"no-store"}, []string{contentType} // names in their canonical form
	if a.status == http.StatusMethodNotAllowed {
		h.Set("Allow", http.MethodPost)
	}
	if a.retryAfter > 0 || a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable {
		seconds := max(1, int64((a.retryAfter+time.Second-1)/time.Second))
		h.Set("Retry-After", strconv.FormatInt(seconds, 10))
	}
	if a.closing && r.ProtoMajor == 1 { // HTTP/2 ends the stream; the others of the connection go on
		h.Set("Connection", "close")
	}
	h["Content-Length"] = []string{strconv.Itoa(len(a.body))}
	w.WriteHeader(a.httpStatus())
	if r.Method != http.MethodHead {
		_, _ = w.Write(a.body) // the caller has gone: nobody is left to tell
	}
}
