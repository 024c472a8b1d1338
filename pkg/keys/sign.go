package keys

import (
	"crypto/ed25519"
	"crypto/sha3"
	"crypto/sha512"
	"crypto/subtle"

	"filippo.io/edwards25519"
	"github.com/cloudflare/circl/ecc/goldilocks"
	"github.com/cloudflare/circl/sign/ed448"
)

// dom4 begins every hash of Ed448 with an empty context (RFC 8032 §5.2).
const dom4 = "SigEd448\x00\x00"

// dom2 begins the hashes of the Ed25519 signatures in the published material: Ed25519ctx with an empty context,
// which RFC 8032 forbids (D-55).
const dom2 = "SigEd25519 no Ed25519 collisions\x00\x00"

// Sign makes an Ed448 or Ed25519 signature (empty context). Same key and message give the same signature.
func (k *PrivateKey) Sign(message []byte) ([]byte, error) {
	switch k.public.Curve {
	case Ed448:
		return k.signEd448(message), nil
	case Ed25519:
		return k.signEd25519(message), nil
	}
	return nil, ErrCurve
}

// signEd448 is RFC 8032 §5.2.6 from its second step.
func (k *PrivateKey) signEd448(message []byte) []byte {
	nonce := shake448([]byte(dom4), k.prefix, message)
	signature := make([]byte, signature448)
	point := base448(nonce)
	if err := point.ToBytes(signature[:encoded448]); err != nil { // only the length can be wrong
		panic("keys: " + err.Error())
	}
	var s goldilocks.Scalar
	s.Mul(shake448([]byte(dom4), signature[:encoded448], k.public.Octets, message), reduce448(k.scalar))
	s.Add(&s, nonce)
	copy(signature[encoded448:], s[:])
	return signature
}

func shake448(parts ...[]byte) *goldilocks.Scalar {
	h := sha3.NewSHAKE256()
	for _, p := range parts {
		h.Write(p)
	}
	var out [signature448]byte
	h.Read(out[:])
	return reduce448(out[:])
}

// signEd25519 is RFC 8032 §5.1.6 from its second step.
func (k *PrivateKey) signEd25519(message []byte) []byte {
	nonce := hash25519(k.prefix, message)
	r := new(edwards25519.Point).ScalarBaseMult(nonce).Bytes()
	challenge := hash25519(r, k.public.Octets, message)
	s := edwards25519.NewScalar().MultiplyAdd(challenge, reduce25519(k.scalar), nonce)
	return append(r, s.Bytes()...)
}

func hash25519(parts ...[]byte) *edwards25519.Scalar {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	return reduce25519(h.Sum(nil))
}

// Verify checks a signature over message (in the Mesh: the 64 octets of a PayloadDigest). Ed25519: RFC 8032 and, on reading, dom2 with empty context (D-55).
func (k PublicKey) Verify(message, signature []byte) error {
	ok := false
	switch k.Curve {
	case Ed448:
		ok = ed448.Verify(k.Octets, message, signature, "")
	case Ed25519:
		ok = len(k.Octets) == ed25519.PublicKeySize && len(signature) == ed25519.SignatureSize &&
			(ed25519.Verify(k.Octets, message, signature) || k.verifyDom2(message, signature))
	default:
		return ErrCurve
	}
	if !ok {
		return ErrSignature
	}
	return nil
}

// verifyDom2 checks R = S·B - h·A as crypto/ed25519 does, with dom2 in the hash.
func (k PublicKey) verifyDom2(message, signature []byte) bool {
	a, err := new(edwards25519.Point).SetBytes(k.Octets)
	if err != nil {
		return false
	}
	s, err := edwards25519.NewScalar().SetCanonicalBytes(signature[size25519:])
	if err != nil {
		return false
	}
	challenge := hash25519([]byte(dom2), signature[:size25519], k.Octets, message)
	r := new(edwards25519.Point).VarTimeDoubleScalarBaseMult(challenge, a.Negate(a), s)
	return subtle.ConstantTimeCompare(r.Bytes(), signature[:size25519]) == 1
}
