package keys_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/cloudflare/circl/sign/ed448"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
	"github.com/mathmesh/meshd/pkg/vectors"
)

func load(t testing.TB, name string) []vectors.Vector {
	t.Helper()
	list, err := vectors.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func publicKey(t testing.TB, curve string, octets []byte) keys.PublicKey {
	t.Helper()
	k, err := keys.NewPublicKey(keys.Curve(curve), octets)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestVectorsProfiles covers the key identifiers, signatures and the activation of the published profiles.
func TestVectorsProfiles(t *testing.T) {
	for _, v := range load(t, "profiles") {
		t.Run(v.ID, func(t *testing.T) {
			want := v.Want()
			switch v.Kind {
			case "udf.kid":
				k := publicKey(t, v.Inputs.Text("crv"), v.Inputs.Base64("public_b64"))
				if got := k.KID(); got != want.Text("kid") {
					t.Errorf("kid %s, want %s", got, want.Text("kid"))
				}
				if got := hex.EncodeToString(k.KeyInfo()); v.Computed.Has("der") && got != v.Computed.Text("der") {
					t.Errorf("DER %s, want %s", got, v.Computed.Text("der"))
				}
			case "dare.signed":
				testSigned(t, v, publicKey(t, v.Inputs.Text("crv"), v.Inputs.Base64("public_b64")))
			case "activation.public":
				var base []struct{ Suffix, Crv, Public_b64 string }
				v.Inputs.Decode("base", &base)
				for _, b := range base {
					var octets jbcd.Binary
					if err := jbcd.Unmarshal([]byte(`"`+b.Public_b64+`"`), &octets); err != nil {
						t.Fatal(err)
					}
					sum, err := keys.DerivePublicActivation(publicKey(t, b.Crv, octets), v.Inputs.Text("seed"), b.Suffix)
					if err != nil {
						t.Fatal(b.Suffix, err)
					}
					name := "kid_" + map[string]string{"Sign": "sign", "Encrypt": "encrypt", "Authenticate": "authenticate"}[b.Suffix]
					if got := sum.KID(); got != want.Text(name) {
						t.Errorf("%s %s, want %s", name, got, want.Text(name))
					}
				}
				if s, err := udf.ParseSeed(v.Inputs.Text("seed")); err != nil || int(s.Specifier) != want.Int("seed_type") {
					t.Errorf("seed type %d, %v", s.Specifier, err)
				}
			default:
				t.Errorf("no test for kind %s", v.Kind)
			}
		})
	}
}

// testSigned covers C-048: the message is the 64-octet digest of the payload as carried.
func testSigned(t *testing.T, v vectors.Vector, k keys.PublicKey) {
	t.Helper()
	want := v.Want()
	digest := sha512.Sum512(v.Inputs.Base64("body_b64"))
	if !bytes.Equal(digest[:], want.Base64("payload_digest_b64")) {
		t.Error("payload digest differs")
	}
	if got := k.KID(); got != want.Text("signer_kid") {
		t.Errorf("kid %s, want %s", got, want.Text("signer_kid"))
	}
	signature := v.Inputs.Base64("signature_b64")
	if err := k.Verify(digest[:], signature); err != nil {
		t.Error(err)
	}
	if k.Curve == keys.Ed448 && !ed448.Verify(k.Octets, digest[:], signature, "") {
		t.Error("circl refuses it")
	}
	for _, i := range []int{0, len(signature) / 2, len(signature) - 2} {
		bad := bytes.Clone(signature)
		bad[i] ^= 1
		if k.Verify(digest[:], bad) == nil {
			t.Errorf("verifies with octet %d changed", i)
		}
	}
	if k.Verify(v.Inputs.Base64("body_b64"), signature) == nil {
		t.Error("verifies over the payload itself")
	}
}

// TestVectorsUDF covers the kinds of udf.json whose outcome is a key.
func TestVectorsUDF(t *testing.T) {
	kinds := map[string]func(*testing.T, vectors.Vector){
		"udf.oid":              testOID,
		"udf.keygen":           testKeygen,
		"udf.keygen.activated": testKeygenActivated,
		"udf.derive":           testDerive,
	}
	ran := 0
	for _, v := range load(t, "udf") {
		if test, ok := kinds[v.Kind]; ok {
			ran++
			t.Run(v.ID, func(t *testing.T) { test(t, v) })
		}
	}
	if ran != 13 {
		t.Errorf("%d vectors, want 13", ran)
	}
}

func testOID(t *testing.T, v vectors.Vector) {
	k := publicKey(t, v.Inputs.Text("crv"), v.Inputs.Hex("public_hex"))
	if got := hex.EncodeToString(k.KeyInfo()); got != v.Intermediates.Text("der") {
		t.Errorf("DER %s", got)
	}
	if got := udf.Encode(append([]byte{udf.TypeOID}, k.KeyInfo()...), 0); got != v.Want().Text("oid_udf") {
		t.Errorf("OID UDF %s", got)
	}
	if got := k.KID(); got != v.Want().Text("kid") {
		t.Errorf("kid %s", got)
	}
}

func testKeygen(t *testing.T, v vectors.Vector) {
	seed := udf.Seed{Specifier: uint16(v.Inputs.Int("specifier")), Secret: []byte(v.Inputs.Text("seed_text"))}
	if got := seed.String(); got != v.Computed.Text("udf") {
		t.Errorf("seed %s", got)
	}
	k := derive(t, seed, v.Inputs.Text("crv"), v.Inputs.Text("suffix"))
	if got := hex.EncodeToString(k.Public().Octets); got != v.Computed.Text("public") {
		t.Errorf("public %s", got)
	}
	if got := k.KID(); got != v.Want().Text("kid") {
		t.Errorf("kid %s", got)
	}
	for _, other := range []keys.Curve{keys.Ed448, keys.X448, keys.Ed25519, keys.X25519} {
		if _, err := keys.DeriveSeed(seed, other, ""); (err == nil) != (string(other) == v.Inputs.Text("crv")) {
			t.Errorf("derives for %s: %v", other, err)
		}
	}
}

func derive(t testing.TB, seed udf.Seed, curve, label string) *keys.PrivateKey {
	t.Helper()
	k, err := keys.Derive(seed.String(), keys.Curve(curve), label)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// testKeygenActivated covers key activation on both sides; that two different keys add is TestVectorsProfiles'
// activation-account and TestActivation.
func testKeygenActivated(t *testing.T, v vectors.Vector) {
	specifier := uint16(v.Inputs.Int("specifier"))
	base := udf.Seed{Specifier: specifier, Secret: []byte(v.Inputs.Text("base_seed_text"))}
	activation := udf.Seed{Specifier: specifier, Secret: []byte(v.Inputs.Text("activation_seed_text"))}
	for _, c := range []struct{ curve, label, member string }{
		{"Ed448", "Sign", "sign"}, {"X448", "Encrypt", "encrypt"}, {"X448", "Authenticate", "authenticate"},
	} {
		private := derive(t, base, c.curve, c.label)
		public, err := keys.DerivePublicActivation(private.Public(), activation.String(), c.label)
		if err != nil {
			t.Fatal(err)
		}
		if got := public.KID(); got != v.Want().Text("kid_"+c.member) {
			t.Errorf("%s %s", c.member, got)
		}
		sum, err := private.Add(derive(t, activation, c.curve, c.label))
		if err != nil {
			t.Fatal(err)
		}
		if sum.Public().Equal(public) != v.Want().Bool("private_matches_"+c.member) {
			t.Errorf("%s: the private side has %s", c.member, sum.KID())
		}
	}
}

// testDerive covers the identifiers of derived keys.
func testDerive(t *testing.T, v vectors.Vector) {
	if !v.Computed.Has("kid") {
		for _, curve := range []keys.Curve{keys.Ed448, keys.X448, keys.Ed25519, keys.X25519} {
			_, err := keys.Derive(v.Inputs.Text("udf"), curve, "")
			isAny := v.Inputs.Has("specifier_hex")
			if (err == nil) != isAny {
				t.Errorf("a seed for %s as %s: %v", v.Inputs.Text("algorithm"), curve, err)
			}
		}
		return
	}
	k, err := keys.Derive(v.Inputs.Text("udf"), keys.Curve(v.Inputs.Text("algorithm")), "")
	if err != nil {
		t.Fatal(err)
	}
	if got := k.KID(); got != v.Computed.Text("kid") {
		t.Errorf("kid %s", got)
	}
	if got := hex.EncodeToString(k.Public().Octets); got != v.Computed.Text("public") {
		t.Errorf("public %s", got)
	}
}

// TestVectorsEnvelope covers what dare-envelope.json has of keys: Ed25519 as a key of agreement, the variant of
// Ed25519 signatures (D-55), key identifiers.
func TestVectorsEnvelope(t *testing.T) {
	ran := 0
	for _, v := range load(t, "dare-envelope") {
		switch v.Kind {
		case "dare.decrypt":
			ran++
			t.Run(v.ID, func(t *testing.T) { testAgreement(t, v) })
		case "dare.ephemeral":
			ran++
			t.Run(v.ID, func(t *testing.T) {
				k := secretKey(t, keys.Ed25519, v.Inputs.Hex("ephemeral_seed_hex"))
				if !bytes.Equal(k.Public().Octets, v.Want().Base64("epk_b64")) {
					t.Errorf("public %x", k.Public().Octets)
				}
			})
		case "dare.signed":
			ran++
			t.Run(v.ID, func(t *testing.T) {
				k := secretKey(t, keys.Ed25519, v.Inputs.Hex("signer_seed_hex"))
				testSigned(t, v, k.Public())
				digest := sha512.Sum512(v.Inputs.Base64("body_b64"))
				if plain := ed25519.Verify(k.Public().Octets, digest[:], v.Inputs.Base64("signature_b64")); plain != v.Want().Bool("valid_as_plain_ed25519") {
					t.Errorf("crypto/ed25519 says %v", plain)
				}
				ours, err := k.Sign(digest[:])
				if err != nil || !ed25519.Verify(k.Public().Octets, digest[:], ours) {
					t.Errorf("crypto/ed25519 refuses ours (%v)", err)
				}
			})
		}
	}
	if ran != 4 {
		t.Errorf("%d vectors, want 4", ran)
	}
}

func secretKey(t testing.TB, curve keys.Curve, secret []byte) *keys.PrivateKey {
	t.Helper()
	k, err := keys.FromSecret(curve, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func testAgreement(t *testing.T, v vectors.Vector) {
	k := secretKey(t, keys.Ed25519, v.Inputs.Hex("recipient_seed_hex"))
	if v.Want().Has("computed_recipient_kid") && k.KID() != v.Want().Text("computed_recipient_kid") {
		t.Errorf("kid %s", k.KID())
	}
	var header struct {
		Recipients []struct {
			Kid string         `json:"kid"`
			Epk keys.PublicKey `json:"epk"`
		} `json:"recipients"`
	}
	if err := jbcd.Unmarshal(v.Inputs["header"], &header); err != nil {
		t.Fatal(err)
	}
	if got := header.Recipients[0].Kid; got != k.KID() {
		t.Errorf("recipient %s", got)
	}
	shared, err := k.Agree(header.Recipients[0].Epk)
	if err != nil {
		t.Fatal(err)
	}
	want := v.Intermediates
	if !want.Has("key_agreement") {
		want = v.Computed
	}
	if !bytes.Equal(shared, want.Hex("key_agreement")) {
		t.Errorf("agreement %x", shared)
	}
}

// TestVectorsMAKE1 covers the keys of the MAKE-1 vectors: their wire form has the sign octet 0 whatever the sign,
// which changes the kid but not what is agreed.
func TestVectorsMAKE1(t *testing.T) {
	raw, err := vectors.Raw("auth_vectors")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Seeds  map[string]string `json:"private_seeds"`
		Public map[string]string `json:"public_u"`
		KID    map[string]string `json:"keyudf"`
		ES     string            `json:"es"`
		SS     string            `json:"ss"`
		EE     string            `json:"ee"`
		SE     string            `json:"se"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	private, public := map[string]*keys.PrivateKey{}, map[string]keys.PublicKey{}
	for name, seed := range file.Seeds {
		secret, err := hex.DecodeString(seed)
		if err != nil {
			t.Fatal(err)
		}
		private[name] = secretKey(t, keys.X448, secret)
		u := private[name].Public().Octets[:56]
		if hex.EncodeToString(u) != file.Public[name] {
			t.Errorf("%s: u %x", name, u)
		}
		public[name] = publicKey(t, "X448", append(bytes.Clone(u), 0))
		if got := public[name].KID(); got != file.KID[name] {
			t.Errorf("%s: kid %s", name, got)
		}
	}
	for _, c := range []struct{ a, b, want string }{
		{"E", "S", file.ES},
		{"C", "S", file.SS},
		{"E", "F", file.EE},
		{"C", "F", file.SE},
		{"S", "E", file.ES},
		{"S", "C", file.SS},
		{"F", "E", file.EE},
		{"F", "C", file.SE},
	} {
		got, err := private[c.a].Agree(public[c.b])
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%s with %s: %x, %v", c.a, c.b, got, err)
		}
	}
}
