package inbound

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
)

// C-141: expressions of the operator, per service, per class of sender, per type.
func TestSiteExpressions(t *testing.T) {
	for _, c := range []struct {
		when  string
		spoil func(*facts)
		want  bool
	}{
		{when: `type == "RequestConfirmation"`, want: true},
		{when: `type == "RequestTask"`},
		{when: `service == "alpha.example" && !contact`},
		{when: `service_class == "trusted"`, want: true},
		{when: `service_class == "local"`, spoil: func(f *facts) { f.fromOther = false }, want: true},
		{when: `size > 900 && !encrypted`, want: true},
		{when: `sender.endsWith("@alpha.example") && recipient == "bob@beta.example"`, want: true},
		{when: `"Task" in rights`},
		{when: `rights.exists(r, rights.all(s, s != r + "x" || size / (size - 1000) > 0))`, want: true}, // fails: refuses
	} {
		f := good()
		if c.spoil != nil {
			c.spoil(f)
		}
		s := parse(t, "trusted: [alpha.example]\nrules:\n- name: one\n  when: '"+strings.ReplaceAll(c.when, "'", "''")+"'\n  refuse: MeshServiceBlockedSender\n")
		name, kind, refused := s.refuse(f)
		if refused != c.want || refused && (name != "site-one" || kind != mesh.ServiceBlockedSender) {
			t.Errorf("%s: refused %v by %q", c.when, refused, name)
		}
	}
}

// The example of docs/operations.md.
func TestSiteExample(t *testing.T) {
	s := parse(t, `deny: {services: [spam.example], senders: [mallory@example.org]}
rules:
  - {name: no-tasks-from-strangers, when: 'type == "RequestTask" && !contact', refuse: MeshMessageUnsupported}
`)
	f := good()
	f.letter.Type = mesh.TagRequestTask
	if _, _, refused := s.refuse(f); refused {
		t.Error("a contact's task is refused")
	}
	f.standing.Contact = false
	if name, _, refused := s.refuse(f); !refused || name != "site-no-tasks-from-strangers" {
		t.Errorf("a stranger's task: %v by %q", refused, name)
	}
	if !s.deniesService("", "spam.example") || !s.deniesSender("mallory@example.org", "") {
		t.Error("the lists do not count")
	}
}

func TestSiteFaults(t *testing.T) {
	for what, c := range map[string]struct{ text, want string }{
		"unknown key":     {"denied: {}", "denied"},
		"syntax":          {"rules: [{name: one, when: 'type =='}]", `rule "one"`},
		"unknown name":    {"rules: [{name: one, when: 'kind == \"x\"'}]", "kind"},
		"no condition":    {"rules: [{name: one, when: 'type'}]", "not bool"},
		"unknown refusal": {"rules: [{name: one, when: 'true', refuse: MeshNo}]", "MeshNo"},
		"no name":         {"rules: [{when: 'true'}]", "rule 1"},
		"too long":        {strings.Repeat("#", maxSite+1), "at most"},
	} {
		if _, err := ParseSite([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// A changed file counts without a restart; a wrong one leaves the policy as it was.
func TestSiteWatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "site.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("deny: {senders: [alice@alpha.example]}")
	synctest.Test(t, func(t *testing.T) {
		f, err := OpenSite(path)
		if err != nil {
			t.Fatal(err)
		}
		go f.Watch(t.Context(), slog.New(slog.DiscardHandler))
		first := f.Site().Version()
		write("denied: {}")
		time.Sleep(2 * siteInterval)
		if f.Site().Version() != first || !f.Site().deniesSender(alice, "") {
			t.Error("a wrong file changed the policy")
		}
		write("deny: {senders: [carol@alpha.example]}")
		time.Sleep(2 * siteInterval)
		if f.Site().Version() == first || f.Site().deniesSender(alice, "") || !f.Site().deniesSender("carol@alpha.example", "") {
			t.Error("the new policy does not count")
		}
	})
	if s := parse(t, "# nothing\n"); len(s.rules) > 0 {
		t.Error("a comment is a rule")
	}
	if _, err := OpenSite(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a missing file is no policy")
	}
}

func FuzzSite(f *testing.F) {
	f.Add([]byte("deny: {services: [a.example], senders: [x@y.example]}\nrules: [{name: one, when: 'size > 3'}]"))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if s, err := ParseSite(text); err == nil {
			s.refuse(good())
		}
	})
}
