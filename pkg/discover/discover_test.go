package discover

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/dns/dnsmessage"

	"github.com/mathmesh/meshd/pkg/discover/zonetest"
)

func shown(found []Endpoint) (got []string) {
	for _, e := range found {
		got = append(got, e.URL+" "+e.Alternate+" "+strings.Join(e.Names, ","))
	}
	return got
}

// C-026, C-027, C-031; FLOWS §1: where a domain's service is.
func TestFind(t *testing.T) {
	z := &zonetest.Zone{
		SRV: map[string][]dnsmessage.SRVResource{
			"_mmm._tcp.example.com":     {zonetest.SRV("b.example.com", 8443, 20), zonetest.SRV("a.example.com", 443, 10)},
			"_mmm._tcp.path.example":    {zonetest.SRV("mesh.path.example", 443, 0), zonetest.SRV("other.path.example", 443, 1)},
			"_mmm._tcp.away.example":    {zonetest.SRV("mesh.host.example", 443, 0)},
			"_mmm._tcp.old.example":     {zonetest.SRV("v2.old.example", 443, 0), zonetest.SRV("v3.old.example", 443, 1)},
			"_mmm._tcp.none.example":    {zonetest.SRV("", 0, 0)},
			"_mmm._tcp.v2.example":      {zonetest.SRV("v2.old.example", 443, 0)},
			"_mmm._tcp.literal.example": {zonetest.SRV("10.0.0.1", 443, 0)},
		},
		TXT: map[string][]string{
			"_mmm._tcp.path.example":      {"path=/service", "colour=red"},
			"_mmm._tcp.mesh.path.example": {"path=/host version=4.0-2.0"},
			"_mmm._tcp.v2.old.example":    {"version=2.1-1.0"},
			"_mmm._tcp.v3.old.example":    {"version=3.0", "encoding=json-b,json"},
		},
		A: map[string][4]byte{
			"mmm.plain.example": {192, 0, 2, 1}, "plain.example": {192, 0, 2, 1}, "bare.example": {192, 0, 2, 1},
		},
		NS: map[string]string{"domain.example": "ns.example"},
		MX: map[string]string{"mail.example": "mx.example"},
		Fault: map[string]zonetest.Fault{
			"_mmm._tcp.fail.example": zonetest.ServFail, "_mmm._tcp.silent.example": zonetest.Silence,
			"_mmm._tcp.garbage.example": zonetest.Garbage, "mmm.half.example": zonetest.ServFail,
			"_mmm._tcp.c.example.net": zonetest.ServFail, "_mmm._tcp.text.example": zonetest.ServFail,
		},
	}
	var many []dnsmessage.SRVResource
	for i := range 40 {
		many = append(many, zonetest.SRV(fmt.Sprintf("h%02d.many.example", i), 443, uint16(i)))
	}
	z.SRV["_mmm._tcp.many.example"] = many
	z.SRV["_mmm._tcp.example.net"] = []dnsmessage.SRVResource{zonetest.SRV("c.example.net", 443, 0), zonetest.SRV("d.example.net", 443, 1)}
	dns := z.Serve(t)
	state := filepath.Join(t.TempDir(), "state.json")
	err := os.WriteFile(state, []byte(`{"providers":[{"domain":"Alpha.Example","endpoint":"https://127.0.0.1:9/x","metrics":"m"}],"dns":"127.0.0.1:1","pid":1}`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	host := func(name, names string) string {
		return "https://" + name + "/.well-known/mmm https://" + name + "/.well-known/srv/mmm " + names
	}
	tests := []struct {
		name   string
		source Source
		domain string
		want   []string // url, alternate, names
		reason Reason
	}{
		{"priority", Source{}, "example.com", []string{
			host("a.example.com", "a.example.com,example.com"), host("b.example.com:8443", "b.example.com,example.com"),
		}, 0},
		{"path of host, then of service", Source{}, "path.example", []string{
			"https://mesh.path.example/host  mesh.path.example,path.example",
			"https://other.path.example/service  other.path.example,path.example",
		}, 0},
		{"a host elsewhere must have the domain's certificate", Source{}, "away.example", []string{host("mesh.host.example", "away.example")}, 0},
		{"another version", Source{}, "old.example", []string{host("v3.old.example", "v3.old.example,old.example")}, 0},
		{"no SRV", Source{}, "plain.example", []string{
			host("mmm.plain.example", "mmm.plain.example,plain.example"), host("plain.example", "plain.example"),
		}, 0},
		{"no SRV, one address", Source{}, "bare.example", []string{host("bare.example", "bare.example")}, 0},
		{"a host whose attributes cannot be read", Source{}, "example.net", []string{host("d.example.net", "d.example.net,example.net")}, 0},
		{"decidedly not there", Source{}, "none.example", nil, NoService},
		{"only another version", Source{}, "v2.example", nil, NoService},
		{"an address for a name", Source{}, "literal.example", nil, Temporary}, // the resolver refuses the record
		{"a domain of somebody", Source{}, "domain.example", nil, NoService},
		{"a domain with mail", Source{}, "mail.example", nil, NoService},
		{"no such domain", Source{}, "nowhere.example", nil, NoDomain},
		{"the server fails", Source{}, "fail.example", nil, Temporary},
		{"the server fails for the fallback", Source{}, "half.example", nil, Temporary},
		{"state file", Source{StateFile: state}, "alpha.example", []string{"https://127.0.0.1:9/x  alpha.example"}, 0},
		{"not in the state file", Source{StateFile: state}, "example.com", nil, NoService},
		{"override", Source{Services: map[string]string{"example.com": "http://127.0.0.1:8080"}}, "example.com", []string{
			"http://127.0.0.1:8080/.well-known/mmm http://127.0.0.1:8080/.well-known/srv/mmm example.com",
		}, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.source.Server = dns
			found, err := test.source.Find(t.Context(), test.domain)
			if diff := cmp.Diff(test.want, shown(found)); diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			var none *Error
			if errors.As(err, &none) != (test.want == nil) || none != nil && none.Reason != test.reason {
				t.Errorf("%v, want %v", err, test.reason)
			}
		})
	}
	t.Run("override that is none", func(t *testing.T) {
		_, err := (&Source{Services: map[string]string{"example.com": "ftp://x"}}).Find(t.Context(), "example.com")
		var none *Error
		if err == nil || errors.As(err, &none) {
			t.Errorf("%v, want what the user wrote wrong", err)
		}
	})
	t.Run("many hosts", func(t *testing.T) {
		found, err := (&Source{Server: dns}).Find(t.Context(), "many.example")
		if err != nil || len(found) != maxHosts || found[0].Names[0] != "h00.many.example" {
			t.Errorf("%d endpoints, %v", len(found), err)
		}
		if n := z.Asked("_mmm._tcp.h20.many.example"); n != 0 {
			t.Errorf("a host that is not tried was asked about %d times", n)
		}
	})
	for _, domain := range []string{"silent.example", "garbage.example"} {
		t.Run(domain, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			_, err := (&Source{Server: dns}).Find(t.Context(), domain)
			var none *Error
			if !errors.As(err, &none) || none.Reason != Temporary || time.Since(began) > AttemptTime+time.Second {
				t.Errorf("%v after %s", err, time.Since(began))
			}
		})
	}
}

