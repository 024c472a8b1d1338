package keys_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

const (
	serviceKey = `{"PublicKeyECDH":{"crv":"Ed448","Public":"bcjZiD3BgPq8NHA8TQslJQo0s8MxGZ4UdOQ_3pfAXhfRGKt8wiXee9z36xWBqTeJFHawOnMcOriA"}}`
	// foldedKey is as the published profiles have it, with members of JOSE.
	foldedKey = "{\n  \"PublicKeyECDH\": {\n    \"kty\": \"EC\", \"kid\": 1, \"use\": [\"sig\"],\n    \"crv\": \"Ed448\",\n    \"Public\": \"bcjZiD3BgPq8NHA8TQslJQo0s8MxGZ4UdOQ_3pfAXhfRGKt8wiXe\n  e9z36xWBqTeJFHawOnMcOriA\"}}"
)

func TestPublicKeyCodec(t *testing.T) {
	for _, text := range []string{serviceKey, foldedKey} {
		var k keys.PublicKey
		if err := jbcd.Unmarshal([]byte(text), &k); err != nil {
			t.Fatal(err)
		}
		if k.KID() != "MAXZ-IPG7-VHAO-WQUT-CBTL-HLS2-SKOW" {
			t.Errorf("kid %s", k.KID())
		}
		if got, err := jbcd.Marshal(k); err != nil || string(got) != serviceKey {
			t.Errorf("%s, %v", got, err)
		}
	}
	for name, text := range map[string]string{
		"no tag":          `{"crv":"Ed448","Public":"bcjZ"}`,
		"another tag":     strings.Replace(serviceKey, "PublicKeyECDH", "PublicKeyRSA", 1),
		"a private key":   strings.Replace(serviceKey, "PublicKeyECDH", "PrivateKeyECDH", 1),
		"two tags":        serviceKey[:len(serviceKey)-1] + `,"a":1}`,
		"another curve":   strings.Replace(serviceKey, "Ed448", "X25519", 1),
		"unknown curve":   strings.Replace(serviceKey, "Ed448", "Ed449", 1),
		"case of a name":  strings.Replace(serviceKey, `"crv"`, `"Crv"`, 1),
		"scalar suffix":   strings.Replace(serviceKey, "Ed448", "Ed448z", 1),
		"no octets":       `{"PublicKeyECDH":{"crv":"Ed448"}}`,
		"octet changed":   strings.Replace(serviceKey, "bcjZ", "bcjX", 1),
		"duplicate":       strings.Replace(serviceKey, `"crv"`, `"crv":"X448","crv"`, 1),
		"octets missing":  strings.Replace(serviceKey, "bcjZ", "", 1),
		"standard base64": strings.Replace(serviceKey, "_", "/", 1),
		"null":            `null`,
		"empty":           ``,
	} {
		var k keys.PublicKey
		if err := jbcd.Unmarshal([]byte(text), &k); err == nil || !k.IsZero() {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
	if _, err := (keys.PublicKey{}).MarshalJBCD(); err == nil {
		t.Error("no key was written")
	}
}

// private is the wire form of a private key.
func private(curve string, octets []byte, more string) string {
	return fmt.Sprintf(`{"PrivateKeyECDH":{"crv":"%s","Private":"%s"%s}}`, curve, base64.RawURLEncoding.EncodeToString(octets), more)
}

func TestPrivateKeyCodec(t *testing.T) {
	for _, curve := range curves {
		for name, k := range map[string]*keys.PrivateKey{
			"seed": secretKey(t, curve, secret(curve, 1)),
			"sum":  add(t, secretKey(t, curve, secret(curve, 1)), secretKey(t, curve, secret(curve, 2))),
		} {
			text, err := jbcd.Marshal(k)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(text, []byte(`{"PrivateKeyECDH":{"crv":"`+string(curve)+`z","Private":"`)) {
				t.Errorf("%s %s: begins %.40s", curve, name, text)
			}
			var back keys.PrivateKey
			if err := jbcd.Unmarshal(text, &back); err != nil {
				t.Fatal(err)
			}
			if !back.Public().Equal(k.Public()) || !bytes.Equal(back.Scalar(), k.Scalar()) {
				t.Errorf("%s %s: comes back as another key", curve, name)
			}
			if a, err := k.Sign([]byte("m")); err == nil { // the same nonces, too
				if b, err := back.Sign([]byte("m")); err != nil || !bytes.Equal(a, b) {
					t.Errorf("%s %s: signs otherwise, %v", curve, name, err)
				}
			}
		}
		// The form with a private string, as others write it.
		var k keys.PrivateKey
		if err := jbcd.Unmarshal([]byte(private(string(curve), secret(curve, 1), `,"kid":"any","kty":"EC"`)), &k); err != nil {
			t.Fatal(err)
		}
		if !k.Public().Equal(secretKey(t, curve, secret(curve, 1)).Public()) {
			t.Errorf("%s: another key", curve)
		}
	}
	// A share: a scalar that nobody pruned. A signature key without Prefix still signs.
	var share keys.PrivateKey
	if err := jbcd.Unmarshal([]byte(private("Ed448z", append([]byte{3}, make([]byte, 55)...), "")), &share); err != nil {
		t.Fatal(err)
	}
	testSigns(t, &share, []byte("message"))

	for name, text := range map[string]string{
		"public tag":         strings.Replace(private("X448", make([]byte, 56), ""), "Private", "Public", 1),
		"zero":               private("X448z", make([]byte, 56), ""),
		"short":              private("X448", make([]byte, 55), ""),
		"short scalar":       private("X448z", make([]byte, 55), ""),
		"unknown curve":      private("P-256", make([]byte, 32), ""),
		"suffix alone":       private("z", make([]byte, 32), ""),
		"two suffixes":       private("X448zz", bytes.Repeat([]byte{1}, 56), ""),
		"prefix of X448":     private("X448z", bytes.Repeat([]byte{1}, 56), `,"Prefix":"AAAA"`),
		"length of a prefix": private("Ed448z", bytes.Repeat([]byte{1}, 56), `,"Prefix":"AAAA"`),
	} {
		var k keys.PrivateKey
		if err := jbcd.Unmarshal([]byte(text), &k); err == nil {
			t.Errorf("%s: %v", name, &k)
		}
	}
}

// TestPrivateKeyDoesNotPrint: no verb, logger or encoder shows the scalar or the prefix.
func TestPrivateKeyDoesNotPrint(t *testing.T) {
	k := secretKey(t, keys.Ed448, secret(keys.Ed448, 1))
	wire, err := k.MarshalJBCD()
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		PrivateKeyECDH struct{ Private, Prefix string }
	}
	if err := json.Unmarshal(wire, &file); err != nil || file.PrivateKeyECDH.Prefix == "" {
		t.Fatal(err)
	}
	within := struct {
		Key   *keys.PrivateKey
		Value keys.PrivateKey
		Map   map[string]*keys.PrivateKey
		ring  *keys.Ring
	}{k, *k, map[string]*keys.PrivateKey{"a": k}, keys.NewRing(k)}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%p", "%T", "%10.3v"} {
		fmt.Fprintf(&out, verb+"\n", k)
		fmt.Fprintf(&out, verb+"\n", *k)
		fmt.Fprintf(&out, verb+"\n", within)
		fmt.Fprintf(&out, verb+"\n", []any{k, *k, keys.NewRing(k), fmt.Errorf("of %v", k)})
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("key", slog.Any("key", k), slog.Any("value", *k), slog.Any("within", within), slog.Any("ring", keys.NewRing(k)))
	}
	octets, err := json.Marshal(within)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(octets)
	text := strings.ToLower(out.String())
	scalar := k.Scalar()
	prefix, err := base64.RawURLEncoding.DecodeString(file.PrivateKeyECDH.Prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, octets := range [][]byte{scalar[4:12], prefix[4:12]} {
		for _, form := range []string{
			hex.EncodeToString(octets), base64.StdEncoding.EncodeToString(octets)[:8], strings.Trim(fmt.Sprintf("%d", octets), "[]"),
			strings.Trim(fmt.Sprintf("%#v", octets)[len("[]byte"):], "{}"), fmt.Sprintf("% x", octets), strings.Trim(fmt.Sprintf("%o", octets), "[]"),
		} {
			if strings.Contains(text, strings.ToLower(form)) {
				t.Errorf("shows %s", form)
			}
		}
	}
	if !strings.Contains(text, strings.ToLower(k.KID())) {
		t.Error("does not name the key")
	}
}

// TestErrorsDoNotShowOctets: a private key that does not parse leaves nothing of it in the error.
func TestErrorsDoNotShowOctets(t *testing.T) {
	octets := bytes.Repeat([]byte{0xa5}, 40)
	for _, curve := range []string{"X448", "X448z", "Ed448", "nothing"} {
		var k keys.PrivateKey
		err := jbcd.Unmarshal([]byte(private(curve, octets, "")), &k)
		if err == nil {
			t.Fatal("40 octets make a key")
		}
		if text := err.Error(); strings.Contains(text, "a5a5") || strings.Contains(text, "paWl") || strings.Contains(text, "165") {
			t.Error(text)
		}
	}
}

func TestRing(t *testing.T) {
	sign, agree := generate(t, keys.Ed448), generate(t, keys.X448)
	var holder keys.Holder = keys.NewRing(sign, agree)
	for _, kid := range []string{sign.KID(), strings.ToLower(sign.KID()), strings.ReplaceAll(sign.KID(), "-", "")} {
		public, ok := holder.Public(kid)
		if !ok || !public.Equal(sign.Public()) {
			t.Errorf("%s: %v", kid, ok)
		}
		signature, err := holder.Sign(kid, []byte("m"))
		if err != nil || public.Verify([]byte("m"), signature) != nil {
			t.Errorf("%s: %v", kid, err)
		}
	}
	peer := generate(t, keys.X448)
	want, err := peer.Agree(agree.Public())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := holder.Agree(agree.KID(), peer.Public()); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%x, %v", got, err)
	}
	if _, err := holder.Sign(agree.KID(), nil); !errors.Is(err, keys.ErrCurve) {
		t.Error(err)
	}
	for _, kid := range []string{"", peer.KID(), sign.KID()[:24]} {
		if _, ok := holder.Public(kid); ok {
			t.Errorf("has %q", kid)
		}
		if _, err := holder.Sign(kid, nil); !errors.Is(err, keys.ErrUnknown) {
			t.Errorf("%q signs: %v", kid, err)
		}
		if _, err := holder.Agree(kid, peer.Public()); !errors.Is(err, keys.ErrUnknown) {
			t.Errorf("%q agrees: %v", kid, err)
		}
	}
	n := 0
	for range keys.NewRing(sign, agree, sign).All() {
		n++
	}
	if n != 2 {
		t.Errorf("%d keys", n)
	}
}

