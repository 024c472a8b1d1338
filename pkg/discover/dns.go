package discover

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// Names of the service (draft §4.1, FLOWS §1).
const (
	srvName        = "_mmm._tcp."
	prefixFallback = "mmm." // where there is no SRV
)

const (
	versionMajor = 3
	contentType  = "application/json"
)

// Bounds of what a zone can make us do. Three places are tried; a few more are looked at, since some may be of another version.
const (
	maxHosts  = 8
	maxFields = 64  // attributes in the TXT of a name
	maxPath   = 256 // octets
)

// lookup finds the endpoints in DNS. The resolver orders SRV records by priority and weight (RFC 2782). Names are absolute: no
// search list of this machine makes an internal service of them.
func lookup(ctx context.Context, r *net.Resolver, domain string) ([]Endpoint, error) {
	ctx, cancel := context.WithTimeout(ctx, AttemptTime)
	defer cancel()
	_, records, err := r.LookupSRV(ctx, "", "", srvName+domain+".")
	switch {
	case notFound(err):
		return fallback(ctx, r, domain)
	case err != nil && len(records) == 0: // else some of the records are none
		return nil, &Error{Domain: domain, Err: err}
	}
	hosts := targets(records)
	if len(hosts) == 0 {
		return nil, &Error{Domain: domain, Reason: NoService, Err: errors.New("its DNS says that there is none")}
	}
	return endpoints(ctx, r, domain, hosts)
}

type target struct {
	host string
	port uint16
}

// targets are the hosts that SRV records name. One without a name says that the service is decidedly not there (RFC 2782).
func targets(records []*net.SRV) []target {
	var hosts []target
	for _, srv := range records {
		host := strings.ToLower(strings.TrimSuffix(srv.Target, "."))
		if _, err := netip.ParseAddr(host); host == "" || err == nil || srv.Port == 0 || len(hosts) == maxHosts {
			continue
		}
		hosts = append(hosts, target{host, srv.Port})
	}
	return hosts
}

// endpoints are the hosts that speak our version, with the path that the host's TXT says, else the service's.
func endpoints(ctx context.Context, r *net.Resolver, domain string, hosts []target) ([]Endpoint, error) {
	names := []string{domain}
	for _, t := range hosts {
		names = append(names, t.host)
	}
	texts, errs := lookupTexts(ctx, r, names)
	if errs[0] != nil { // without it nobody knows the path
		return nil, &Error{Domain: domain, Err: errs[0]}
	}
	var found []Endpoint
	var failed error
	service := texts[0]
	for i, t := range hosts {
		text, err := texts[i+1], errs[i+1]
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		path := text["path"]
		if path == "" {
			path = service["path"]
		}
		if text.fits() && service.fits() {
			found = append(found, fromDNS(t.host, strconv.Itoa(int(t.port)), path, domain))
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case failed != nil:
		return nil, &Error{Domain: domain, Err: failed}
	}
	return nil, &Error{Domain: domain, Reason: NoService, Err: errors.New("its DNS names no service of this version")}
}

// lookupTexts reads the attributes of several names at once; the errors are those of each.
func lookupTexts(ctx context.Context, r *net.Resolver, names []string) ([]text, []error) {
	texts, errs := make([]text, len(names)), make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { texts[i], errs[i] = lookupText(ctx, r, srvName+name+".") })
	}
	all.Wait()
	return texts, errs
}

// fallback is where a service without SRV may be: at one of two names, if they have an address.
func fallback(ctx context.Context, r *net.Resolver, domain string) ([]Endpoint, error) {
	names := []string{prefixFallback + domain, domain}
	errs := make([]error, len(names))
	var all sync.WaitGroup
	for i, name := range names {
		all.Go(func() { _, errs[i] = r.LookupNetIP(ctx, "ip", name+".") })
	}
	all.Wait()
	var found []Endpoint
	var failed error
	for i, name := range names {
		switch {
		case errs[i] == nil:
			found = append(found, fromDNS(name, "443", "", domain))
		case !notFound(errs[i]):
			failed = errors.Join(failed, errs[i])
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case failed != nil:
		return nil, &Error{Domain: domain, Err: failed}
	}
	return nil, absent(ctx, r, domain)
}

// absent says of a domain without service and address whether there is anything at all. The resolver does not tell a name that
// is not there from one without records of a kind; a domain in use has name servers, or gets mail.
func absent(ctx context.Context, r *net.Resolver, domain string) error {
	_, errNS := r.LookupNS(ctx, domain+".")
	if errNS == nil {
		return &Error{Domain: domain, Reason: NoService}
	}
	_, errMX := r.LookupMX(ctx, domain+".")
	switch {
	case errMX == nil:
		return &Error{Domain: domain, Reason: NoService}
	case notFound(errNS) && notFound(errMX):
		return &Error{Domain: domain, Reason: NoDomain}
	}
	return &Error{Domain: domain, Err: errors.Join(errNS, errMX)}
}

// notFound says that the DNS has answered that there is no such record.
func notFound(err error) bool {
	var failed *net.DNSError
	return errors.As(err, &failed) && failed.IsNotFound
}

// fromDNS is an endpoint found in unsigned DNS: a certificate for a host of another domain would prove nothing, so for
// such a host it must be one for the account's domain (FLOWS §1.5).
func fromDNS(host, port, path, domain string) Endpoint {
	e := Endpoint{Names: []string{domain}, dns: true}
	if host != domain && strings.HasSuffix(host, "."+domain) {
		e.Names = []string{host, domain}
	}
	at := url.URL{Scheme: "https", Host: host, Path: path}
	if port != "443" {
		at.Host = net.JoinHostPort(host, port)
	}
	if path == "" {
		at.Path = PathAlternate
		e.Alternate = at.String()
		at.Path = PathDefault
	}
	e.URL = at.String()
	return e
}

// text holds the attributes of TXT records.
type text map[string]string

// lookupText reads name=value attributes; a name without TXT has none. The first of an attribute counts.
func lookupText(ctx context.Context, r *net.Resolver, name string) (text, error) {
	records, err := r.LookupTXT(ctx, name)
	if notFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("TXT: %w", err)
	}
	return parseText(records), nil
}

func parseText(records []string) text {
	t := text{}
	for _, record := range records {
		for field := range strings.FieldsSeq(record) {
			name, value, ok := strings.Cut(field, "=")
			name = strings.ToLower(name)
			if _, have := t[name]; !ok || have || len(t) == maxFields {
				continue
			}
			if name == "path" {
				if value, ok = cleanPath(value); !ok {
					continue
				}
			}
			t[name] = value
		}
	}
	return t
}

// cleanPath is a path that selects a service; one with a query, a fragment or what does not print is none.
func cleanPath(path string) (string, bool) {
	if !strings.HasPrefix(path, "/") {
		path = "/" + path
	}
	odd := func(r rune) bool { return r == '?' || r == '#' || r == '\\' || !unicode.IsPrint(r) }
	return path, len(path) > 1 && len(path) <= maxPath && !strings.ContainsFunc(path, odd)
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
		for e := range strings.SplitSeq(strings.ToLower(v), ",") {
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
