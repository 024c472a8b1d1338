package mesh

import (
	"strings"
	"testing"
)

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
	// Private keys that stood open are not used.
	plain, err := alice.admission(RightAdmin).CatalogedDevice()
	if err != nil {
		t.Fatal(err)
	}
	opened, err := openActivation(plain.Accounts[0].EnvelopedActivationAccount, deviceKey, &alice.account.Profile)
	if err != nil {
		t.Fatal(err)
	}
	if plain.Accounts[0].EnvelopedActivationAccount, err = sign(TagActivationAccount, opened, alice.Account.Admin); err != nil {
		t.Fatal(err)
	}
	if _, err := Activate(&alice.Device, plain, alice.account.UDF()); err == nil {
		t.Error("an activation that is not encrypted")
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

// A mesh signs a profile with another's public key: who knows no more of an account than its UDF does not become a
// device of the forger's account.
func TestActivateForgedAccount(t *testing.T) {
	alice, mallory := newPerson(t, "alice@example.com"), newPerson(t, "mallory@example.com")
	p := *mallory.account
	p.KeyOfflineSignature = alice.account.KeyOfflineSignature
	forged, err := sign(TagProfileAccount, p, mallory.Mesh.Admin)
	if err != nil {
		t.Fatal(err)
	}
	a := mallory.admission(RightAdmin)
	a.ProfileAccount, a.ProfileDevice = forged, alice.profileDevice
	e, err := a.CatalogedDevice()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Activate(&alice.Device, e, alice.account.UDF()); KindOf(err) != ProfileInvalid {
		t.Errorf("the device takes part in the account of another: %v", err)
	}
	// Mallory's own account, which is in order, under the name of hers.
	a.ProfileAccount = mallory.profileAccount
	if e, err = a.CatalogedDevice(); err != nil {
		t.Fatal(err)
	}
	e.Accounts[0].AccountUDF = alice.account.UDF()
	if _, err := Activate(&alice.Device, e, alice.account.UDF()); KindOf(err) != ProfileInvalid {
		t.Errorf("another account under this name: %v", err)
	}
	// The account's own profile beside another mesh, which would name the administrators.
	if e, err = alice.admission().CatalogedDevice(); err != nil {
		t.Fatal(err)
	}
	e.EnvelopedProfileMesh = mallory.profileMesh
	if _, err := Activate(&alice.Device, e, alice.account.UDF()); KindOf(err) != ProfileInvalid {
		t.Errorf("another mesh: %v", err)
	}
}
