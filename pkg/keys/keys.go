// Package keys holds the public and private keys of the Mesh: Ed448, X448, Ed25519, X25519.
package keys

import "github.com/mathmesh/meshd/pkg/jbcd"

// Curve is the `crv` member of a key.
type Curve string

// The four curves.
const (
	Ed448   Curve = "Ed448"
	X448    Curve = "X448"
	Ed25519 Curve = "Ed25519"
	X25519  Curve = "X25519"
)

// PublicKey is a public key in its wire octets (X448: 57 with the sign octet; 56 are accepted on reading and kept as received).
type PublicKey struct {
	Curve  Curve
	Octets []byte
}

// NewPublicKey checks lengths, that the point is on the curve and is not of low order.
func NewPublicKey(curve Curve, octets []byte) (PublicKey, error) { panic("stub") }

// KID is KEYUDF (DATA §9.1), 28 characters.
func (k PublicKey) KID() string { panic("stub") }

// Fingerprint is the 64-octet binary form used in witnesses.
func (k PublicKey) Fingerprint() []byte { panic("stub") }

// Equal compares curve and point octets.
func (k PublicKey) Equal(o PublicKey) bool { panic("stub") }

// IsZero says whether k is absent.
func (k PublicKey) IsZero() bool { return k.Curve == "" }

// Verify checks a signature over message (in the Mesh: the 64 octets of a PayloadDigest). Ed25519: RFC 8032 and, on reading, dom2 with empty context (D-55).
func (k PublicKey) Verify(message, signature []byte) error { panic("stub") }

// Add returns the key whose private scalar is the sum: activation of the public side.
func (k PublicKey) Add(o PublicKey) (PublicKey, error) { panic("stub") }

// MarshalJBCD writes {"PublicKeyECDH":{"crv":…,"Public":…}}.
func (k PublicKey) MarshalJBCD() ([]byte, error) { panic("stub") }

// UnmarshalJBCD reads it; a key that does not parse is an error.
func (k *PublicKey) UnmarshalJBCD(raw jbcd.Raw) error { panic("stub") }

// PrivateKey is a scalar with what signing needs besides (nonce prefix). It never prints its octets.
type PrivateKey struct {
	curve  Curve
	scalar []byte // little endian, as used in arithmetic: pruned once if it came from a seed, else as it is
	prefix []byte // nonce prefix of signature keys
	public PublicKey
}

// Generate makes a random key.
func Generate(curve Curve) (*PrivateKey, error) { panic("stub") }

// FromSecret makes a key from its private string: RFC 7748 (X) or seed octets (Ed25519: 32; Ed448: 56, or the 57 of RFC 8032), pruned once.
func FromSecret(curve Curve, secret []byte) (*PrivateKey, error) { panic("stub") }

// FromScalar makes a key from a scalar that must not be pruned (`X448z`).
func FromScalar(curve Curve, scalar []byte) (*PrivateKey, error) { panic("stub") }

// Public returns the public key.
func (k *PrivateKey) Public() PublicKey { panic("stub") }

// Add returns the activated key: sum of scalars modulo the order; nonce prefix = HKDF of both (DATA §2).
func (k *PrivateKey) Add(activation *PrivateKey) (*PrivateKey, error) { panic("stub") }

// Sign makes an Ed448 or Ed25519 signature (empty context).
func (k *PrivateKey) Sign(message []byte) ([]byte, error) { panic("stub") }

// Agree computes the shared u coordinate (56 or 32 octets); Ed25519 recipients of old material: the 32-octet Edwards point. All-zero is refused.
func (k *PrivateKey) Agree(peer PublicKey) ([]byte, error) { panic("stub") }

// Scalar returns the private scalar, 56 or 32 octets little endian (ENTRYID, DATA §9.12). Ours to keep secret.
func (k *PrivateKey) Scalar() []byte { panic("stub") }

// MarshalJBCD writes {"PrivateKeyECDH":{"crv":"X448z"|"Ed448z"|…,"Private":…}}: always the scalar form, signature keys with prefix member `Prefix`.
func (k *PrivateKey) MarshalJBCD() ([]byte, error) { panic("stub") }

// UnmarshalJBCD reads both forms (with and without suffix z).
func (k *PrivateKey) UnmarshalJBCD(raw jbcd.Raw) error { panic("stub") }

// Derive derives the private key of one use from a Z-type seed text (DATA §9.6). label: "Sign", "Encrypt", "Authenticate", "".
func Derive(seed string, curve Curve, label string) (*PrivateKey, error) { panic("stub") }

// DerivePublicActivation adds to base the key that the activation seed gives for label.
func DerivePublicActivation(base PublicKey, seed, label string) (PublicKey, error) { panic("stub") }

// Holder uses private keys by name for code that never sees them.
type Holder interface {
	// Public returns the public key of kid.
	Public(kid string) (PublicKey, bool)
	// Sign signs with kid.
	Sign(kid string, message []byte) ([]byte, error)
	// Agree computes the shared secret of kid with peer.
	Agree(kid string, peer PublicKey) ([]byte, error)
}

// Ring is the Holder in memory.
type Ring struct{ keys map[string]*PrivateKey }

// NewRing makes a Ring of keys.
func NewRing(keys ...*PrivateKey) *Ring { panic("stub") }

// Public implements Holder.
func (r *Ring) Public(kid string) (PublicKey, bool) { panic("stub") }

// Sign implements Holder.
func (r *Ring) Sign(kid string, message []byte) ([]byte, error) { panic("stub") }

// Agree implements Holder.
func (r *Ring) Agree(kid string, peer PublicKey) ([]byte, error) { panic("stub") }
