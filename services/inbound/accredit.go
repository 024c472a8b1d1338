package inbound

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mathmesh/meshd/pkg/udf"
)

const (
	// accreditedFor is how long the service of a domain is remembered (D-38).
	accreditedFor = 24 * time.Hour
	// refusedFor: another service than the remembered one is looked up again, but not at each message of a liar.
	refusedFor = time.Minute
	// failedFor: a domain that could not be asked is not asked again at each message.
	failedFor = 30 * time.Second
	// lookupTimeout bounds one lookup: DNS, TLS and one Hello.
	lookupTimeout = 8 * time.Second
	// lookups at once, those included who wait for another's: a domain that says nothing must not hold up all messages.
	lookups = inFlight / 4
	// accreditations are remembered for so many domains; the table begins anew when it is full.
	accreditations = 100_000
)

var errBusy = errors.New("too many lookups at once")

// Lookup finds the ProfileService of a domain, by discovery over validated TLS, and returns its UDF.
type Lookup func(ctx context.Context, domain string) (string, error)

// accreditation knows which service speaks for a domain.
type accreditation struct {
	lookup Lookup
	now    func() time.Time
	slots  chan struct{} // one for each message that waits for a lookup

	mu    sync.Mutex // of the table and what is in it
	known map[string]*accredited
}

type accredited struct {
	turn    chan struct{} // held while the domain is looked up: once for all who ask
	service string        // canonical UDF
	at      time.Time
	failed  time.Time // when the last lookup was in vain
	fault   error     // of that
}

func newAccreditation(lookup Lookup) *accreditation {
	return &accreditation{lookup: lookup, now: time.Now, slots: make(chan struct{}, lookups), known: make(map[string]*accredited)}
}

// speaks says whether a service is that of a domain. An error means that it could not be found out now.
func (a *accreditation) speaks(ctx context.Context, service, domain string) (bool, error) {
	service = udf.Canonical(service)
	e := a.entry(domain)
	if ok, err, known := a.remembered(e, service); known {
		return ok, err
	}
	select {
	case a.slots <- struct{}{}:
		defer func() { <-a.slots }()
	default:
		return a.unless(e, service, errBusy)
	}
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return a.unless(e, service, ctx.Err())
	}
	if ok, err, known := a.remembered(e, service); known { // by who had the turn before
		return ok, err
	}
	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := a.lookup(limited, domain)
	if err != nil {
		if ctx.Err() == nil { // otherwise it was our time that was over
			a.mu.Lock()
			e.failed, e.fault = a.now(), err
			a.mu.Unlock()
		}
		return a.unless(e, service, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e.service, e.at, e.fault = udf.Canonical(found), a.now(), nil
	return e.service == service, nil
}

// remembered is the answer without a lookup, when there is one.
func (a *accreditation) remembered(e *accredited, service string) (ok bool, err error, known bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	age := a.now().Sub(e.at)
	switch {
	case e.service == service && age < accreditedFor:
		return true, nil, true
	case e.service != "" && age < refusedFor:
		return false, nil, true
	case e.fault != nil && a.now().Sub(e.failed) < failedFor:
		ok, err = e.unless(service, age, e.fault)
		return ok, err, true
	}
	return false, nil, false
}

func (a *accreditation) unless(e *accredited, service string, err error) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return e.unless(service, a.now().Sub(e.at), err)
}

// unless is the answer when nothing can be found out: a domain whose DNS is away for a day is still who it was.
func (e *accredited) unless(service string, age time.Duration, err error) (bool, error) {
	if e.service != "" && e.service == service && age < 2*accreditedFor {
		return true, nil
	}
	return false, err
}

func (a *accreditation) entry(domain string) *accredited {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.known[domain]
	if e == nil {
		if len(a.known) >= accreditations {
			clear(a.known)
		}
		e = &accredited{turn: make(chan struct{}, 1)}
		a.known[domain] = e
	}
	return e
}
