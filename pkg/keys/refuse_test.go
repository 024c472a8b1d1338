package keys_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"testing"

	"filippo.io/edwards25519"
	"github.com/cloudflare/circl/ecc/goldilocks"
	"github.com/cloudflare/circl/math/fp448"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

func TestFromRefuses(t *testing.T) {
	order := goldilocks.Curve{}.Order()
	for _, c := range []struct {
		name   string
		make   func(keys.Curve, []byte) (*keys.PrivateKey, error)
		curve  keys.Curve
		octets []byte
	}{
		{"unknown curve", keys.FromSecret, "P-256", make([]byte, 32)},
		{"short", keys.FromSecret, keys.Ed448, make([]byte, 55)},
		{"long", keys.FromSecret, keys.Ed448, make([]byte, 58)},
		{"Ed448's other length", keys.FromSecret, keys.X448, make([]byte, 57)},
		{"none", keys.FromSecret, keys.X25519, nil},
		{"zero", keys.FromScalar, keys.X448, make([]byte, 56)},
		{"zero modulo the order", keys.FromScalar, keys.Ed448, order[:]},
		{"zero", keys.FromScalar, keys.Ed25519, make([]byte, 32)},
		{"seed length", keys.FromScalar, keys.Ed448, make([]byte, 57)},
		{"unknown curve", keys.FromScalar, "", nil},
	} {
		if k, err := c.make(c.curve, c.octets); !errors.Is(err, keys.ErrKey) {
			t.Errorf("%s %s: %v, %v", c.curve, c.name, k, err)
		}
	}
	if k, err := keys.Generate("X448z"); err == nil {
		t.Error(k)
	}
	// A key and its negative: the sum is no key.
	k := generate(t, keys.Ed448)
	negative := new(big.Int).Sub(order448(), new(big.Int).Mod(littleEndian(k.Scalar()), order448())).FillBytes(make([]byte, 56))
	slices.Reverse(negative)
	minus, err := keys.FromScalar(keys.Ed448, negative)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := k.Add(minus); !errors.Is(err, keys.ErrKey) {
		t.Error(sum, err)
	}
	if sum, err := k.Public().Add(minus.Public()); !errors.Is(err, keys.ErrKey) {
		t.Error(sum, err)
	}
	x, err := keys.FromScalar(keys.X448, k.Scalar())
	if err != nil {
		t.Fatal(err)
	}
	minus, err = keys.FromScalar(keys.X448, negative)
	if err != nil {
		t.Fatal(err)
	}
	if sum, err := x.Public().Add(minus.Public()); !errors.Is(err, keys.ErrKey) {
		t.Error(sum, err)
	}
}

func mustHex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// elt448 is n modulo the prime of the field, little endian.
func elt448(n int64) []byte {
	p := fp448.P()
	octets := new(big.Int).Mod(big.NewInt(n), littleEndian(p[:])).FillBytes(make([]byte, 56))
	slices.Reverse(octets)
	return octets
}

// above448 is p + n, a second encoding of n.
func above448(n byte) []byte {
	return slices.Concat([]byte{n - 1}, make([]byte, 27), bytes.Repeat([]byte{0xff}, 28))
}

