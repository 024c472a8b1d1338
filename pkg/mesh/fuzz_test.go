package mesh

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

// newRequest returns the structure of a request, nil for an unknown tag.
func newRequest(tag string) any {
	for _, s := range sampleRequests {
		if s.tag == tag {
			return s.v
		}
	}
	return nil
}

// FuzzDecodeRequest: no panic; what is read is written in a form that reads back to the same octets.
func FuzzDecodeRequest(f *testing.F) {
	for _, s := range sampleRequests {
		f.Add([]byte(s.in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		tag, body, err := DecodeRequest(in)
		if err != nil {
			return
		}
		if len(body) == 0 || body[0] != '{' {
			t.Fatalf("the body of %q is no object", in)
		}
		v := newRequest(tag)
		if v == nil {
			return
		}
		reset(v)
		if jbcd.Unmarshal(body, v) != nil {
			return
		}
		once, err := EncodeRequest(tag, v)
		if err != nil {
			t.Fatal(err)
		}
		_, body, err = DecodeRequest(once)
		if err != nil {
			t.Fatalf("cannot read %s: %v", once, err)
		}
		reset(v)
		if err := jbcd.Unmarshal(body, v); err != nil {
			t.Fatalf("cannot read %s: %v", once, err)
		}
		if twice, err := EncodeRequest(tag, v); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("not stable\n%s\n%s %v", once, twice, err)
		}
	})
}

func FuzzDecodeResponse(f *testing.F) {
	for i, s := range sampleResponses {
		f.Add(uint8(i), []byte(s.in))
	}
	f.Fuzz(func(t *testing.T, which uint8, in []byte) {
		v := sampleResponses[int(which)%len(sampleResponses)].v
		reset(v)
		tag, err := DecodeResponse(in, v)
		if err != nil {
			return
		}
		once, err := EncodeResponse(v)
		if err != nil {
			t.Fatal(err)
		}
		reset(v)
		if _, err := DecodeResponse(once, v); err != nil {
			t.Fatalf("%s: cannot read %s: %v", tag, once, err)
		}
		if twice, err := EncodeResponse(v); err != nil || !bytes.Equal(once, twice) {
			t.Fatalf("not stable\n%s\n%s %v", once, twice, err)
		}
	})
}

// FuzzParseAddress: the canonical form is canonical.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"alice@example.com", "Straße@BÜCHER.example", "a@mm--MDWA-A3BV-DQ6V-F3MA-L3RW-GITX-JAPX.example.com", "ᾳ\u0345@a", "ALİCE@a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		a, err := ParseAddress(in)
		if err != nil {
			return
		}
		for _, form := range []string{a.String(), a.Display} {
			b, err := ParseAddress(form)
			if err != nil {
				t.Fatalf("%q has the form %q: %v", in, form, err)
			}
			if b.String() != a.String() {
				t.Fatalf("%q is %q, then %q", in, a, b)
			}
		}
		if a.SINUDF != "" {
			strong := a.Local + "@mm--" + a.SINUDF + "." + a.Domain
			if b, err := ParseAddress(strong); err == nil && b.SINUDF != a.SINUDF {
				t.Fatalf("%q changes its identity to %q", in, b.SINUDF)
			}
		}
	})
}

// FuzzProfile: an envelope of anybody's gives a profile or an error, and a profile whose signature is checked over the
// octets that were given.
func FuzzProfile(f *testing.F) {
	for _, e := range published(f) {
		f.Add(e.Header, e.Payload, e.Trailer)
	}
	p := newProviderFor(f, "example.com")
	for _, e := range []*dare.Envelope{p.Gateway.EnvelopedProfileService, p.Gateway.EnvelopedProfileHost} {
		f.Add(e.Header, e.Payload, e.Trailer)
	}
	alice := newPerson(f, "alice@example.com")
	for _, e := range []*dare.Envelope{alice.profileMesh, alice.profileAccount, alice.profileDevice} {
		f.Add(e.Header, e.Payload, e.Trailer)
	}
	entry, err := alice.admission(RightAdmin).CatalogedDevice()
	if err != nil {
		f.Fatal(err)
	}
	payload, err := EncodeEntry(entry)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("{}"), payload, []byte(nil))
	f.Fuzz(func(t *testing.T, header, payload, trailer []byte) {
		e := &dare.Envelope{Header: header, Payload: payload, Trailer: trailer}
		if p, err := VerifyProfileMesh(e); err == nil && p.UDF() == "" {
			t.Fatal("a ProfileMesh of no key")
		}
		if p, err := VerifyProfileDevice(e); err == nil && (p.KeyAuthentication.KID() == "" || p.KeyEncryption.KID() == "") {
			t.Fatal("a ProfileDevice without keys")
		}
		if p, err := VerifyProfileAccount(e, alice.mesh); err == nil && !SameUDF(p.MeshProfileUDF, alice.mesh.UDF()) {
			t.Fatal("an account of another mesh")
		}
		_, _ = VerifyProfileAccount(e, nil)
		if s, err := VerifyProfileService(e); err == nil {
			_, _ = VerifyProfileHost(e, s)
		}
		_, _ = VerifyProfileHost(e, p.Gateway.Service)
		_, _ = VerifyProfileGroup(e)
		if c, err := VerifyConnectionAccount(e, alice.account); err == nil && c.KeyAuthentication.KID() == "" {
			t.Fatal("a ConnectionAccount without keys")
		}
		_, _ = VerifyConnectionDevice(e, alice.mesh)
		if d, err := DecodeEntry(payload); err == nil {
			_ = d.PrimaryKey()
			if d, ok := d.(*CatalogedDevice); ok {
				_, _ = Activate(&alice.Device, d, alice.account.UDF())
			}
		}
	})
}

// reset empties the structure that v points to.
func reset(v any) { reflect.ValueOf(v).Elem().SetZero() }
