// Package discover finds where the Mesh Service of a domain is (draft §4.1, FLOWS §1): SRV and TXT records of
// `_mmm._tcp`, names and paths to try without them, and whom a TLS certificate must name there. Clients and forwarding
// workers find services by it, and by nothing else.
//
// DNS is not signed: what it says decides where a connection goes, never whom it is believed to reach. Answers are
// bounded, so that a zone of somebody's making costs a few queries and no more. Why no service was found is told
// apart in an Error, since a name that is not there is another thing than a server that is silent.
package discover

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// Attempts and AttemptTime are those of FLOWS §1.3: three places or tries, five seconds to reach each.
const (
	Attempts    = 3
	AttemptTime = 5 * time.Second
)

// Paths of the service (D-01).
const (
	PathDefault   = "/.well-known/mmm"
	PathAlternate = "/.well-known/srv/mmm" // of the web-service-discovery draft: second try after a 404
)

// Source says where to look. The zero value asks the system's DNS.
type Source struct {
	Services  map[string]string // domain → URL, overrides everything; http:// is cleartext
	StateFile string            // `meshd dev --state FILE`: endpoints and CA of the providers; replaces DNS
	Server    string            // DNS server, host:port; empty: the system's
	// Public refuses connections to addresses that are not of the public internet: for who goes where strangers' names lead.
	Public bool
}

// Endpoint is one place where a domain's service may be.
type Endpoint struct {
	URL       string
	Alternate string         // asked when URL says 404 without a Mesh answer; may be empty
	Names     []string       // the certificate must cover one of these; the first is the SNI
	Roots     *x509.CertPool // of who issues the certificate; nil: whoever the caller trusts
	Cleartext bool
	dns       bool // found in DNS: its host is an absolute name
}

// Reason says why no service was found.
type Reason uint8

// The reasons. The first two are what the DNS says, and may be wrong for a while all the same.
const (
	Temporary Reason = iota // the DNS did not answer, or not so that one could know
	NoDomain                // nothing stands under the name
	NoService               // the domain is there and has no service that we could speak to
)

// String names the reason.
func (r Reason) String() string {
	switch r {
	case NoDomain:
		return "no such domain"
	case NoService:
		return "no service"
	}
	return "temporary failure"
}

// Error says that no endpoint of a domain was found, and why.
type Error struct {
	Domain string
	Reason Reason
	Err    error
}

// Error implements error.
func (e *Error) Error() string {
	s := fmt.Sprintf("service of %s: %s", e.Domain, e.Reason)
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the inner error.
func (e *Error) Unwrap() error { return e.Err }

// Find returns the endpoints of a canonical domain in the order in which to try them: an override, the state file, DNS.
// That there is none is an *Error; other errors say what is wrong in the Source.
func (s *Source) Find(ctx context.Context, domain string) ([]Endpoint, error) {
	if override, ok := s.Services[domain]; ok {
		e, err := named(override, domain)
		if err != nil {
			return nil, fmt.Errorf("service of %s: %w", domain, err)
		}
		return []Endpoint{e}, nil
	}
	if s.StateFile != "" {
		return inState(s.StateFile, domain)
	}
	return lookup(ctx, s.resolver(), domain)
}

// named is an endpoint that the user or the state file names by URL.
func named(text, domain string) (Endpoint, error) {
	u, err := url.Parse(text)
	if err != nil {
		return Endpoint{}, err
	}
	if u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "https" && u.Scheme != "http" {
		return Endpoint{}, errors.New("want http(s)://host[:port][/path]")
	}
	e := Endpoint{Names: []string{domain}, Cleartext: u.Scheme == "http"}
	if u.Path == "" || u.Path == "/" {
		u.Path = PathAlternate
		e.Alternate = u.String()
		u.Path = PathDefault
	}
	e.URL = u.String()
	return e, nil
}

// stateFile is what `meshd dev --state FILE` writes, as far as a client needs it (docs/design.md, Contracts).
type stateFile struct {
	Providers []struct {
		Domain   string `json:"domain"`
		Endpoint string `json:"endpoint"`
		CAFile   string `json:"ca_file"`
	} `json:"providers"`
}

func inState(file, domain string) ([]Endpoint, error) {
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
		e, err := named(p.Endpoint, domain)
		if err != nil {
			return nil, fmt.Errorf("%s: endpoint of %s: %w", file, domain, err)
		}
		if p.CAFile != "" {
			pem, err := os.ReadFile(p.CAFile)
			if err != nil {
				return nil, err
			}
			e.Roots = x509.NewCertPool()
			if !e.Roots.AppendCertsFromPEM(pem) {
				return nil, fmt.Errorf("%s: no certificate", p.CAFile)
			}
		}
		return []Endpoint{e}, nil
	}
	return nil, &Error{Domain: domain, Reason: NoService, Err: fmt.Errorf("not in %s", file)}
}

// resolver is the system's, or asks the server of the Source.
func (s *Source) resolver() *net.Resolver {
	if s.Server == "" {
		return net.DefaultResolver
	}
	server := s.Server
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server)
	}}
}
