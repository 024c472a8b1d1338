package keys

import (
	"bytes"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha3"
	"crypto/sha512"
	"fmt"
	"log/slog"

	"filippo.io/edwards25519"
	"github.com/cloudflare/circl/ecc/goldilocks"

	"github.com/mathmesh/meshd/pkg/udf"
)

// PrivateKey is a scalar with what signing needs besides (nonce prefix). It never prints its octets.
// It does not change once made and may be used by several goroutines.
type PrivateKey struct {
	public PublicKey
	// Behind a pointer: where fmt does not ask Format, as for %p or in a field that is not exported, it prints the address.
	*secrets
}

type secrets struct {
	scalar []byte // little endian, as used in arithmetic: pruned once if it came from a seed, else as it is
	prefix []byte // nonce prefix of signature keys
}

// Generate makes a random key.
func Generate(curve Curve) (*PrivateKey, error) {
	n := curve.scalarSize()
	if n == 0 {
		return nil, fmt.Errorf("%w: unknown curve", ErrKey)
	}
	secret := make([]byte, n)
	rand.Read(secret) // never fails
	return FromSecret(curve, secret)
}

// FromSecret makes a key from its private string: RFC 7748 (X) or seed octets (Ed25519: 32; Ed448: 56, or the 57 of RFC 8032), pruned once.
func FromSecret(curve Curve, secret []byte) (*PrivateKey, error) {
	if n := curve.scalarSize(); n == 0 || len(secret) != n && (curve != Ed448 || len(secret) != encoded448) {
		return nil, fmt.Errorf("%w: length of the private string", ErrKey)
	}
	var scalar, prefix []byte
	switch curve {
	case X448, X25519:
		scalar = bytes.Clone(secret)
	case Ed448:
		h := sha3.SumSHAKE256(secret, signature448)
		scalar, prefix = h[:size448], h[encoded448:] // the last octet of the scalar is 0 after pruning
	case Ed25519:
		h := sha512.Sum512(secret)
		scalar, prefix = h[:size25519], h[size25519:]
	}
	switch last := len(scalar) - 1; curve {
	case X448, Ed448:
		scalar[0] &= 0xfc
		scalar[last] |= 0x80
	case X25519, Ed25519:
		scalar[0] &= 0xf8
		scalar[last] = scalar[last]&0x7f | 0x40
	}
	return fromScalar(curve, scalar, prefix)
}

// FromScalar makes a key from a scalar that must not be pruned (`X448z`), 56 or 32 octets little endian, not 0 modulo
// the group order. The nonce prefix of a signature key is made of the scalar.
func FromScalar(curve Curve, scalar []byte) (*PrivateKey, error) {
	if n := curve.scalarSize(); n == 0 || len(scalar) != n {
		return nil, fmt.Errorf("%w: length of the scalar", ErrKey)
	}
	return fromScalar(curve, bytes.Clone(scalar), nil)
}

// fromScalar owns scalar and prefix.
func fromScalar(curve Curve, scalar, prefix []byte) (*PrivateKey, error) {
	k := &PrivateKey{public: PublicKey{Curve: curve}, secrets: &secrets{scalar: scalar, prefix: prefix}}
	if curve.signs() && len(prefix) == 0 {
		k.prefix = noncePrefix(curve, scalar)
	}
	switch curve {
	case Ed448, X448:
		s := reduce448(scalar)
		if s.IsZero() {
			return nil, fmt.Errorf("%w: zero", ErrKey)
		}
		if p := base448(s); curve == Ed448 {
			k.public.Octets = encodeEd448(p)
		} else {
			k.public.Octets = montgomery(p).encode()
		}
	case Ed25519, X25519:
		s := reduce25519(scalar)
		if s.Equal(edwards25519.NewScalar()) == 1 {
			return nil, fmt.Errorf("%w: zero", ErrKey)
		}
		if p := new(edwards25519.Point).ScalarBaseMult(s); curve == Ed25519 {
			k.public.Octets = p.Bytes()
		} else {
			k.public.Octets = p.BytesMontgomery()
		}
	}
	return k, nil
}

