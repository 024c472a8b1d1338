package discover

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// Dial returns how to connect to an endpoint: its name is asked of the DNS of the Source, and of an endpoint that was found
// there nowhere else.
func (s *Source) Dial(e Endpoint) func(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: AttemptTime, Resolver: s.resolver()}
	if s.Public {
		d.ControlContext = func(_ context.Context, _, address string, _ syscall.RawConn) error { return onlyPublic(address) }
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if e.dns {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			address = net.JoinHostPort(host+".", port)
		}
		return d.DialContext(ctx, network, address)
	}
}

// ErrNotPublic says that a name leads to an address that is not of the public internet.
var ErrNotPublic = errors.New("not an address of the public internet")

// onlyPublic is asked for each address that a name has, after it was looked up: a zone cannot say one thing to a check and
// another to the connection.
func onlyPublic(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	if !Public(at.Addr()) {
		return fmt.Errorf("%s: %w", at.Addr(), ErrNotPublic)
	}
	return nil
}

// special are the ranges that netip does not name (IANA special-purpose address registries).
var special = [...]netip.Prefix{ // never written
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("100.64.0.0/10"), // carriers' NAT
	netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"),
	netip.MustParsePrefix("192.88.99.0/24"),
	netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"),
	netip.MustParsePrefix("203.0.113.0/24"),
	netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("::/96"),          // IPv4 written as IPv6, long given up
	netip.MustParsePrefix("64:ff9b::/96"),   // translated IPv4, of any range
	netip.MustParsePrefix("64:ff9b:1::/48"), // local translation
	netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"),
	netip.MustParsePrefix("2001:db8::/32"),
	netip.MustParsePrefix("2002::/16"), // 6to4: an IPv4 address of any range
	netip.MustParsePrefix("3fff::/20"),
	netip.MustParsePrefix("5f00::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

// Public says whether an address is one of the public internet.
func Public(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if !a.IsGlobalUnicast() || a.IsPrivate() {
		return false
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return true
}

// TLS verifies the certificate for one of the endpoint's names: the host that SRV named or the account's domain.
// The standard check knows one name only, so it is switched off and its equal is done in VerifyConnection, which runs
// on resumed connections too.
func (e Endpoint) TLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ServerName:         e.Names[0],
		RootCAs:            e.Roots,
		InsecureSkipVerify: true, // VerifyConnection below does it, for each name
		VerifyConnection:   e.verify,
	}
}

func (e Endpoint) verify(s tls.ConnectionState) error {
	if len(s.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	options := x509.VerifyOptions{Roots: e.Roots, Intermediates: x509.NewCertPool()}
	for _, c := range s.PeerCertificates[1:] {
		options.Intermediates.AddCert(c)
	}
	var failed error
	for _, name := range e.Names {
		options.DNSName = name
		_, err := s.PeerCertificates[0].Verify(options)
		if err == nil {
			return nil
		}
		failed = errors.Join(failed, err)
	}
	return failed
}
