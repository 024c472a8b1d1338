package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/stack"
)

// maxAnswer bounds what is read of an answer: those to our requests have a few KiB.
const maxAnswer = 1 << 20

// service is the Mesh Service under load, verified by its Hello.
type service struct {
	domain   string
	endpoint string
	admin    string // its admin listener; empty: not known
	roots    *x509.CertPool

	authentication keys.PublicKey // S
	encryption     keys.PublicKey // reads mmm_Device
	profile        *dare.Envelope // ProfileService
}

// openService finds a service in the state file of `meshd dev`; no domain: the first.
func openService(ctx context.Context, stateFile, domain string) (*service, error) {
	state, err := stack.ReadState(stateFile)
	if err != nil {
		return nil, err
	}
	i := 0
	if domain != "" {
		i = slices.IndexFunc(state.Providers, func(p stack.ProviderState) bool { return p.Domain == domain })
	}
	if i < 0 || i >= len(state.Providers) {
		return nil, usageError{fmt.Errorf("%s has no provider %s", stateFile, domain)}
	}
	p := state.Providers[i]
	s := &service{domain: p.Domain, endpoint: p.Endpoint, admin: p.Admin}
	if p.CAFile != "" {
		pem, err := os.ReadFile(p.CAFile)
		if err != nil {
			return nil, err
		}
		s.roots = x509.NewCertPool()
		if !s.roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate", p.CAFile)
		}
	}
	hello, err := client.Hello(ctx, client.Config{StateFile: stateFile}, p.Domain)
	if err != nil {
		return nil, err
	}
	return s, s.identify(hello.Response)
}

// identify takes the keys out of a Hello that was verified.
func (s *service) identify(hello *mesh.MeshHelloResponse) error {
	profile, err := mesh.VerifyProfileService(hello.EnvelopedProfileService)
	if err != nil {
		return err
	}
	host, err := mesh.VerifyProfileHost(hello.EnvelopedProfileHost, profile)
	if err != nil {
		return err
	}
	s.profile = hello.EnvelopedProfileService
	s.authentication = *host.KeyAuthentication.PublicParameters
	if profile.KeyEncryption == nil {
		return errors.New("the service has no encryption key")
	}
	s.encryption = *profile.KeyEncryption.PublicParameters
	return nil
}

// connection is what one client has: a TLS connection of its own, HTTP/1.1 as pkg/client, or HTTP/2.
type connection struct {
	service *service
	http    *http.Client
	header  http.Header
}

func (s *service) connect(http2 bool) *connection {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!http2)
	protocols.SetHTTP2(http2)
	return &connection{
		service: s,
		header:  http.Header{"Content-Type": {"application/json"}},
		http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			TLSClientConfig:    &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: s.roots, ServerName: s.domain},
			Protocols:          protocols,
			DisableCompression: true,
			MaxConnsPerHost:    1,
		}},
	}
}

func (c *connection) close() { c.http.CloseIdleConnections() }

// post sends an envelope as it stands and reads the one that comes back. Nothing in it is authenticated.
func (c *connection) post(ctx context.Context, body []byte) (*dare.Envelope, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.service.endpoint, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Host, req.Header = c.service.domain, c.header
	res, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if err != nil {
		return nil, err
	}
	e, err := dare.Parse(content)
	if err != nil {
		return nil, fmt.Errorf("HTTP %d: %w", res.StatusCode, err)
	}
	return e, nil
}
