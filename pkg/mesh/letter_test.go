package mesh

import (
	"bytes"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

// member activates a new device of a person.
func (p *person) member(t testing.TB) *Membership {
	t.Helper()
	entry, err := p.admission(RightMessage).CatalogedDevice()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Activate(&p.Device, entry, p.account.UDF())
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// note is a message and how it is made; zero members are the usual ones.
type note struct {
	tag, metaType, id, metaID, envelopeID, sender, pin string
	to                                                 []keys.PublicKey
	keyValues                                          []dare.KeyValue
	holder                                             keys.Holder
	kids                                               []string
	credential                                         []*dare.Envelope
}

func (n note) envelope(t testing.TB) *dare.Envelope {
	t.Helper()
	body, err := jbcd.Marshal(struct {
		Message
		PinUDF string `json:"PinUDF,omitempty"`
		Text   string `json:"Text,omitempty"`
	}{Message{MessageID: n.id, Sender: n.sender}, n.pin, "hello"})
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jbcd.Tag(n.tag, jbcd.Raw(body))
	if err != nil {
		t.Fatal(err)
	}
	env, err := dare.New(payload, dare.Options{
		Header:     dare.Header{EnvelopeID: n.envelopeID},
		Meta:       &dare.ContentMeta{UniqueID: n.metaID, MessageType: n.metaType, KeyValues: n.keyValues},
		Recipients: n.to, Holder: n.holder, SignKIDs: n.kids, Credential: n.credential,
	})
	if err != nil {
		t.Fatal(err)
	}
	return env
}

// noteOf is a plain MessageText of a device.
func noteOf(p *person, m *Membership) note {
	id := udf.NewNonce()
	return note{
		tag: TagMessageText, metaType: TagMessageText, id: id, metaID: id, sender: p.account.AccountAddresses[0],
		holder: m.Holder(), kids: []string{m.Connection.KeySignature.KID()},
		credential: []*dare.Envelope{m.Credential, p.profileAccount},
	}
}

// C-126: signed by a device signature key that an assertion in the signature block accredits.
func TestVerifyMessage_C126(t *testing.T) {
	alice, mallory := newPerson(t, "alice@example.com"), newPerson(t, "mallory@example.com")
	m, thief := alice.member(t), mallory.member(t)
	stranger, err := keys.Generate(keys.Ed448)
	if err != nil {
		t.Fatal(err)
	}
	own, err := alice.Account.Seed.triple()
	if err != nil {
		t.Fatal(err)
	}
	byMesh := resigned(t, alice.profileAccount, alice.Mesh.Admin)
	// Mallory's mesh signs a profile that holds Alice's public key and Mallory's online key.
	stolen := *mallory.account
	stolen.KeyOfflineSignature = alice.account.KeyOfflineSignature
	stolen.AccountAddresses = alice.account.AccountAddresses
	forged, err := sign(TagProfileAccount, stolen, mallory.Mesh.Admin)
	if err != nil {
		t.Fatal(err)
	}
	unnamed := *thief.Connection
	unnamed.AuthorityUDF = ""
	forgedConnection, err := sign(TagConnectionAccount, unnamed, mallory.Account.Admin)
	if err != nil {
		t.Fatal(err)
	}
	addresses := func(list ...string) []*dare.Envelope {
		p := *alice.account
		p.AccountAddresses = list
		e, err := sign(TagProfileAccount, p, own.sign)
		if err != nil {
			t.Fatal(err)
		}
		return []*dare.Envelope{m.Credential, e}
	}
	for _, c := range []struct {
		name string
		make func(n *note)
		udf  string // of the sender, - when refused
	}{
		{"by itself", func(*note) {}, alice.account.UDF()},
		{"with its mesh", func(n *note) { n.credential = append(n.credential, alice.profileMesh) }, alice.account.UDF()},
		{"by its mesh alone", func(n *note) { n.credential = []*dare.Envelope{m.Credential, byMesh, alice.profileMesh} }, ""},
		{"encrypted", func(n *note) { n.to = []keys.PublicKey{*mallory.account.KeyEncryption.PublicParameters} }, alice.account.UDF()},
		{"no Sender written", func(n *note) { n.sender = "" }, alice.account.UDF()},
		{"Sender in another spelling", func(n *note) { n.sender = "ALICE@Example.COM" }, alice.account.UDF()},
		{"Sender in the strong form", func(n *note) { n.sender = "alice@" + udf.SINLabel(alice.account.UDF()) + ".example.com" }, alice.account.UDF()},
		{"a second signature", func(n *note) {
			n.holder, n.kids = keys.NewRing(m.Signature, stranger), append(n.kids, stranger.KID())
		}, alice.account.UDF()},

		{"a mesh that claims another's key is no proof of it", func(n *note) {
			n.holder, n.kids = thief.Holder(), []string{thief.Connection.KeySignature.KID()}
			n.credential = []*dare.Envelope{forgedConnection, forged, mallory.profileMesh}
		}, ""},
		{"the same without the mesh", func(n *note) {
			n.holder, n.kids = thief.Holder(), []string{thief.Connection.KeySignature.KID()}
			n.credential = []*dare.Envelope{forgedConnection, forged}
		}, "-"},
		{"unsigned", func(n *note) { n.kids, n.credential = nil, nil }, "-"},
		{"no credential", func(n *note) { n.credential = nil }, "-"},
		{"connection alone", func(n *note) { n.credential = n.credential[:1] }, "-"},
		{"four", func(n *note) { n.credential = append(n.credential, alice.profileMesh, alice.profileMesh) }, "-"},
		{"mesh of another", func(n *note) { n.credential = append(n.credential, mallory.profileMesh) }, "-"},
		{"by its mesh, which is not there", func(n *note) { n.credential = []*dare.Envelope{m.Credential, byMesh} }, "-"},
		{"in another order", func(n *note) { n.credential[0], n.credential[1] = n.credential[1], n.credential[0] }, "-"},
		{"another's credential", func(n *note) { n.credential = []*dare.Envelope{thief.Credential, mallory.profileAccount} }, "-"},
		{"another's profile", func(n *note) { n.credential[1] = mallory.profileAccount }, "-"},
		{"another's key", func(n *note) { n.holder, n.kids = keys.NewRing(stranger), []string{stranger.KID()} }, "-"},
		{"by the account's offline key", func(n *note) { n.holder, n.kids = keys.NewRing(own.sign), []string{own.sign.KID()} }, "-"},
		{"Sender of another account", func(n *note) { n.sender = "mallory@example.com" }, "-"},
		{"Sender that is no address", func(n *note) { n.sender = "alice@example.com\r\nBcc: bob@example.com" }, "-"},
		{"Sender in the strong form of another", func(n *note) { n.sender = "alice@" + udf.SINLabel(mallory.account.UDF()) + ".example.com" }, "-"},
		{"profile of no address", func(n *note) { n.credential = addresses() }, "-"},
		{"profile with an address that is none", func(n *note) { n.credential = addresses("alice@example.com", "alice") }, "-"},
		{"profile with an address of another identity", func(n *note) {
			n.credential = addresses("alice@example.com", "bob@"+udf.SINLabel(mallory.account.UDF())+".example.com")
		}, "-"},
		{"profile of too many addresses", func(n *note) {
			var list []string
			for i := range maxSenderAddresses + 1 {
				list = append(list, strings.Repeat("a", i+1)+"@example.com")
			}
			n.credential = addresses(append([]string{"alice@example.com"}, list...)...)
		}, "-"},
	} {
		n := noteOf(alice, m)
		n.credential = append([]*dare.Envelope(nil), n.credential...)
		c.make(&n)
		s, err := VerifyMessage(n.envelope(t))
		switch {
		case c.udf == "-":
			if err == nil || KindOf(err) != MessageInvalid {
				t.Errorf("%s: %+v %v", c.name, s, err)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case s.UDF != c.udf || len(s.Addresses) != 1 || s.Addresses[0] != "alice@example.com" || s.SignKID != n.kids[0]:
			t.Errorf("%s: %+v", c.name, s)
		case s.UDF != "" && !SameUDF(s.DeviceUDF, m.Connection.SubjectUDF):
			t.Errorf("%s: device %q", c.name, s.DeviceUDF)
		}
	}
	if _, err := VerifyMessage(nil); err == nil {
		t.Error("no envelope")
	}
}

// What was changed on the way, and what an attacker adds to make work, is refused.
func TestVerifyMessageChanged(t *testing.T) {
	alice := newPerson(t, "alice@example.com")
	m := alice.member(t)
	env := noteOf(alice, m).envelope(t)
	payload := *env
	payload.Payload = bytes.Replace(env.Payload, []byte("hello"), []byte("hallo"), 1)
	list, err := env.Signatures()
	if err != nil {
		t.Fatal(err)
	}
	signed := func(list []dare.Signature) *dare.Envelope {
		trailer, err := jbcd.Marshal(&dare.Header{Signatures: list})
		if err != nil {
			t.Fatal(err)
		}
		return &dare.Envelope{Header: env.Header, Payload: env.Payload, Trailer: trailer}
	}
	many := list
	for range maxLetterSignatures {
		many = append(many, dare.Signature{KID: "MAAA-AAAA-AAAA-AAAA-AAAA-AAAA-AAAA", Signature: []byte{1}})
	}
	if _, err := VerifyMessage(signed(list)); err != nil {
		t.Fatal(err)
	}
	for what, e := range map[string]*dare.Envelope{
		"payload":               &payload,
		"two credentials":       signed(append(list, list...)),
		"many signatures":       signed(many),
		"a null credential":     {Header: env.Header, Payload: env.Payload, Trailer: bytes.Replace(env.Trailer, []byte(`"Credential":[`), []byte(`"Credential":[null,`), 1)},
		"not a list":            {Header: env.Header, Payload: env.Payload, Trailer: bytes.Replace(env.Trailer, []byte(`"Credential":[`), []byte(`"Credential":"`), 1)},
		"header and trailer":    {Header: env.Trailer, Payload: env.Payload, Trailer: env.Trailer},
		"signature of no value": signed([]dare.Signature{{KID: list[0].KID, Credential: list[0].Credential}}),
	} {
		if _, err := VerifyMessage(e); err == nil || KindOf(err) != MessageInvalid {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// The identifiers of PROTOCOL §4.1 step 2.
func TestReadLetter(t *testing.T) {
	alice := newPerson(t, "alice@example.com")
	m := alice.member(t)
	sealed := []keys.PublicKey{*alice.account.KeyEncryption.PublicParameters}
	pin := []dare.KeyValue{{Key: "other", Value: "x"}, {Key: KeyPin, Value: "ADBW-AAAA"}}
	for _, c := range []struct {
		name string
		make func(n *note)
		ok   bool
	}{
		{"plain", func(*note) {}, true},
		{"EnvelopeID written", func(n *note) { n.envelopeID = udf.EnvelopeID(n.id) }, true},
		{"encrypted", func(n *note) { n.to = sealed }, true},
		{"encrypted, whatever is inside", func(n *note) { n.to, n.tag, n.id = sealed, "X", "Y" }, true},
		{"encrypted with a pin", func(n *note) { n.to, n.keyValues = sealed, pin }, true},
		{"readable with a pin", func(n *note) { n.pin, n.keyValues = "AAAA-AAAA", pin }, true},

		{"no UniqueID", func(n *note) { n.metaID = "" }, false},
		{"no MessageType", func(n *note) { n.metaType = "" }, false},
		{"encrypted, no MessageType", func(n *note) { n.to, n.metaType = sealed, "" }, false},
		{"EnvelopeID of another", func(n *note) { n.envelopeID = udf.EnvelopeID("another") }, false},
		{"encrypted, EnvelopeID of another", func(n *note) { n.to, n.envelopeID = sealed, udf.EnvelopeID("another") }, false},
		{"another MessageID", func(n *note) { n.id = "another" }, false},
		{"no MessageID", func(n *note) { n.id = "" }, false},
		{"another tag", func(n *note) { n.tag = TagRequestContact }, false},
		{"a long UniqueID", func(n *note) { n.id = strings.Repeat("N", maxIdentifier+1); n.metaID = n.id }, false},
		{"a line end in the UniqueID", func(n *note) { n.id = "N\r\nX: y"; n.metaID = n.id }, false},
		{"a control character in the type", func(n *note) { n.tag = "Message\x7fText"; n.metaType = n.tag }, false},
		{"a NUL in the type", func(n *note) { n.tag = "Message\x00Text"; n.metaType = n.tag }, false},
	} {
		n := noteOf(alice, m)
		c.make(&n)
		l, err := ReadLetter(n.envelope(t))
		if !c.ok {
			if KindOf(err) != MessageInvalid || err == nil {
				t.Errorf("%s: %+v %v", c.name, l, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := Letter{ID: n.metaID, EnvelopeID: udf.EnvelopeID(n.metaID), Type: n.metaType, Encrypted: n.to != nil}
		switch {
		case !want.Encrypted:
			want.Tag, want.PinUDF = n.tag, n.pin
			if l.Message == nil || l.Message.MessageID != n.id || l.Message.Sender != n.sender {
				t.Errorf("%s: message %+v", c.name, l.Message)
			}
		case n.keyValues != nil:
			want.PinUDF = "ADBW-AAAA"
		}
		got := *l
		got.Message, got.named = nil, false
		if got != want {
			t.Errorf("%s: %+v, want %+v", c.name, got, want)
		}
	}
	env := noteOf(alice, m).envelope(t)
	for what, e := range map[string]*dare.Envelope{
		"nil":            nil,
		"no payload":     {Header: env.Header, Trailer: env.Trailer},
		"not JSON":       {Header: env.Header, Payload: []byte("hello")},
		"no object":      {Header: env.Header, Payload: []byte(`{"MessageText":[]}`)},
		"header":         {Header: []byte(`{`), Payload: env.Payload},
		"metadata":       {Header: []byte(`{"ContentMetaData":"e3"}`), Payload: env.Payload},
		"duplicate name": {Header: env.Header, Payload: bytes.Replace(env.Payload, []byte(`"Sender"`), []byte(`"MessageID":"x","Sender"`), 1)},
		"long":           {Header: env.Header, Payload: append(bytes.Clone(env.Payload), bytes.Repeat([]byte(" "), MaxMessage)...)},
	} {
		if l, err := ReadLetter(e); err == nil || KindOf(err) != MessageInvalid {
			t.Errorf("%s: %+v %v", what, l, err)
		}
	}
}

// C-120, D-28: every service on the way counts alike, whatever white space the sender's writer left.
func TestMessageSize_C120(t *testing.T) {
	for _, c := range []struct {
		in, compact string
	}{
		{`[{},""]`, `[{},""]`},
		{"[ {\n\t\"a\" : \"b \\\" c\" , \"d\\\\\" : [ 1 , 2 ]} , \"AA\n AA\" ]", `[{"a":"b \" c","d\\":[1,2]},"AAAA"]`},
		{`[{"EnvelopeID":"x"},"AAAA", { "signatures" : [] } ]`, `[{"EnvelopeID":"x"},"AAAA",{"signatures":[]}]`},
	} {
		env, err := dare.Parse([]byte(c.in))
		if err != nil {
			t.Fatal(err)
		}
		if got := MessageSize(env); got != len(c.compact) {
			t.Errorf("%s: %d, want %d", c.in, got, len(c.compact))
		}
	}
	if got := MessageSize(&dare.Envelope{}); got != len(`[{},""]`) {
		t.Errorf("an empty envelope has %d octets", got)
	}
}

// FuzzMessage: a message of anybody's gives a letter and a sender, or errors, and what it gives holds together.
func FuzzMessage(f *testing.F) {
	alice := newPerson(f, "alice@example.com")
	m := alice.member(f)
	n := noteOf(alice, m)
	add := func(e *dare.Envelope) { f.Add(e.Header, e.Payload, e.Trailer) }
	add(n.envelope(f))
	n.to = []keys.PublicKey{*alice.account.KeyEncryption.PublicParameters}
	n.keyValues = []dare.KeyValue{{Key: KeyPin, Value: "AAAA-AAAA"}}
	add(n.envelope(f))
	n.to, n.credential = nil, append(n.credential, alice.profileMesh)
	add(n.envelope(f))
	n.credential = []*dare.Envelope{m.Credential, resigned(f, alice.profileAccount, alice.Mesh.Admin), alice.profileMesh}
	add(n.envelope(f))
	f.Add([]byte(`{"ContentMetaData":"eyJVbmlxdWVJRCI6IngiLCJNZXNzYWdlVHlwZSI6IkEifQ"}`), []byte(`{"A":{"MessageID":"x"}}`), []byte(`{"signatures":[{"Credential":[[{},""],[{},""]]}]}`))
	f.Add([]byte(`{"EnvelopeID":null,"ContentMetaData":"eyJVbmlxdWVJRCI6IngiLCJNZXNzYWdlVHlwZSI6IkEifQ"}`), []byte(`{"A":{"MessageID":"x"}}`), []byte(nil))
	f.Fuzz(func(t *testing.T, header, payload, trailer []byte) {
		e := &dare.Envelope{Header: header, Payload: payload, Trailer: trailer}
		if l, err := ReadLetter(e); err == nil {
			switch {
			case l.EnvelopeID != udf.EnvelopeID(l.ID) || !isIdentifier(l.ID) || !isIdentifier(l.Type):
				t.Fatalf("identifiers: %+v", l)
			case l.Encrypted != (l.Message == nil), l.Message != nil && (l.Message.MessageID != l.ID || l.Tag != l.Type):
				t.Fatalf("message: %+v", l)
			}
			written := l.Header(header)
			if h, err := (&dare.Envelope{Header: written}).ParseHeader(); len(written) <= dare.MaxHeader && (err != nil || h.EnvelopeID != l.EnvelopeID) {
				t.Fatalf("the header that is stored: %v: %s", err, written)
			}
		}
		if s, err := VerifyMessage(e); err == nil {
			if s.SignKID != s.Connection.KeySignature.KID() || s.UDF != "" && s.UDF != s.Profile.UDF() || len(s.Addresses) == 0 {
				t.Fatalf("sender: %+v", s)
			}
			if err := e.Verify(*s.Connection.KeySignature.PublicParameters); err != nil {
				t.Fatal(err)
			}
		}
		if text, err := e.MarshalJBCD(); err == nil && jbcd.Valid(text, jbcd.DefaultLimits) == nil {
			if n := MessageSize(e); n > len(text) {
				t.Fatalf("%d octets count as %d", len(text), n)
			}
		}
	})
}

// An EnvelopeID that the sender left out is written, one that it wrote stays as it is (DATA §10).
func TestLetterHeader(t *testing.T) {
	l := &Letter{EnvelopeID: "MABC"}
	for header, want := range map[string]string{
		`{}`:                 `{"EnvelopeID":"MABC"}`,
		` { "a":1}`:          `{"EnvelopeID":"MABC","a":1}`,
		"{\n\t\"a\" : [ ] }": `{"EnvelopeID":"MABC","a" : [ ] }`,

		`{"EnvelopeID":null}`:                `{"EnvelopeID":"MABC"}`,
		`{"a":1,"Envelope\u0049D":"","b":2}`: `{"EnvelopeID":"MABC","a":1,"b":2}`,
	} {
		if got := string(l.Header([]byte(header))); got != want {
			t.Errorf("%s: %s, want %s", header, got, want)
		}
	}
	l.named = true
	if got := string(l.Header([]byte(` {"EnvelopeID":"x"}`))); got != ` {"EnvelopeID":"x"}` {
		t.Error(got)
	}
}
