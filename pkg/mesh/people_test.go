package mesh

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

var testTime = time.Date(2026, 11, 25, 2, 0, 0, 5e8, time.UTC)

// person is one with a mesh, an account and a device.
type person struct {
	Secrets
	profileMesh, profileAccount, profileDevice *dare.Envelope
	mesh                                       *ProfileMesh
	account                                    *ProfileAccount
}

func newPerson(t testing.TB, address string) *person {
	t.Helper()
	p := new(person)
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	p.Mesh, err = NewMeshSecrets()
	check()
	p.Account, err = NewAccountSecrets()
	check()
	p.Device = *NewDeviceSecrets()
	p.profileMesh, err = p.Mesh.ProfileMesh(testTime)
	check()
	p.mesh, err = VerifyProfileMesh(p.profileMesh)
	check()
	p.profileAccount, err = p.Account.ProfileAccount(p.Mesh, AccountOptions{Addresses: []string{address}, Mesh: p.mesh, Now: testTime})
	check()
	p.account, err = VerifyProfileAccount(p.profileAccount, p.mesh)
	check()
	p.profileDevice, err = p.Device.ProfileDevice("test", testTime)
	check()
	return p
}

func (p *person) admission(rights ...RightName) *Admission {
	return &Admission{
		Mesh: p.Mesh, ProfileMesh: p.profileMesh, Account: p.Account, ProfileAccount: p.profileAccount,
		ProfileDevice: p.profileDevice, Rights: rights, Now: testTime,
	}
}

// The first device of a new account, from secrets to activated keys (FLOWS §2 step 1).
func TestAdmission(t *testing.T) {
	alice := newPerson(t, "alice@example.com")
	for _, c := range []struct {
		rights []RightName
		want   []RightName
		admin  bool
	}{
		{[]RightName{RightAdmin, RightAll}, Rights(), true},
		{nil, Rights()[1:], false},
		{[]RightName{RightMessage}, []RightName{RightMessage}, false},
	} {
		made, err := alice.admission(c.rights...).CatalogedDevice()
		if err != nil {
			t.Fatal(err)
		}
		payload, err := EncodeEntry(made)
		if err != nil {
			t.Fatal(err)
		}
		entry, err := DecodeEntry(payload)
		if err != nil {
			t.Fatal(err)
		}
		e := entry.(*CatalogedDevice)
		m, err := Activate(&alice.Device, e, alice.account.UDF())
		if err != nil {
			t.Fatal(err)
		}
		device, err := VerifyProfileDevice(e.EnvelopedProfileDevice)
		if err != nil || e.PrimaryKey() != device.UDF() || m.Connection.SubjectUDF != device.UDF() || m.Connection.AuthorityUDF != alice.account.UDF() {
			t.Errorf("the entry names another device: %v", err)
		}
		if d, err := VerifyConnectionDevice(e.EnvelopedConnectionDevice, m.Mesh); err != nil || d.KeySignature.KID() != e.UDF {
			t.Errorf("ConnectionDevice: %v", err)
		}
		if diff := cmp.Diff(c.want, RightsOf(m.Connection)); diff != "" {
			t.Error(diff)
		}
		if (m.AccountSignature != nil) != c.admin {
			t.Errorf("rights %v: account signature key %v", c.rights, m.AccountSignature)
		}
		if !m.AccountEncryption.Public().Equal(*alice.account.KeyEncryption.PublicParameters) {
			t.Error("another account encryption key")
		}
		// The private keys work as those of the connection.
		env, err := dare.New([]byte("text"), dare.Options{
			Recipients: []keys.PublicKey{*m.Connection.KeyEncryption.PublicParameters, *alice.account.KeyEncryption.PublicParameters},
			Holder:     m.Holder(), SignKIDs: []string{m.Connection.KeySignature.KID()},
		})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := env.OpenSigned(keys.NewRing(m.Encryption), *m.Connection.KeySignature.PublicParameters); err != nil || string(got) != "text" {
			t.Errorf("%q %v", got, err)
		}
		if got, err := env.Open(keys.NewRing(m.AccountEncryption)); err != nil || string(got) != "text" {
			t.Errorf("%q %v", got, err)
		}
		peer, err := keys.Generate(keys.X448)
		if err != nil {
			t.Fatal(err)
		}
		one, err := m.Authentication.Agree(peer.Public())
		if err != nil {
			t.Fatal(err)
		}
		two, err := peer.Agree(*m.Connection.KeyAuthentication.PublicParameters)
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("the authentication key does not agree: %v", err)
		}
	}
}

