package udf_test

import (
	"crypto/elliptic"
	"crypto/sha3"
	"crypto/sha512"
	"encoding/hex"
	"math/big"
	"slices"
	"testing"

	"github.com/mathmesh/meshd/pkg/udf"
	"github.com/mathmesh/meshd/pkg/vectors"
)

func load(t testing.TB) []vectors.Vector {
	t.Helper()
	list, err := vectors.Load("udf")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// elsewhere are the kinds of udf.json whose outcome is a key; the tests of package keys take them.
var elsewhere = []string{"udf.oid", "udf.keygen", "udf.keygen.activated"}

func TestVectors(t *testing.T) {
	kinds := map[string]func(*testing.T, vectors.Vector){
		"udf.content": testContent,
		"udf.mac":     testMAC,
		"hash":        testHash,
		"udf.parse":   testParse,
		"udf.present": testPresent,
		"udf.earl":    testEARL,
		"udf.shamir":  testSplit,
		"udf.recover": testCombine,
		"udf.derive":  testDerive,
		"udf.sin":     testSIN,
	}
	for _, v := range load(t) {
		if slices.Contains(elsewhere, v.Kind) {
			continue
		}
		test, ok := kinds[v.Kind]
		if !ok {
			t.Errorf("%s: no test for kind %s", v.ID, v.Kind)
			continue
		}
		t.Run(v.ID, func(t *testing.T) { test(t, v) })
	}
}

func equal(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s %s, want %s", what, got, want)
	}
}

func testContent(t *testing.T, v vectors.Vector) {
	content := udf.Content
	if v.Inputs.Text("alg") == "sha3" {
		content = udf.ContentSHA3
	}
	octets := content(v.Inputs.Text("content_type"), v.Inputs.Hex("data_hex"))
	for _, f := range []vectors.Fields{v.Want(), v.Computed, v.Intermediates} {
		for name, bits := range map[string]int{"udf": 140, "udf_100": 100, "udf_120": 120, "udf_200": 200, "udf_260": 260} {
			if !f.Has(name) {
				continue
			}
			// "udf" of the first vector has more characters than the default precision.
			if want := f.Text(name); name == "udf" {
				equal(t, name, udf.Encode(octets, len(want)*4), want)
			} else {
				equal(t, name, udf.Encode(octets, bits), want)
			}
		}
		if f.Has("type_id") && int(octets[0]) != f.Int("type_id") {
			t.Errorf("type %d, want %d", octets[0], f.Int("type_id"))
		}
		if f.Has("prefixed") { // the vectors cut the sequence to 64 octets
			equal(t, "octets", hex.EncodeToString(octets[:64]), f.Text("prefixed"))
		}
	}
}

func testMAC(t *testing.T, v vectors.Vector) {
	in := v.Inputs
	octets := udf.Authenticator(in.Text("key"), in.Text("content_type"), in.Hex("data_hex"))
	equal(t, "udf", udf.Encode(octets, udf.Bits), v.Want().Text("udf"))
	if other := udf.Authenticator(in.Text("key")+"A", in.Text("content_type"), in.Hex("data_hex")); slices.Equal(octets, other) {
		t.Error("another key gives the same authenticator")
	}
}

func testHash(t *testing.T, v vectors.Vector) {
	two, three := sha512.Sum512(v.Inputs.Hex("data_hex")), sha3.Sum512(v.Inputs.Hex("data_hex"))
	equal(t, "SHA-2-512", hex.EncodeToString(two[:]), v.Want().Text("sha2_512"))
	equal(t, "SHA-3-512", hex.EncodeToString(three[:]), v.Want().Text("sha3_512"))
}

func testParse(t *testing.T, v vectors.Vector) {
	octets, err := udf.Decode(v.Inputs.Text("udf"))
	if err != nil {
		t.Fatal(err)
	}
	if int(octets[0]) != v.Want().Int("type_id") {
		t.Errorf("type %d", octets[0])
	}
	equal(t, "data", hex.EncodeToString(octets[1:]), v.Computed.Text("data_hex"))
	for _, f := range []vectors.Fields{v.Want(), v.Computed} {
		if f.Has("round_trip") {
			equal(t, "round trip", udf.Encode(octets, 0), f.Text("round_trip"))
		}
	}
}

func testPresent(t *testing.T, v vectors.Vector) {
	octets := append([]byte{byte(v.Inputs.Int("type_id"))}, v.Inputs.Hex("data_hex")...)
	equal(t, "udf", udf.Encode(octets, 0), v.Want().Text("udf"))
}

func testEARL(t *testing.T, v vectors.Vector) {
	e := udf.EARL{Domain: v.Inputs.Text("domain"), Key: v.Inputs.Text("key_udf")}
	equal(t, "content id", e.ContentID(), v.Want().Text("content_id"))
	equal(t, "target", e.URL(), v.Want().Text("target"))
	equal(t, "EARL", e.String(), v.Want().Text("earl"))
	parsed, err := udf.ParseEARL(v.Want().Text("earl"))
	if err != nil || parsed != e {
		t.Errorf("parsed %v, %v", parsed == e, err)
	}
}