func TestPublicKeyRefuses(t *testing.T) {
	p := fp448.P()
	negative := func(octets []byte) []byte { octets = bytes.Clone(octets); octets[len(octets)-1] |= 0x80; return octets }
	plus := func(octets []byte, last byte) []byte { return append(bytes.Clone(octets), last) }
	good := generate(t, keys.X448).Public().Octets
	for _, c := range []struct {
		name   string
		curve  keys.Curve
		octets []byte
	}{
		{"unknown curve", "P-256", make([]byte, 32)},
		{"no curve", "", nil},
		{"short", keys.Ed448, make([]byte, 56)},
		{"the identity", keys.Ed448, plus(elt448(1), 0)},
		{"(0, -1)", keys.Ed448, plus(elt448(-1), 0)},
		{"(1, 0)", keys.Ed448, plus(elt448(0), 0x80)},
		{"(-1, 0)", keys.Ed448, plus(elt448(0), 0)},
		{"y = p + 19", keys.Ed448, plus(above448(19), 0)},
		{"bits in the last octet", keys.Ed448, func() []byte { o := bytes.Clone(generate(t, keys.Ed448).Public().Octets); o[56] |= 1; return o }()},
		{"short", keys.X448, good[:55]},
		{"long", keys.X448, plus(good, 0)},
		{"u = 0", keys.X448, plus(elt448(0), 0)},
		{"u = 1", keys.X448, plus(elt448(1), 0)},
		{"u = -1", keys.X448, plus(elt448(-1), 0x80)},
		{"u = -1, 56 octets", keys.X448, elt448(-1)},
		{"u = p", keys.X448, plus(p[:], 0)},
		{"u = p + 5", keys.X448, plus(above448(5), 0)},
		{"sign octet", keys.X448, plus(good[:56], 1)},
		{"sign octet", keys.X448, plus(good[:56], 0x81)},
		{"short", keys.Ed25519, make([]byte, 31)},
		{"the identity", keys.Ed25519, mustHex(t, "0100000000000000000000000000000000000000000000000000000000000000")},
		{"order 2", keys.Ed25519, mustHex(t, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")},
		{"order 4", keys.Ed25519, make([]byte, 32)},
		{"order 8", keys.Ed25519, mustHex(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")},
		{"y = p + 3", keys.Ed25519, mustHex(t, "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")},
		{"the identity, sign set", keys.Ed25519, negative(mustHex(t, "0100000000000000000000000000000000000000000000000000000000000000"))},
		{"short", keys.X25519, make([]byte, 31)},
		{"u = 0", keys.X25519, make([]byte, 32)},
		{"u = 1", keys.X25519, append([]byte{1}, make([]byte, 31)...)},
		{"u = -1", keys.X25519, mustHex(t, "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")},
		{"order 8", keys.X25519, mustHex(t, "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")},
		{"u = p + 9", keys.X25519, mustHex(t, "f6ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")},
		{"top bit", keys.X25519, negative(generate(t, keys.X25519).Public().Octets)},
	} {
		if k, err := keys.NewPublicKey(c.curve, c.octets); !errors.Is(err, keys.ErrKey) {
			t.Errorf("%s %s: %v, %v", c.curve, c.name, k, err)
		}
		// Agree is the last line, should the key not have been checked: no all-zero result.
		if c.curve == keys.X448 || c.curve == keys.X25519 || c.curve == keys.Ed25519 {
			shared, err := generate(t, c.curve).Agree(keys.PublicKey{Curve: c.curve, Octets: c.octets})
			if err == nil && bytes.Count(shared, []byte{0}) == len(shared) {
				t.Errorf("%s %s: agreed on zeros", c.curve, c.name)
			}
		}
	}
}

// TestOffCurve: about half of all coordinates belong to the twist, and are refused.
func TestOffCurve(t *testing.T) {
	for _, curve := range curves {
		n := map[bool]int{}
		for i := range 64 {
			octets := secret(curve, i)
			switch curve {
			case keys.Ed448, keys.X448:
				octets = append(octets[:55], 0x7f&octets[55], 0)
			default:
				octets[31] &= 0x3f
			}
			_, err := keys.NewPublicKey(curve, octets)
			n[err == nil]++
		}
		if n[true] < 16 || n[false] < 16 {
			t.Errorf("%s: %d of 64 are points", curve, n[true])
		}
	}
}

// TestLowOrderComponent: agreement removes it, addition refuses it.
func TestLowOrderComponent(t *testing.T) {
	base := map[keys.Curve]keys.PublicKey{}
	mixed := map[keys.Curve][]byte{}
	for _, curve := range curves {
		base[curve] = generate(t, curve).Public()
	}
	// Edwards448: P + (0, -1) = (-x, -y).
	p, err := goldilocks.FromBytes(base[keys.Ed448].Octets)
	if err != nil {
		t.Fatal(err)
	}
	x, y := p.ToAffine()
	fp448.Neg(&x, &x)
	fp448.Neg(&y, &y)
	q, err := goldilocks.FromAffine(&x, &y)
	if err != nil {
		t.Fatal(err)
	}
	if mixed[keys.Ed448], err = q.MarshalBinary(); err != nil {
		t.Fatal(err)
	}
	// curve448: P + (0, 0) has u = 1/u.
	var u fp448.Elt
	copy(u[:], base[keys.X448].Octets)
	fp448.Inv(&u, &u)
	fp448.Modp(&u)
	mixed[keys.X448] = append(bytes.Clone(u[:]), 0)
	// Edwards25519: P + T, T of order 8.
	low, err := new(edwards25519.Point).SetBytes(mustHex(t, "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"))
	if err != nil {
		t.Fatal(err)
	}
	e, err := new(edwards25519.Point).SetBytes(base[keys.Ed25519].Octets)
	if err != nil {
		t.Fatal(err)
	}
	mixed[keys.Ed25519] = e.Add(e, low).Bytes()

	for curve, octets := range mixed {
		peer := publicKey(t, string(curve), octets)
		other := generate(t, curve)
		for _, pair := range [][2]keys.PublicKey{{peer, other.Public()}, {other.Public(), peer}} {
			if sum, err := pair[0].Add(pair[1]); !errors.Is(err, keys.ErrKey) {
				t.Errorf("%s: added to %v, %v", curve, sum, err)
			}
		}
		if curve == keys.Ed448 {
			continue
		}
		one, err := other.Agree(peer)
		if err != nil {
			t.Fatal(err)
		}
		two, err := other.Agree(base[curve])
		if err != nil || !bytes.Equal(one, two) {
			t.Errorf("%s: the component shows: %x and %x, %v", curve, one, two, err)
		}
	}
}

func TestX448WithoutSign(t *testing.T) {
	a, b := generate(t, keys.X448), generate(t, keys.X448)
	short := publicKey(t, "X448", a.Public().Octets[:56])
	if len(short.Octets) != 56 || short.KID() == a.KID() {
		t.Errorf("not kept as received: %d octets", len(short.Octets))
	}
	one, err := b.Agree(short)
	if err != nil {
		t.Fatal(err)
	}
	two, err := b.Agree(a.Public())
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("%x and %x, %v", one, two, err)
	}
	for _, pair := range [][2]keys.PublicKey{{short, b.Public()}, {b.Public(), short}} {
		if sum, err := pair[0].Add(pair[1]); !errors.Is(err, keys.ErrCurve) {
			t.Errorf("added without sign: %v, %v", sum, err)
		}
	}
}

// TestWrongCurve: a key does what its curve can, with keys of its curve.
func TestWrongCurve(t *testing.T) {
	all := map[keys.Curve]*keys.PrivateKey{}
	for _, curve := range curves {
		all[curve] = generate(t, curve)
	}
	for a, k := range all {
		signs := a == keys.Ed448 || a == keys.Ed25519
		signature, err := k.Sign(nil)
		if (err == nil) != signs {
			t.Errorf("%s signs: %v", a, err)
		}
		if err := k.Public().Verify(nil, signature); (err == nil) != signs {
			t.Errorf("%s verifies: %v", a, err)
		}
		for b, peer := range all {
			if _, err := k.Add(peer); (err == nil) != (a == b) {
				t.Errorf("%s adds %s: %v", a, b, err)
			}
			if _, err := k.Public().Add(peer.Public()); (err == nil) != (a == b && a != keys.X25519) {
				t.Errorf("public %s adds %s: %v", a, b, err)
			}
			if _, err := k.Agree(peer.Public()); (err == nil) != (a == b && a != keys.Ed448) {
				t.Errorf("%s agrees with %s: %v", a, b, err)
			}
		}
	}
	if _, err := keys.DerivePublicActivation(all[keys.X448].Public(), "not a seed", "Sign"); err == nil {
		t.Error("activated by what is no seed")
	}
	if _, err := keys.Derive(udf.NewSeed(udf.SeedProfileDevice).String(), "P-256", "Sign"); err == nil {
		t.Error("derived for an unknown curve")
	}
}

// TestNotPruneStable: the few scalars that no stock agreement can be given are refused, not computed wrongly.
func TestNotPruneStable(t *testing.T) {
	one := big.NewInt(1)
	order25519, _ := new(big.Int).SetString("27742317777372353535851937790883648493", 10)
	order25519.Add(order25519, new(big.Int).Lsh(one, 252))
	for _, c := range []struct {
		curve    keys.Curve
		order    *big.Int
		cofactor int64
		limit    uint
		octets   int
	}{{keys.X448, order448(), 4, 445, 56}, {keys.X25519, order25519, 8, 251, 32}} {
		limit := new(big.Int).Lsh(one, c.limit)
		for name, x := range map[string]*big.Int{
			"below": new(big.Int).Sub(limit, one), "just": limit, "one": one, "minus one": new(big.Int).Sub(c.order, one),
		} {
			scalar := new(big.Int).Mul(x, big.NewInt(c.cofactor))
			octets := scalar.Mod(scalar, c.order).FillBytes(make([]byte, c.octets))
			slices.Reverse(octets)
			k, err := keys.FromScalar(c.curve, octets)
			if err != nil {
				t.Fatal(err)
			}
			peer := generate(t, c.curve)
			shared, err := k.Agree(peer.Public())
			// The order of curve448 is below 2⁴⁴⁶: neither ±x is high enough just below 2⁴⁴⁵. That of the other is
			// above 2²⁵²: q - 1 is too high and 1 too low.
			refused := map[keys.Curve][]string{keys.X448: {"below"}, keys.X25519: {"one", "minus one"}}[c.curve]
			if slices.Contains(refused, name) {
				if !errors.Is(err, keys.ErrAgreement) {
					t.Errorf("%s %s: %x, %v", c.curve, name, shared, err)
				}
				continue
			}
			want, err2 := peer.Agree(k.Public())
			if err != nil || err2 != nil || !bytes.Equal(shared, want) {
				t.Errorf("%s %s: %x, want %x; %v, %v", c.curve, name, shared, want, err, err2)
			}
		}
	}
}
