package dare

import (
	"bytes"
	"encoding/base64"
	"testing"

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

// vectorEnvelope makes the text of an envelope out of the inputs of a vector; the octets of the header are kept.
func vectorEnvelope(v vectors.Vector) []byte {
	out := []byte{'['}
	if v.Inputs.Has("header") {
		out = append(out, v.Inputs["header"]...)
	} else {
		out = append(out, `{"dig":"SHA2"}`...)
	}
	out = append(append(append(out, `,"`...), v.Inputs.Text("body_b64")...), '"')
	if v.Inputs.Has("signature_b64") {
		want := v.Want()
		out = append(out, `,{"signatures":[{"alg":"SHA2","kid":"`+want.Text("signer_kid")+`","signature":"`+
			v.Inputs.Text("signature_b64")+`"}],"PayloadDigest":"`+want.Text("payload_digest_b64")+`"}`...)
	}
	return append(out, ']')
}

func mustParse(t testing.TB, text []byte) *Envelope {
	t.Helper()
	e, err := Parse(text)
	if err != nil {
		t.Fatalf("%v in %.200s", err, text)
	}
	return e
}

func secretKey(t testing.TB, curve keys.Curve, secret []byte) *keys.PrivateKey {
	t.Helper()
	k, err := keys.FromSecret(curve, secret)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// C-048, C-156: every vector of dare-envelope.json and the dare.* ones of profiles.json and dare-container.json.
func TestVectors(t *testing.T) {
	list := append(load(t, "dare-envelope"), load(t, "profiles")...)
	list = append(list, containerVectors(t)...)
	ran := map[string]int{}
	for _, v := range list {
		run, ok := map[string]func(*testing.T, vectors.Vector){
			"dare.plain":     plainVector,
			"dare.decrypt":   decryptVector,
			"dare.ephemeral": ephemeralVector,
			"dare.signed":    signedVector,
		}[v.Kind]
		if ok {
			ran[v.Kind]++
			t.Run(v.ID, func(t *testing.T) { run(t, v) })
		}
	}
	if ran["dare.plain"] != 2 || ran["dare.decrypt"] != 4 || ran["dare.ephemeral"] != 1 || ran["dare.signed"] != 9 {
		t.Errorf("vectors ran: %v", ran)
	}
}

func plainVector(t *testing.T, v vectors.Vector) {
	e := mustParse(t, vectorEnvelope(v))
	plain, err := e.Open(keys.NewRing())
	if err != nil || string(plain) != v.Want().Text("body_text") {
		t.Errorf("%q, %v", plain, err)
	}
	if err := e.CheckDigest(); err != nil {
		t.Error(err)
	}
	got, err := e.Annotations(keys.NewRing())
	if err != nil {
		t.Error(err)
	}
	if !v.Want().Has("annotations") {
		return
	}
	var want []struct {
		Body string `json:"body"`
	}
	v.Want().Decode("annotations", &want)
	if len(got) != len(want) {
		t.Fatalf("%d annotations", len(got))
	}
	for i := range want {
		if string(got[i]) != want[i].Body {
			t.Errorf("annotation %d: %q", i, got[i])
		}
	}
}

func decryptVector(t *testing.T, v vectors.Vector) {
	key := secretKey(t, keys.Ed25519, v.Inputs.Hex("recipient_seed_hex"))
	want := v.Want()
	if want.Has("computed_recipient_kid") && want.Text("computed_recipient_kid") != key.Public().KID() {
		t.Errorf("kid %s", key.Public().KID())
	}
	text := append(append([]byte{'['}, v.Inputs["header"]...), `,""]`...)
	if v.Inputs.Has("body_b64") {
		text = vectorEnvelope(v)
	}
	e := mustParse(t, text)
	hdr, err := e.ParseHeader()
	if err != nil {
		t.Fatal(err)
	}
	mk, err := hdr.masterKey(keys.NewRing(key))
	if err != nil {
		t.Fatal(err)
	}
	if got := udf.SymmetricKey(mk); got != want.Text("master_kid") {
		t.Errorf("kid of the master key %s", got)
	}
	if v.Intermediates.Has("master_key") && !bytes.Equal(mk, v.Intermediates.Hex("master_key")) {
		t.Error("another master key")
	}
	if !want.Has("plaintext") {
		return // the header of an example that prints no payload
	}
	for name, open := range map[string]func() ([]byte, error){
		"Open":     func() ([]byte, error) { return e.Open(keys.NewRing(key)) },
		"OpenWith": func() ([]byte, error) { return e.OpenWith(mk) },
	} {
		if plain, err := open(); err != nil || string(plain) != want.Text("plaintext") {
			t.Errorf("%s: %q, %v", name, plain, err)
		}
	}
	if !want.Has("annotations") {
		return
	}
	var annotations []string
	want.Decode("annotations", &annotations)
	got, err := e.Annotations(keys.NewRing(key))
	if err != nil || len(got) != len(annotations) {
		t.Fatalf("%d annotations, %v", len(got), err)
	}
	for i := range got {
		if string(got[i]) != annotations[i] {
			t.Errorf("annotation %d: %q", i, got[i])
		}
	}
}

func ephemeralVector(t *testing.T, v vectors.Vector) {
	key := secretKey(t, keys.Ed25519, v.Inputs.Hex("ephemeral_seed_hex"))
	if got := base64.RawURLEncoding.EncodeToString(key.Public().Octets); got != v.Want().Text("epk_b64") {
		t.Errorf("epk %s", got)
	}
}

func signedVector(t *testing.T, v vectors.Vector) {
	e := mustParse(t, vectorEnvelope(v))
	public := v.Computed
	if v.Inputs.Has("public_b64") {
		public = v.Inputs
	}
	name := "public_b64"
	if !public.Has(name) {
		name = "signer_public_b64"
	}
	key, err := keys.NewPublicKey(keys.Curve(v.Inputs.Text("crv")), public.Base64(name))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(e.Digest(), v.Want().Base64("payload_digest_b64")) {
		t.Error("another PayloadDigest")
	}
	if err := e.CheckDigest(); err != nil {
		t.Error(err)
	}
	if err := e.Verify(key); err != nil {
		t.Error(err)
	}
	for i := range e.Payload { // the digest written out of the way: the signature alone must notice
		changed := *e
		changed.Payload = bytes.Clone(e.Payload)
		changed.Payload[i] ^= 0x20
		if err := changed.Verify(key); err == nil {
			t.Fatalf("octet %d of the payload changed and not noticed", i)
		}
	}
}

// RFC 3394 §4.
func TestKeyWrap(t *testing.T) {
	for _, c := range []struct{ kek, key, want string }{
		{
			"000102030405060708090A0B0C0D0E0F", "00112233445566778899AABBCCDDEEFF",
			"1FA68B0A8112B447AEF34BD8FB5A7B829D3E862371D2CFE5",
		},
		{
			"000102030405060708090A0B0C0D0E0F1011121314151617", "00112233445566778899AABBCCDDEEFF",
			"96778B25AE6CA435F92B5B97C050AED2468AB8A17AD84E5D",
		},
		{
			"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF",
			"64E8C3F9CE0F5BA263E9777905818A2A93C8191E7D6E8AE7",
		},
		{
			"000102030405060708090A0B0C0D0E0F1011121314151617", "00112233445566778899AABBCCDDEEFF0001020304050607",
			"031D33264E15D33268F24EC260743EDCE1C6C7DDEE725A936BA814915C6762D2",
		},
		{
			"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF0001020304050607",
			"A8F9BC1612C68B3FF6E6F4FBE30E71E4769C8B80A32CB8958CD5D17D6B254DA1",
		},
		{
			"000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F", "00112233445566778899AABBCCDDEEFF000102030405060708090A0B0C0D0E0F",
			"28C9F404C4B810F4CBCCB35CFB87F8263F5786E2D80ED326CBC7F0E71A99F43BFB988B9B7A02DD21",
		},
	} {
		kek, key, want := unhex(t, c.kek), unhex(t, c.key), unhex(t, c.want)
		got, err := wrap(kek, key)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("wrap: %X, %v", got, err)
		}
		back, err := unwrap(kek, want)
		if err != nil || !bytes.Equal(back, key) {
			t.Errorf("unwrap: %X, %v", back, err)
		}
		for i := range want {
			bad := bytes.Clone(want)
			bad[i] ^= 1
			if _, err := unwrap(kek, bad); err == nil {
				t.Errorf("octet %d changed and not noticed", i)
			}
		}
		for _, n := range []int{0, 8, 16, len(want) - 1} {
			if _, err := unwrap(kek, want[:n]); err == nil {
				t.Errorf("unwrapped %d octets", n)
			}
		}
	}
	if _, err := wrap(make([]byte, 32), make([]byte, 8)); err == nil {
		t.Error("wrapped 8 octets")
	}
	if _, err := wrap(make([]byte, 5), make([]byte, 16)); err == nil {
		t.Error("wrapped under a key of 5 octets")
	}
}

func TestAnnotationsRefused(t *testing.T) {
	for name, a := range map[string]string{
		"nothing":        "",
		"one item":       "\x88\x01a",
		"beyond the end": "\x88\x01a\x88\x05b",
		"a tag":          "\x88\x01a\x88\x01b\x88\x01c",
		"four items":     "\x88\x01a\x88\x01b\x88\x00\x88\x00",
		"no data item":   "\x80\x01a\x88\x01b",
	} {
		e := mustParse(t, []byte(`[{"Annotations":["`+b64(a)+`"]},""]`))
		if got, err := e.Annotations(keys.NewRing()); err == nil {
			t.Errorf("%s: %q", name, got)
		}
	}
}
