package main_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/mesh"
)

var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "meshkey")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "meshkey")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	return m.Run()
}

// meshkey runs the command and wants an exit code.
func meshkey(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exec.Command(binary, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("meshkey %s: exit %d, want %d\n%s%s", strings.Join(args, " "), got, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

func makeProvider(t *testing.T) (dir, stdout string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "alpha")
	stdout, _ = meshkey(t, 0, "provider", "--domain", "Alpha.Example", "--out", dir, "--years", "3")
	return dir, stdout
}

func TestProvider(t *testing.T) {
	dir, stdout := makeProvider(t)
	gateway, err := mesh.LoadGateway(dir)
	if err != nil {
		t.Fatal(err)
	}
	shard, err := mesh.LoadShard(dir)
	if err != nil {
		t.Fatal(err)
	}
	outbound, err := mesh.LoadOutbound(dir)
	if err != nil {
		t.Fatal(err)
	}
	if gateway.Domain != "alpha.example" || gateway.Service.UDF() != outbound.Service.UDF() {
		t.Errorf("domain %s, services %s and %s", gateway.Domain, gateway.Service.UDF(), outbound.Service.UDF())
	}
	if gateway.Authentication[0].Public().Equal(outbound.Authentication.Public()) {
		t.Error("outbound holds S")
	}
	for _, want := range []string{
		"alpha.example", gateway.Service.UDF(), gateway.Host.UDF(), outbound.Host.UDF(), gateway.Authentication[0].KID(),
		shard.Encryption.KID(), outbound.Authentication.KID(), "offline keys      here",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("does not say %s:\n%s", want, stdout)
		}
	}
	again, _ := meshkey(t, 0, "show", dir)
	if again != stdout {
		t.Errorf("show says\n%swhere provider said\n%s", again, stdout)
	}
	// A seed begins with ZA; so may any later group of a fingerprint.
	if seed := regexp.MustCompile(`(^|[^-A-Z2-7])ZA[A-Z2-7]{2}-`).FindString(stdout); seed != "" {
		t.Errorf("shows a seed: %s…", seed)
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: mode %v", path, info.Mode())
		}
		if !d.IsDir() {
			files++
		}
		return nil
	})
	if err != nil || files != 7 {
		t.Errorf("%d files, %v", files, err)
	}
}

func TestProviderDoesNotOverwrite(t *testing.T) {
	dir, before := makeProvider(t)
	if _, stderr := meshkey(t, 1, "provider", "--domain", "alpha.example", "--out", dir); !strings.Contains(stderr, "not empty") {
		t.Error(stderr)
	}
	if after, _ := meshkey(t, 0, "show", dir); after != before {
		t.Errorf("the keys are others:\n%s", after)
	}
	file := filepath.Join(dir, "offline", "service.json")
	if _, stderr := meshkey(t, 1, "provider", "--domain", "alpha.example", "--out", file); strings.Contains(stderr, "panic") {
		t.Error(stderr)
	}
	if info, err := os.Stat(file); err != nil || info.IsDir() {
		t.Errorf("the offline keys are gone: %v", err)
	}
	if names, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v, %v", names, err)
	}
}

func TestUsage(t *testing.T) {
	out := filepath.Join(t.TempDir(), "p")
	for _, args := range [][]string{
		{},
		{"make"},
		{"provider"},
		{"provider", "--domain", "alpha.example"},
		{"provider", "--out", out},
		{"provider", "--domain", "alpha.example", "--out", out, "more"},
		{"provider", "--domain", "alpha.example", "--out", out, "--years", "0"},
		{"provider", "--domain", "alpha.example", "--out", out, "--years", "1000000"},
		{"provider", "--domain", "alpha.example", "--out", out, "--years", "two"},
		{"show"},
		{"show", "a", "b"},
		{"show", "--domain", "a", "b"},
	} {
		if stdout, stderr := meshkey(t, 2, args...); stdout != "" || !strings.Contains(stderr, "usage:") {
			t.Errorf("%q: %s%s", args, stdout, stderr)
		}
	}
	for _, domain := range []string{"alpha example", "alpha@example", ".", strings.Repeat("a", 300)} {
		meshkey(t, 1, "provider", "--domain", domain, "--out", out)
	}
	if _, err := os.Stat(out); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("something was made: %v", err)
	}
	for _, help := range []string{"help", "-h", "--help"} {
		if stdout, _ := meshkey(t, 0, help); !strings.HasPrefix(stdout, "usage:") {
			t.Errorf("%s: %s", help, stdout)
		}
	}
	meshkey(t, 0, "show", "-h")
	if stdout, _ := meshkey(t, 0, "version"); stdout != "dev\n" {
		t.Errorf("version %s", stdout)
	}
}

