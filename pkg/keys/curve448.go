package keys

import (
	"crypto/subtle"
	"fmt"

	"github.com/cloudflare/circl/dh/x448"
	"github.com/cloudflare/circl/ecc/goldilocks"
	"github.com/cloudflare/circl/math/fp448"
)

const (
	size448      = 56          // of a coordinate and of a scalar
	encoded448   = size448 + 1 // of an Edwards point, and of an X448 key with its sign octet
	signature448 = 2 * encoded448
)

// quarter448 is 4⁻¹ modulo the group order q, (q+1)/4.
var quarter448 = goldilocks.Scalar{
	0x3d, 0x11, 0xd6, 0xaa, 0xa4, 0x30, 0xde, 0x48, 0xd5, 0x63, 0x71, 0xa3, 0x9c, 0x30, 0x5b, 0x08,
	0xa4, 0x8d, 0xb5, 0x6b, 0xd2, 0xb6, 0x13, 0x71, 0xfa, 0x88, 0x32, 0xdf, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f,
}

// a448 is the coefficient A of curve448, v² = u³ + Au² + u.
var a448 = fp448.Elt{0xa6, 0x62, 0x02}

func reduce448(scalar []byte) *goldilocks.Scalar {
	var s goldilocks.Scalar
	s.FromBytes(scalar)
	return &s
}

// decodeEd448 reads the 57 octets of RFC 8032 §5.2.3.
func decodeEd448(octets []byte) (*goldilocks.Point, error) {
	if len(octets) != encoded448 {
		return nil, fmt.Errorf("%w: length", ErrKey)
	}
	p, err := goldilocks.FromBytes(octets)
	if err != nil {
		return nil, fmt.Errorf("%w: not a point", ErrKey)
	}
	q := *p
	q.Double()
	q.Double()
	if isIdentity448(&q) {
		return nil, fmt.Errorf("%w: low order", ErrKey)
	}
	return p, nil
}

func encodeEd448(p *goldilocks.Point) []byte {
	out := make([]byte, encoded448)
	if err := p.ToBytes(out); err != nil { // only the length can be wrong
		panic("keys: " + err.Error())
	}
	return out
}

// isIdentity448 works on affine coordinates: Point.IsIdentity compares projective ones that may not be reduced.
func isIdentity448(p *goldilocks.Point) bool {
	q := *p
	x, y := q.ToAffine()
	return fp448.IsZero(&x) && fp448.IsOne(&y)
}

// checkSubgroup448 refuses points with a component of low order. Multiplication in goldilocks drops it, so that
// 1·P is P just when there is none.
func checkSubgroup448(p *goldilocks.Point) error {
	if !(goldilocks.Curve{}).ScalarMult(&goldilocks.Scalar{1}, p).IsEqual(p) {
		return fmt.Errorf("%w: not in the subgroup of prime order", ErrKey)
	}
	return nil
}

func addEd448(a, b []byte) ([]byte, error) {
	p, err := decodeEd448(a)
	if err != nil {
		return nil, err
	}
	q, err := decodeEd448(b)
	if err != nil {
		return nil, err
	}
	if err := checkSubgroup448(p); err != nil {
		return nil, err
	}
	if err := checkSubgroup448(q); err != nil {
		return nil, err
	}
	p.Add(q)
	return encodeEd448(p), nil
}

// point448 is an affine point of curve448.
type point448 struct{ u, v fp448.Elt }

// decodeX448 reads u and the sign octet: 0x80 where v is odd. Without the octet v is taken for even.
func decodeX448(octets []byte) (*point448, error) {
	if len(octets) != size448 && len(octets) != encoded448 {
		return nil, fmt.Errorf("%w: length", ErrKey)
	}
	odd := byte(0)
	if len(octets) == encoded448 {
		if octets[size448]&0x7f != 0 {
			return nil, fmt.Errorf("%w: sign octet", ErrKey)
		}
		odd = octets[size448] >> 7
	}
	var p point448
	copy(p.u[:], octets)
	reduced := p.u
	fp448.Modp(&reduced)
	if reduced != p.u {
		return nil, fmt.Errorf("%w: not canonical", ErrKey)
	}
	// The points of low order have u = 0, 1 and -1.
	var square, next fp448.Elt
	one := fp448.One()
	fp448.Sqr(&square, &p.u)
	fp448.Sub(&next, &square, &one)
	if fp448.IsZero(&reduced) || fp448.IsZero(&next) {
		return nil, fmt.Errorf("%w: low order", ErrKey)
	}
	// v² = u(u² + Au + 1)
	fp448.Mul(&next, &a448, &p.u)
	fp448.Add(&next, &next, &square)
	fp448.Add(&next, &next, &one)
	fp448.Mul(&next, &next, &p.u)
	if !fp448.InvSqrt(&p.v, &next, &one) {
		return nil, fmt.Errorf("%w: not a point", ErrKey)
	}
	fp448.Modp(&p.v)
	if p.v[0]&1 != odd {
		fp448.Neg(&p.v, &p.v)
		fp448.Modp(&p.v)
	}
	return &p, nil
}

// encode writes u and the sign octet.
func (p *point448) encode() []byte {
	out := make([]byte, encoded448)
	fp448.Modp(&p.u)
	fp448.Modp(&p.v)
	copy(out, p.u[:])
	out[size448] = p.v[0] & 1 << 7
	return out
}