func FuzzPublicKey(f *testing.F) {
	f.Add([]byte(serviceKey))
	f.Add([]byte(foldedKey))
	for _, name := range []string{"profiles", "udf"} {
		for _, v := range load(f, name) {
			if v.Inputs.Has("public_b64") {
				f.Add([]byte(fmt.Sprintf(`{"PublicKeyECDH":{"crv":"%s","Public":"%s"}}`, v.Inputs.Text("crv"), v.Inputs.Text("public_b64"))))
			}
		}
	}
	other := map[keys.Curve]*keys.PrivateKey{}
	for _, curve := range curves {
		other[curve] = secretKey(f, curve, secret(curve, 1))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		var k keys.PublicKey
		if jbcd.Unmarshal(octets, &k) != nil {
			return
		}
		text, err := jbcd.Marshal(k)
		if err != nil {
			t.Fatal(err)
		}
		var back keys.PublicKey
		if err := jbcd.Unmarshal(text, &back); err != nil || !back.Equal(k) {
			t.Errorf("%s comes back as %v, %v", text, back, err)
		}
		if shared, err := other[k.Curve].Agree(k); err == nil && bytes.Count(shared, []byte{0}) == len(shared) {
			t.Error("agreed on zeros")
		}
		if sum, err := k.Add(other[k.Curve].Public()); err == nil && sum.Equal(k) {
			t.Error("the sum is a summand")
		}
		if k.Verify([]byte("message"), make([]byte, 2*len(k.Octets))) == nil {
			t.Error("verifies zeros")
		}
	})
}

func FuzzPrivateKey(f *testing.F) {
	for _, curve := range curves {
		k := secretKey(f, curve, secret(curve, 1))
		text, err := jbcd.Marshal(k)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
		f.Add([]byte(private(string(curve), secret(curve, 2), `,"kid":"any"`)))
	}
	f.Fuzz(func(t *testing.T, octets []byte) {
		var k keys.PrivateKey
		if jbcd.Unmarshal(octets, &k) != nil {
			return
		}
		if _, err := keys.NewPublicKey(k.Public().Curve, k.Public().Octets); err != nil {
			t.Errorf("its public key is refused: %v", err)
		}
		text, err := jbcd.Marshal(&k)
		if err != nil {
			t.Fatal(err)
		}
		var back keys.PrivateKey
		if err := jbcd.Unmarshal(text, &back); err != nil || !back.Public().Equal(k.Public()) {
			t.Errorf("comes back as another, %v", err)
		}
		if signature, err := k.Sign([]byte("message")); err == nil {
			if err := k.Public().Verify([]byte("message"), signature); err != nil {
				t.Error(err)
			}
		}
	})
}
