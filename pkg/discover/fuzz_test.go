package discover

import (
	"net/url"
	"testing"
)

// FuzzText: TXT records come from unsigned DNS.
func FuzzText(f *testing.F) {
	f.Add("path=/service version=3.0-1.0 encoding=json")
	f.Add("version=-")
	f.Add("path=//other.example/x path=a?b#c")
	f.Fuzz(func(t *testing.T, record string) {
		text := parseText([]string{record})
		text.fits()
		if p, ok := text["path"]; ok && p[0] != '/' {
			t.Errorf("path %q", p)
		}
		e := fromDNS("host.example", "443", text["path"], "example")
		if u, err := url.Parse(e.URL); err != nil || u.Host != "host.example" || u.RawQuery != "" || u.Fragment != "" {
			t.Errorf("endpoint %q, %v", e.URL, err)
		}
	})
}
