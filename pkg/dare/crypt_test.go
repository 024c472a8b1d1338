package dare

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// party has a key of every curve.
type party struct {
	ring             *keys.Ring
	sign, sign25519  *keys.PrivateKey
	agree, agree2559 *keys.PrivateKey
}

func newParty(t testing.TB) party {
	t.Helper()
	var made []*keys.PrivateKey
	for _, curve := range []keys.Curve{keys.Ed448, keys.Ed25519, keys.X448, keys.X25519} {
		k, err := keys.Generate(curve)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, k)
	}
	return party{keys.NewRing(made...), made[0], made[1], made[2], made[3]}
}

func mustNew(t testing.TB, plain []byte, o Options) *Envelope {
	t.Helper()
	e, err := New(plain, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// editHeader returns e with another header, everything else as it is.
func editHeader(t testing.TB, e *Envelope, f func(*Header)) *Envelope {
	t.Helper()
	h, err := e.ParseHeader()
	if err != nil {
		t.Fatal(err)
	}
	f(h)
	out := *e
	if out.Header, err = jbcd.Marshal(h); err != nil {
		t.Fatal(err)
	}
	return &out
}

func editTrailer(t testing.TB, e *Envelope, f func(*Header)) *Envelope {
	t.Helper()
	h, err := e.ParseTrailer()
	if err != nil {
		t.Fatal(err)
	}
	f(h)
	out := *e
	if out.Trailer, err = jbcd.Marshal(h); err != nil {
		t.Fatal(err)
	}
	return &out
}

func TestNew(t *testing.T) {
	alice, bob, eve := newParty(t), newParty(t), newParty(t)
	plain := []byte(`{"CatalogedBookmark":{"Uri":"https://example.com/"}}`)
	meta := &ContentMeta{UniqueID: "U", Event: "New", CTY: "application/mmm/object"}
	signing := Options{Holder: alice.ring, SignKIDs: []string{alice.sign.KID(), alice.sign25519.KID()}}
	to := []keys.PublicKey{bob.agree.Public(), alice.agree2559.Public()}
	for name, o := range map[string]Options{
		"plain":                    {},
		"plain with meta":          {Meta: meta, Digest: true},
		"signed":                   signing,
		"encrypted":                {Recipients: to},
		"encrypted, aad":           {Recipients: to, Meta: meta, MetaAAD: true},
		"encrypted, meta outside":  {Recipients: to, Meta: meta},
		"encrypted and signed":     {Recipients: to, Holder: signing.Holder, SignKIDs: signing.SignKIDs},
		"encrypted, aad, signed":   {Recipients: to, Meta: meta, MetaAAD: true, Holder: signing.Holder, SignKIDs: signing.SignKIDs},
		"header members":           {Header: Header{EnvelopeID: "N-1", ContainerInfo: &Info{ContainerType: "Merkle"}}, Digest: true},
		"encrypted, empty content": {Recipients: to},
	} {
		t.Run(name, func(t *testing.T) {
			plain := plain
			if name == "encrypted, empty content" {
				plain = nil
			}
			made := mustNew(t, plain, o)
			text, err := made.MarshalJBCD()
			if err != nil {
				t.Fatal(err)
			}
			e := mustParse(t, text)
			if d := cmp.Diff(made, e, emptyIsNil); d != "" {
				t.Error(d)
			}
			h, tr, err := e.parse()
			if err != nil {
				t.Fatal(err)
			}
			if o.Meta != nil {
				if m, err := h.ParseMeta(); err != nil || cmp.Diff(o.Meta, m) != "" {
					t.Errorf("meta %+v, %v", m, err)
				}
			}
			if h.EnvelopeID != o.Header.EnvelopeID {
				t.Errorf("EnvelopeID %q", h.EnvelopeID)
			}
			if written := len(tr.PayloadDigest) > 0; written != (o.Digest || o.SignKIDs != nil) || written != (h.Dig == "SHA2") {
				t.Errorf("digest written: %v, dig %q", written, h.Dig)
			}
			if err := e.CheckDigest(); err != nil {
				t.Error(err)
			}
			for _, key := range []keys.PublicKey{alice.sign.Public(), alice.sign25519.Public()} {
				want := error(nil)
				if o.SignKIDs == nil {
					want = ErrNoSignature
				}
				if err := e.Verify(key); !errors.Is(err, want) {
					t.Errorf("Verify: %v, want %v", err, want)
				}
			}
			if err := e.Verify(eve.sign.Public()); !errors.Is(err, ErrNoSignature) {
				t.Errorf("Verify by another: %v", err)
			}
			for who, ring := range map[string]*keys.Ring{"bob": bob.ring, "alice": alice.ring} {
				if got, err := e.Open(ring); err != nil || !bytes.Equal(got, plain) {
					t.Errorf("%s opens: %q, %v", who, got, err)
				}
			}
			if o.Recipients == nil {
				return
			}
			if h.Enc != "A256GCM" || len(h.Salt) != 16 || h.Recipients[0].KWD != "" || len(h.Recipients[0].WMK) != 40 {
				t.Errorf("header %s", e.Header)
			}
			if got, err := e.Open(eve.ring); !errors.Is(err, ErrNoKey) {
				t.Errorf("eve opens: %q, %v", got, err)
			}
			if len(plain) > 0 && bytes.Contains(text, []byte(b64(string(plain))[:20])) {
				t.Error("content stands in the envelope")
			}
			for _, s := range tr.Signatures {
				if len(s.Witness) != 32 {
					t.Errorf("witness of %d octets", len(s.Witness))
				}
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	alice := newParty(t)
	meta := &ContentMeta{UniqueID: "U"}
	big := &ContentMeta{UniqueID: string(bytes.Repeat([]byte("x"), MaxHeader))}
	for name, o := range map[string]Options{
		"enc":                      {Header: Header{Enc: "A256GCM"}},
		"salt":                     {Header: Header{Salt: make([]byte, 16)}},
		"digest":                   {Header: Header{PayloadDigest: make([]byte, 64)}},
		"signatures":               {Header: Header{Signatures: []Signature{{}}}},
		"meta twice":               {Header: Header{ContentMetaData: []byte("{}")}, Meta: meta},
		"aad of nothing":           {MetaAAD: true, Recipients: []keys.PublicKey{alice.agree.Public()}},
		"aad without encryption":   {MetaAAD: true, Meta: meta},
		"short master key":         {MasterKey: make([]byte, 16)},
		"no holder":                {SignKIDs: []string{alice.sign.KID()}},
		"key not held":             {SignKIDs: []string{newParty(t).sign.KID()}, Holder: alice.ring},
		"key that does not sign":   {SignKIDs: []string{alice.agree.KID()}, Holder: alice.ring},
		"credential, no signature": {Credential: []*Envelope{{}}},
		"recipient signs":          {Recipients: []keys.PublicKey{alice.sign.Public()}},
		"header too long":          {Meta: big},
	} {
		if _, err := New([]byte("content"), o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Every octet that a signature covers: the payload, its written digest, the signature. What it does not cover is
// written down by the second half (ALGORITHMS §3).
func TestVerifyChanged(t *testing.T) {
	alice, bob := newParty(t), newParty(t)
	e := mustNew(t, []byte("content"), Options{
		Meta: &ContentMeta{UniqueID: "U"}, Recipients: []keys.PublicKey{bob.agree.Public()}, MetaAAD: true,
		Holder: alice.ring, SignKIDs: []string{alice.sign.KID()},
	})
	key := alice.sign.Public()
	if err := e.Verify(key); err != nil {
		t.Fatal(err)
	}
	for i := range e.Payload {
		for _, digest := range []bool{true, false} {
			changed := *e
			changed.Payload = bytes.Clone(e.Payload)
			changed.Payload[i] ^= 1
			want := ErrDigest
			if !digest { // an attacker writes the digest that fits
				changed = *editTrailer(t, &changed, func(h *Header) { h.PayloadDigest = changed.Digest() })
				want = ErrSignature
			}
			if err := changed.Verify(key); !errors.Is(err, want) {
				t.Fatalf("payload octet %d: %v, want %v", i, err, want)
			}
		}
	}
	for n := range len(e.Payload) {
		cut := *e
		cut.Payload = e.Payload[:n]
		if err := cut.Verify(key); err == nil {
			t.Fatalf("payload cut to %d accepted", n)
		}
	}
	for i := range 114 {
		changed := editTrailer(t, e, func(h *Header) { h.Signatures[0].Signature[i] ^= 1 })
		if err := changed.Verify(key); !errors.Is(err, ErrSignature) {
			t.Fatalf("signature octet %d: %v", i, err)
		}
	}
	for i := range DigestSize {
		changed := editTrailer(t, e, func(h *Header) { h.PayloadDigest[i] ^= 1 })
		if err := changed.Verify(key); !errors.Is(err, ErrDigest) {
			t.Fatalf("digest octet %d: %v", i, err)
		}
	}
	for name, c := range map[string]struct {
		e    *Envelope
		want error
	}{
		"signature cut":       {editTrailer(t, e, func(h *Header) { s := &h.Signatures[0].Signature; *s = (*s)[:113] }), ErrSignature},
		"signature longer":    {editTrailer(t, e, func(h *Header) { s := &h.Signatures[0].Signature; *s = append(*s, 0) }), ErrSignature},
		"signature missing":   {editTrailer(t, e, func(h *Header) { h.Signatures[0].Signature = nil }), ErrSignature},
		"no signatures":       {editTrailer(t, e, func(h *Header) { h.Signatures = nil }), ErrNoSignature},
		"other kid":           {editTrailer(t, e, func(h *Header) { h.Signatures[0].KID = bob.sign.KID() }), ErrNoSignature},
		"twice":               {editTrailer(t, e, func(h *Header) { h.Signatures = append(h.Signatures, h.Signatures[0]) }), ErrMalformed},
		"in header too":       {editHeader(t, e, func(h *Header) { h.Signatures = []Signature{{KID: "A"}} }), ErrMalformed},
		"other dig":           {editHeader(t, e, func(h *Header) { h.Dig = "SHA3" }), ErrAlgorithm},
		"kid in another form": {editTrailer(t, e, func(h *Header) { h.Signatures[0].KID = lowerKID(key.KID()) }), nil},
		"dig S512":            {editHeader(t, e, func(h *Header) { h.Dig = "S512" }), nil},
		"digest not written":  {editTrailer(t, e, func(h *Header) { h.PayloadDigest = nil }), nil},
		"another ContentMeta": {editHeader(t, e, func(h *Header) { h.ContentMetaData = []byte("{}") }), nil},
	} {
		if err := c.e.Verify(key); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := mustParse(t, []byte(`[{},""]`)).Verify(key); !errors.Is(err, ErrNoSignature) {
		t.Errorf("unsigned: %v", err)
	}
}

func lowerKID(kid string) string {
	return string(bytes.ToLower(bytes.ReplaceAll([]byte(kid), []byte("-"), nil)))
}

// A payload opens only whole, under its key, its Salt and its ContentMetaData.
func TestOpenChanged(t *testing.T) {
	bob, carol := newParty(t), newParty(t)
	o := Options{
		Meta: &ContentMeta{UniqueID: "U", Event: "New"}, MetaAAD: true,
		Recipients: []keys.PublicKey{bob.agree.Public(), carol.agree.Public()},
	}
	plain := []byte("content of thirty-one octets ..") // sealed 47: no A256CBC could have that
	e, other := mustNew(t, plain, o), mustNew(t, plain, o)
	oh, err := other.ParseHeader()
	if err != nil {
		t.Fatal(err)
	}
	h, err := e.ParseHeader()
	if err != nil {
		t.Fatal(err)
	}
	for i := range e.Payload {
		changed := *e
		changed.Payload = bytes.Clone(e.Payload)
		changed.Payload[i] ^= 1
		if got, err := changed.Open(bob.ring); !errors.Is(err, ErrOpen) {
			t.Fatalf("payload octet %d: %q, %v", i, got, err)
		}
		changed.Payload = e.Payload[:i]
		if got, err := changed.Open(bob.ring); !errors.Is(err, ErrOpen) {
			t.Fatalf("payload cut to %d: %q, %v", i, got, err)
		}
	}
	for i := range h.ContentMetaData {
		changed := editHeader(t, e, func(h *Header) { h.ContentMetaData[i] ^= 1 })
		if got, err := changed.Open(bob.ring); !errors.Is(err, ErrOpen) {
			t.Fatalf("ContentMetaData octet %d: %q, %v", i, got, err)
		}
	}
	for i := range h.Salt {
		changed := editHeader(t, e, func(h *Header) { h.Salt[i] ^= 1 })
		if got, err := changed.Open(bob.ring); !errors.Is(err, ErrOpen) {
			t.Fatalf("Salt octet %d: %q, %v", i, got, err)
		}
	}
	for i := range h.Recipients[0].WMK {
		changed := editHeader(t, e, func(h *Header) { h.Recipients[0].WMK[i] ^= 1 })
		if got, err := changed.Open(bob.ring); !errors.Is(err, ErrOpen) {
			t.Fatalf("wmk octet %d: %q, %v", i, got, err)
		}
	}
	for name, c := range map[string]struct {
		edit func(*Header)
		want error
	}{
		"recipients swapped in order": {func(h *Header) { h.Recipients[0], h.Recipients[1] = h.Recipients[1], h.Recipients[0] }, nil},
		"recipients swapped by name":  {func(h *Header) { h.Recipients[0].KID, h.Recipients[1].KID = h.Recipients[1].KID, h.Recipients[0].KID }, ErrOpen},
		"wmk of the other recipient":  {func(h *Header) { h.Recipients[0].WMK = h.Recipients[1].WMK }, ErrOpen},
		"recipients of another":       {func(h *Header) { h.Recipients = oh.Recipients }, ErrOpen},
		"recipients and kid of other": {func(h *Header) { h.Recipients, h.KID = oh.Recipients, oh.KID }, ErrOpen},
		"kid of another master key":   {func(h *Header) { h.KID = oh.KID }, ErrOpen},
		"no kid":                      {func(h *Header) { h.KID = "" }, ErrOpen},
		"Salt of another":             {func(h *Header) { h.Salt = oh.Salt }, ErrOpen},
		"Salt cut":                    {func(h *Header) { h.Salt = h.Salt[:15] }, ErrMalformed},
		"no ContentMetaData":          {func(h *Header) { h.ContentMetaData = nil }, ErrOpen},
		"enc CBC":                     {func(h *Header) { h.Enc = "A256CBC" }, ErrOpen},
		"enc not known":               {func(h *Header) { h.Enc = "A128GCM" }, ErrAlgorithm},
		"no enc":                      {func(h *Header) { h.Enc = "" }, ErrAlgorithm},
		"kwd of MAKE-1":               {func(h *Header) { h.Recipients[0].KWD = "mmm-make1-x448-sha2-512-a256gcm" }, ErrAlgorithm},
		"kwd of the draft":            {func(h *Header) { h.Recipients[0].KWD = kwdAES }, nil},
		"no epk":                      {func(h *Header) { h.Recipients[0].EPK = nil }, ErrMalformed},
		"epk of another curve":        {func(h *Header) { h.Recipients[0].EPK, _ = jbcd.Marshal(carol.agree2559.Public()) }, ErrOpen},
		"no recipient":                {func(h *Header) { h.Recipients = nil }, ErrNoKey},
		"only others":                 {func(h *Header) { h.Recipients = h.Recipients[1:] }, ErrNoKey},
		"kid in another form":         {func(h *Header) { h.KID = lowerKID(h.KID) }, nil},
		"recipient kid, another form": {func(h *Header) { h.Recipients[0].KID = lowerKID(h.Recipients[0].KID) }, nil},
		"recipient kid with a domain": {func(h *Header) { h.Recipients[0].KID += "@example.com" }, nil},
		"an entry of an unknown kind": {func(h *Header) {
			h.Recipients = append([]Recipient{{KID: "MAAA-BBBB", EPK: jbcd.Raw(`{"PublicKeyRSA":{"n":"AA","e":"AQAB"}}`)}}, h.Recipients...)
		}, nil},
		"a stranger's entry before it": {func(h *Header) { h.Recipients = append([]Recipient{{KID: "MAAA-BBBB"}}, h.Recipients...) }, nil},
		"first entry held is broken": {func(h *Header) {
			bad := h.Recipients[0]
			bad.WMK = make([]byte, 40)
			h.Recipients = append([]Recipient{bad}, h.Recipients...)
		}, ErrOpen},
	} {
		got, err := editHeader(t, e, c.edit).Open(bob.ring)
		if !errors.Is(err, c.want) || err == nil && !bytes.Equal(got, plain) || err != nil && got != nil {
			t.Errorf("%s: %q, %v, want %v", name, got, err, c.want)
		}
	}
}

// A256CBC is read, its padding must be whole; additional data that nobody wrote does not hinder (D-57).
func TestOpenOthers(t *testing.T) {
	bob := newParty(t)
	for _, bound := range []bool{true, false} {
		e := mustNew(t, []byte("content"), Options{Meta: &ContentMeta{UniqueID: "U"}, MetaAAD: bound, Recipients: []keys.PublicKey{bob.agree.Public()}})
		if c, err := e.Unseal(bob.ring); err != nil || c.Bound != bound || string(c.Plain) != "content" {
			t.Errorf("bound %v: %+v, %v", bound, c, err)
		}
	}
	mk := bytes.Repeat([]byte{7}, 32)
	h := Header{Enc: encCBC, Salt: bytes.Repeat([]byte{9}, 16), KID: udf.SymmetricKey(mk)}
	block, iv, err := payloadKeys(mk, h.Salt)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(padded []byte) *Envelope {
		out := make([]byte, len(padded))
		cipher.NewCBCEncrypter(block, iv).CryptBlocks(out, padded)
		return editHeader(t, &Envelope{Payload: out}, func(x *Header) { *x = h })
	}
	for n := range 40 {
		plain := bytes.Repeat([]byte{'x'}, n)
		pad := aes.BlockSize - n%aes.BlockSize
		got, err := seal(append(bytes.Clone(plain), bytes.Repeat([]byte{byte(pad)}, pad)...)).OpenWith(mk)
		if err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d octets: %q, %v", n, got, err)
		}
	}
	for name, last := range map[string][]byte{
		"zero":    make([]byte, 16),
		"17":      bytes.Repeat([]byte{17}, 16),
		"255":     bytes.Repeat([]byte{255}, 16),
		"uneven":  append(bytes.Repeat([]byte{5}, 11), 5, 5, 4, 5, 5),
		"too few": append(make([]byte, 13), 4, 4, 4),
	} {
		if got, err := seal(last).OpenWith(mk); !errors.Is(err, ErrOpen) {
			t.Errorf("padding %s: %q, %v", name, got, err)
		}
	}
	for _, n := range []int{0, 1, 15, 17} {
		e := seal(nil)
		e.Payload = make([]byte, n)
		if _, err := e.OpenWith(mk); !errors.Is(err, ErrOpen) {
			t.Errorf("%d octets of ciphertext: %v", n, err)
		}
	}

	meta := &ContentMeta{UniqueID: "U"}
	e := mustNew(t, []byte("content"), Options{MasterKey: mk, Meta: meta})
	if got, err := e.OpenWith(mk); err != nil || string(got) != "content" {
		t.Errorf("no aad, but ContentMetaData: %q, %v", got, err)
	}
	if h, _ := e.ParseHeader(); h.KID != udf.SymmetricKey(mk) || len(h.Recipients) != 0 {
		t.Errorf("header %s", e.Header)
	}
	if _, err := e.OpenWith(bytes.Repeat([]byte{8}, 32)); !errors.Is(err, ErrNoKey) {
		t.Errorf("another master key: %v", err)
	}
	if _, err := e.OpenWith(mk[:16]); !errors.Is(err, ErrNoKey) {
		t.Errorf("a short master key: %v", err)
	}
	anonymous := editHeader(t, e, func(h *Header) { h.KID = "" })
	if got, err := anonymous.OpenWith(mk); err != nil || string(got) != "content" {
		t.Errorf("no kid: %q, %v", got, err)
	}
	for _, short := range [][]byte{nil, mk[:16], append(bytes.Clone(mk), 7)} {
		if _, err := anonymous.OpenWith(short); !errors.Is(err, ErrNoKey) {
			t.Errorf("a master key of %d octets: %v", len(short), err)
		}
	}
	if _, err := e.Open(newParty(t).ring); !errors.Is(err, ErrNoKey) {
		t.Errorf("no recipients: %v", err)
	}
	if got, err := mustParse(t, []byte(`[{},"AAEC"]`)).OpenWith(mk); err != nil || !bytes.Equal(got, []byte{0, 1, 2}) {
		t.Errorf("not encrypted: %v, %v", got, err)
	}
}

// Who strips a signature off what he cannot read and puts on his own is found out by the witness.
func TestOpenSigned(t *testing.T) {
	alice, bob, eve := newParty(t), newParty(t), newParty(t)
	e := mustNew(t, []byte("content"), Options{
		Recipients: []keys.PublicKey{bob.agree.Public()}, Holder: alice.ring, SignKIDs: []string{alice.sign.KID()},
	})
	if got, err := e.OpenSigned(bob.ring, alice.sign.Public()); err != nil || string(got) != "content" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := e.OpenSigned(eve.ring, alice.sign.Public()); !errors.Is(err, ErrNoKey) {
		t.Errorf("no key: %v", err)
	}
	value, err := eve.ring.Sign(eve.sign.KID(), e.Digest())
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range [][]byte{nil, make([]byte, 32)} {
		stolen := editTrailer(t, e, func(h *Header) {
			h.Signatures = []Signature{{Alg: "SHA2", KID: eve.sign.KID(), Signature: value, Witness: w}}
		})
		if err := stolen.Verify(eve.sign.Public()); err != nil {
			t.Fatal(err)
		}
		if got, err := stolen.OpenSigned(bob.ring, eve.sign.Public()); !errors.Is(err, ErrSignature) {
			t.Errorf("stolen: %q, %v", got, err)
		}
	}
}

// exact is a holder that knows its key by the one name that makers of keys write.
type exact struct{ key *keys.PrivateKey }

func (h exact) Public(kid string) (keys.PublicKey, bool) { return h.key.Public(), kid == h.key.KID() }

func (h exact) Sign(string, []byte) ([]byte, error) { return nil, errors.New("not a signature key") }

func (h exact) Agree(kid string, peer keys.PublicKey) ([]byte, error) {
	if kid != h.key.KID() {
		return nil, errors.New("no such key")
	}
	return h.key.Agree(peer)
}

// A holder is asked for the canonical name, whatever stands in the header.
func TestHolderOfOneName(t *testing.T) {
	bob := newParty(t)
	e := mustNew(t, []byte("content"), Options{Recipients: []keys.PublicKey{bob.agree.Public()}})
	for _, kid := range []string{bob.agree.KID(), lowerKID(bob.agree.KID()), lowerKID(bob.agree.KID()) + "@example.com"} {
		named := editHeader(t, e, func(h *Header) { h.Recipients[0].KID = kid })
		if got, err := named.Open(exact{bob.agree}); err != nil || string(got) != "content" {
			t.Errorf("%s: %q, %v", kid, got, err)
		}
	}
}

func TestNothingToWitness(t *testing.T) {
	alice := newParty(t)
	e := mustNew(t, []byte("content"), Options{Holder: alice.ring, SignKIDs: []string{alice.sign.KID()}})
	if _, err := e.OpenSigned(alice.ring, alice.sign.Public()); !errors.Is(err, ErrSignature) {
		t.Errorf("an envelope in the clear: %v", err)
	}
}

// D-29: the Credential of a signature comes back as it went in.
func TestCredential(t *testing.T) {
	alice := newParty(t)
	credential := mustParse(t, []byte(`[{ "dig" : "SHA2"},"AAEC",{"signatures":[]}]`))
	e := mustNew(t, []byte("content"), Options{
		Holder: alice.ring, SignKIDs: []string{alice.sign.KID(), alice.sign25519.KID()}, Credential: []*Envelope{credential},
	})
	text, err := e.MarshalJBCD()
	if err != nil {
		t.Fatal(err)
	}
	list, err := mustParse(t, text).Signatures()
	if err != nil || len(list) != 2 {
		t.Fatalf("%d signatures, %v", len(list), err)
	}
	if d := cmp.Diff([]*Envelope{credential}, list[0].Credential); d != "" || list[1].Credential != nil {
		t.Error(d, list[1].Credential)
	}
}

// Two envelopes of one content have nothing in common, and a hundred recipients fit into a header.
func TestFresh(t *testing.T) {
	bob := newParty(t)
	var to []keys.PublicKey
	for range 100 {
		to = append(to, bob.agree.Public())
	}
	a, b := mustNew(t, []byte("content"), Options{Recipients: to}), mustNew(t, []byte("content"), Options{Recipients: to})
	ha, _ := a.ParseHeader()
	hb, _ := b.ParseHeader()
	seen := map[string]bool{string(a.Payload): true, string(ha.Salt): true, ha.KID: true}
	if seen[string(b.Payload)] || seen[string(hb.Salt)] || seen[hb.KID] {
		t.Error("payload, Salt or master key again")
	}
	for _, r := range append(ha.Recipients, hb.Recipients...) {
		epk := string(r.EPK)
		if seen[epk] {
			t.Error("epk again")
		}
		seen[epk] = true
	}
	mk := bytes.Repeat([]byte{7}, 32)
	a, b = mustNew(t, []byte("content"), Options{MasterKey: mk}), mustNew(t, []byte("content"), Options{MasterKey: mk})
	if bytes.Equal(a.Payload, b.Payload) {
		t.Error("the same ciphertext under a master key used twice")
	}
}
