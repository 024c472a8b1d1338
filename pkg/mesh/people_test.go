package mesh

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"log/slog"
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
	provider := newProviderFor(t, "example.com")
	texts := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		texts[verb] = fmt.Sprintf(verb+verb+verb+verb, alice.Secrets, &alice.Device, struct{ Mesh *MeshSecrets }{alice.Mesh}, provider)
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("text", slog.Any("secrets", alice.Secrets), slog.Any("seed", alice.Device.Seed))
	slog.New(slog.NewTextHandler(&log, nil)).Info("text", slog.Any("secrets", alice.Secrets), slog.Any("seed", alice.Device.Seed))
	texts["slog"] = log.String()
	for how, text := range texts {
		for _, seed := range []Seed{alice.Device.Seed, alice.Mesh.Seed, alice.Account.Seed, provider.Offline.Service} {
			for _, shown := range []string{
				seed.String(), string(seed.Secret), fmt.Sprintf("%x", seed.Secret), strings.Trim(fmt.Sprintf("%d", seed.Secret), "[]"),
				strings.TrimPrefix(fmt.Sprintf("%#v", seed.Secret), "[]byte"), base64.StdEncoding.EncodeToString(seed.Secret),
			} {
				if strings.Contains(text, shown) {
					t.Errorf("%s shows a secret", how)
				}
			}
		}
	}
}