// Two activations of one device have nothing in common that others could see.
func TestActivationsAreUnlinked(t *testing.T) {
	alice := newPerson(t, "alice@example.com")
	seen := map[string]bool{}
	for range 2 {
		e, err := alice.admission().CatalogedDevice()
		if err != nil {
			t.Fatal(err)
		}
		c, err := VerifyConnectionAccount(e.Accounts[0].EnvelopedConnectionAccount, alice.account)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range []*KeyData{c.KeySignature, c.KeyEncryption, c.KeyAuthentication} {
			if seen[k.KID()] {
				t.Error("a key appears twice")
			}
			seen[k.KID()] = true
		}
	}
}

func TestActivateRefuses(t *testing.T) {
	alice, mallory := newPerson(t, "alice@example.com"), newPerson(t, "mallory@example.com")
	entry := func() *CatalogedDevice {
		e, err := alice.admission(RightAdmin).CatalogedDevice()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	other := entry()
	theirs, err := mallory.admission().CatalogedDevice()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		device  *DeviceSecrets
		account string
		change  func(*CatalogedDevice)
	}{
		"another device's secrets": {&mallory.Device, alice.account.UDF(), func(*CatalogedDevice) {}},
		"no such account":          {&alice.Device, mallory.account.UDF(), func(*CatalogedDevice) {}},
		"activation of another connection": {&alice.Device, alice.account.UDF(), func(e *CatalogedDevice) {
			e.Accounts[0].EnvelopedActivationAccount = other.Accounts[0].EnvelopedActivationAccount
		}},
		"connection of another activation": {&alice.Device, alice.account.UDF(), func(e *CatalogedDevice) {
			e.Accounts[0].EnvelopedConnectionAccount = other.Accounts[0].EnvelopedConnectionAccount
		}},
		"activation by another account": {&alice.Device, alice.account.UDF(), func(e *CatalogedDevice) {
			e.Accounts[0].EnvelopedActivationAccount = theirs.Accounts[0].EnvelopedActivationAccount
		}},
		"no activation": {&alice.Device, alice.account.UDF(), func(e *CatalogedDevice) { e.Accounts[0].EnvelopedActivationAccount = nil }},
		"no connection": {&alice.Device, alice.account.UDF(), func(e *CatalogedDevice) { e.Accounts[0].EnvelopedConnectionAccount = nil }},
		"profile of another account": {&alice.Device, alice.account.UDF(), func(e *CatalogedDevice) {
			e.Accounts[0].EnvelopedProfileAccount = mallory.profileAccount
		}},
		"another mesh": {&alice.Device, alice.account.UDF(), func(e *CatalogedDevice) { e.EnvelopedProfileMesh = mallory.profileMesh }},
	} {
		e := entry()
		c.change(e)
		if _, err := Activate(c.device, e, c.account); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	// A thief of another account's admin key cannot admit.
	a := alice.admission()
	a.Account = mallory.Account
	if _, err := a.CatalogedDevice(); KindOf(err) != ProfileInvalid {
		t.Errorf("admission with another account's key: %v", err)
	}
	a = alice.admission()
	a.Mesh = mallory.Mesh
	if _, err := a.CatalogedDevice(); KindOf(err) != ProfileInvalid {
		t.Errorf("admission with another mesh's key: %v", err)
	}
}

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

// Secrets survive a file, and show in no message.
func TestSecrets(t *testing.T) {
	alice := newPerson(t, "alice@example.com")
	octets, err := jbcd.Marshal(&alice.Secrets)
	if err != nil {
		t.Fatal(err)
	}
	var again Secrets
	if err := jbcd.Unmarshal(octets, &again); err != nil {
		t.Fatal(err)
	}
	profile, err := again.Mesh.ProfileMesh(testTime)
	if err != nil || !bytes.Equal(profile.Payload, alice.profileMesh.Payload) {
		t.Errorf("another ProfileMesh after a file: %v", err)
	}
	p := newPerson(t, "alice@example.com")
	p.Secrets = again
	if e, err := alice.admission(RightAdmin).CatalogedDevice(); err != nil {
		t.Error(err)
	} else if _, err := Activate(&again.Device, e, alice.account.UDF()); err != nil {
		t.Error(err)
	}
	device, err := VerifyProfileDevice(alice.profileDevice)
	if err != nil {
		t.Fatal(err)
	}
	authentication, err := again.Device.Authentication()
	if err != nil || authentication.KID() != device.KeyAuthentication.KID() {
		t.Errorf("another authentication key of the device: %v", err)
	}
	encryption, err := again.Device.Encryption()
	if err != nil || encryption.KID() != device.KeyEncryption.KID() {
		t.Errorf("another encryption key of the device: %v", err)
	}
	seed := alice.Device.Seed.String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(verb, alice.Device); strings.Contains(s, seed) || strings.Contains(s, string(alice.Device.Seed.Secret)) {
			t.Errorf("%s shows a secret: %s", verb, s)
		}
	}
}