func testSIN(t *testing.T, v vectors.Vector) {
	label := udf.SINLabel(v.Inputs.Text("udf"))
	equal(t, "prefix form", "alice@"+label+".example.com", v.Want().Text("prefix_form"))
	equal(t, "suffix form", "alice@example.com."+label, v.Want().Text("suffix_form"))
	fingerprint, ok := udf.ParseSINLabel(label)
	if !ok {
		t.Fatal("its label is refused")
	}
	equal(t, "fingerprint", fingerprint, v.Inputs.Text("udf"))
}

// testDerive covers DATA §9.6 for algorithms whose keys are octets, and the generic rule with the two whose keys are
// numbers; no key of the Mesh is such a one, so their arithmetic is here.
func testDerive(t *testing.T, v vectors.Vector) {
	seed, err := udf.ParseSeed(v.Inputs.Text("udf"))
	if err != nil {
		t.Fatal(err)
	}
	want := v.Want()
	switch algorithm := v.Inputs.Text("algorithm"); algorithm {
	case "X25519":
		equal(t, "key", hex.EncodeToString(seed.Derive(1, "", 32)), want.Text("key"))
	case "Ed448":
		equal(t, "key", hex.EncodeToString(seed.Derive(4, "", 56)), want.Text("key"))
	case "P-256":
		equal(t, "key", nist(seed.Derive(5, "", 40), elliptic.P256()), want.Text("key"))
	case "P-521":
		equal(t, "key", nist(seed.Derive(7, "", 74), elliptic.P521()), want.Text("key"))
	case "RSA-2048":
		equal(t, "p", prime(seed.DeriveInfo(8, "", "p", 128)), want.Text("key_p"))
		equal(t, "q", prime(seed.DeriveInfo(8, "", "q", 128)), want.Text("key_q"))
	default:
		t.Errorf("no test for algorithm %s", algorithm)
	}
	if _, err := udf.ParseSeed("N" + v.Inputs.Text("udf")[1:]); err == nil {
		t.Error("a nonce was taken for a seed")
	}
}

// nist is FIPS 186-4 B.4.1: c mod (n-1) + 1, n the order of the group.
func nist(okm []byte, curve elliptic.Curve) string {
	one := big.NewInt(1)
	d := new(big.Int).SetBytes(okm)
	d.Mod(d, new(big.Int).Sub(curve.Params().N, one))
	return d.Add(d, one).String()
}

// prime is the first prime at or above the number.
func prime(okm []byte) string {
	n := new(big.Int).SetBytes(okm)
	n.SetBit(n, 0, 1)
	for two := big.NewInt(2); !n.ProbablyPrime(20); {
		n.Add(n, two)
	}
	return n.String()
}

func testSplit(t *testing.T, v vectors.Vector) {
	var coefficients []string
	v.Inputs.Decode("coefficients", &coefficients)
	var want []string
	v.Want().Decode("share_udf", &want)
	equal(t, "secret", udf.Encode(append([]byte{udf.TypeKey}, v.Inputs.Hex("secret_hex")...), 0), v.Want().Text("secret_udf"))
	polynomial := make([]*big.Int, len(coefficients))
	for i, c := range coefficients {
		polynomial[i], _ = new(big.Int).SetString(c, 10)
	}
	shares, ok := udf.Shares(polynomial, len(v.Inputs.Hex("secret_hex")), v.Inputs.Int("shares"))
	if !ok || !slices.Equal(shares, want) {
		t.Errorf("shares %v, want %v", shares, want)
	}
	triples(t, shares, v.Inputs.Hex("secret_hex"))
}

func testCombine(t *testing.T, v vectors.Vector) {
	var shares []string
	v.Inputs.Decode("share_udf", &shares)
	triples(t, shares, v.Want().Hex("secret_hex"))
	if _, err := udf.Combine(shares[:v.Want().Int("threshold")-1]); err == nil {
		t.Error("combined from fewer shares than the threshold")
	}
	if secret, err := udf.Combine(shares); err != nil || !slices.Equal(secret, v.Want().Hex("secret_hex")) {
		t.Errorf("all shares give %x, %v", secret, err)
	}
	if _, err := udf.Combine([]string{shares[0], shares[1], shares[1]}); err == nil {
		t.Error("combined from the same share twice")
	}
}

// triples combines every three of the shares, in both orders of the outer two.
func triples(t *testing.T, shares []string, want []byte) {
	t.Helper()
	for i := range shares {
		for j := i + 1; j < len(shares); j++ {
			for k := j + 1; k < len(shares); k++ {
				for _, some := range [][]string{{shares[i], shares[j], shares[k]}, {shares[k], shares[j], shares[i]}} {
					secret, err := udf.Combine(some)
					if err != nil || !slices.Equal(secret, want) {
						t.Errorf("shares %d, %d, %d give %x, %v", i, j, k, secret, err)
					}
				}
			}
		}
	}
}
