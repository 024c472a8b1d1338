package client

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/discover"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

const contentType = "application/json"

// bounds of the talk with a service.
type bounds struct {
	attempts int           // places or tries for one request
	attempt  time.Duration // to reach one
	answer   time.Duration // for a request and its answer
	octets   int64         // of an answer
	patience time.Duration // with a service that says 429 or 503, in all; 0: none
	idle     int           // connections kept
}

// personal are for a person, who waits. An Upload of 4 MiB, which is 7.2 MiB when it is sealed and twice in base64, takes 230 s at the
// 32 KiB/s that a service must be content with (PROTOCOL §1.7), and a little for its work. Of an answer as much is read as the
// codec would take.
func personal() bounds {
	return bounds{
		attempts: discover.Attempts, attempt: discover.AttemptTime, answer: 250 * time.Second,
		octets: int64(jbcd.DefaultLimits.Octets), patience: 15 * time.Second, idle: 2,
	}
}

// transport posts envelopes to the service of one domain. Which endpoint answered last is remembered. Safe for
// concurrent use.
type transport struct {
	domain    string
	bounds    bounds
	endpoints []discover.Endpoint
	clients   []*http.Client // of the endpoints

	mu      sync.Mutex
	current int
	trips   int // requests that were sent
}

// newTransport discovers a domain's service.
func newTransport(ctx context.Context, c *Config, domain string, b bounds) (*transport, error) {
	endpoints, err := c.source().Find(ctx, domain)
	var none *discover.Error
	if errors.As(err, &none) {
		return nil, &NetworkError{err}
	}
	if err != nil {
		return nil, err
	}
	t := &transport{domain: domain, bounds: b, endpoints: endpoints}
	for _, e := range endpoints {
		t.clients = append(t.clients, c.httpClient(e, b))
	}
	return t, nil
}

// httpClient makes the client for an endpoint, or takes the one of the configuration.
func (c *Config) httpClient(e discover.Endpoint, b bounds) *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	if e.Roots == nil {
		e.Roots = c.Roots
	}
	return &http.Client{
		Timeout:       b.answer,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // nobody but the payload sends us elsewhere
		Transport: &http.Transport{
			DialContext:         c.source().Dial(e),
			TLSHandshakeTimeout: b.attempt,
			TLSClientConfig:     e.TLS(),
			// HTTP/1.1: a session has one request at a time, and for that HTTP/2 costs a service three times the processor time.
			ForceAttemptHTTP2:   false,
			DisableCompression:  true, // sealed octets do not compress, and the protocol knows identity only (D-02)
			MaxIdleConnsPerHost: b.idle,
			IdleConnTimeout:     90 * time.Second,
			// A service has a few fields to say.
			MaxResponseHeaderBytes: 64 << 10,
		},
	}
}

// reply is what came back over HTTP. Nothing in it is authenticated.
type reply struct {
	envelope   *dare.Envelope // nil: no envelope in the body
	status     int            // of HTTP
	retryAfter time.Duration  // 0: not said
}

// post sends what seal makes – anew for every attempt, since a sealed request goes out once – to one endpoint after
// the other until one answers. Errors are *NetworkError, or seal's.
func (t *transport) post(ctx context.Context, seal func() (*dare.Envelope, error)) (*reply, error) {
	t.mu.Lock()
	first := t.current
	t.mu.Unlock()
	var failed error
	for n := range t.bounds.attempts {
		i := (first + n) % len(t.endpoints)
		began := time.Now()
		r, err := t.try(ctx, i, seal)
		if err == nil {
			t.mu.Lock()
			t.current = i
			t.mu.Unlock()
			return r, nil
		}
		var network *NetworkError
		if !errors.As(err, &network) {
			return nil, err
		}
		failed = errors.Join(failed, network.Err)
		t.mu.Lock()
		t.current = (i + 1) % len(t.endpoints)
		t.mu.Unlock()
		// Who was reached and then let us wait for minutes does so again.
		if ctx.Err() != nil || permanent(err) && len(t.endpoints) == 1 || time.Since(began) > time.Duration(t.bounds.attempts)*t.bounds.attempt {
			break
		}
	}
	return nil, &NetworkError{failed}
}

// permanent says that trying the same place again is of no use: its certificate is not right.
func permanent(err error) bool {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid)
}

func (t *transport) try(ctx context.Context, i int, seal func() (*dare.Envelope, error)) (*reply, error) {
	for {
		t.mu.Lock()
		e := t.endpoints[i]
		t.mu.Unlock()
		envelope, err := seal()
		if err != nil {
			return nil, err
		}
		r, err := t.roundTrip(ctx, t.clients[i], e.URL, envelope)
		if err != nil {
			return nil, &NetworkError{err}
		}
		switch {
		case r.status == http.StatusNotFound && e.Alternate != "" && (r.envelope == nil || plain(r.envelope)):
			t.mu.Lock()
			t.endpoints[i].URL, t.endpoints[i].Alternate = e.Alternate, ""
			t.mu.Unlock()
		case r.envelope != nil, r.status == http.StatusTooManyRequests, r.status == http.StatusServiceUnavailable:
			return r, nil
		default:
			return nil, &NetworkError{fmt.Errorf("%s: HTTP %d without a Mesh answer", e.URL, r.status)}
		}
	}
}

// plain says whether an envelope is not sealed.
func plain(e *dare.Envelope) bool {
	h, err := e.ParseHeader()
	return err == nil && h.Enc == "" && h.KID == "" && len(h.Recipients) == 0
}

func (t *transport) roundTrip(ctx context.Context, h *http.Client, url string, e *dare.Envelope) (*reply, error) {
	body, err := e.MarshalJBCD()
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host = t.domain
	req.Header.Set("Content-Type", contentType)
	t.mu.Lock()
	t.trips++
	t.mu.Unlock()
	res, err := h.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(io.LimitReader(res.Body, t.bounds.octets+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if int64(len(content)) > t.bounds.octets {
		return nil, fmt.Errorf("%s: answer over %d octets", url, t.bounds.octets)
	}
	r := &reply{status: res.StatusCode, retryAfter: retryAfter(res.Header.Get("Retry-After"))}
	if content = bytes.TrimSpace(content); len(content) > 0 && content[0] == '[' {
		if r.envelope, err = dare.Parse(content); err != nil {
			return nil, fmt.Errorf("%s: %w", url, err)
		}
	}
	return r, nil
}

// retryAfter reads the header's seconds; a date is as good as nothing said.
func retryAfter(text string) time.Duration {
	s, err := strconv.Atoi(text)
	if err != nil || s < 0 || s > 7*24*3600 {
		return 0
	}
	return time.Duration(s) * time.Second
}

// cleartext says whether the endpoint in use has no TLS.
func (t *transport) cleartext() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.endpoints[t.current].Cleartext
}

// endpointURL is the URL in use.
func (t *transport) endpointURL() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.endpoints[t.current].URL
}

func (t *transport) roundTrips() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trips
}

// same says whether another transport leads to the same places.
func (t *transport) same(other *transport) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.EqualFunc(t.endpoints, other.endpoints, func(a, b discover.Endpoint) bool {
		return (a.URL == b.URL || a.URL == b.Alternate) && slices.Equal(a.Names, b.Names)
	})
}

func (t *transport) close() {
	for _, c := range t.clients {
		c.CloseIdleConnections()
	}
}