// An activation that contradicts the profile is refused, whoever signed it: a device must not encrypt to a key that the
// account does not have.
func TestActivationContradicts(t *testing.T) {
	alice := newPerson(t, "alice@example.com")
	other, err := NewAccountSecrets()
	if err != nil {
		t.Fatal(err)
	}
	otherEncryption, err := other.Encryption()
	if err != nil {
		t.Fatal(err)
	}
	deviceKey, err := alice.Device.Encryption()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*ActivationAccount){
		"": func(*ActivationAccount) {},
		"previous keys": func(a *ActivationAccount) {
			a.KeysAccountEncryptionPrevious = []KeyData{*privateKeyData(otherEncryption), *NewKeyData(otherEncryption.Public())}
		},
		"no account UDF":           func(a *ActivationAccount) { a.AccountUDF = "" },
		"!another account's UDF":   func(a *ActivationAccount) { a.AccountUDF = otherEncryption.KID() },
		"!another encryption key":  func(a *ActivationAccount) { a.KeyAccountEncryption = privateKeyData(otherEncryption) },
		"!a public encryption key": func(a *ActivationAccount) { a.KeyAccountEncryption = NewKeyData(otherEncryption.Public()) },
		"!no encryption key":       func(a *ActivationAccount) { a.KeyAccountEncryption = nil },
		"!another signature key":   func(a *ActivationAccount) { a.KeyAccountSignature = privateKeyData(other.Admin) },
		"!no seed":                 func(a *ActivationAccount) { a.ActivationKey = "" },
		"!another seed":            func(a *ActivationAccount) { a.ActivationKey = other.Seed.String() },
		"!a seed that is no seed":  func(a *ActivationAccount) { a.ActivationKey = otherEncryption.KID() },
	} {
		e, err := alice.admission(RightAdmin).CatalogedDevice()
		if err != nil {
			t.Fatal(err)
		}
		a, err := openActivation(e.Accounts[0].EnvelopedActivationAccount, deviceKey, &alice.account.Profile)
		if err != nil {
			t.Fatal(err)
		}
		change(a)
		e.Accounts[0].EnvelopedActivationAccount, err = seal(TagActivationAccount, a, deviceKey.Public(), alice.Account.Admin)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Activate(&alice.Device, e, alice.account.UDF())
		if (err != nil) != strings.HasPrefix(name, "!") {
			t.Errorf("%s: %v", name, err)
		}
		if name == "previous keys" && (len(m.AccountEncryptionPrevious) != 1 || m.AccountEncryptionPrevious[0].KID() != otherEncryption.KID()) {
			t.Errorf("previous keys: %v", m.AccountEncryptionPrevious)
		}
	}
	// Another structure under the right signature is no activation.
	e, err := alice.admission(RightAdmin).CatalogedDevice()
	if err != nil {
		t.Fatal(err)
	}
	if e.Accounts[0].EnvelopedActivationAccount, err = seal(TagActivationDevice, ActivationDevice{}, deviceKey.Public(), alice.Account.Admin); err != nil {
		t.Fatal(err)
	}
	if _, err := Activate(&alice.Device, e, alice.account.UDF()); err == nil {
		t.Error("an ActivationDevice passes as ActivationAccount")
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
