package mesh

import (
	"errors"
	"fmt"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// The verifiers take an envelope from anybody and return what it proves. Each checks the tag of the payload (never a
// type in the metadata, which no signature covers), the payload digest, and a signature whose kid is KEYUDF of the key
// that the structure itself, or the authority given, holds. Identifiers written beside a key must be those of the
// key. Errors are of kind ProfileInvalid.

// profileLimits bound a profile or connection: it must fit into a message (PROTOCOL D-28), and to check its keys, each of
// five members at the least, must not take long: strangers send profiles. 64 online keys with all they say are 512 members.
var profileLimits = jbcd.Limits{Depth: jbcd.DefaultLimits.Depth, Members: 1 << 10, Octets: 64 << 10}

// maxOnlineKeys bounds KeysOnlineSignature: one for each administrator's device, and some that were replaced.
const maxOnlineKeys = 64

// VerifyProfileMesh verifies a ProfileMesh: signed by its own offline key.
func VerifyProfileMesh(env *dare.Envelope) (*ProfileMesh, error) {
	p := new(ProfileMesh)
	return result("mesh.VerifyProfileMesh", p, selfSigned(env, TagProfileMesh, p, &p.Profile, func() error {
		return encryptionKeys(p.KeyEncryption)
	}))
}

// VerifyProfileDevice verifies a ProfileDevice: signed by its own offline key, with keys for encryption and authentication.
func VerifyProfileDevice(env *dare.Envelope) (*ProfileDevice, error) {
	p := new(ProfileDevice)
	return result("mesh.VerifyProfileDevice", p, selfSigned(env, TagProfileDevice, p, &p.Profile, func() error {
		if p.KeyEncryption == nil || p.KeyAuthentication == nil {
			return errors.New("a key is missing")
		}
		return encryptionKeys(p.KeyEncryption, p.KeyAuthentication)
	}))
}

// VerifyProfileService verifies a ProfileService: signed by its own offline key. Whose service it is only TLS or a pin tells.
func VerifyProfileService(env *dare.Envelope) (*ProfileService, error) {
	p := new(ProfileService)
	return result("mesh.VerifyProfileService", p, selfSigned(env, TagProfileService, p, &p.Profile, func() error {
		return encryptionKeys(p.KeyEncryption, p.KeyAuthentication)
	}))
}

// VerifyProfileGroup verifies a ProfileGroup: signed by its own offline key.
func VerifyProfileGroup(env *dare.Envelope) (*ProfileGroup, error) {
	p := new(ProfileGroup)
	return result("mesh.VerifyProfileGroup", p, selfSigned(env, TagProfileGroup, p, &p.Profile, func() error {
		return encryptionKeys(p.KeyEncryption)
	}))
}

// VerifyProfileHost verifies a ProfileHost: signed by its own offline key and by an online key or the offline key of the
// (verified) service, D-07. KeyAuthentication is there; whether it is of today is KeyData.ValidAt's.
func VerifyProfileHost(env *dare.Envelope, service *ProfileService) (*ProfileHost, error) {
	p := new(ProfileHost)
	err := selfSigned(env, TagProfileHost, p, &p.Profile, func() error {
		if p.KeyAuthentication == nil {
			return errors.New("no KeyAuthentication")
		}
		return encryptionKeys(p.KeyAuthentication)
	})
	if err == nil {
		if err = signedOnline(env, &service.Profile); errors.Is(err, dare.ErrNoSignature) {
			err = env.Verify(*service.KeyOfflineSignature.PublicParameters)
		}
		if err != nil {
			err = fmt.Errorf("the service's signature: %w", err)
		}
	}
	return result("mesh.VerifyProfileHost", p, err)
}

// VerifyProfileAccount verifies a ProfileAccount by D-12: signed by its own offline key, or by an online key of the
// (verified) mesh whose UDF is MeshProfileUDF. mesh may be nil where there is none to ask: then only the own signature
// counts. A mesh that is given must be the account's in any case.
//
// By the mesh's signature alone a profile proves that the mesh claims the account, not that it has the account's key:
// anyone can put another's public key into a profile that his own mesh signs. Where the UDF is the identity (foreign
// callers, pinned contacts, the account of a device) mesh is nil, or MeshProfileUDF is compared with what is known of the
// account.
func VerifyProfileAccount(env *dare.Envelope, mesh *ProfileMesh) (*ProfileAccount, error) {
	p := new(ProfileAccount)
	err := open(env, TagProfileAccount, p)
	if err == nil {
		err = checkProfile(&p.Profile)
	}
	if err == nil {
		err = encryptionKeys(p.KeyEncryption, p.KeyAuthentication)
	}
	if err == nil && mesh != nil && !SameUDF(p.MeshProfileUDF, mesh.UDF()) {
		err = errors.New("MeshProfileUDF is of another mesh")
	}
	if err == nil {
		err = env.Verify(*p.KeyOfflineSignature.PublicParameters)
		if err != nil && mesh != nil && signedOnline(env, &mesh.Profile) == nil {
			err = nil
		}
	}
	return result("mesh.VerifyProfileAccount", p, err)
}

// VerifyConnectionAccount verifies a ConnectionAccount: signed by an online key of the (verified) account, AuthorityUDF
// that of the account where written, all three keys there. The device is SubjectUDF, if written: a claim of the account.
func VerifyConnectionAccount(env *dare.Envelope, account *ProfileAccount) (*ConnectionAccount, error) {
	c := new(ConnectionAccount)
	err := open(env, TagConnectionAccount, c)
	if err == nil {
		err = checkConnection(env, &c.Connection, &account.Profile, c.KeySignature, c.KeyEncryption, c.KeyAuthentication)
	}
	return result("mesh.VerifyConnectionAccount", c, err)
}

// VerifyConnectionDevice verifies a ConnectionDevice: signed by an online key of the (verified) mesh.
func VerifyConnectionDevice(env *dare.Envelope, mesh *ProfileMesh) (*ConnectionDevice, error) {
	c := new(ConnectionDevice)
	err := open(env, TagConnectionDevice, c)
	if err == nil {
		err = checkConnection(env, &c.Connection, &mesh.Profile, c.KeySignature, c.KeyEncryption, c.KeyAuthentication)
	}
	return result("mesh.VerifyConnectionDevice", c, err)
}

// ValidAt says whether the key may be used at t: not before NotBefore, before NotOnOrAfter, where written.
func (k *KeyData) ValidAt(t time.Time) error {
	if k.NotBefore != nil && t.Before(k.NotBefore.Time) {
		return Errorf("mesh.KeyData", ProfileInvalid, "key not valid yet")
	}
	if k.NotOnOrAfter != nil && !t.Before(k.NotOnOrAfter.Time) {
		return Errorf("mesh.KeyData", ProfileInvalid, "key no longer valid")
	}
	return nil
}

func result[T any](op string, v *T, err error) (*T, error) {
	if err != nil {
		return nil, E(op, ProfileInvalid, err)
	}
	return v, nil
}

// open reads the payload of a plain envelope as {"tag":{…}} into v.
func open(env *dare.Envelope, tag string, v any) error {
	if env == nil {
		return errors.New("no envelope")
	}
	h, err := env.ParseHeader()
	if err != nil {
		return err
	}
	if h.Enc != "" {
		return errors.New("encrypted")
	}
	if len(env.Payload) > profileLimits.Octets {
		return errors.New("too long")
	}
	have, body, err := jbcd.Tagged(env.Payload)
	if err != nil {
		return err
	}
	if have != tag {
		return fmt.Errorf("the payload is no %s", tag)
	}
	return jbcd.UnmarshalLimits(body, v, profileLimits)
}

// selfSigned opens env into v, whose base is p, and checks it and its own signature.
func selfSigned(env *dare.Envelope, tag string, v any, p *Profile, more func() error) error {
	if err := open(env, tag, v); err != nil {
		return err
	}
	if err := checkProfile(p); err != nil {
		return err
	}
	if err := more(); err != nil {
		return err
	}
	return env.Verify(*p.KeyOfflineSignature.PublicParameters)
}

// checkProfile checks the signature keys of a profile.
func checkProfile(p *Profile) error {
	if len(p.KeysOnlineSignature) > maxOnlineKeys {
		return errors.New("too many online keys")
	}
	if p.KeyOfflineSignature == nil {
		return errors.New("no KeyOfflineSignature")
	}
	if err := checkKey(p.KeyOfflineSignature, keys.Ed448, keys.Ed25519); err != nil {
		return fmt.Errorf("KeyOfflineSignature: %w", err)
	}
	for i := range p.KeysOnlineSignature {
		if err := checkKey(&p.KeysOnlineSignature[i], keys.Ed448, keys.Ed25519); err != nil {
			return fmt.Errorf("KeysOnlineSignature: %w", err)
		}
	}
	return nil
}

// checkConnection checks the keys of a connection and that authority signed it.
func checkConnection(env *dare.Envelope, c *Connection, authority *Profile, sign, encrypt, authenticate *KeyData) error {
	if c.AuthorityUDF != "" && !SameUDF(c.AuthorityUDF, authority.UDF()) {
		return errors.New("AuthorityUDF is another")
	}
	if sign == nil || encrypt == nil || authenticate == nil {
		return errors.New("a key is missing")
	}
	if err := checkKey(sign, keys.Ed448, keys.Ed25519); err != nil {
		return err
	}
	if err := encryptionKeys(encrypt, authenticate); err != nil {
		return err
	}
	return signedOnline(env, authority)
}

// encryptionKeys checks keys for agreement; absent ones are fine.
func encryptionKeys(list ...*KeyData) error {
	for _, k := range list {
		if k == nil {
			continue
		}
		if err := checkKey(k, keys.X448, keys.X25519); err != nil {
			return err
		}
	}
	return nil
}

// checkKey checks that k is a public key of one of the curves and is called by its name.
func checkKey(k *KeyData, curves ...keys.Curve) error {
	if k.PublicParameters == nil {
		return errors.New("no public key")
	}
	if k.UDF != "" && !SameUDF(k.UDF, k.PublicParameters.KID()) {
		return errors.New("UDF is not that of the key")
	}
	for _, c := range curves {
		if k.PublicParameters.Curve == c {
			return nil
		}
	}
	return errors.New("a curve for something else")
}

// signedOnline checks that an online key of p signed env: the first of them that a signature names must be good.
func signedOnline(env *dare.Envelope, p *Profile) error {
	list, err := env.Signatures()
	if err != nil {
		return err
	}
	named := make(map[string]bool, len(list)) // a trailer has room for thousands of names, a profile for 64 keys
	for i := range list {
		named[udf.Canonical(list[i].KID)] = true
	}
	for i := range p.KeysOnlineSignature {
		if k := p.KeysOnlineSignature[i].PublicParameters; k != nil && named[k.KID()] {
			return env.Verify(*k)
		}
	}
	return dare.ErrNoSignature
}