// montgomery maps a point of Edwards448 to curve448 (RFC 7748 §4.2): u = y²/x², v = (2 - x² - y²)y/x³. The map is a
// homomorphism of degree 4 that takes base point to base point: scalars carry over. p must not be of low order.
func montgomery(p *goldilocks.Point) *point448 {
	q := *p
	x, y := q.ToAffine()
	var m point448
	var inv, xx, yy, t fp448.Elt
	fp448.Inv(&inv, &x)
	fp448.Mul(&t, &y, &inv) // y/x
	fp448.Sqr(&m.u, &t)
	fp448.Sqr(&xx, &x)
	fp448.Sqr(&yy, &y)
	two := fp448.Elt{2}
	fp448.Sub(&m.v, &two, &xx)
	fp448.Sub(&m.v, &m.v, &yy)
	fp448.Mul(&m.v, &m.v, &t)
	fp448.Sqr(&inv, &inv)
	fp448.Mul(&m.v, &m.v, &inv)
	return &m
}

// edwards returns the point of Edwards448 that montgomery maps to p, by the dual map of RFC 7748 §4.2 and a division
// by its degree; with w = (u² - 1)²: x = 4v(u² - 1)/(w + 4v²), y = -u(w - 4v²)/(uw - 2v²(u² + 1)).
// An error where p is not in the subgroup of prime order.
func (p *point448) edwards() (*goldilocks.Point, error) {
	one := fp448.One()
	var uu, vv, less, w, vv4, num, den, x, y fp448.Elt
	fp448.Sqr(&uu, &p.u)
	fp448.Sqr(&vv, &p.v)
	fp448.Sub(&less, &uu, &one)
	fp448.Sqr(&w, &less)
	fp448.Add(&vv4, &vv, &vv)
	fp448.Add(&vv4, &vv4, &vv4)

	fp448.Mul(&num, &p.v, &less)
	fp448.Add(&num, &num, &num)
	fp448.Add(&num, &num, &num)
	fp448.Add(&den, &w, &vv4)
	fp448.Inv(&den, &den)
	fp448.Mul(&x, &num, &den)

	fp448.Sub(&num, &vv4, &w)
	fp448.Mul(&num, &num, &p.u)
	fp448.Add(&den, &uu, &one)
	fp448.Mul(&den, &den, &vv)
	fp448.Add(&den, &den, &den)
	fp448.Mul(&y, &p.u, &w)
	fp448.Sub(&den, &y, &den)
	fp448.Inv(&den, &den)
	fp448.Mul(&y, &num, &den)

	fp448.Modp(&x)
	fp448.Modp(&y)
	image, err := goldilocks.FromAffine(&x, &y)
	if err != nil {
		return nil, fmt.Errorf("%w: not a point", ErrKey)
	}
	quarter := quarter448
	e := goldilocks.Curve{}.ScalarMult(&quarter, image)
	if back := montgomery(e); !sameElt(back.u, p.u) || !sameElt(back.v, p.v) {
		return nil, fmt.Errorf("%w: not in the subgroup of prime order", ErrKey)
	}
	return e, nil
}

func sameElt(a, b fp448.Elt) bool {
	fp448.Modp(&a)
	fp448.Modp(&b)
	return a == b
}

func addX448(a, b []byte) ([]byte, error) {
	if len(a) != encoded448 || len(b) != encoded448 {
		return nil, fmt.Errorf("%w: add X448 keys without sign", ErrCurve)
	}
	var sum *goldilocks.Point
	for _, octets := range [][]byte{a, b} {
		m, err := decodeX448(octets)
		if err != nil {
			return nil, err
		}
		e, err := m.edwards()
		if err != nil {
			return nil, err
		}
		if sum == nil {
			sum = e
		} else {
			sum.Add(e)
		}
	}
	if isIdentity448(sum) {
		return nil, fmt.Errorf("%w: low order", ErrKey)
	}
	return montgomery(sum).encode(), nil
}

// base448 returns the Edwards448 point of a scalar that is not 0 modulo the order.
func base448(scalar *goldilocks.Scalar) *goldilocks.Point {
	s := *scalar
	return goldilocks.Curve{}.ScalarBaseMult(&s)
}

// pruneStable448 returns a private string that pruning leaves as it is and that gives, for points of the subgroup of
// prime order, the u of scalar·P: 4y with y = ±scalar/4 mod q, the sign such that y ≥ 2⁴⁴⁵ (DATA §2). Being a
// multiple of 4 it removes a component of low order. Of all scalars a part of 2⁻²²² has no such y: then ok is false.
func pruneStable448(scalar []byte) (key *x448.Key, ok bool) {
	var y, neg goldilocks.Scalar
	quarter := quarter448
	y.Mul(reduce448(scalar), &quarter)
	neg = y
	neg.Neg()
	high := int(y[size448-1] >> 5 & 1) // bit 445: y < q < 2⁴⁴⁶
	subtle.ConstantTimeCopy(1-high, y[:], neg[:])
	key = new(x448.Key)
	carry := byte(0)
	for i, b := range y {
		key[i] = b<<2 | carry
		carry = b >> 6
	}
	return key, key[size448-1]&0x80 != 0
}

func agreeX448(scalar, peer []byte) ([]byte, error) {
	if len(peer) != size448 && len(peer) != encoded448 {
		return nil, ErrAgreement
	}
	var shared, public x448.Key
	copy(public[:], peer[:size448])
	private, ok := pruneStable448(scalar)
	if !ok || !x448.Shared(&shared, private, &public) {
		return nil, ErrAgreement
	}
	return shared[:], nil
}