// TestShowOfARole: a role has public/ and its own folder.
func TestShowOfARole(t *testing.T) {
	dir, _ := makeProvider(t)
	for _, other := range []string{"offline", "shard", "outbound"} {
		if err := os.RemoveAll(filepath.Join(dir, other)); err != nil {
			t.Fatal(err)
		}
	}
	stdout, _ := meshkey(t, 0, "show", dir)
	for _, want := range []string{"gateway keys      complete", "shard keys        not here", "outbound keys     not here", "offline keys      not here"} {
		if !strings.Contains(stdout, want) {
			t.Errorf("does not say %s:\n%s", want, stdout)
		}
	}
}

func TestShowRefuses(t *testing.T) {
	other, _ := makeProvider(t)
	for name, damage := range map[string]func(dir string) error{
		"no folder":               os.RemoveAll,
		"no profile":              func(dir string) error { return os.Remove(filepath.Join(dir, "public/profile-service.json")) },
		"service of another":      func(dir string) error { return copyFile(dir, other, "public/profile-service.json") },
		"host of another":         func(dir string) error { return copyFile(dir, other, "public/profile-host.json") },
		"outbound's of another":   func(dir string) error { return copyFile(dir, other, "public/profile-host-outbound.json") },
		"gateway keys of another": func(dir string) error { return copyFile(dir, other, "gateway/keys.json") },
		"shard keys of another":   func(dir string) error { return copyFile(dir, other, "shard/keys.json") },
		"outbound of another":     func(dir string) error { return copyFile(dir, other, "outbound/keys.json") },
		"a profile cut":           func(dir string) error { return os.Truncate(filepath.Join(dir, "public/profile-host.json"), 700) },
		"keys cut":                func(dir string) error { return os.Truncate(filepath.Join(dir, "shard/keys.json"), 100) },
		"a profile too long": func(dir string) error {
			return os.Truncate(filepath.Join(dir, "public/profile-host.json"), 1<<20)
		},
		"the hosts exchanged": func(dir string) error {
			return os.Rename(filepath.Join(dir, "public/profile-host-outbound.json"), filepath.Join(dir, "public/profile-host.json"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, _ := makeProvider(t)
			private, err := os.ReadFile(filepath.Join(dir, "shard/keys.json"))
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(dir); err != nil {
				t.Fatal(err)
			}
			stdout, stderr := meshkey(t, 1, "show", dir)
			if stdout != "" || !strings.HasPrefix(stderr, "meshkey: ") || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%s%s", stdout, stderr)
			}
			for _, value := range regexp.MustCompile(`"(Private|Prefix)":"([^"]*)"`).FindAllSubmatch(private, -1) {
				if strings.Contains(stderr, string(value[2][:8])) {
					t.Error("shows a private key")
				}
			}
		})
	}
}

func copyFile(dir, from, name string) error {
	octets, err := os.ReadFile(filepath.Join(from, name))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), octets, 0o600)
}

// TestDependencies holds the promise of the package comment: nothing but std, pkg and the modules that pkg/go.mod is
// allowed to name.
func TestDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	list := strings.Fields(string(out))
	if len(list) < 10 {
		t.Fatalf("only %v", list)
	}
	for _, path := range list {
		ok := false
		for _, prefix := range []string{
			"github.com/mathmesh/meshd/pkg/", "github.com/cloudflare/circl/", "filippo.io/edwards25519", "golang.org/x/",
		} {
			ok = ok || strings.HasPrefix(path, prefix)
		}
		if !ok || strings.HasSuffix(path, "/client") || strings.HasPrefix(path, "github.com/mathmesh/meshd/pkg/vectors") {
			t.Errorf("depends on %s", path)
		}
	}
	out, err = exec.Command("go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strings.Fields(string(out)) {
		if path == "net" || path == "os/exec" { // it opens no socket and runs nothing
			t.Errorf("depends on %s", path)
		}
	}
}
