package command

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// person runs commands on one folder of Mesh data, without a terminal and without a service.
type person struct {
	t   *testing.T
	dir string
}

func (p person) run(input string, args ...string) (code int, out, errs string) {
	p.t.Helper()
	var o, e bytes.Buffer
	args = append([]string{"--dir", p.dir, "--offline"}, args...)
	code = Run(context.Background(), "test", args, Streams{In: strings.NewReader(input), Out: &o, Err: &e})
	return code, o.String(), e.String()
}

func (p person) ok(input string, args ...string) string {
	p.t.Helper()
	code, out, errs := p.run(input, args...)
	if code != 0 {
		p.t.Fatalf("mesh %s: exit %d: %s", strings.Join(args, " "), code, errs)
	}
	return out
}

// local is a person with an account that was prepared on this machine and never bound.
func local(t *testing.T) person {
	t.Helper()
	p := person{t, t.TempDir()}
	p.ok("", "account", "create", "alice@alpha.example", "--local")
	return p
}

func sample(name string) string { return filepath.Join("..", "..", "testdata", name) }

// Exit codes of CLI: each kind of error has its own.
func TestExitCodes(t *testing.T) {
	refused := func(k mesh.Kind) error { return &client.ServiceError{Kind: k, Code: k.Code()} }
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{usagef("x"), 2},
		{notFoundf("x"), 3},
		{&client.NotFoundError{}, 3},
		{refused(mesh.NotAuthorized), 4},
		{refused(mesh.UnknownAccount), 4},
		{refused(mesh.Conflict), 5},
		{conflictError{1}, 5},
		{&client.ProofError{Fault: "signature"}, 6},
		{errors.Join(&client.ProofError{}, errors.New("other")), 6},
		{refused(mesh.RateLimited), 7},
		{refused(mesh.Overloaded), 7},
		{&client.NetworkError{Err: errors.New("x")}, 8},
		{context.DeadlineExceeded, 8},
		{&client.PendingError{URL: "https://x"}, 9},
		{fmt.Errorf("wrapped: %w", &client.PendingError{}), 9},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("exitCode(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

// Bad usage is exit 2, says what is wrong, and writes nothing on stdout.
func TestUsageErrors(t *testing.T) {
	p := local(t)
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"unknown command":      {[]string{"nonsense"}, "nonsense"},
		"unknown verb":         {[]string{"password", "ad"}, "no command"},
		"unknown flag":         {[]string{"password", "list", "--colour"}, "--colour"},
		"missing argument":     {[]string{"password", "add", "example.com"}, "SITE USER"},
		"bad output":           {[]string{"-o", "xml", "password", "list"}, "table or json"},
		"bad service":          {[]string{"--service", "x", "account", "hello", "example.com"}, "DOMAIN=URL"},
		"bad pin":              {[]string{"--pin", "alpha.example", "account", "hello", "example.com"}, "DOMAIN=UDF"},
		"no address":           {[]string{"account", "create", "alice", "--local"}, "alice@example.com"},
		"hello offline":        {[]string{"account", "hello", "example.com"}, "--offline"},
		"sync offline":         {[]string{"account", "sync"}, "--offline"},
		"create offline":       {[]string{"account", "create", "bob@alpha.example"}, "--local"},
		"empty secret":         {[]string{"password", "add", "example.com", "u", "--password-file", "-"}, "empty"},
		"secret without a tty": {[]string{"password", "add", "example.com", "u"}, "--password-file"},
		"bad format":           {[]string{"password", "import", "x", "--format", "csv"}, "bitwarden"},
		"bad vCard format":     {[]string{"contact", "export", "x", "--format", "vcard9"}, "vcard3"},
		"delete without yes":   {[]string{"account", "delete", "alice@alpha.example"}, "--yes"},
	} {
		code, out, errs := p.run("", c.args...)
		if code != 2 || out != "" || !strings.Contains(errs, c.says) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; want 2, nothing, %q", name, code, out, errs, c.says)
		}
	}
}

func TestNotFoundIsThree(t *testing.T) {
	p := local(t)
	for _, args := range [][]string{
		{"password", "get", "nowhere.example"},
		{"password", "delete", "nowhere.example"},
		{"bookmark", "get", "nowhere"},
		{"bookmark", "delete", "https://nowhere.example"},
		{"contact", "get", "nobody"},
		{"contact", "delete", "nobody"},
		{"--account", "bob@alpha.example", "password", "list"},
	} {
		if code, _, errs := p.run("", args...); code != 3 {
			t.Errorf("%v: exit %d (%s), want 3", args, code, errs)
		}
	}
}