// noncePrefix makes a nonce prefix of secrets that are those of this key alone: two keys that shared one would, by
// signatures of the same message, tell their difference.
func noncePrefix(curve Curve, secrets ...[]byte) []byte {
	n := encoded448
	if curve == Ed25519 {
		n = size25519
	}
	prefix, err := hkdf.Key(sha512.New, bytes.Join(secrets, nil), nil, "mmm/key/nonce-prefix/"+string(curve), n)
	if err != nil { // only the length can be wrong
		panic("keys: " + err.Error())
	}
	return prefix
}

// Public returns the public key.
func (k *PrivateKey) Public() PublicKey {
	return PublicKey{Curve: k.public.Curve, Octets: bytes.Clone(k.public.Octets)}
}

// KID is the KID of the public key.
func (k *PrivateKey) KID() string { return k.public.KID() }

// Add returns the activated key: sum of scalars modulo the order; nonce prefix = HKDF of both (DATA §2).
func (k *PrivateKey) Add(activation *PrivateKey) (*PrivateKey, error) {
	if k.public.Curve != activation.public.Curve {
		return nil, fmt.Errorf("%w: add two curves", ErrCurve)
	}
	var sum []byte
	switch k.public.Curve {
	case Ed448, X448:
		var s goldilocks.Scalar
		s.Add(reduce448(k.scalar), reduce448(activation.scalar))
		sum = s[:]
	case Ed25519, X25519:
		sum = edwards25519.NewScalar().Add(reduce25519(k.scalar), reduce25519(activation.scalar)).Bytes()
	}
	var prefix []byte
	if k.public.Curve.signs() {
		prefix = noncePrefix(k.public.Curve, activation.prefix, k.prefix)
	}
	return fromScalar(k.public.Curve, sum, prefix)
}

// Agree computes the shared u coordinate (56 or 32 octets); Ed25519 recipients of old material: the 32-octet Edwards point. All-zero is refused.
func (k *PrivateKey) Agree(peer PublicKey) ([]byte, error) {
	if k.public.Curve != peer.Curve {
		return nil, fmt.Errorf("%w: another curve", ErrAgreement)
	}
	switch k.public.Curve {
	case X448:
		return agreeX448(k.scalar, peer.Octets)
	case X25519:
		return agreeX25519(k.scalar, peer.Octets)
	case Ed25519:
		return agreeEd25519(k.scalar, peer.Octets)
	}
	return nil, ErrCurve
}

// Scalar returns the private scalar, 56 or 32 octets little endian (ENTRYID, DATA §9.12). Ours to keep secret.
func (k *PrivateKey) Scalar() []byte { return bytes.Clone(k.scalar) }

// Format implements fmt.Formatter: whatever the verb, the name of the key.
func (k PrivateKey) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "private key %s", k.public.KID())
}

// LogValue implements slog.LogValuer.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(k.public.KID()) }

// Derive derives the private key of one use from a Z-type seed text (DATA §9.6). label: "Sign", "Encrypt", "Authenticate", "".
func Derive(seed string, curve Curve, label string) (*PrivateKey, error) {
	s, err := udf.ParseSeed(seed)
	if err != nil {
		return nil, err
	}
	return DeriveSeed(s, curve, label)
}

// DeriveSeed is Derive for a seed already parsed. The salt of the derivation has the seed's own specifier, or that of
// the curve where the seed is for any algorithm; a seed for another algorithm is refused.
func DeriveSeed(seed udf.Seed, curve Curve, label string) (*PrivateKey, error) {
	algorithm := curve.specifier()
	if algorithm == udf.SeedAny {
		return nil, fmt.Errorf("%w: unknown curve", ErrKey)
	}
	salt := seed.Specifier
	switch {
	case salt == udf.SeedAny:
		salt = algorithm
	case salt < udf.SeedProfileAccount && salt != algorithm: // below: algorithms; above: purposes
		return nil, fmt.Errorf("%w: seed of another algorithm", ErrCurve)
	}
	return FromSecret(curve, seed.Derive(salt, label, curve.scalarSize()))
}

// DerivePublicActivation adds to base the key that the activation seed gives for label.
func DerivePublicActivation(base PublicKey, seed, label string) (PublicKey, error) {
	activation, err := Derive(seed, base.Curve, label)
	if err != nil {
		return PublicKey{}, err
	}
	return base.Add(activation.public)
}
