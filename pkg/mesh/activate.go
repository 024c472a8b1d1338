package mesh

import (
	"errors"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// Membership is a device's place in an account, with the private keys that the activation gives it. It is computed, not
// stored: Activate makes it of the device's secrets and its CatalogedDevice.
type Membership struct {
	Mesh       *ProfileMesh
	Account    *ProfileAccount
	Connection *ConnectionAccount
	Credential *dare.Envelope // the ConnectionAccount as signed: credential of profile mode and of signatures (D-29)

	Signature      *keys.PrivateKey // KeySignature of Connection: signs messages and catalog frames
	Encryption     *keys.PrivateKey // KeyEncryption of Connection
	Authentication *keys.PrivateKey // KeyAuthentication of Connection: profile mode

	AccountEncryption         *keys.PrivateKey   // opens the catalogs
	AccountEncryptionPrevious []*keys.PrivateKey // earlier ones, newest first
	AccountSignature          *keys.PrivateKey   // administrators only: signs ConnectionAccounts
}

// Activate verifies the device's entry in accountUDF and computes the activated keys. It fails when a signature is not
// that of the authority, and when a key that comes out is not the connection's: then the entry is of another device.
func Activate(device *DeviceSecrets, e *CatalogedDevice, accountUDF string) (*Membership, error) {
	const op = "mesh.Activate"
	entry := e.Account(accountUDF)
	if entry == nil {
		return nil, Errorf(op, UnknownAccount, "the device has no such account")
	}
	m := &Membership{Credential: entry.EnvelopedConnectionAccount}
	var err error
	if m.Mesh, err = VerifyProfileMesh(e.EnvelopedProfileMesh); err != nil {
		return nil, err
	}
	// By its own signature only: accountUDF is all that is known beforehand, and the entry brings its mesh along, which
	// may sign a profile with anybody's key.
	if m.Account, err = VerifyProfileAccount(entry.EnvelopedProfileAccount, nil); err != nil {
		return nil, err
	}
	if !SameUDF(m.Account.UDF(), accountUDF) {
		return nil, Errorf(op, ProfileInvalid, "the ProfileAccount is another's")
	}
	if !SameUDF(m.Account.MeshProfileUDF, m.Mesh.UDF()) {
		return nil, Errorf(op, ProfileInvalid, "the ProfileMesh is another's")
	}
	if m.Connection, err = VerifyConnectionAccount(m.Credential, m.Account); err != nil {
		return nil, err
	}
	if err := m.activate(device, entry.EnvelopedActivationAccount); err != nil {
		return nil, E(op, ProfileInvalid, err)
	}
	return m, nil
}

func (m *Membership) activate(device *DeviceSecrets, sealed *dare.Envelope) error {
	base, err := device.Seed.triple()
	if err != nil {
		return err
	}
	a, err := openActivation(sealed, base.encrypt, &m.Account.Profile)
	if err != nil {
		return err
	}
	if a.AccountUDF != "" && !SameUDF(a.AccountUDF, m.Account.UDF()) {
		return errors.New("the activation is of another account")
	}
	seed, err := udf.ParseSeed(a.ActivationKey)
	if err != nil {
		return err
	}
	added, err := Seed{seed}.triple()
	if err != nil {
		return err
	}
	if m.Signature, err = activated(base.sign, added.sign, m.Connection.KeySignature); err != nil {
		return err
	}
	if m.Encryption, err = activated(base.encrypt, added.encrypt, m.Connection.KeyEncryption); err != nil {
		return err
	}
	if m.Authentication, err = activated(base.authenticate, added.authenticate, m.Connection.KeyAuthentication); err != nil {
		return err
	}
	if m.AccountEncryption, err = privateKey(a.KeyAccountEncryption, m.Account.KeyEncryption); err != nil {
		return err
	}
	for i := range a.KeysAccountEncryptionPrevious {
		if k := a.KeysAccountEncryptionPrevious[i].PrivateParameters; k != nil {
			m.AccountEncryptionPrevious = append(m.AccountEncryptionPrevious, k)
		}
	}
	if k := a.KeyAccountSignature; k != nil && k.PrivateParameters != nil {
		if _, ok := m.Account.OnlineKey(k.PrivateParameters.KID()); !ok {
			return errors.New("KeyAccountSignature is not in the ProfileAccount")
		}
		m.AccountSignature = k.PrivateParameters
	}
	return nil
}

// openActivation opens an ActivationAccount that an online key of the account signed.
func openActivation(env *dare.Envelope, key *keys.PrivateKey, account *Profile) (*ActivationAccount, error) {
	if env == nil {
		return nil, errors.New("no activation")
	}
	if err := signedOnline(env, account); err != nil {
		return nil, err
	}
	if h, err := env.ParseHeader(); err != nil || h.Enc == "" {
		return nil, errors.Join(err, errors.New("the activation is not encrypted")) // whoever carried it has its keys
	}
	payload, err := env.Open(keys.NewRing(key))
	if err != nil {
		return nil, err
	}
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		return nil, err
	}
	if tag != TagActivationAccount {
		return nil, errors.New("no ActivationAccount")
	}
	a := new(ActivationAccount)
	return a, jbcd.Unmarshal(body, a)
}

// activated is base + added, which must be the private side of want.
func activated(base, added *keys.PrivateKey, want *KeyData) (*keys.PrivateKey, error) {
	k, err := base.Add(added)
	if err != nil {
		return nil, err
	}
	if !k.Public().Equal(*want.PublicParameters) {
		return nil, errors.New("the activated key is not that of the connection")
	}
	return k, nil
}

// privateKey returns the private key of d, which must be that of want.
func privateKey(d, want *KeyData) (*keys.PrivateKey, error) {
	if d == nil || d.PrivateParameters == nil || want == nil {
		return nil, errors.New("no account encryption key")
	}
	if !d.PrivateParameters.Public().Equal(*want.PublicParameters) {
		return nil, errors.New("the account encryption key is not that of the ProfileAccount")
	}
	return d.PrivateParameters, nil
}

// Holder holds all keys of the membership, for envelopes.
func (m *Membership) Holder() *keys.Ring {
	list := append([]*keys.PrivateKey{m.Signature, m.Encryption, m.Authentication, m.AccountEncryption}, m.AccountEncryptionPrevious...)
	if m.AccountSignature != nil {
		list = append(list, m.AccountSignature)
	}
	return keys.NewRing(list...)
}
