// Package keys holds the public and private keys of the Mesh: Ed448, X448, Ed25519, X25519
// (draft-hallambaker-mesh-cryptography; DATA §2, §9.1, §9.6).
//
// The Mesh adds keys: the key of a device in an account is its own key plus one that the administrator made, points
// on the public side and scalars modulo the group order on the private side. Hence a private key is a scalar here,
// not a seed; signing takes the scalar as it is, and agreement hands the stock X448 and X25519, which prune what
// they are given, a private string that pruning leaves alone (pruneStable).
//
// The groups are those of circl (ecc/goldilocks, which is Edwards448; the map to curve448 is that of RFC 7748 §4.2)
// and of filippo.io/edwards25519. Their documentation says constant time of multiplication by a secret scalar, of
// the ladders of circl's dh/x448 and of crypto/ecdh, and of scalar arithmetic in edwards25519; circl says nothing of
// its scalar arithmetic modulo the order, which reads branch-free, and nobody here has measured it. What is done
// here with secrets (selection, shifts) has no branch or index that depends on them. Not constant time: Verify and
// all else on public keys, and the codecs, among them base64 of private keys. Secrets are not wiped from memory: the
// collector may have copied them.
package keys

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/mathmesh/meshd/pkg/udf"
)

// Curve is the `crv` member of a key.
type Curve string

// The four curves.
const (
	Ed448   Curve = "Ed448"
	X448    Curve = "X448"
	Ed25519 Curve = "Ed25519"
	X25519  Curve = "X25519"
)

// Errors that callers tell apart. None holds octets of a key.
var (
	ErrKey       = errors.New("keys: not a valid key")
	ErrSignature = errors.New("keys: signature does not verify")
	ErrAgreement = errors.New("keys: no agreement with this key")
	ErrUnknown   = errors.New("keys: no such key")
	ErrCurve     = errors.New("keys: this curve cannot do that")
)

// specifier is the algorithm identifier in a Z-type UDF and in the salt of a derivation.
func (c Curve) specifier() uint16 {
	switch c {
	case X25519:
		return udf.SeedX25519
	case X448:
		return udf.SeedX448
	case Ed25519:
		return udf.SeedEd25519
	case Ed448:
		return udf.SeedEd448
	}
	return udf.SeedAny
}

// scalarSize is the length of a scalar and of a private string derived from a seed; 0 for no curve of ours.
func (c Curve) scalarSize() int {
	switch c {
	case Ed448, X448:
		return 56
	case Ed25519, X25519:
		return 32
	}
	return 0
}

// signs says whether the curve is one of signatures.
func (c Curve) signs() bool { return c == Ed448 || c == Ed25519 }

// PublicKey is a public key in its wire octets (X448: 57 with the sign octet; 56 are accepted on reading and kept as received).
// One that did not come from NewPublicKey, UnmarshalJBCD or a PrivateKey has not been checked.
type PublicKey struct {
	Curve  Curve
	Octets []byte
}

// NewPublicKey checks lengths, that the point is on the curve and is not of low order. Encodings that are not
// canonical are refused: a kid is a digest of the octets, and a point should have one.
func NewPublicKey(curve Curve, octets []byte) (PublicKey, error) {
	var err error
	switch curve {
	case Ed448:
		_, err = decodeEd448(octets)
	case X448:
		_, err = decodeX448(octets)
	case Ed25519:
		_, err = decodeEd25519(octets)
	case X25519:
		_, err = decodeX25519(octets)
	default:
		return PublicKey{}, fmt.Errorf("%w: unknown curve", ErrKey)
	}
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{Curve: curve, Octets: bytes.Clone(octets)}, nil
}

// KID is KEYUDF (DATA §9.1), 28 characters.
func (k PublicKey) KID() string { return udf.Encode(k.digest(), udf.Bits) }

// Fingerprint is the 64-octet binary form used in witnesses.
func (k PublicKey) Fingerprint() []byte { return k.digest()[:64] }

func (k PublicKey) digest() []byte { return udf.Content("application/x509-keyinfo", k.KeyInfo()) }

// KeyInfo is the DER that fingerprints digest and that an O-type UDF holds: a SubjectPublicKeyInfo with NULL
// parameters and the key in an OCTET STRING of its own, both unlike RFC 8410 (DATA §9.1). Nil for no curve of ours.
func (k PublicKey) KeyInfo() []byte {
	if k.Curve.scalarSize() == 0 || len(k.Octets) > encoded448 {
		return nil
	}
	n := byte(len(k.Octets))               // every length is one octet
	arc := byte(109 + k.Curve.specifier()) // OIDs 1.3.101.110 to 113, in the same order
	der := []byte{0x30, n + 14, 0x30, 7, 0x06, 3, 0x2b, 0x65, arc, 0x05, 0, 0x03, n + 3, 0, 0x04, n}
	return append(der, k.Octets...)
}

// Equal compares curve and point octets.
func (k PublicKey) Equal(o PublicKey) bool {
	return k.Curve == o.Curve && bytes.Equal(k.Octets, o.Octets)
}

// IsZero says whether k is absent.
func (k PublicKey) IsZero() bool { return k.Curve == "" }

// Add returns the key whose private scalar is the sum: activation of the public side. Both must lie in the subgroup
// of prime order, and their sum must not be its identity. X25519 keys do not add, nor X448 keys of 56 octets: the
// sign of the point is not told.
func (k PublicKey) Add(o PublicKey) (PublicKey, error) {
	if k.Curve != o.Curve {
		return PublicKey{}, fmt.Errorf("%w: add two curves", ErrCurve)
	}
	var octets []byte
	var err error
	switch k.Curve {
	case Ed448:
		octets, err = addEd448(k.Octets, o.Octets)
	case X448:
		octets, err = addX448(k.Octets, o.Octets)
	case Ed25519:
		octets, err = addEd25519(k.Octets, o.Octets)
	default:
		return PublicKey{}, ErrCurve
	}
	if err != nil {
		return PublicKey{}, err
	}
	return NewPublicKey(k.Curve, octets)
}
