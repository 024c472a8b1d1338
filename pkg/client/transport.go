package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

const (
	versionMajor = 3
	contentType  = "application/json"

	// attempts and attemptTime are those of FLOWS §1.3: three places or tries, five seconds to reach each. A person waits.
	attempts    = 3
	attemptTime = 5 * time.Second

	// answerTime bounds a request and its answer: an Upload of 4 MiB, which is 7.2 MiB when it is sealed and twice in base64,
	// takes 230 s at the 32 KiB/s that a service must be content with (PROTOCOL §1.7), and a little for its work.
	answerTime = 250 * time.Second
)

// answerMax bounds what is read of an answer: what the codec would refuse anyhow.
var answerMax = int64(jbcd.DefaultLimits.Octets)

// transport posts envelopes to the service of one domain. Which endpoint answered last is remembered. Safe for
// concurrent use.
type transport struct {
	domain    string
	endpoints []endpoint
	clients   []*http.Client // of the endpoints

	mu      sync.Mutex
	current int
	trips   int // requests that were sent
}

// newTransport discovers a domain's service.
func newTransport(ctx context.Context, c *Config, domain string) (*transport, error) {
	endpoints, err := discover(ctx, c, domain)
	if err != nil {
		return nil, err
	}
	t := &transport{domain: domain, endpoints: endpoints}
	for _, e := range endpoints {
		t.clients = append(t.clients, c.httpClient(e))
	}
	return t, nil
}

// httpClient makes the client for an endpoint, or takes the one of the configuration.
func (c *Config) httpClient(e endpoint) *http.Client {
	if c.HTTP != nil {
		return c.HTTP
	}
	if e.roots == nil {
		e.roots = c.Roots
	}
	dialer := &net.Dialer{Timeout: attemptTime, Resolver: c.resolver()}
	return &http.Client{
		Timeout:       answerTime,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // nobody but the payload sends us elsewhere
		Transport: &http.Transport{
			DialContext:         dialer.DialContext,
			TLSHandshakeTimeout: attemptTime,
			TLSClientConfig:     tlsConfig(e),
			// HTTP/1.1: a session has one request at a time, and for that HTTP/2 costs a service three times the processor time.
			ForceAttemptHTTP2:  false,
			DisableCompression: true, // sealed octets do not compress, and the protocol knows identity only (D-02)
			IdleConnTimeout:    90 * time.Second,
		},
	}
}

// tlsConfig verifies the certificate for one of the endpoint's names: the host that SRV named or the account's domain.
// The standard check knows one name only, so it is switched off and its equal is done in VerifyConnection, which runs
// on resumed connections too.
func tlsConfig(e endpoint) *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         e.names[0],
		RootCAs:            e.roots,
		InsecureSkipVerify: true, // VerifyConnection below does it, for each name
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("no certificate")
			}
			options := x509.VerifyOptions{Roots: e.roots, Intermediates: x509.NewCertPool()}
			for _, c := range s.PeerCertificates[1:] {
				options.Intermediates.AddCert(c)
			}
			var failed error
			for _, name := range e.names {
				options.DNSName = name
				_, err := s.PeerCertificates[0].Verify(options)
				if err == nil {
					return nil
				}
				failed = errors.Join(failed, err)
			}
			return failed
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
	for n := range attempts {
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
		// Who was reached and then let us wait for minutes does so again.
		if ctx.Err() != nil || permanent(err) && len(t.endpoints) == 1 || time.Since(began) > attempts*attemptTime {
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
		r, err := t.roundTrip(ctx, t.clients[i], e.url, envelope)
		if err != nil {
			return nil, &NetworkError{err}
		}
		switch {
		case r.status == http.StatusNotFound && e.alternate != "" && (r.envelope == nil || plain(r.envelope)):
			t.mu.Lock()
			t.endpoints[i].url, t.endpoints[i].alternate = e.alternate, ""
			t.mu.Unlock()
		case r.envelope != nil, r.status == http.StatusTooManyRequests, r.status == http.StatusServiceUnavailable:
			return r, nil
		default:
			return nil, &NetworkError{fmt.Errorf("%s: HTTP %d without a Mesh answer", e.url, r.status)}
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
	content, err := io.ReadAll(io.LimitReader(res.Body, answerMax+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	if int64(len(content)) > answerMax {
		return nil, fmt.Errorf("%s: answer over %d octets", url, answerMax)
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
	return t.endpoints[t.current].cleartext
}

// endpointURL is the URL in use.
func (t *transport) endpointURL() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.endpoints[t.current].url
}

func (t *transport) roundTrips() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.trips
}

func (t *transport) close() {
	for _, c := range t.clients {
		c.CloseIdleConnections()
	}
}
