package inbound

import (
	"context"
	"sync"
	"time"

	"github.com/mathmesh/meshd/pkg/udf"
)

const (
	// accreditedFor is how long the service of a domain is remembered (D-38).
	accreditedFor = 24 * time.Hour
	// refusedFor: another service than the remembered one is looked up again, but not at each message of a liar.
	refusedFor = time.Minute
	// accreditations are remembered for so many domains; the table begins anew when it is full.
	accreditations = 100_000
)

// Lookup finds the ProfileService of a domain, by discovery over validated TLS, and returns its UDF.
type Lookup func(ctx context.Context, domain string) (string, error)

// accreditation knows which service speaks for a domain.
type accreditation struct {
	lookup Lookup
	now    func() time.Time

	mu    sync.Mutex
	known map[string]*accredited
}

type accredited struct {
	mu      sync.Mutex // held while the domain is looked up: once for all who ask
	service string     // canonical UDF
	at      time.Time
}

func newAccreditation(lookup Lookup) *accreditation {
	return &accreditation{lookup: lookup, now: time.Now, known: make(map[string]*accredited)}
}

// speaks says whether a service is that of a domain. An error means that it could not be found out now.
func (a *accreditation) speaks(ctx context.Context, service, domain string) (bool, error) {
	e := a.entry(domain)
	e.mu.Lock()
	defer e.mu.Unlock()
	service = udf.Canonical(service)
	age := a.now().Sub(e.at)
	switch {
	case e.service == service && age < accreditedFor:
		return true, nil
	case e.service != "" && age < refusedFor:
		return false, nil
	}
	found, err := a.lookup(ctx, domain)
	if err != nil {
		if e.service != "" && e.service == service && age < 2*accreditedFor {
			return true, nil // a domain whose DNS is away for a day is still who it was
		}
		return false, err
	}
	e.service, e.at = udf.Canonical(found), a.now()
	return e.service == service, nil
}

func (a *accreditation) entry(domain string) *accredited {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.known[domain]
	if e == nil {
		if len(a.known) >= accreditations {
			clear(a.known)
		}
		e = &accredited{}
		a.known[domain] = e
	}
	return e
}