func TestPasswordLife(t *testing.T) {
	p := local(t)
	p.ok("s3cret\n", "password", "add", "https://Example.com/login", "alice", "--password-file", "-", "--folder", "Work")
	file := filepath.Join(t.TempDir(), "pw")
	if err := os.WriteFile(file, []byte("other\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.ok("", "password", "add", "example.com", "bob", "--password-file", file)
	if got := p.ok("", "password", "get", "example.com", "--user", "bob", "--field", "password"); got != "other\n" {
		t.Errorf("get gives %q", got)
	}
	if code, _, errs := p.run("", "password", "get", "example.com"); code != 2 || !strings.Contains(errs, "--user") {
		t.Errorf("two logins: exit %d, %s", code, errs)
	}
	if list := p.ok("", "password", "list"); strings.Contains(list, "s3cret") || !strings.Contains(list, "alice") {
		t.Errorf("list shows a password or no user: %s", list)
	}
	// A new password keeps what the login has, and the old password in its history.
	p.ok("newer\n", "password", "add", "example.com", "alice", "--password-file", "-")
	var login loginOutput
	if err := json.Unmarshal([]byte(p.ok("", "-o", "json", "password", "get", "example.com", "--user", "alice")), &login); err != nil {
		t.Fatal(err)
	}
	want := loginOutput{Key: "http:example.com:alice", Service: "example.com", Username: "alice", Folder: "Work", URIs: []string{"https://Example.com/login"}, Password: "newer"}
	if d := cmp.Diff(want, login); d != "" {
		t.Error(d)
	}
	export := filepath.Join(t.TempDir(), "out.json")
	p.ok("", "password", "export", export)
	data, err := os.ReadFile(export)
	if err != nil || !bytes.Contains(data, []byte("s3cret")) {
		t.Errorf("the export lost the old password: %v", err)
	}
	if info, err := os.Stat(export); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the export is readable for others: %v %v", info.Mode(), err)
	}
	p.ok("", "password", "delete", "example.com", "--user", "alice")
	if code, _, _ := p.run("", "password", "get", "example.com", "--user", "alice"); code != 3 {
		t.Errorf("a deleted login is found: exit %d", code)
	}
}

func TestBookmarkLife(t *testing.T) {
	p := local(t)
	p.ok("", "bookmark", "add", "Work/wiki", "https://wiki.example/", "The wiki")
	p.ok("", "bookmark", "add", "Home/wiki", "https://wiki.example/", "The wiki")
	if code, _, errs := p.run("", "bookmark", "delete", "https://wiki.example/"); code != 2 || !strings.Contains(errs, "--path") {
		t.Errorf("two bookmarks of one address: exit %d, %s", code, errs)
	}
	p.ok("", "bookmark", "delete", "https://wiki.example/", "--path", "Home/wiki")
	if list := p.ok("", "bookmark", "list"); !strings.Contains(list, "Work/wiki") || strings.Contains(list, "Home/wiki") {
		t.Error(list)
	}
}

// A secret comes out as it went in; two of them come from one standard input.
func TestSecrets(t *testing.T) {
	p := local(t)
	const secret = "tab\tand \u00e9 \x1b[1m"
	p.ok(secret+"\nTOTP\n", "password", "add", "example.com", "alice", "--password-file", "-", "--totp-file", "-")
	for field, want := range map[string]string{"password": secret + "\n", "totp": "TOTP\n"} {
		if got := p.ok("", "password", "get", "example.com", "--field", field); got != want {
			t.Errorf("%s comes out as %q, want %q", field, got, want)
		}
	}
	if code, _, errs := p.run(strings.Repeat("x", maxSecret+1), "password", "add", "example.com", "bob", "--password-file", "-"); code != 1 || !strings.Contains(errs, "KiB") {
		t.Errorf("a secret that is too long: exit %d, %s", code, errs)
	}
}

// What a page, or another device, has put into an entry does not reach the terminal as an escape sequence.
func TestTablesAreVisible(t *testing.T) {
	p := local(t)
	p.ok("", "bookmark", "add", "a", "https://wiki.example/", "\x1b]0;title\x07\u009b2J")
	if out := p.ok("", "bookmark", "list"); strings.ContainsAny(out, "\x1b\x07\u009b") || !strings.Contains(out, "]0;title") {
		t.Errorf("%q", out)
	}
	if out := p.ok("", "bookmark", "export", "-"); !strings.Contains(out, "title") {
		t.Errorf("%q", out)
	}
}

// Nor do the words of a service, and every error that somebody can do something about says what.
func TestExplain(t *testing.T) {
	for err, says := range map[error]string{
		&client.PendingError{URL: "https://x/\x1b[2J", Reason: "\x1b]0;"}:                         "run the same command again",
		&client.ServiceError{Kind: mesh.NotAuthorized, Description: "\x1b[1m", Hint: true}:        "proves nothing",
		&client.ProofError{Fault: "service", Index: -1, Err: errors.New("another")}:               "Nothing of it was applied",
		&client.ProofError{Fault: "fork", Container: "mmm_Device", Index: 1, Evidence: "/folder"}: "kept in /folder",
		&client.NotFoundError{What: "account"}:                                                    "mesh account create",
		&client.LockedError{Address: "a@b", Path: "/lock"}:                                        "Wait",
		&client.NetworkError{Err: errors.New("refused")}:                                          "mesh account hello",
	} {
		var out bytes.Buffer
		a := &app{Streams: Streams{Err: &out}}
		a.explain(err)
		if s := out.String(); !strings.Contains(s, says) || strings.Contains(s, "\x1b") || strings.Contains(s, "kept in \n") {
			t.Errorf("%T: %q, want %q in it", err, s, says)
		}
	}
}

// Import through the encrypted catalog, export, import into another account: nothing is lost on the way.
func TestImportExportThroughTheCatalog(t *testing.T) {
	for _, c := range []struct{ noun, file string }{{"password", "bitwarden.json"}, {"contact", "contacts.vcf"}, {"bookmark", "bookmarks.html"}} {
		t.Run(c.noun, func(t *testing.T) {
			first, second := local(t), local(t)
			var r imported
			if err := json.Unmarshal([]byte(first.ok("", "-o", "json", c.noun, "import", sample(c.file))), &r); err != nil {
				t.Fatal(err)
			}
			if r.Added < 200 || r.Updated != 0 || r.Unchanged != 0 {
				t.Errorf("first import: %+v", r)
			}
			again := imported{}
			if err := json.Unmarshal([]byte(first.ok("", "-o", "json", c.noun, "import", sample(c.file))), &again); err != nil {
				t.Fatal(err)
			}
			if again.Added != 0 || again.Updated != 0 || again.Unchanged != r.Added {
				t.Errorf("the same file again: %+v, want %d unchanged", again, r.Added)
			}
			out := filepath.Join(t.TempDir(), "export")
			first.ok("", c.noun, "export", out)
			again = imported{}
			if err := json.Unmarshal([]byte(second.ok("", "-o", "json", c.noun, "import", out)), &again); err != nil {
				t.Fatal(err)
			}
			if again.Added != r.Added || len(again.Skipped) != 0 {
				t.Errorf("import of the export: %+v, want %d added", again, r.Added)
			}
			if a, b := first.ok("", c.noun, "export", "-"), second.ok("", c.noun, "export", "-"); a != b {
				t.Errorf("the two exports differ: %d and %d octets", len(a), len(b))
			}
		})
	}
}

func TestImportOfAnotherFileChangesNothing(t *testing.T) {
	p := local(t)
	for _, noun := range []string{"password", "contact", "bookmark"} {
		code, _, errs := p.run("hello", noun, "import", "-")
		if code != 1 || !strings.Contains(errs, "not a") {
			t.Errorf("%s: exit %d, %s", noun, code, errs)
		}
	}
	if out := p.ok("", "-o", "json", "password", "list"); strings.TrimSpace(out) != "[]" {
		t.Errorf("something was stored: %s", out)
	}
}

// Every command explains itself.
func TestHelp(t *testing.T) {
	p := person{t, t.TempDir()}
	for _, args := range [][]string{{"--help"}, {"password", "--help"}, {"account", "sync", "--help"}, {"completion", "bash"}, {"about"}} {
		if out := p.ok("", args...); len(out) < 20 {
			t.Errorf("%v says %q", args, out)
		}
	}
}
