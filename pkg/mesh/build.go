package mesh

import (
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// sign makes an envelope of {"tag":v}, signed by each key in order.
func sign(tag string, v any, signers ...*keys.PrivateKey) (*dare.Envelope, error) {
	payload, err := jbcd.Tag(tag, v)
	if err != nil {
		return nil, err
	}
	return dare.New(payload, dare.Options{Holder: keys.NewRing(signers...), SignKIDs: kids(signers)})
}

// seal makes an encrypted envelope of {"tag":v}, signed by one key.
func seal(tag string, v any, to keys.PublicKey, signer *keys.PrivateKey) (*dare.Envelope, error) {
	payload, err := jbcd.Tag(tag, v)
	if err != nil {
		return nil, err
	}
	return dare.New(payload, dare.Options{
		Recipients: []keys.PublicKey{to}, Holder: keys.NewRing(signer), SignKIDs: []string{signer.KID()},
	})
}

func kids(list []*keys.PrivateKey) []string {
	var out []string
	for _, k := range list {
		out = append(out, k.KID())
	}
	return out
}

func assertion(now time.Time) Assertion {
	return Assertion{Updated: &jbcd.Time{Time: now.UTC().Truncate(time.Second)}}
}

// keyData describes the public side of k.
func keyData(k *keys.PrivateKey) *KeyData { return NewKeyData(k.Public()) }

// ProfileMesh makes the signed ProfileMesh of the secrets.
func (s *MeshSecrets) ProfileMesh(now time.Time) (*dare.Envelope, error) {
	t, err := s.Seed.triple()
	if err != nil {
		return nil, err
	}
	p := ProfileMesh{
		Profile: Profile{
			Assertion:           assertion(now),
			KeyOfflineSignature: keyData(t.sign),
			KeysOnlineSignature: []KeyData{*keyData(s.Admin)},
		},
		KeyEncryption: keyData(t.encrypt),
	}
	return sign(TagProfileMesh, p, t.sign)
}

// ProfileDevice makes the signed ProfileDevice of the secrets.
func (s *DeviceSecrets) ProfileDevice(description string, now time.Time) (*dare.Envelope, error) {
	t, err := s.Seed.triple()
	if err != nil {
		return nil, err
	}
	p := ProfileDevice{
		Profile:           Profile{Assertion: assertion(now), KeyOfflineSignature: keyData(t.sign)},
		Description:       description,
		KeyEncryption:     keyData(t.encrypt),
		KeyAuthentication: keyData(t.authenticate),
	}
	return sign(TagProfileDevice, p, t.sign)
}

// AccountOptions are what a ProfileAccount says besides its keys.
type AccountOptions struct {
	Addresses []string       // canonical; the first is authoritative
	Mesh      *ProfileMesh   // whose account it is
	Service   *dare.Envelope // ProfileService, nil before there is one
	Now       time.Time      // Updated: a profile that replaces another is newer by at least a second
}

// ProfileAccount makes the signed ProfileAccount of the secrets. It is signed by the account's own offline key and by the
// mesh's admin key (D-12 asks readers to accept either).
func (s *AccountSecrets) ProfileAccount(m *MeshSecrets, o AccountOptions) (*dare.Envelope, error) {
	t, err := s.Seed.triple()
	if err != nil {
		return nil, err
	}
	p := ProfileAccount{
		Profile: Profile{
			Assertion:           assertion(o.Now),
			KeyOfflineSignature: keyData(t.sign),
			KeysOnlineSignature: []KeyData{*keyData(s.Admin)},
		},
		AccountAddresses:        o.Addresses,
		MeshProfileUDF:          o.Mesh.UDF(),
		KeyEncryption:           keyData(t.encrypt),
		KeyAuthentication:       keyData(t.authenticate),
		EnvelopedProfileService: o.Service,
	}
	return sign(TagProfileAccount, p, t.sign, m.Admin)
}

// Admission makes a device one of an account: it is what an administrator knows when he admits it. The device may be
// the administrator's own first one.
type Admission struct {
	Mesh           *MeshSecrets
	ProfileMesh    *dare.Envelope
	Account        *AccountSecrets
	ProfileAccount *dare.Envelope
	ProfileDevice  *dare.Envelope
	Rights         []RightName // with Admin: the device gets the account's signature key as well; empty: all but Admin
	Now            time.Time
}

// CatalogedDevice makes activations, connections and the catalog entry of the device. The activation seeds are new:
// keys of one account tell nothing of those of another.
func (a *Admission) CatalogedDevice() (*CatalogedDevice, error) {
	const op = "mesh.Admission"
	mesh, err := VerifyProfileMesh(a.ProfileMesh)
	if err != nil {
		return nil, err
	}
	account, err := VerifyProfileAccount(a.ProfileAccount, mesh)
	if err != nil {
		return nil, err
	}
	device, err := VerifyProfileDevice(a.ProfileDevice)
	if err != nil {
		return nil, err
	}
	if _, ok := mesh.OnlineKey(a.Mesh.Admin.KID()); !ok {
		return nil, Errorf(op, ProfileInvalid, "the admin key is not in the ProfileMesh")
	}
	if _, ok := account.OnlineKey(a.Account.Admin.KID()); !ok {
		return nil, Errorf(op, ProfileInvalid, "the signature key is not in the ProfileAccount")
	}
	e := &CatalogedDevice{
		EnvelopedProfileMesh:   a.ProfileMesh,
		DeviceUDF:              device.UDF(),
		EnvelopedProfileDevice: a.ProfileDevice,
	}
	if err := a.connectDevice(e, mesh, device); err != nil {
		return nil, E(op, Internal, err)
	}
	entry, err := a.connectAccount(account, device)
	if err != nil {
		return nil, E(op, Internal, err)
	}
	e.Accounts = []AccountEntry{*entry}
	return e, nil
}

// connectDevice makes the ConnectionDevice of the device in the mesh and its activation.
func (a *Admission) connectDevice(e *CatalogedDevice, mesh *ProfileMesh, device *ProfileDevice) error {
	seed := Seed{udf.NewSeed(udf.SeedActivationDevice)}
	signature, encryption, authentication, err := overlay(device, seed)
	if err != nil {
		return err
	}
	e.UDF = signature.KID()
	e.EnvelopedConnectionDevice, err = sign(TagConnectionDevice, ConnectionDevice{
		Connection:        Connection{Assertion: assertion(a.Now), SubjectUDF: device.UDF(), AuthorityUDF: mesh.UDF()},
		Permissions:       Permissions(a.Rights...),
		KeySignature:      signature,
		KeyEncryption:     encryption,
		KeyAuthentication: authentication,
	}, a.Mesh.Admin)
	if err != nil {
		return err
	}
	e.EnvelopedActivationDevice, err = seal(TagActivationDevice, ActivationDevice{
		Activation: Activation{
			Assertion: assertion(a.Now), EnvelopedConnection: e.EnvelopedConnectionDevice, ActivationKey: seed.String(),
		},
	}, *device.KeyEncryption.PublicParameters, a.Mesh.Admin)
	return err
}

// connectAccount makes the ConnectionAccount of the device in the account and its activation.
func (a *Admission) connectAccount(account *ProfileAccount, device *ProfileDevice) (*AccountEntry, error) {
	seed := Seed{udf.NewSeed(udf.SeedActivationAccount)}
	signature, encryption, authentication, err := overlay(device, seed)
	if err != nil {
		return nil, err
	}
	connection, err := sign(TagConnectionAccount, ConnectionAccount{
		Connection:        Connection{Assertion: assertion(a.Now), SubjectUDF: device.UDF(), AuthorityUDF: account.UDF()},
		AccountAddresses:  account.AccountAddresses,
		Permissions:       Permissions(a.Rights...),
		KeySignature:      signature,
		KeyEncryption:     encryption,
		KeyAuthentication: authentication,
	}, a.Account.Admin)
	if err != nil {
		return nil, err
	}
	accountEncryption, err := a.Account.Encryption()
	if err != nil {
		return nil, err
	}
	activation := ActivationAccount{
		Activation:           Activation{Assertion: assertion(a.Now), EnvelopedConnection: connection, ActivationKey: seed.String()},
		AccountUDF:           account.UDF(),
		KeyAccountEncryption: privateKeyData(accountEncryption),
	}
	for _, r := range a.Rights {
		if r == RightAdmin {
			activation.KeyAccountSignature = privateKeyData(a.Account.Admin)
		}
	}
	sealed, err := seal(TagActivationAccount, activation, *device.KeyEncryption.PublicParameters, a.Account.Admin)
	if err != nil {
		return nil, err
	}
	return &AccountEntry{
		AccountUDF:                 account.UDF(),
		EnvelopedProfileAccount:    a.ProfileAccount,
		EnvelopedConnectionAccount: connection,
		EnvelopedActivationAccount: sealed,
	}, nil
}

func privateKeyData(k *keys.PrivateKey) *KeyData {
	d := keyData(k)
	d.PrivateParameters = k
	return d
}

// overlay adds the keys of an activation seed to those of the device, public side (DATA §4).
func overlay(device *ProfileDevice, seed Seed) (signature, encryption, authentication *KeyData, err error) {
	add := func(base *KeyData, label string) *KeyData {
		var k keys.PublicKey
		if err == nil {
			if k, err = keys.DerivePublicActivation(*base.PublicParameters, seed.String(), label); err == nil {
				return NewKeyData(k)
			}
		}
		return nil
	}
	signature = add(device.KeyOfflineSignature, labelSign)
	encryption = add(device.KeyEncryption, labelEncrypt)
	authentication = add(device.KeyAuthentication, labelAuthenticate)
	return signature, encryption, authentication, err
}
