package mesh

import (
	"fmt"
	"io"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// The private side of people's profiles. These structures marshal into plain secrets (jbcd.Marshal): whoever stores
// them seals the octets first. Formatted or logged they show no secret.

// Seed is a udf.Seed that can be kept in a file, as its Z… text.
type Seed struct{ udf.Seed }

// MarshalJBCD writes the Z… text.
func (s Seed) MarshalJBCD() ([]byte, error) { return jbcd.Marshal(s.String()) }

// UnmarshalJBCD reads the Z… text.
func (s *Seed) UnmarshalJBCD(raw jbcd.Raw) (err error) {
	var text string
	if err := jbcd.Unmarshal(raw, &text); err != nil {
		return err
	}
	s.Seed, err = udf.ParseSeed(text)
	return err
}

// Labels under which keys are derived from a seed (DATA §9.6).
const (
	labelSign         = "Sign"
	labelEncrypt      = "Encrypt"
	labelAuthenticate = "Authenticate"
)

// triple are the three keys of a device, or what an activation adds to them.
type triple struct{ sign, encrypt, authenticate *keys.PrivateKey }

// triple derives the three keys of a seed on the default curves.
func (s Seed) triple() (t triple, err error) {
	if t.sign, err = keys.DeriveSeed(s.Seed, keys.Ed448, labelSign); err != nil {
		return triple{}, err
	}
	if t.encrypt, err = keys.DeriveSeed(s.Seed, keys.X448, labelEncrypt); err != nil {
		return triple{}, err
	}
	t.authenticate, err = keys.DeriveSeed(s.Seed, keys.X448, labelAuthenticate)
	return t, err
}

// MeshSecrets are the private keys of a ProfileMesh: an administrator's device has them. Seed gives the offline
// signature key, which is the identity itself, and can be kept elsewhere after the profile is made.
//
//nolint:revive // named after ProfileMesh, as DeviceSecrets and AccountSecrets are after theirs
type MeshSecrets struct {
	Seed  Seed             `json:"Seed,omitempty"`
	Admin *keys.PrivateKey `json:"Admin,omitempty"` // in KeysOnlineSignature: signs ConnectionDevices and ProfileAccounts
}

// DeviceSecrets are the private keys of a ProfileDevice. They never leave the device.
type DeviceSecrets struct {
	Seed Seed `json:"Seed"`
}

// AccountSecrets are the private keys of a ProfileAccount. Seed gives the offline signature, the encryption and the
// authentication key. A device that is no administrator has none of these: it gets the encryption key by its activation.
type AccountSecrets struct {
	Seed  Seed             `json:"Seed,omitempty"`
	Admin *keys.PrivateKey `json:"Admin,omitempty"` // in KeysOnlineSignature: signs ConnectionAccounts
}

// Secrets is all that a machine must keep secret for one account: one value, to be sealed into one file. Everything else
// (profiles, connections, activations) can be read in the CatalogedDevice, and the activated keys are computed from
// both by Activate.
type Secrets struct {
	Device  DeviceSecrets   `json:"Device"`
	Mesh    *MeshSecrets    `json:"Mesh,omitempty"`    // administrators only
	Account *AccountSecrets `json:"Account,omitempty"` // administrators only
}

// NewMeshSecrets makes the keys of a new mesh.
func NewMeshSecrets() (*MeshSecrets, error) {
	admin, err := keys.Generate(keys.Ed448)
	if err != nil {
		return nil, err
	}
	return &MeshSecrets{Seed: Seed{udf.NewSeed(udf.SeedProfileMesh)}, Admin: admin}, nil
}

// NewDeviceSecrets makes the keys of a new device.
func NewDeviceSecrets() *DeviceSecrets {
	return &DeviceSecrets{Seed: Seed{udf.NewSeed(udf.SeedProfileDevice)}}
}

// NewAccountSecrets makes the keys of a new account.
func NewAccountSecrets() (*AccountSecrets, error) {
	admin, err := keys.Generate(keys.Ed448)
	if err != nil {
		return nil, err
	}
	return &AccountSecrets{Seed: Seed{udf.NewSeed(udf.SeedProfileAccount)}, Admin: admin}, nil
}

// Authentication is the key of device mode: KeyAuthentication of the ProfileDevice.
func (s *DeviceSecrets) Authentication() (*keys.PrivateKey, error) {
	return keys.DeriveSeed(s.Seed.Seed, keys.X448, labelAuthenticate)
}

// Encryption is KeyEncryption of the ProfileDevice.
func (s *DeviceSecrets) Encryption() (*keys.PrivateKey, error) {
	return keys.DeriveSeed(s.Seed.Seed, keys.X448, labelEncrypt)
}

// Encryption is the account encryption key.
func (s *AccountSecrets) Encryption() (*keys.PrivateKey, error) {
	return keys.DeriveSeed(s.Seed.Seed, keys.X448, labelEncrypt)
}

// The structures that hold seeds say so to every verb of fmt by themselves: asked for %s of a pointer inside another
// structure fmt writes an error, in which it shows all fields and asks no method of theirs.

// Format implements fmt.Formatter.
func (MeshSecrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "secrets of a mesh") }

// Format implements fmt.Formatter.
func (DeviceSecrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "secrets of a device") }

// Format implements fmt.Formatter.
func (AccountSecrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "secrets of an account") }

// Format implements fmt.Formatter.
func (Secrets) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "secrets of a machine") }

// Format implements fmt.Formatter.
func (OfflineKeys) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "offline keys of a service") }
