package mesh

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

func newProviderFor(t testing.TB, domain string) *Provider {
	t.Helper()
	p, err := NewProvider(domain, testTime, 2)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// C-048, C-083, C-186, C-187: both profiles verify, the host is chained to the service (D-07).
func TestProvider(t *testing.T) {
	p := newProviderFor(t, "Mesh.Example.COM")
	if p.Domain != "mesh.example.com" || p.Gateway.Service.Names[0] != p.Domain {
		t.Errorf("domain %q", p.Domain)
	}
	for name, id := range map[string]ServiceIdentity{"front": p.Gateway.ServiceIdentity, "outbound": p.Outbound.ServiceIdentity} {
		service, err := VerifyProfileService(id.EnvelopedProfileService)
		if err != nil {
			t.Fatal(err)
		}
		host, err := VerifyProfileHost(id.EnvelopedProfileHost, service)
		if err != nil {
			t.Fatal(err)
		}
		list, err := id.EnvelopedProfileHost.Signatures()
		if err != nil || len(list) != 2 || list[0].KID != host.UDF() || list[1].KID != service.UDF() {
			t.Errorf("%s: signatures %v %v", name, list, err)
		}
		if n := len(host.KeyAuthentication.PublicParameters.Octets); n != 57 { // C-058
			t.Errorf("%s: KeyAuthentication of %d octets", name, n)
		}
		for at, ok := range map[time.Time]bool{
			testTime: true, testTime.Add(-30 * time.Minute): true, testTime.Add(-2 * time.Hour): false,
			testTime.AddDate(2, 0, 6): true, testTime.AddDate(2, 0, 8): false,
		} {
			if err := host.KeyAuthentication.ValidAt(at); (err == nil) != ok {
				t.Errorf("%s at %v: %v", name, at, err)
			}
		}
	}
	if p.Gateway.Host.UDF() == p.Outbound.Host.UDF() || p.Gateway.Authentication[0].KID() == p.Outbound.Authentication.KID() {
		t.Error("the forwarding worker has a host of its own") // AUTH §9
	}
	for _, domain := range []string{"", "a b.com", "example..com"} {
		if _, err := NewProvider(domain, testTime, 1); KindOf(err) != NameInvalid {
			t.Errorf("domain %q: %v", domain, err)
		}
	}
	if _, err := NewProvider("example.com", testTime, 0); err == nil {
		t.Error("keys of no lifetime")
	}
}

func TestVerifyProfileHostRefuses(t *testing.T) {
	p, q := newProviderFor(t, "example.com"), newProviderFor(t, "example.net")
	offline := func(s Seed) *keys.PrivateKey {
		k, err := keys.DeriveSeed(s.Seed, keys.Ed448, labelSign)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	host, service := offline(p.Offline.Host), offline(p.Offline.Service)
	env := p.Gateway.EnvelopedProfileHost
	for name, c := range map[string]struct {
		env *dare.Envelope
		by  *ProfileService
	}{
		"another service":          {env, q.Gateway.Service},
		"no service signature":     {resigned(t, env, host), p.Gateway.Service},
		"no own signature":         {resigned(t, env, service), p.Gateway.Service},
		"signature of another":     {resigned(t, env, host, offline(q.Offline.Service)), p.Gateway.Service},
		"signed by its online key": {resigned(t, env, p.Gateway.Signature, service), p.Gateway.Service},
		"a flipped bit":            {flip(env), p.Gateway.Service},
		"a ProfileService":         {p.Gateway.EnvelopedProfileService, p.Gateway.Service},
	} {
		if _, err := VerifyProfileHost(c.env, c.by); KindOf(err) != ProfileInvalid || err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Callers use KeyAuthentication without asking whether it is there.
	keyless := *p.Gateway.Host
	keyless.KeyAuthentication = nil
	if env, err := sign(TagProfileHost, keyless, host, service); err != nil {
		t.Fatal(err)
	} else if _, err := VerifyProfileHost(env, p.Gateway.Service); KindOf(err) != ProfileInvalid || err == nil {
		t.Errorf("a host that cannot authenticate: %v", err)
	}
	// An online key of the service may sign hosts, too.
	online, err := keys.Generate(keys.Ed448)
	if err != nil {
		t.Fatal(err)
	}
	s := *p.Gateway.Service
	s.KeysOnlineSignature = []KeyData{*keyData(online)}
	if _, err := VerifyProfileHost(resigned(t, env, host, online), &s); err != nil {
		t.Error(err)
	}
	if _, err := VerifyProfileHost(env, &s); err != nil {
		t.Errorf("signed by the offline key of a service that has online keys: %v", err)
	}
}

func TestProviderFiles(t *testing.T) {
	p := newProviderFor(t, "example.com")
	dir := filepath.Join(t.TempDir(), "sub", "example.com")
	if err := p.WriteProvider(dir); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteProvider(dir); KindOf(err) != Conflict {
		t.Errorf("over an existing provider: %v", err)
	}
	files := 0
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		if info, err := d.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", path, info.Mode(), err)
		}
		return nil
	})
	if err != nil || files != 7 {
		t.Errorf("%d files, %v", files, err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), ".provider-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}

	g, err := LoadGateway(dir)
	if err != nil {
		t.Fatal(err)
	}
	s, err := LoadShard(dir)
	if err != nil {
		t.Fatal(err)
	}
	o, err := LoadOutbound(dir)
	if err != nil {
		t.Fatal(err)
	}
	if g.Domain != "example.com" || g.Authentication[0].KID() != p.Gateway.Authentication[0].KID() || g.Signature.KID() != p.Gateway.Signature.KID() ||
		s.Encryption.KID() != p.Shard.Encryption.KID() || s.Signature.KID() != g.Signature.KID() || o.Authentication.KID() != p.Outbound.Authentication.KID() {
		t.Error("other keys after a file")
	}
	// The loaded keys work: what is sealed to the service opens in the shard.
	env, err := dare.New([]byte("entry"), dare.Options{Recipients: []keys.PublicKey{*g.Service.KeyEncryption.PublicParameters}})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := env.Open(keys.NewRing(s.Encryption)); err != nil || string(got) != "entry" {
		t.Errorf("%q %v", got, err)
	}

	// No role's file holds what another role must not have (AUTH §9).
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	private := func(k *keys.PrivateKey) string {
		b, err := jbcd.Marshal(jbcd.Binary(k.Scalar()))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Trim(string(b), `"`)
	}
	for _, c := range []struct {
		secret string
		in     []string
	}{
		{private(g.Authentication[0]), []string{fileGateway}},
		{private(g.Signature), []string{fileGateway, fileShard}},
		{private(s.Encryption), []string{fileShard}},
		{private(o.Authentication), []string{fileOutbound}},
		{p.Offline.Service.String(), []string{fileOffline}},
	} {
		var in []string
		for _, name := range []string{fileOffline, fileService, fileHost, fileHostOutbound, fileGateway, fileShard, fileOutbound} {
			if strings.Contains(read(name), c.secret) {
				in = append(in, name)
			}
		}
		if strings.Join(in, " ") != strings.Join(c.in, " ") {
			t.Errorf("a secret of %v is in %v", c.in, in)
		}
	}
}

// A role with the files of another provider, or with broken ones, does not start.
func TestLoadRefuses(t *testing.T) {
	p, q := newProviderFor(t, "example.com"), newProviderFor(t, "example.net")
	other := filepath.Join(t.TempDir(), "q")
	if err := q.WriteProvider(other); err != nil {
		t.Fatal(err)
	}
	load := map[string]func(string) error{
		fileGateway:  func(d string) error { _, err := LoadGateway(d); return err },
		fileShard:    func(d string) error { _, err := LoadShard(d); return err },
		fileOutbound: func(d string) error { _, err := LoadOutbound(d); return err },
	}
	for role, f := range load {
		for _, file := range []string{role, fileService, fileHost, fileHostOutbound} {
			needed := file == role || file == fileService || (file == fileHostOutbound) == (role == fileOutbound)
			theirs, err := os.ReadFile(filepath.Join(other, file))
			if err != nil {
				t.Fatal(err)
			}
			for what, octets := range map[string][]byte{"another provider's": theirs, "half": theirs[:len(theirs)/2], "empty": nil, "long": bytes.Repeat([]byte(" "), maxProviderFile+1)} {
				dir := filepath.Join(t.TempDir(), "p")
				if err := p.WriteProvider(dir); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(filepath.Join(dir, file), octets, 0o600); err != nil {
					t.Fatal(err)
				}
				if err := f(dir); (err != nil) != needed {
					t.Errorf("%s with %s %s: %v", role, what, file, err)
				}
			}
		}
		if err := f(filepath.Join(t.TempDir(), "absent")); err == nil {
			t.Errorf("%s of nothing", role)
		}
	}
}