// Weights decide among equals (RFC 2782): both hosts come first sometimes.
func TestWeight(t *testing.T) {
	z := &zonetest.Zone{SRV: map[string][]dnsmessage.SRVResource{"_mmm._tcp.example.com": {
		zonetest.SRV("a.example.com", 443, 0), zonetest.SRV("b.example.com", 443, 0),
	}}}
	source := &Source{Server: z.Serve(t)}
	first := map[string]int{}
	for range 64 { // one of them never: 2⁻⁶³
		found, err := source.Find(t.Context(), "example.com")
		if err != nil || len(found) != 2 {
			t.Fatal(found, err)
		}
		first[found[0].Names[0]]++
	}
	if len(first) != 2 {
		t.Errorf("first were %v", first)
	}
}

// Where strangers' names lead: not into the network of who follows them.
func TestPublic(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1111": true, "1.0.0.1": true, "172.32.0.1": true, "100.128.0.1": true,
		"127.0.0.1": false, "::1": false, "0.0.0.0": false, "::": false, "0.1.2.3": false, "10.1.2.3": false, "172.16.0.1": false,
		"192.168.1.1": false, "169.254.169.254": false, "100.64.0.1": false, "224.0.0.1": false, "255.255.255.255": false,
		"240.0.0.1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd12::1": false, "ff02::1": false,
		"::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:8.8.8.8": true, "64:ff9b::7f00:1": false,
		"2002:7f00:1::": false, "198.18.0.1": false, "2001:db8::1": false, "::127.0.0.1": false, "::10.0.0.1": false,
	} {
		if got := Public(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s is public: %v", text, got)
		}
	}
	z := &zonetest.Zone{A: map[string][4]byte{"inside.example": {127, 0, 0, 1}}}
	source := &Source{Server: z.Serve(t), Public: true}
	found, err := source.Find(t.Context(), "inside.example")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := source.Dial(found[0])(t.Context(), "tcp", "inside.example:443"); !errors.Is(err, ErrNotPublic) {
		t.Errorf("%v, want it refused", err)
	}
}
