package mesh

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

// flip changes one bit of the payload.
func flip(e *dare.Envelope) *dare.Envelope {
	c := *e
	c.Payload = bytes.Clone(e.Payload)
	// inside a base64url text, so that the JSON stays valid
	i := bytes.Index(c.Payload, []byte(`"Public":"`)) + len(`"Public":"`) + 20
	if c.Payload[i] == 'A' {
		c.Payload[i] = 'B'
	} else {
		c.Payload[i] = 'A'
	}
	return &c
}

// resigned makes an envelope of the same payload, signed by other keys.
func resigned(t testing.TB, e *dare.Envelope, signers ...*keys.PrivateKey) *dare.Envelope {
	t.Helper()
	c, err := dare.New(e.Payload, dare.Options{Holder: keys.NewRing(signers...), SignKIDs: kids(signers)})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// renamed says that the first signature is by kid.
func renamed(t testing.TB, e *dare.Envelope, kid string) *dare.Envelope {
	t.Helper()
	list, err := e.Signatures()
	if err != nil {
		t.Fatal(err)
	}
	return &dare.Envelope{Header: e.Header, Payload: e.Payload, Trailer: bytes.Replace(e.Trailer, []byte(list[0].KID), []byte(kid), 1)}
}

// A profile stands and falls with its payload, the right key and the right name (C-048, C-186).
func TestVerifyRefuses(t *testing.T) {
	alice, mallory := newPerson(t, "alice@example.com"), newPerson(t, "mallory@example.com")
	device, err := alice.admission().CatalogedDevice()
	if err != nil {
		t.Fatal(err)
	}
	connection := device.Accounts[0].EnvelopedConnectionAccount
	verify := map[string]struct {
		env *dare.Envelope
		f   func(*dare.Envelope) error
	}{
		"ProfileMesh":   {alice.profileMesh, func(e *dare.Envelope) error { _, err := VerifyProfileMesh(e); return err }},
		"ProfileDevice": {alice.profileDevice, func(e *dare.Envelope) error { _, err := VerifyProfileDevice(e); return err }},
		"ProfileAccount": {alice.profileAccount, func(e *dare.Envelope) error {
			_, err := VerifyProfileAccount(e, alice.mesh)
			return err
		}},
		"ProfileAccount without mesh": {alice.profileAccount, func(e *dare.Envelope) error { _, err := VerifyProfileAccount(e, nil); return err }},
		"ConnectionAccount":           {connection, func(e *dare.Envelope) error { _, err := VerifyConnectionAccount(e, alice.account); return err }},
		"ConnectionDevice": {device.EnvelopedConnectionDevice, func(e *dare.Envelope) error {
			_, err := VerifyConnectionDevice(e, alice.mesh)
			return err
		}},
	}
	thief := mallory.Account.Admin
	for name, v := range verify {
		if err := v.f(v.env); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		list, err := v.env.Signatures()
		if err != nil {
			t.Fatal(err)
		}
		bad := map[string]*dare.Envelope{
			"no envelope":                           nil,
			"a flipped bit":                         flip(v.env),
			"no signature":                          {Header: v.env.Header, Payload: v.env.Payload},
			"another's":                             resigned(t, v.env, thief),
			"another's key id":                      renamed(t, v.env, thief.KID()),
			"another's signature under this key id": renamed(t, resigned(t, v.env, thief), list[0].KID),
			"another structure":                     {Header: v.env.Header, Payload: bytes.Replace(v.env.Payload, []byte(`{"`), []byte(`{"X`), 1), Trailer: v.env.Trailer},
			"too long":                              resigned(t, &dare.Envelope{Payload: append(bytes.Clone(v.env.Payload), bytes.Repeat([]byte(" "), 64<<10)...)}, thief),
		}
		if len(list) > 1 { // the other signature of a ProfileAccount would do
			delete(bad, "another's key id")
		}
		for what, e := range bad {
			if err := v.f(e); KindOf(err) != ProfileInvalid || err == nil {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}

	// The authority that is written must be the one that signed.
	for udf, ok := range map[string]bool{"": true, alice.account.UDF(): true, mallory.account.UDF(): false} {
		c, err := VerifyConnectionAccount(connection, alice.account)
		if err != nil {
			t.Fatal(err)
		}
		c.AuthorityUDF = udf
		env, err := sign(TagConnectionAccount, c, alice.Account.Admin)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := VerifyConnectionAccount(env, alice.account); (err == nil) != ok {
			t.Errorf("AuthorityUDF %q: %v", udf, err)
		}
	}

	// Who is no authority.
	if _, err := VerifyConnectionAccount(connection, mallory.account); err == nil {
		t.Error("a connection of another account")
	}
	if _, err := VerifyConnectionDevice(device.EnvelopedConnectionDevice, mallory.mesh); err == nil {
		t.Error("a connection of another mesh")
	}
	offline, err := alice.Account.Seed.triple()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyConnectionAccount(resigned(t, connection, offline.sign), alice.account); err == nil {
		t.Error("a connection signed by the offline key passes: KeysOnlineSignature sign")
	}
}

// D-12: the account's own signature or that of its mesh, never that of another mesh.
func TestVerifyProfileAccount(t *testing.T) {
	alice, mallory := newPerson(t, "alice@example.com"), newPerson(t, "mallory@example.com")
	own, err := alice.Account.Seed.triple()
	if err != nil {
		t.Fatal(err)
	}
	byItself := resigned(t, alice.profileAccount, own.sign)
	byMesh := resigned(t, alice.profileAccount, alice.Mesh.Admin)
	byStranger := resigned(t, alice.profileAccount, mallory.Mesh.Admin)
	for _, c := range []struct {
		name string
		env  *dare.Envelope
		mesh *ProfileMesh
		ok   bool
	}{
		{"both", alice.profileAccount, alice.mesh, true},
		{"own", byItself, alice.mesh, true},
		{"own, no mesh known", byItself, nil, true},
		{"mesh", byMesh, alice.mesh, true},
		{"mesh, not known", byMesh, nil, false},
		{"own, another mesh shown", byItself, mallory.mesh, false},
		{"another mesh's signature", byStranger, alice.mesh, false},
		{"another mesh's signature and profile", byStranger, mallory.mesh, false},
	} {
		p, err := VerifyProfileAccount(c.env, c.mesh)
		if (err == nil) != c.ok || c.ok && p.UDF() != alice.account.UDF() {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	// Mallory signs, with his mesh, a profile that has Alice's key and his: it is named as hers, so only its own
	// signature makes it an identity.
	p := *alice.account
	p.MeshProfileUDF, p.KeysOnlineSignature = mallory.mesh.UDF(), mallory.account.KeysOnlineSignature
	forged, err := sign(TagProfileAccount, p, mallory.Mesh.Admin)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := VerifyProfileAccount(forged, mallory.mesh); err != nil || got.UDF() != alice.account.UDF() {
		t.Errorf("D-12 (b): %v", err)
	}
	if _, err := VerifyProfileAccount(forged, nil); err == nil {
		t.Error("an identity is stolen by copying its public key")
	}
	list, err := alice.profileAccount.Signatures()
	if err != nil || len(list) != 2 || list[0].KID != alice.account.UDF() || list[1].KID != alice.Mesh.Admin.KID() {
		t.Errorf("our client writes both signatures, its own first: %v %v", list, err)
	}
}

// Keys are called by their names, and used for what they are.
func TestVerifyKeys(t *testing.T) {
	k, err := keys.Generate(keys.Ed448)
	if err != nil {
		t.Fatal(err)
	}
	x, err := keys.Generate(keys.X448)
	if err != nil {
		t.Fatal(err)
	}
	good := func() *ProfileDevice {
		return &ProfileDevice{Profile: Profile{KeyOfflineSignature: keyData(k)}, KeyEncryption: keyData(x), KeyAuthentication: keyData(x)}
	}
	for name, change := range map[string]func(*ProfileDevice){
		"":                          func(*ProfileDevice) {},
		"no UDF":                    func(p *ProfileDevice) { p.KeyOfflineSignature.UDF = "" }, // the key's own name counts
		"!UDF of another key":       func(p *ProfileDevice) { p.KeyOfflineSignature.UDF = x.KID() },
		"!UDF of another key, enc":  func(p *ProfileDevice) { p.KeyEncryption.UDF = k.KID() },
		"!signature key to encrypt": func(p *ProfileDevice) { p.KeyEncryption = keyData(k) },
		"!no authentication key":    func(p *ProfileDevice) { p.KeyAuthentication = nil },
		"!empty key":                func(p *ProfileDevice) { p.KeyEncryption = &KeyData{UDF: x.KID()} },
		"!no offline key":           func(p *ProfileDevice) { p.KeyOfflineSignature = nil },
		"!encryption key to sign":   func(p *ProfileDevice) { p.KeyOfflineSignature = keyData(x) },
		"!many online keys": func(p *ProfileDevice) {
			for range maxOnlineKeys + 1 {
				p.KeysOnlineSignature = append(p.KeysOnlineSignature, *keyData(k))
			}
		},
	} {
		p := good()
		change(p)
		env, err := sign(TagProfileDevice, p, k)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := VerifyProfileDevice(env); (err != nil) != strings.HasPrefix(name, "!") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyProfileGroup(t *testing.T) {
	seed := NewDeviceSecrets().Seed
	k, err := seed.triple()
	if err != nil {
		t.Fatal(err)
	}
	env, err := sign(TagProfileGroup, ProfileGroup{
		Profile: Profile{KeyOfflineSignature: keyData(k.sign)}, AccountAddresses: []string{"g@example.com"}, KeyEncryption: keyData(k.encrypt),
	}, k.sign)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := VerifyProfileGroup(env); err != nil || p.UDF() != k.sign.KID() || p.AccountAddresses[0] != "g@example.com" {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := VerifyProfileGroup(flip(env)); err == nil {
		t.Error("a flipped bit")
	}
	if _, err := VerifyProfileAccount(env, nil); err == nil {
		t.Error("a group passes as an account")
	}
}

// Strangers send profiles, so what one costs is bounded before its keys are checked.
func TestVerifyBounds(t *testing.T) {
	alice := newPerson(t, "alice@example.com")
	k, err := alice.Mesh.Seed.triple()
	if err != nil {
		t.Fatal(err)
	}
	p := *alice.mesh
	for len(p.KeysOnlineSignature) < maxOnlineKeys {
		online := *keyData(alice.Mesh.Admin)
		online.NotBefore, online.NotOnOrAfter = &jbcd.Time{Time: testTime}, &jbcd.Time{Time: testTime}
		p.KeysOnlineSignature = append(p.KeysOnlineSignature, online)
	}
	env, err := sign(TagProfileMesh, p, k.sign)
	if err != nil {
		t.Fatal(err)
	}
	full, err := VerifyProfileMesh(env)
	if err != nil {
		t.Errorf("as many online keys as are allowed: %v", err)
	}
	for range 300 {
		p.KeysMasterEscrow = append(p.KeysMasterEscrow, KeyData{PrivateParameters: alice.Mesh.Admin})
	}
	if env, err = sign(TagProfileMesh, p, k.sign); err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyProfileMesh(env); KindOf(err) != ProfileInvalid || err == nil {
		t.Errorf("hundreds of keys: %v", err)
	}
	// Names of keys in a trailer cost what they are long, not that times the number of online keys.
	env.Trailer = []byte(`{"signatures":[` + strings.Repeat(`{"kid":"M"},`, 5000) + `{"kid":"M"}]}`)
	if n := testing.AllocsPerRun(1, func() { err = signedOnline(env, &full.Profile) }); err == nil || n > 100_000 {
		t.Errorf("%v after %.0f allocations", err, n)
	}
}
