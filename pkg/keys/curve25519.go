package keys

import (
	"bytes"
	"crypto/ecdh"
	"crypto/subtle"
	"fmt"

	"filippo.io/edwards25519"
	"filippo.io/edwards25519/field"
)

const size25519 = 32 // of a coordinate, a scalar, an Edwards point

// eighth25519 returns 8⁻¹ modulo the group order.
func eighth25519() *edwards25519.Scalar {
	eight, err := edwards25519.NewScalar().SetCanonicalBytes(append([]byte{8}, make([]byte, size25519-1)...))
	if err != nil {
		panic("keys: " + err.Error())
	}
	return eight.Invert(eight)
}

// reduce25519 reads up to 64 octets little endian modulo the group order.
func reduce25519(octets []byte) *edwards25519.Scalar {
	s, err := edwards25519.NewScalar().SetUniformBytes(append(bytes.Clone(octets), make([]byte, 64-len(octets))...))
	if err != nil { // only the length can be wrong
		panic("keys: " + err.Error())
	}
	return s
}

func isIdentity25519(p *edwards25519.Point) bool {
	return p.Equal(edwards25519.NewIdentityPoint()) == 1
}

// decodeEd25519 reads the 32 octets of RFC 8032 §5.1.3, canonical ones only.
func decodeEd25519(octets []byte) (*edwards25519.Point, error) {
	if len(octets) != size25519 {
		return nil, fmt.Errorf("%w: length", ErrKey)
	}
	p, err := new(edwards25519.Point).SetBytes(octets)
	if err != nil {
		return nil, fmt.Errorf("%w: not a point", ErrKey)
	}
	if !bytes.Equal(p.Bytes(), octets) {
		return nil, fmt.Errorf("%w: not canonical", ErrKey)
	}
	if isIdentity25519(new(edwards25519.Point).MultByCofactor(p)) {
		return nil, fmt.Errorf("%w: low order", ErrKey)
	}
	return p, nil
}

// decodeX25519 reads u, whose point has y = (u-1)/(u+1) (RFC 7748 §4.1); its sign is not known.
func decodeX25519(octets []byte) (*edwards25519.Point, error) {
	if len(octets) != size25519 {
		return nil, fmt.Errorf("%w: length", ErrKey)
	}
	u, err := new(field.Element).SetBytes(octets)
	if err != nil {
		return nil, fmt.Errorf("%w: length", ErrKey)
	}
	if !bytes.Equal(u.Bytes(), octets) {
		return nil, fmt.Errorf("%w: not canonical", ErrKey)
	}
	one := new(field.Element).One()
	den := new(field.Element).Add(u, one)
	if den.Equal(new(field.Element)) == 1 { // u = -1 is not on the curve, and has no y
		return nil, fmt.Errorf("%w: not a point", ErrKey)
	}
	y := new(field.Element).Subtract(u, one)
	y.Multiply(y, den.Invert(den))
	return decodeEd25519(y.Bytes())
}

// checkSubgroup25519 refuses points with a component of low order: (q-1)P + P is the identity just when there is none.
func checkSubgroup25519(p *edwards25519.Point) error {
	minus := edwards25519.NewScalar().Negate(reduce25519([]byte{1}))
	q := new(edwards25519.Point).ScalarMult(minus, p)
	if !isIdentity25519(q.Add(q, p)) {
		return fmt.Errorf("%w: not in the subgroup of prime order", ErrKey)
	}
	return nil
}

func addEd25519(a, b []byte) ([]byte, error) {
	sum := edwards25519.NewIdentityPoint()
	for _, octets := range [][]byte{a, b} {
		p, err := decodeEd25519(octets)
		if err != nil {
			return nil, err
		}
		if err := checkSubgroup25519(p); err != nil {
			return nil, err
		}
		sum.Add(sum, p)
	}
	return sum.Bytes(), nil
}

// pruneStable25519 is pruneStable448 for X25519: 8y with y = ±scalar/8 mod q, 2²⁵¹ ≤ y < 2²⁵². None for a part of 2⁻¹²⁶.
func pruneStable25519(scalar []byte) (key []byte, ok bool) {
	x := edwards25519.NewScalar().Multiply(reduce25519(scalar), eighth25519())
	y, neg := x.Bytes(), edwards25519.NewScalar().Negate(x).Bytes()
	high := int((y[size25519-1]>>3 | y[size25519-1]>>4) & 1) // bits 251 and 252
	subtle.ConstantTimeCopy(1-high, y, neg)
	key = make([]byte, size25519)
	carry := byte(0)
	for i, b := range y {
		key[i] = b<<3 | carry
		carry = b >> 5
	}
	return key, key[size25519-1]&0xc0 == 0x40
}

func agreeX25519(scalar, peer []byte) ([]byte, error) {
	stable, ok := pruneStable25519(scalar)
	if !ok {
		return nil, ErrAgreement
	}
	private, err := ecdh.X25519().NewPrivateKey(stable)
	if err != nil {
		return nil, ErrAgreement
	}
	public, err := ecdh.X25519().NewPublicKey(peer)
	if err != nil {
		return nil, ErrAgreement
	}
	shared, err := private.ECDH(public) // refuses the all-zero result
	if err != nil {
		return nil, ErrAgreement
	}
	return shared, nil
}

// agreeEd25519 is the agreement of old material: scalar·P as an Edwards point. A component of low order is removed
// as pruning a scalar of X25519 would.
func agreeEd25519(scalar, peer []byte) ([]byte, error) {
	p, err := decodeEd25519(peer)
	if err != nil {
		return nil, ErrAgreement
	}
	s := edwards25519.NewScalar().Multiply(reduce25519(scalar), eighth25519())
	p.ScalarMult(s, p).MultByCofactor(p)
	if isIdentity25519(p) {
		return nil, ErrAgreement
	}
	return p.Bytes(), nil
}
