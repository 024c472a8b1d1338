package gateway

import (
	"bytes"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

func meta(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func digestOf(payload string) string {
	d := sha512.Sum512([]byte(payload))
	return base64.RawURLEncoding.EncodeToString(d[:])
}

// frameOf is what a shard would serve of an entry.
func frameOf(e *shardpb.Entry, index int64) *shardpb.Frame {
	return &shardpb.Frame{
		Index: index, Header: e.GetHeader(), Payload: e.GetPayload(), Trailer: e.GetTrailer(), PayloadDigest: e.GetPayloadDigest(),
		DigestWritten: e.GetDigestWritten(), TreeDigest: bytes.Repeat([]byte{7}, 64), Received: timestamppb.New(time.Unix(1e9, 5e8)),
		PayloadLength: int64(len(e.GetPayload())), EnvelopeId: e.GetEnvelopeId(),
	}
}

// D-24: what is taken out, what stays to the octet, what is put in.
func TestStoredForm(t *testing.T) {
	tree := base64.RawURLEncoding.EncodeToString(bytes.Repeat([]byte{7}, 64))
	entry := meta(`{"UniqueID":"u","Event":"New"}`)
	for _, c := range []struct {
		name                    string
		header, trailer         string // as sent
		storedHead, storedTrail string
		servedHead, servedTrail string
		index                   int64
	}{
		{
			"plain", `{"ContentMetaData":"` + entry + `"}`, ``,
			`{"ContentMetaData":"` + entry + `"}`, ``,
			`{"ContentMetaData":"` + entry + `","ContainerInfo":{"Index":3},"Received":"2001-09-09T01:46:40Z"}`,
			`{"PayloadDigest":"` + digestOf("x") + `","TreeDigest":"` + tree + `"}`, 3,
		},
		{
			"odd white space, members of the service and of the transfer",
			"{ \"Received\" : \"2020-01-01T00:00:00Z\",\n \"x\":[1, 2],\"ContainerInfo\":{\"Index\":9} ,\"ContentMetaData\":\"" + entry + "\", \"ContentLength\":1 }",
			"{\"PayloadDigest\" : \"" + digestOf("x") + "\", \"TreeDigest\":\"AAAA\"\t}",
			"{ \"x\":[1, 2] ,\"ContentMetaData\":\"" + entry + "\" }", "{\"PayloadDigest\" : \"" + digestOf("x") + "\"\t}",
			"{ \"x\":[1, 2] ,\"ContentMetaData\":\"" + entry + "\",\"ContainerInfo\":{\"Index\":4},\"Received\":\"2001-09-09T01:46:40Z\" }",
			"{\"PayloadDigest\" : \"" + digestOf("x") + "\",\"TreeDigest\":\"" + tree + "\"\t}", 4,
		},
		{
			"frame 0", `{"ContainerInfo":{"DataEncoding":"JSON","ContainerType":"Merkle","Index":0}}`, `{}`,
			`{}`, `{}`,
			`{"ContainerInfo":{"DataEncoding":"JSON","ContainerType":"Merkle","Index":0},"Received":"2001-09-09T01:46:40Z"}`,
			`{"PayloadDigest":"` + digestOf("x") + `","TreeDigest":"` + tree + `"}`, 0,
		},
		{
			"nulls, and a name with an escape", `{"Received":null,"Content\u004cength":null,"ContentMetaData":"` + entry + `"}`, `{"PayloadDigest":null,"TreeDigest":null,"y":0}`,
			`{"ContentMetaData":"` + entry + `"}`, `{"y":0}`,
			`{"ContentMetaData":"` + entry + `","ContainerInfo":{"Index":6},"Received":"2001-09-09T01:46:40Z"}`,
			`{"y":0,"PayloadDigest":"` + digestOf("x") + `","TreeDigest":"` + tree + `"}`, 6,
		},
		{
			"digest in the header", `{"ContentMetaData":"` + entry + `","PayloadDigest":"` + digestOf("x") + `"}`, ``,
			`{"ContentMetaData":"` + entry + `","PayloadDigest":"` + digestOf("x") + `"}`, ``,
			`{"ContentMetaData":"` + entry + `","PayloadDigest":"` + digestOf("x") + `","ContainerInfo":{"Index":5},"Received":"2001-09-09T01:46:40Z"}`,
			`{"TreeDigest":"` + tree + `"}`, 5,
		},
	} {
		e := &dare.Envelope{Header: []byte(c.header), Payload: []byte("x")}
		if c.trailer != "" {
			e.Trailer = []byte(c.trailer)
		}
		stored, err := takeApart(e, false)
		if err != nil || stored.GetReject() != 0 {
			t.Errorf("%s: %v, Reject %d", c.name, err, stored.GetReject())
			continue
		}
		if d := cmp.Diff([]string{c.storedHead, c.storedTrail}, []string{string(stored.GetHeader()), string(stored.GetTrailer())}); d != "" {
			t.Errorf("%s: stored (-want +got)\n%s", c.name, d)
		}
		served, err := putTogether(frameOf(stored, c.index), wholeEntry())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{c.servedHead, c.servedTrail}, []string{string(served.Header), string(served.Trailer)}); d != "" {
			t.Errorf("%s: served (-want +got)\n%s", c.name, d)
		}
		if _, err := served.ParseHeader(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if err := served.CheckDigest(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestColumns(t *testing.T) {
	header := func(members, m string) []byte {
		return []byte(`{` + members + `"ContentMetaData":"` + meta(m) + `"}`)
	}
	id := udf.EnvelopeID("MSG")
	for _, c := range []struct {
		name   string
		header []byte
		spool  bool
		want   *shardpb.Entry // columns only
	}{
		{"catalog", header(`"EnvelopeID":"e",`, `{"UniqueID":"u","Event":"Delete"}`), false, &shardpb.Entry{EnvelopeId: "e", UniqueId: "u", Event: "Delete"}},
		{"catalog without EnvelopeID", header("", `{"UniqueID":"u","Event":"Update"}`), false, &shardpb.Entry{EnvelopeId: "u", UniqueId: "u", Event: "Update"}},
		{"message", header(`"EnvelopeID":"`+id+`",`, `{"UniqueID":"MSG","MessageType":"MessageText"}`), true, &shardpb.Entry{EnvelopeId: id, UniqueId: "MSG", MessageType: "MessageText"}},
		{"message without EnvelopeID", header("", `{"UniqueID":"MSG"}`), true, &shardpb.Entry{EnvelopeId: id, UniqueId: "MSG"}},
		{"frame 0", []byte(`{"ContainerInfo":{"Index":0}}`), true, &shardpb.Entry{Index: new(int64)}},
		{"message of another EnvelopeID", header(`"EnvelopeID":"e",`, `{"UniqueID":"MSG"}`), true, nil},
		{"message without name", []byte(`{}`), true, nil},
		{"catalog without Event", header("", `{"UniqueID":"u"}`), false, nil},
		{"catalog with another Event", header("", `{"UniqueID":"u","Event":"new"}`), false, nil},
		{"catalog without UniqueID", header(`"EnvelopeID":"e",`, `{"Event":"New"}`), false, nil},
		{"metadata that is no JSON", []byte(`{"ContentMetaData":"AAAA"}`), false, nil},
		{"name with NUL", header("", `{"UniqueID":"a\u0000","Event":"New"}`), false, nil},
		{"long name", header("", `{"UniqueID":"`+strings.Repeat("a", maxName+1)+`","Event":"New"}`), false, nil},
		{"other kind of container", []byte(`{"ContainerInfo":{"Index":0,"ContainerType":"Chain"}}`), false, nil},
		{"index of a wrong type", []byte(`{"ContainerInfo":{"Index":"0"}}`), false, nil},
	} {
		got, err := takeApart(&dare.Envelope{Header: c.header, Payload: []byte("x")}, c.spool)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if c.want == nil {
			if got.GetReject() != 13 || len(got.GetPayload()) > 0 {
				t.Errorf("%s: Reject %d with %d octets, want 13 with none", c.name, got.GetReject(), len(got.GetPayload()))
			}
			continue
		}
		have := &shardpb.Entry{EnvelopeId: got.GetEnvelopeId(), UniqueId: got.GetUniqueId(), Event: got.GetEvent(), MessageType: got.GetMessageType(), Index: got.Index, Reject: got.GetReject()}
		if have.String() != c.want.String() {
			t.Errorf("%s: %v, want %v", c.name, have, c.want)
		}
	}
}

func TestRejectedEntries(t *testing.T) {
	catalog := `"ContentMetaData":"` + meta(`{"UniqueID":"u","Event":"New"}`) + `"`
	wrong := strings.Repeat("A", 86)
	for name, e := range map[string]*dare.Envelope{
		"digest in the trailer is another": {Header: []byte(`{` + catalog + `}`), Payload: []byte("x"), Trailer: []byte(`{"PayloadDigest":"` + wrong + `"}`)},
		"another kind of digest":           {Header: []byte(`{"dig":"SHA3",` + catalog + `}`), Payload: []byte("x")},
		"another kind of digest, below":    {Header: []byte(`{` + catalog + `}`), Payload: []byte("x"), Trailer: []byte(`{"dig":"SHA3"}`)},
		"digest in the header is another":  {Header: []byte(`{` + catalog + `,"PayloadDigest":"` + wrong + `"}`), Payload: []byte("x")},
	} {
		if got, err := takeApart(e, false); err != nil || got.GetReject() != 13 {
			t.Errorf("%s: Reject %d, %v, want 13", name, got.GetReject(), err)
		}
	}
	long := &dare.Envelope{Header: []byte(`{"x":"` + strings.Repeat("x", dare.MaxHeader-spliceRoom) + `",` + catalog + `}`), Payload: []byte("x")}
	if got, err := takeApart(long, false); err != nil || got.GetReject() != 12 {
		t.Errorf("a header without room: Reject %d, %v, want 12", got.GetReject(), err)
	}
	// Two-phase upload (D-23) is not built: the whole request is refused.
	for name, header := range map[string]string{
		"announced": `{` + catalog + `,"ContentLength":5}`,
		"a part":    `{` + catalog + `,"ContentLength":5,"BytesOffset":0}`,
	} {
		if _, err := takeApart(&dare.Envelope{Header: []byte(header), Payload: []byte("x")}, false); mesh.KindOf(err) != mesh.UnknownOperation {
			t.Errorf("%s: %v, want UnknownOperation", name, err)
		}
	}
}

// Covers C-091: 65,536 octets of compact JSON, white space not counted.
func TestMessageSize(t *testing.T) {
	make := func(n int) *dare.Envelope {
		e := &dare.Envelope{Header: []byte("{ \"ContentMetaData\" : \"" + meta(`{"UniqueID":"M"}`) + "\",\n\"x\":\"\"}"), Payload: []byte("p"), Trailer: []byte(`{ }`)}
		fill := n - mesh.MessageSize(e)
		e.Header = bytes.Replace(e.Header, []byte(`"x":""`), []byte(`"x":"`+strings.Repeat(" ", fill)+`"`), 1)
		return e
	}
	for n, want := range map[int]uint32{mesh.MaxMessage: 0, mesh.MaxMessage + 1: 12} {
		// The size lies in the payload: headers are shorter.
		e := make(300)
		e.Payload = bytes.Repeat([]byte{'p'}, (n-mesh.MessageSize(e))/4*3+1)
		for mesh.MessageSize(e) < n {
			e.Header = bytes.Replace(e.Header, []byte(`"x":"`), []byte(`"x":"_`), 1)
		}
		if mesh.MessageSize(e) != n {
			t.Fatalf("built %d octets, want %d", mesh.MessageSize(e), n)
		}
		got, err := takeApart(e, true)
		if err != nil || got.GetReject() != want {
			t.Errorf("%d octets: Reject %d, %v, want %d", n, got.GetReject(), err, want)
		}
		if got, err := takeApart(e, false); err != nil || got.GetReject() == 12 {
			t.Errorf("%d octets in a catalog: Reject %d, %v", n, got.GetReject(), err)
		}
	}
}

// Covers C-168, C-169, C-170 and D-20: parts of an entry.
func TestParts(t *testing.T) {
	f := &shardpb.Frame{
		Index: 2, Header: []byte(`{"EnvelopeID":"b\"1","x":1}`), Payload: []byte("payload"), Trailer: []byte(`{"y":2}`), PayloadLength: 7,
		PayloadDigest: bytes.Repeat([]byte{1}, 64), TreeDigest: bytes.Repeat([]byte{2}, 64), EnvelopeId: `b"1`,
	}
	whole := `{"EnvelopeID":"b\"1","x":1,"ContainerInfo":{"Index":2}}`
	cut := `{"EnvelopeID":"b\"1","x":1,"ContainerInfo":{"Index":2},"ContentLength":7}`
	is, not := mesh.Bool(true), mesh.Bool(false)
	for _, c := range []struct {
		name    string
		ask     *mesh.ConstraintsData
		header  string
		payload string
		trailer bool
	}{
		{"nothing asked", nil, whole, "payload", true},
		{"all false", &mesh.ConstraintsData{Header: not, Payload: not, Trailer: not}, whole, "payload", true},
		{"header", &mesh.ConstraintsData{Header: is}, cut, "", false},
		{"payload", &mesh.ConstraintsData{Payload: is, Trailer: not}, `{"EnvelopeID":"b\"1","ContainerInfo":{"Index":2}}`, "payload", false},
		{"trailer", &mesh.ConstraintsData{Trailer: is}, `{"EnvelopeID":"b\"1","ContainerInfo":{"Index":2},"ContentLength":7}`, "", true},
		{"header and trailer", &mesh.ConstraintsData{Header: is, Trailer: is}, cut, "", true},
	} {
		e, err := putTogether(f, partsOf(c.ask))
		if err != nil {
			t.Fatal(err)
		}
		if string(e.Header) != c.header || string(e.Payload) != c.payload || (e.Trailer != nil) != c.trailer {
			t.Errorf("%s: %s %q %s", c.name, e.Header, e.Payload, e.Trailer)
		}
	}
	part := &shardpb.Frame{Index: 2, Header: []byte(`{}`), Payload: []byte("yl"), PayloadLength: 7}
	if e, err := putTogether(part, parts{header: true, payload: true}); err != nil || string(e.Header) != `{"ContainerInfo":{"Index":2},"ContentLength":7}` {
		t.Errorf("a range: %s, %v", e.Header, err)
	}
}

// Caps of §1.7, covers C-210 and C-183.
func TestCaps(t *testing.T) {
	for _, c := range []struct {
		asked *mesh.ConstraintsData
		n, b  int64
		kind  mesh.Kind
	}{
		{nil, 1000, 4 << 20, 0},
		{&mesh.ConstraintsData{MaxEntries: mesh.Int(3), BytesMax: mesh.Int(50)}, 3, 50, 0},
		{&mesh.ConstraintsData{MaxEntries: mesh.Int(1 << 40), BytesMax: mesh.Int(1 << 50)}, 10_000, 16 << 20, 0},
		{&mesh.ConstraintsData{MaxEntries: mesh.Int(0)}, 0, 0, mesh.ProfileInvalid},
		{&mesh.ConstraintsData{BytesMax: mesh.Int(-1)}, 0, 0, mesh.ProfileInvalid},
		{&mesh.ConstraintsData{BytesOffset: mesh.Int(-1)}, 0, 0, mesh.ProfileInvalid},
	} {
		ask, err := selection(&mesh.DownloadRequest{ConstraintsPost: c.asked})
		if c.kind != 0 {
			if mesh.KindOf(err) != c.kind {
				t.Errorf("%+v: %v", c.asked, err)
			}
			continue
		}
		if err != nil || ask.GetMaxEntries() != c.n || ask.GetMaxBytes() != c.b {
			t.Errorf("%+v: %v, %v", c.asked, ask, err)
		}
	}
	for _, s := range []mesh.ConstraintsSelect{{PageKey: "AAAA"}, {KeyValues: []dare.KeyValue{{Key: "mmm:redact", Value: "deleted"}}}} {
		if _, err := selection(&mesh.DownloadRequest{Select: []mesh.ConstraintsSelect{s}}); mesh.KindOf(err) != mesh.UnknownOperation {
			t.Errorf("%+v: %v, want UnknownOperation", s, err)
		}
	}
	one := &dare.Envelope{Header: []byte(`{}`)}
	many := make([]*dare.Envelope, maxUploadEntries+1)
	for i := range many {
		many[i] = one
	}
	for name, updates := range map[string][]mesh.ContainerUpdate{
		"entries": {{Container: mesh.CatalogBookmark, Envelopes: many}},
		"octets":  {{Container: mesh.CatalogBookmark, Envelopes: []*dare.Envelope{{Header: []byte(`{}`), Payload: make([]byte, maxUploadOctets+1)}}}},
	} {
		if _, _, err := takeApartUpdates(updates, nil); mesh.KindOf(err) != mesh.RequestSize {
			t.Errorf("too many %s: %v, want RequestSize", name, err)
		}
	}
	if _, _, err := takeApartUpdates([]mesh.ContainerUpdate{{Container: "mmm_Nonsense"}}, nil); mesh.KindOf(err) != mesh.UnknownContainer {
		t.Errorf("unknown container: %v", err)
	}
	stored, _, err := takeApartUpdates([]mesh.ContainerUpdate{{Container: "mmm_CatalogTask"}}, nil)
	if err != nil || stored[0].GetContainer() != mesh.CatalogCalendar {
		t.Errorf("alias: %v, %v", stored, err)
	}
}

// FuzzTakeApart: whatever is taken apart and put together again has the payload to the octet and every member that was
// not the service's, in its order and spelling.
func FuzzTakeApart(f *testing.F) {
	for _, s := range []string{
		`[{"ContentMetaData":"` + meta(`{"UniqueID":"u","Event":"New"}`) + `"},"eA"]`,
		`[{"ContainerInfo":{"DataEncoding":"JSON","ContainerType":"Merkle","Index":0}},"",{}]`,
		`[{ "Received":"2020-01-01T00:00:00Z" , "a":1,"ContentLength":1 },"eA",{"TreeDigest":"AA","b":2}]`,
		`[{"Received":null,"\u0043ontainerInfo":null},"eA",{"PayloadDigest":""}]`,
		`[{"EnvelopeID":"e","ContentMetaData":"e30"},"eA",{"signatures":[{"kid":"M","signature":"AA"}],"PayloadDigest":"` + digestOf("x") + `"}]`,
	} {
		f.Add([]byte(s), true)
		f.Add([]byte(s), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, spool bool) {
		e, err := dare.Parse(data)
		if err != nil {
			return
		}
		entry, err := takeApart(e, spool)
		if err != nil || entry.GetReject() != 0 {
			return
		}
		served, err := putTogether(frameOf(entry, 1), wholeEntry())
		if err != nil {
			t.Fatal(err)
		}
		text, err := served.MarshalJBCD()
		if err != nil {
			t.Fatal(err)
		}
		again, err := dare.Parse(text)
		if err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		if !bytes.Equal(again.Payload, e.Payload) {
			t.Fatal("another payload")
		}
		same(t, "header", e.Header, again.Header, "ContainerInfo", "Received", "ContentLength", "BytesOffset")
		same(t, "trailer", e.Trailer, again.Trailer, "TreeDigest", "PayloadDigest")
	})
}

// same compares members but for those that the service writes.
func same(t *testing.T, what string, sent, served []byte, service ...string) {
	t.Helper()
	list := func(text []byte) (out []string) {
		if len(text) == 0 {
			return nil
		}
		members, err := jbcd.Object(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range members {
			skip := false
			for _, s := range service {
				skip = skip || s == m.Name
			}
			if !skip {
				out = append(out, fmt.Sprintf("%q:%s", m.Name, m.Value))
			}
		}
		return out
	}
	if d := cmp.Diff(list(sent), list(served)); d != "" {
		t.Fatalf("%s (-sent +served)\n%s", what, d)
	}
}
