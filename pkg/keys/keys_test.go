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

	"github.com/cloudflare/circl/dh/x448"
	"github.com/cloudflare/circl/ecc/goldilocks"
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
