package keys_test

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
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

// testSigned covers C-048's key: the message is the 64-octet digest of the payload as carried.
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

