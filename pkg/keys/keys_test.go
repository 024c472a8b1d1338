package keys_test

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"slices"
	"testing"

	"filippo.io/edwards25519"
	"github.com/cloudflare/circl/dh/x448"
	"github.com/cloudflare/circl/ecc/goldilocks"
	"github.com/cloudflare/circl/math/fp448"
	"github.com/cloudflare/circl/sign/ed448"

	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

var curves = []keys.Curve{keys.Ed448, keys.X448, keys.Ed25519, keys.X25519}

// rounds of the property tests: each round is some milliseconds, and a wrong sign shows in every second one.
const rounds = 32

// secret is a private string of curve, a different one for each i.
func secret(curve keys.Curve, i int) []byte {
	digest := sha512.Sum512(binary.BigEndian.AppendUint64([]byte(curve), uint64(i)))
	if curve == keys.Ed25519 || curve == keys.X25519 {
		return digest[:32]
	}
	return digest[:56]
}

func generate(t testing.TB, curve keys.Curve) *keys.PrivateKey {
	t.Helper()
	k, err := keys.Generate(curve)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func add(t testing.TB, a, b *keys.PrivateKey) *keys.PrivateKey {
	t.Helper()
	sum, err := a.Add(b)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// TestStock compares keys made of a private string with those of the stock libraries.
func TestStock(t *testing.T) {
	message := []byte("message")
	for i := range rounds {
		seed := append(secret(keys.Ed448, i), byte(i))
		theirs := ed448.NewKeyFromSeed(seed)
		ours := secretKey(t, keys.Ed448, seed)
		if !bytes.Equal(ours.Public().Octets, theirs.Public().(ed448.PublicKey)) {
			t.Errorf("Ed448 public key of %x", seed)
		}
		if got, err := ours.Sign(message); err != nil || !bytes.Equal(got, ed448.Sign(theirs, message, "")) {
			t.Errorf("Ed448 signature of %x", seed)
		}

		seed = secret(keys.Ed25519, i)
		ours = secretKey(t, keys.Ed25519, seed)
		private := ed25519.NewKeyFromSeed(seed)
		if !bytes.Equal(ours.Public().Octets, private.Public().(ed25519.PublicKey)) {
			t.Errorf("Ed25519 public key of %x", seed)
		}
		if got, err := ours.Sign(message); err != nil || !bytes.Equal(got, ed25519.Sign(private, message)) {
			t.Errorf("Ed25519 signature of %x", seed)
		}

		var string448, public448, shared448 x448.Key
		copy(string448[:], secret(keys.X448, i))
		x448.KeyGen(&public448, &string448)
		ours = secretKey(t, keys.X448, string448[:])
		if !bytes.Equal(ours.Public().Octets[:56], public448[:]) {
			t.Errorf("X448 public key of %x", string448)
		}
		peer := generate(t, keys.X448)
		copy(public448[:], peer.Public().Octets)
		if !x448.Shared(&shared448, &string448, &public448) {
			t.Fatal("stock X448 refuses")
		}
		if got, err := ours.Agree(peer.Public()); err != nil || !bytes.Equal(got, shared448[:]) {
			t.Errorf("X448 agreement of %x", string448)
		}

		private25519, err := ecdh.X25519().NewPrivateKey(secret(keys.X25519, i))
		if err != nil {
			t.Fatal(err)
		}
		ours = secretKey(t, keys.X25519, private25519.Bytes())
		if !bytes.Equal(ours.Public().Octets, private25519.PublicKey().Bytes()) {
			t.Errorf("X25519 public key of %x", private25519.Bytes())
		}
		peer = generate(t, keys.X25519)
		public25519, err := ecdh.X25519().NewPublicKey(peer.Public().Octets)
		if err != nil {
			t.Fatal(err)
		}
		want, err := private25519.ECDH(public25519)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ours.Agree(peer.Public()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("X25519 agreement of %x", private25519.Bytes())
		}
	}
}

// TestActivation: the sum of keys is the key of the sum, it signs as stock verifiers want, and both sides agree.
func TestActivation(t *testing.T) {
	message := make([]byte, 64)
	for i := range rounds {
		for _, curve := range curves {
			base, activation := secretKey(t, curve, secret(curve, i)), secretKey(t, curve, secret(curve, -i-1))
			sum := add(t, base, activation)
			public, err := base.Public().Add(activation.Public())
			if curve == keys.X25519 {
				if !errors.Is(err, keys.ErrCurve) {
					t.Fatalf("X25519 public keys add, without sign: %v", err)
				}
			} else if err != nil || !public.Equal(sum.Public()) {
				t.Fatalf("%s %d: sum of public keys %x (%v), of the private ones %x", curve, i, public.Octets, err, sum.Public().Octets)
			}
			// Sums add on, to a device of a device.
			third := add(t, sum, base)
			if again := add(t, add(t, base, base), activation); !again.Public().Equal(third.Public()) {
				t.Fatalf("%s %d: addition does not commute", curve, i)
			}
			if curve == keys.Ed448 || curve == keys.Ed25519 {
				testSigns(t, sum, message)
				continue
			}
			peer := generate(t, curve)
			one, err := sum.Agree(peer.Public())
			if err != nil {
				t.Fatal(err)
			}
			other, err := peer.Agree(sum.Public())
			if err != nil || !bytes.Equal(one, other) {
				t.Errorf("%s %d: %x and %x, %v", curve, i, one, other, err)
			}
		}
	}
}

func testSigns(t *testing.T, k *keys.PrivateKey, message []byte) {
	t.Helper()
	signature, err := k.Sign(message)
	if err != nil {
		t.Fatal(err)
	}
	public := k.Public()
	if err := public.Verify(message, signature); err != nil {
		t.Error(err)
	}
	switch public.Curve {
	case keys.Ed448:
		if !ed448.Verify(public.Octets, message, signature, "") {
			t.Error("circl refuses the signature of an activated key")
		}
	case keys.Ed25519:
		if !ed25519.Verify(public.Octets, message, signature) {
			t.Error("crypto/ed25519 refuses the signature of an activated key")
		}
	}
	if again, err := k.Sign(message); err != nil || !bytes.Equal(again, signature) {
		t.Error("another signature of the same message")
	}
	if public.Verify(append(message, 0), signature) == nil {
		t.Error("verifies another message")
	}
	if public.Verify(message, signature[:len(signature)-1]) == nil || public.Verify(message, append(signature, 0)) == nil || public.Verify(message, nil) == nil {
		t.Error("verifies with another length")
	}
}

// TestAgreementIsTheProduct recomputes agreement with an activated X448 key by big integers: u of scalar·P.
func TestAgreementIsTheProduct(t *testing.T) {
	for i := range 4 {
		k := add(t, secretKey(t, keys.X448, secret(keys.X448, i)), secretKey(t, keys.X448, secret(keys.X448, i+100)))
		peer := secretKey(t, keys.X448, secret(keys.X448, i+200))
		product := new(big.Int).Mul(littleEndian(k.Scalar()), littleEndian(peer.Scalar()))
		product.Mod(product, order448())
		octets := product.FillBytes(make([]byte, 56))
		slices.Reverse(octets)
		want, err := keys.FromScalar(keys.X448, octets)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := k.Agree(peer.Public()); err != nil || !bytes.Equal(got, want.Public().Octets[:56]) {
			t.Errorf("%x, %v", got, err)
		}
	}
}

func littleEndian(octets []byte) *big.Int {
	octets = bytes.Clone(octets)
	slices.Reverse(octets)
	return new(big.Int).SetBytes(octets)
}

func order448() *big.Int {
	order := goldilocks.Curve{}.Order()
	return littleEndian(order[:])
}

// TestX25519Composite is the vector tkg-x25519-composite of the published threshold examples: scalars add.
func TestX25519Composite(t *testing.T) {
	scalar := func(decimal string) *keys.PrivateKey {
		n, _ := new(big.Int).SetString(decimal, 10)
		octets := n.FillBytes(make([]byte, 32))
		slices.Reverse(octets)
		k, err := keys.FromScalar(keys.X25519, octets)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	sum := add(t, scalar("56751742936444772792970879017152360515706108153669948486190735258502824077920"),
		scalar("30800688691513612134093999707357841640579640775881469593062950189697563564400"))
	if got := hex.EncodeToString(sum.Scalar()); got != "b454b7ef13300ddfc6cbfe5d6aa3a8c07c9c15542020070c041e480593eb9001" {
		t.Errorf("scalar %s", got)
	}
	if got := hex.EncodeToString(sum.Public().Octets); got != "07987538679c6621a30ad106cff5810494c052c99cfdae4e133b439d9a83125c" {
		t.Errorf("public %s", got)
	}
}

// TestScalar: pruned once for keys that come from a private string, as it is for others.
func TestScalar(t *testing.T) {
	k := secretKey(t, keys.X448, bytes.Repeat([]byte{0x7f}, 56))
	if s := k.Scalar(); s[0] != 0x7c || s[55] != 0xff {
		t.Errorf("%x", s)
	}
	k = secretKey(t, keys.X25519, bytes.Repeat([]byte{0xff}, 32))
	if s := k.Scalar(); s[0] != 0xf8 || s[31] != 0x7f {
		t.Errorf("%x", s)
	}
	one := append([]byte{1}, make([]byte, 55)...)
	k, err := keys.FromScalar(keys.X448, one)
	if err != nil || !bytes.Equal(k.Scalar(), one) || k.Public().Octets[0] != 5 { // u of the base point
		t.Errorf("%v, %v", k, err)
	}
	k.Scalar()[0] = 9
	if k.Scalar()[0] != 1 {
		t.Error("Scalar gives away its memory")
	}
}

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

// TestLabels: one seed, different keys for its uses.
func TestLabels(t *testing.T) {
	seed := udf.NewSeed(udf.SeedActivationAccount).String()
	seen := map[string]bool{}
	for _, curve := range curves {
		for _, label := range []string{"", "Sign", "Encrypt", "Authenticate"} {
			k, err := keys.Derive(seed, curve, label)
			if err != nil {
				t.Fatal(err)
			}
			if seen[k.KID()] {
				t.Errorf("%s %s: a key of another use", curve, label)
			}
			seen[k.KID()] = true
		}
	}
}

func TestFingerprint(t *testing.T) {
	k := generate(t, keys.X448).Public()
	if f := k.Fingerprint(); len(f) != 64 || udf.Encode(f, udf.Bits) != k.KID() || len(k.KID()) != 34 {
		t.Errorf("%x and %s", f, k.KID())
	}
	if !(keys.PublicKey{}).IsZero() || k.IsZero() {
		t.Error("IsZero")
	}
	if k.Equal(keys.PublicKey{}) || k.Equal(keys.PublicKey{Curve: keys.Ed448, Octets: k.Octets}) || !k.Equal(publicKey(t, "X448", k.Octets)) {
		t.Error("Equal")
	}
}
