package stack

import (
	"context"
	"net"
	"testing"
	"time"
)

// FLOWS §1: Go's own resolver finds the service over UDP and over TCP.
func TestDNS(t *testing.T) {
	z := newZone()
	z.add("alpha.example", 8443)
	p := newProcess()
	address, err := p.serveDNS(z)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	for _, network := range []string{"udp", "tcp"} {
		r := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, address)
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		_, srv, err := r.LookupSRV(ctx, "mmm", "tcp", "alpha.example")
		if err != nil || len(srv) != 1 || srv[0].Port != 8443 || srv[0].Target != "mmm.alpha.example." {
			t.Errorf("%s: SRV %v, %v", network, srv, err)
		}
		txt, err := r.LookupTXT(ctx, "_mmm._tcp.Alpha.example")
		if err != nil || len(txt) != 1 || txt[0] != "path=/.well-known/mmm" {
			t.Errorf("%s: TXT %q, %v", network, txt, err)
		}
		for _, host := range []string{"alpha.example", "mmm.alpha.example"} {
			if ips, err := r.LookupHost(ctx, host); err != nil || len(ips) != 1 || ips[0] != "127.0.0.1" {
				t.Errorf("%s: %s is at %v, %v", network, host, ips, err)
			}
		}
		if _, err := r.LookupHost(ctx, "gamma.example"); err == nil {
			t.Errorf("%s: gamma.example exists", network)
		}
	}
}
