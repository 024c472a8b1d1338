package client

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// Names of the service (draft §4.1, FLOWS §1).
const (
	srvName        = "_mmm._tcp."
	pathDefault    = "/.well-known/mmm"
	pathAlternate  = "/.well-known/srv/mmm" // of the web-service-discovery draft: second try after a 404
	prefixFallback = "mmm."                 // where there is no SRV
)

// endpoint is one place where a domain's service may be.
type endpoint struct {
	url       string
	alternate string   // asked when url says 404 without a Mesh answer; may be empty
	names     []string // the certificate must cover one of these; the first is the SNI
	roots     *x509.CertPool
	cleartext bool
}

// stateFile is what `meshd dev --state FILE` writes, as far as a client needs it (docs/design.md, Contracts).
type stateFile struct {
	Providers []struct {
		Domain   string `json:"domain"`
		Endpoint string `json:"endpoint"`
		CAFile   string `json:"ca_file"`
	} `json:"providers"`
}

// discover finds the endpoints of a canonical domain, in the order in which to try them: an override, the state
// file, DNS. Failures to find any are *NetworkError, but for what the user wrote wrong.
func discover(ctx context.Context, c *Config, domain string) ([]endpoint, error) {
	if override, ok := c.Services[domain]; ok {
		e, err := namedEndpoint(override, domain)
		if err != nil {
			return nil, fmt.Errorf("service of %s: %w", domain, err)
		}
		return []endpoint{e}, nil
	}
	if c.StateFile != "" {
		return stateEndpoints(c.StateFile, domain)
	}
	return lookup(ctx, c.resolver(), domain)
}

// namedEndpoint is one that the user or the state file names by URL.
func namedEndpoint(text, domain string) (endpoint, error) {
	u, err := url.Parse(text)
	if err != nil {
		return endpoint{}, err
	}
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return endpoint{}, errors.New("want http(s)://host[:port][/path]")
	}
	e := endpoint{names: []string{domain}, cleartext: u.Scheme == "http"}
	if u.Path == "" || u.Path == "/" {
		u.Path = pathAlternate
		e.alternate = u.String()
		u.Path = pathDefault
	}
	e.url = u.String()
	return e, nil
}

func stateEndpoints(file, domain string) ([]endpoint, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var s stateFile
	if err := jbcd.Unmarshal(content, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, p := range s.Providers {
		if !strings.EqualFold(p.Domain, domain) {
			continue
		}
		e, err := namedEndpoint(p.Endpoint, domain)
		if err != nil {
			return nil, fmt.Errorf("%s: endpoint of %s: %w", file, domain, err)
		}
		if p.CAFile != "" {
			pem, err := os.ReadFile(p.CAFile)
			if err != nil {
				return nil, err
			}
			e.roots = x509.NewCertPool()
			if !e.roots.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s: no certificate", p.CAFile)
			}
		}
		return []endpoint{e}, nil
	}
	return nil, &NetworkError{fmt.Errorf("no service of %s in %s", domain, file)}
}

// resolver is the system's, or asks the server of the configuration.
func (c *Config) resolver() *net.Resolver {
	if c.DNS == "" {
		return net.DefaultResolver
	}
	server := c.DNS
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server)
	}}
}

// lookup finds the endpoints in DNS. The resolver orders SRV records by priority and weight (RFC 2782).
func lookup(ctx context.Context, r *net.Resolver, domain string) ([]endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	_, records, err := r.LookupSRV(ctx, "", "", srvName+domain)
	var failed *net.DNSError
	switch {
	case errors.As(err, &failed) && failed.IsNotFound:
		return []endpoint{
			dnsEndpoint(prefixFallback+domain, "443", "", domain),
			dnsEndpoint(domain, "443", "", domain),
		}, nil
	case err != nil:
		return nil, &NetworkError{fmt.Errorf("service of %s: %w", domain, err)}
	}
	service := lookupText(ctx, r, srvName+domain)
	var found []endpoint
	for _, srv := range records {
		host := strings.ToLower(strings.TrimSuffix(srv.Target, "."))
		if host == "" { // RFC 2782: the service is decidedly not there
			continue
		}
		text := lookupText(ctx, r, srvName+host)
		if !text.fits() || !service.fits() {
			continue
		}
		path := text["path"]
		if path == "" {
			path = service["path"]
		}
		found = append(found, dnsEndpoint(host, strconv.Itoa(int(srv.Port)), path, domain))
	}
	if len(found) == 0 {
		return nil, &NetworkError{fmt.Errorf("the DNS of %s names no service of this version", domain)}
	}
	return found, nil
}

// dnsEndpoint is one found in unsigned DNS: a certificate for a host of another domain would prove nothing, so for
// such a host it must be one for the account's domain (FLOWS §1.5).
func dnsEndpoint(host, port, path, domain string) endpoint {
	e := endpoint{names: []string{domain}}
	if host != domain && strings.HasSuffix(host, "."+domain) {
		e.names = []string{host, domain}
	}
	at := url.URL{Scheme: "https", Host: host, Path: path}
	if port != "443" {
		at.Host = net.JoinHostPort(host, port)
	}
	if path == "" {
		at.Path = pathAlternate
		e.alternate = at.String()
		at.Path = pathDefault
	}
	e.url = at.String()
	return e
}

// text holds the attributes of TXT records.
type text map[string]string

// lookupText reads name=value attributes; a name without TXT has none. The first of a name counts.
func lookupText(ctx context.Context, r *net.Resolver, name string) text {
	records, err := r.LookupTXT(ctx, name)
	if err != nil {
		return nil
	}
	return parseText(records)
}

func parseText(records []string) text {
	t := text{}
	for _, record := range records {
		for _, field := range strings.Fields(record) {
			name, value, ok := strings.Cut(field, "=")
			name = strings.ToLower(name)
			if _, have := t[name]; !ok || have {
				continue
			}
			if name == "path" && !strings.HasPrefix(value, "/") {
				value = "/" + value
			}
			t[name] = value
		}
	}
	return t
}

// fits says whether a host speaks our version and encoding. What we cannot read does not exclude it: Hello tells.
func (t text) fits() bool {
	if v, ok := t["version"]; ok {
		high, low, ranged := strings.Cut(v, "-")
		if !ranged {
			low = high
		}
		h, err1 := strconv.Atoi(before(high, "."))
		l, err2 := strconv.Atoi(before(low, "."))
		if err1 == nil && err2 == nil && (h < versionMajor || l > versionMajor) {
			return false
		}
	}
	if v, ok := t["encoding"]; ok {
		for _, e := range strings.Split(strings.ToLower(v), ",") {
			if e == "json" || e == contentType {
				return true
			}
		}
		return false
	}
	return true
}

func before(s, sep string) string {
	s, _, _ = strings.Cut(s, sep)
	return s
}
