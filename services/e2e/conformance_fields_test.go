package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// §4.4: encodings and types. §4.5, §10.1–§10.3: errors, and what all messages have in common.
func TestConformanceFields(t *testing.T) {
	onSQLite(t, []row{
		{"C-066, C-068, C-069", encodings},
		{"C-071, C-073 to C-075, C-077, C-078, C-080, C-150", types},
		{"C-071 64 bits", wideIntegers},
		{"C-072", unicodeNames},
		{"C-076", variableTypes},
		{"C-077", folding},
		{"C-079, C-081", errorLayers},
		{"C-148, C-155", baseFields},
		{"C-151", accountMember},
		{"C-152", deviceProfileMember},
		{"C-156", decoders},
	})
}

// C-066, C-068, C-069: what Hello does not advertise is refused, and an answer is of the type of its request.
func encodings(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c066")
	var h mesh.MeshHelloResponse
	c.call(t, mesh.TagHello, mesh.HelloRequest{}, &h).is(t, "Hello", 201, 0)
	if n := h.Version.Encodings; len(n) != 1 || len(n[0].ID) != 1 || n[0].ID[0] != "application/json" {
		t.Errorf("advertised: %v", n)
	}
	for _, kind := range []string{"application/json-b", "application/json-c", "application/cbor", "text/plain", "application/jsonx", "*/*"} {
		s := c.sealTicket(t, []byte(`{"Status":{}}`), c.now())
		c.send(t, s, nil, func(r *http.Request) { r.Header.Set("Content-Type", kind) }).says(t, kind, 415, 32)
	}
	for _, kind := range []string{"application/json", "application/json; charset=utf-8", "APPLICATION/JSON", ""} {
		s := c.sealTicket(t, []byte(`{"Status":{}}`), c.now())
		o := c.send(t, s, new(mesh.StatusResponse), func(r *http.Request) {
			if r.Header.Set("Content-Type", kind); kind == "" {
				r.Header.Del("Content-Type")
			}
		}).is(t, kind, 201, 0)
		if got := o.header.Get("Content-Type"); got != "application/json" {
			t.Errorf("%q is answered by %q", kind, got)
		}
	}
}

// types: each abstract type in its own JSON form, and in others. A malformed payload in a valid envelope is answered at the
// layer of the service (C-080).
func types(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c071")
	c.upload(t, "Upload", []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"))}, "A1")
	download := func(members string) string {
		return `{"Download":{"Select":[{"Container":"mmm_Bookmark"` + members + `}]}}`
	}
	parts := func(members string) string {
		return `{"Download":{"Select":[{"Container":"mmm_Bookmark"}],"ConstraintsPost":{` + members + `}}}`
	}
	for _, x := range []struct {
		name, payload string
		ok            bool
	}{
		{"C-071 number", download(`,"IndexMin":1`), true},
		{"C-071 string", download(`,"IndexMin":"1"`), false},
		{"C-071 fraction", download(`,"IndexMin":1.5`), false},
		{"C-071 leading zero", download(`,"IndexMin":01`), false},
		{"C-071 true", download(`,"IndexMin":true`), false},
		{"C-071 2^63", download(`,"IndexMin":9223372036854775808`), false},
		{"C-072 number as String", `{"Download":{"Select":[{"Container":7}]}}`, false},
		{"C-072 lone surrogate", `{"Status":{"Account":"\ud800"}}`, false},
		{"C-072 not UTF-8", "{\"Status\":{\"Account\":\"\xff\"}}", false},
		{"C-073 true", parts(`"Header":true`), true},
		{"C-073 false", parts(`"Header":false`), true},
		{"C-073 null", parts(`"Header":null`), true},
		{"C-073 string", parts(`"Header":"true"`), false},
		{"C-073 number", parts(`"Header":1`), false},
		{"C-073 capital", parts(`"Header":True`), false},
		{"C-074 array", `{"Status":{"Catalogs":["mmm_Bookmark"]}}`, true},
		{"C-074 single value", `{"Status":{"Catalogs":"mmm_Bookmark"}}`, false},
		{"C-074 single object", `{"Download":{"Select":{"Container":"mmm_Bookmark"}}}`, false},
		{"C-074 map", `{"Upload":{"Updates":{"mmm_Bookmark":[]}}}`, false},
		{"C-075 object", parts(`"MaxEntries":1`), true},
		{"C-075 array", `{"Download":{"ConstraintsPost":[]}}`, false},
		{"C-075 string", `{"Download":{"Select":["mmm_Bookmark"]}}`, false},
		{"C-075 envelope as object", `{"Upload":{"Self":[{"Header":{}}]}}`, false},
		{"C-076 two members", `{"Status":{},"Hello":{}}`, false},
		{"C-076 none", `{}`, false},
		{"C-077 URL alphabet", `{"Status":{"ProfileMasterDigest":"-_-_"}}`, true},
		{"C-077 standard alphabet", `{"Status":{"ProfileMasterDigest":"+/+/"}}`, false},
		{"C-077 padding", `{"Status":{"ProfileMasterDigest":"AA=="}}`, false},
		{"C-077 folded", "{\"Status\":{\"ProfileMasterDigest\":\"AAAA\n    AAAA\"}}", true},
		{"C-078 RFC 3339", download(`,"NotBefore":"2020-07-27T00:00:00Z"`), true},
		{"C-078 fraction and offset", download(`,"NotBefore":"2020-07-27T02:00:00.5+02:00"`), true},
		{"C-078 locale", download(`,"NotBefore":"27/07/2020 00:00:00"`), false},
		{"C-078 date", download(`,"NotBefore":"2020-07-27"`), false},
		{"C-078 number", download(`,"NotBefore":1595808000`), false},
		{"C-078 no such day", download(`,"NotBefore":"2020-02-30T00:00:00Z"`), false},
		{"C-150 unknown members", `{"Status":{"Unheard":{"of":[1,null,"x"]},"Catalogs":["mmm_Bookmark"]}}`, true},
		{"C-150 duplicate member", `{"Status":{"Account":"","Account":""}}`, false},
		{"C-150 duplicate in what is ignored", `{"Status":{"Unheard":{"a":1,"a":2}}}`, false},
		{"C-150 duplicate by an escape", `{"Status":{"Account":"","\u0041ccount":""}}`, false},
		{"C-150 case counts", `{"Status":{"catalogs":7}}`, true},
		{"C-080 no JSON", `hello`, false},
		{"C-080 cut off", `{"Status":{`, false},
		{"C-080 more after it", `{"Status":{}} {}`, false},
		{"C-080 array", `[]`, false},
		{"C-080 request no object", `{"Status":[]}`, false},
	} {
		o := c.say(t, x.payload, nil)
		if x.ok {
			o.is(t, x.name, 201, 0)
			continue
		}
		if o.is(t, x.name, 400, 0); o.http != 400 || o.tag != mesh.TagMeshResponse && !strings.HasSuffix(o.tag, "Response") {
			t.Errorf("%s: HTTP %d, %s", x.name, o.http, o.tag)
		}
	}
}

// C-071: integers of 64 bits are exact. An Index that a double cannot hold is compared as it is, and one within a header that
// the service only stores comes back octet by octet.
func wideIntegers(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c071w")
	const odd = 1<<53 + 1
	u := bookmarks(frame(t, "a", "New", "x"))
	for _, index := range []int64{odd, 1<<63 - 1, -1} {
		u.Index = mesh.Int(index)
		c.upload(t, fmt.Sprint("Index ", index), []mesh.ContainerUpdate{u}, "C")
	}
	e := frame(t, "a", "New", "x")
	e.Header = append(append([]byte(nil), e.Header[:len(e.Header)-1]...), fmt.Sprintf(`,"Mine":%d}`, odd)...)
	c.upload(t, "a wide member", []mesh.ContainerUpdate{bookmarks(e)}, "A1")
	var r mesh.DownloadResponse
	s := c.sealTicket(t, request(t, mesh.TagDownload, mesh.DownloadRequest{Select: []mesh.ConstraintsSelect{{Container: mesh.CatalogBookmark, IndexMin: mesh.Int(1)}}}), c.now())
	_, body := c.post(t, s.body)
	a, err := s.pending.Open(must[*dare.Envelope](t)(dare.Parse(body))) // not by send: Mine is no member of the schema
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mesh.DecodeResponse(a.Payload, &r); err != nil {
		t.Fatal(err)
	}
	if got := string(r.Updates[0].Envelopes[0].Header); !strings.Contains(got, `"Mine":9007199254740993`) {
		t.Errorf("header %s", got)
	}
}

// C-072: strings are Unicode, however they are written, and come back as such.
func unicodeNames(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	const first, second = "зоя-😀-é@alpha.example", "zoya072@alpha.example"
	r := newResident(t, first, second)
	c := r.moveIn(t, d)
	r.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, func() *mesh.CreateRequest { q := r.creation(t); q.AccountAddress = second; return q }(), new(mesh.CreateResponse)).is(t, "second address", 201, 0)
	for _, text := range []string{first, `\u0437\u043e\u044f-\ud83d\ude00-\u00e9@alpha.example`, `з\u043Eя-😀-e\u0301\u0040alpha\u002eexample`} { // the last is not in NFC
		c.say(t, `{"Status":{"Account":"`+text+`"}}`, new(mesh.StatusResponse)).is(t, text, 201, 0)
	}
	if o := c.call(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: byAccount(second)}, nil).is(t, "second address", 303, 20); o.StatusDescription != first {
		t.Errorf("the redirect names %q, want %q", o.StatusDescription, first)
	}
	// A name that no container has comes back as it was sent, escapes and all.
	name := "mmm_\"\\/\b\f\n\r\t\u2028😀"
	if got := c.download(t, nil, mesh.ConstraintsSelect{Container: name}); len(got) != 1 || got[0].Container != name {
		t.Errorf("%q came back as %+v", name, got)
	}
}

// C-076: a value of variable type is an object with one member that names the type.
func variableTypes(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	r := newResident(t, "c076@alpha.example")
	c := r.device.byDevice(t, d)
	// The epk of an exchange: there it is no JSON of a request yet, so the refusal is a hint.
	s := c.sealExchange(t, []byte(`{"Hello":{}}`))
	c.send(t, s, new(mesh.MeshHelloResponse)).is(t, "one member", 201, 0)
	header := string(c.sealExchange(t, []byte(`{"Hello":{}}`)).envelope.Header)
	for what, with := range map[string]string{"two members": `"epk":{"PublicKeyX":{},"PublicKeyECDH"`, "another type": `"epk":{"PublicKeyRSA"`} {
		changed := strings.Replace(header, `"epk":{"PublicKeyECDH"`, with, 1)
		if changed == header {
			t.Fatalf("no epk in %s", header)
		}
		d.hint(t, "["+changed+`,"AAAA"]`).says(t, "epk with "+what, 401, 7)
	}
	// The public key in a profile, which is signed anew: its signature is good, its shape is not.
	offline := must[*keys.PrivateKey](t)(keys.DeriveSeed(r.mesh.Seed.Seed, keys.Ed448, "Sign"))
	resign := func(change func(string) string) *mesh.CreateRequest {
		q := r.creation(t)
		payload := []byte(change(string(r.profileMesh.Payload)))
		q.SignedProfileMesh = must[*dare.Envelope](t)(dare.New(payload, dare.Options{Holder: keys.NewRing(offline), SignKIDs: []string{offline.KID()}}))
		return q
	}
	for what, old := range map[string][2]string{
		"two members": {`{"PublicKeyECDH":`, `{"PublicKeyRSA":{},"PublicKeyECDH":`}, "no member": {`"PublicParameters":{`, `"PublicParameters":{},"Other":{`},
	} {
		q := resign(func(p string) string {
			changed := strings.Replace(p, old[0], old[1], 1)
			if changed == p {
				t.Fatalf("no %s in %s", old[0], p)
			}
			return changed
		})
		c.exchange(t, mesh.TagCreateAccount, q, nil).is(t, "a public key with "+what, 400, 6)
	}
	c.exchange(t, mesh.TagCreateAccount, resign(func(p string) string { return p }), new(mesh.CreateResponse)).is(t, "one member", 201, 0)
}

// C-077: base64url comes in folded, as the draft prints it, and goes out unfolded.
func folding(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c077")
	id := base64.RawURLEncoding.EncodeToString([]byte("sixteen octets !"))
	o := c.say(t, "{\"Status\":{\"ID\":\""+id[:7]+"\n    "+id[7:]+"\"}}", new(mesh.StatusResponse)).is(t, "folded ID", 201, 0)
	if !strings.Contains(string(o.payload), `"ID":"`+id+`"`) {
		t.Errorf("%.100s, want the ID unfolded", o.payload)
	}
	e := frame(t, "a", "New", strings.Repeat("payload ", 20))
	text := string(must[[]byte](t)(e.MarshalJBCD()))
	payload := base64.RawURLEncoding.EncodeToString(e.Payload)
	folded := strings.Replace(text, payload, payload[:64]+"\n        "+payload[64:], 1)
	if folded == text {
		t.Fatal("nothing was folded")
	}
	c.say(t, `{"Upload":{"Updates":[{"Container":"mmm_Bookmark","Envelopes":[`+folded+`]}]}}`, new(mesh.UploadResponse)).is(t, "folded payload", 201, 0)
	got := c.download(t, nil, mesh.ConstraintsSelect{Container: mesh.CatalogBookmark, IndexMin: mesh.Int(1)}) // checkShape sees folding
	if len(got) != 1 || len(got[0].Envelopes) != 1 || string(got[0].Envelopes[0].Payload) != string(e.Payload) {
		t.Errorf("the payload did not come back: %v", got)
	}
}

// C-079, C-081: each layer reports its own errors; those of HTTP and of the service have an envelope as body. The transport
// layer's alert is in TestConformanceTLS.
func errorLayers(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	_, c := settle(t, m, "c079")
	d.hint(t, draftHello, func(r *http.Request) { r.URL.Path = "/elsewhere" }).says(t, "HTTP: path", 404, 0)
	d.hint(t, draftHello, func(r *http.Request) { r.Header.Set("Content-Type", "text/html") }).says(t, "HTTP: type", 415, 32)
	if o := d.hint(t, nullRequest("Status")).says(t, "DARE: authentication", 401, 7); o.http != http.StatusUnauthorized {
		t.Errorf("HTTP %d", o.http)
	}
	c.say(t, `{"Status":{"Account":7}}`, nil).is(t, "service: malformed", 400, 0)
	c.say(t, `{"Frobnicate":{}}`, nil).is(t, "service: no such transaction", 400, 24)
	c.call(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: byAccount("c079x@alpha.example")}, nil).is(t, "service: another's account", 401, 8)
}

// C-148, C-155: Service and ID are members of every request; every response has a Status, its description and the ID.
func baseFields(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c148")
	id := base64.RawURLEncoding.EncodeToString([]byte("sixteen octets !"))
	for _, tag := range mesh.Transactions() {
		if tag == mesh.TagDeleteAccount {
			continue // last
		}
		id := base64.RawURLEncoding.EncodeToString([]byte((tag + "sixteen octets !")[:16]))
		o := c.say(t, `{"`+tag+`":{"Service":"mmm","ID":"`+id+`"}}`, nil)
		if o.how != "sealed" || base64.RawURLEncoding.EncodeToString(o.ID) != id {
			t.Errorf("%s: %s, ID %x", tag, o.how, []byte(o.ID))
		}
		switch tag {
		case mesh.TagHello, mesh.TagStatus, mesh.TagDownload, mesh.TagUpload, mesh.TagPost:
			if o.is(t, tag, 201, 0); o.tag != mesh.ResponseTag(tag) {
				t.Errorf("%s is answered by %s", tag, o.tag)
			}
		default:
			if o.Status < 400 || o.StatusExtended == 0 || o.StatusDescription == "" {
				t.Errorf("%s: %s", tag, o.payload)
			}
		}
	}
	var del mesh.DeleteResponse
	o := c.say(t, `{"DeleteAccount":{"Service":"mmm","ID":"`+id+`","Account":"`+r.addresses[0]+`"}}`, &del).is(t, "DeleteAccount", 201, 0)
	if base64.RawURLEncoding.EncodeToString(o.ID) != id || o.tag != "DeleteResponse" {
		t.Errorf("DeleteAccount: %s", o.payload)
	}
}

// C-151: Account is the caller's own, in any of its names; another's is refused.
func accountMember(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	const first, second = "c151@alpha.example", "c151b@alpha.example"
	r := newResident(t, first, second)
	c := r.moveIn(t, d)
	q := r.creation(t)
	q.AccountAddress = second
	r.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, q, new(mesh.CreateResponse)).is(t, "second address", 201, 0)
	other, _ := settle(t, m, "c151o")
	strong := func(udf string) string { return "c151@mm--" + strings.ToLower(udf) + ".alpha.example" }
	for _, x := range []struct {
		name, account    string
		status, extended int64
	}{
		{"omitted", "", 201, 0},
		{"own", first, 201, 0},
		{"own, capitals", "C151@Alpha.EXAMPLE", 201, 0},
		{"strong form", strong(r.udf), 201, 0},
		{"strong form with another's UDF", strong(other.udf), 401, 8},
		{"second address", second, 303, 20},
		{"another's", other.addresses[0], 401, 8},
		{"nobody's", "c151n@alpha.example", 401, 8},
		{"of another service", "c151@beta.example", 401, 8},
		{"none", "c151", 401, 8},
	} {
		u := byAccount(x.account)
		c.call(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: u}, new(mesh.StatusResponse)).is(t, "Status: "+x.name, x.status, x.extended)
		c.call(t, mesh.TagDownload, mesh.DownloadRequest{RequestUser: u}, new(mesh.DownloadResponse)).is(t, "Download: "+x.name, x.status, x.extended)
		c.call(t, mesh.TagUpload, mesh.UploadRequest{RequestUser: u}, new(mesh.UploadResponse)).is(t, "Upload: "+x.name, x.status, x.extended)
		if x.status != 201 {
			o := c.call(t, mesh.TagDeleteAccount, mesh.DeleteRequest{RequestUser: u}, nil).is(t, "DeleteAccount: "+x.name, x.status, x.extended)
			if x.status == 303 && o.StatusDescription != first {
				t.Errorf("%s: redirected to %q", x.name, o.StatusDescription)
			}
		}
	}
}

// C-152: DeviceProfile, when present, is that of the credential.
func deviceProfileMember(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c152")
	other := newResident(t, "c152o@alpha.example")
	for what, x := range map[string]struct {
		profile  *dare.Envelope
		status   int64
		extended int64
	}{
		"own":         {r.device.profile, 201, 0},
		"another's":   {other.device.profile, 401, 7},
		"none at all": {must[*dare.Envelope](t)(dare.New([]byte(`{"ProfileDevice":{}}`), dare.Options{})), 401, 7},
	} {
		u := mesh.RequestUser{DeviceProfile: x.profile}
		c.call(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: u}, new(mesh.StatusResponse)).is(t, "by ticket: "+what, x.status, x.extended)
		c.exchange(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: u}, new(mesh.StatusResponse)).is(t, "by exchange: "+what, x.status, x.extended)
	}
}

// C-156: envelopes inside requests go through the DARE decoder: malformed ones make the request malformed, and forged ones
// are refused one by one.
func decoders(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c156")
	for what, envelope := range map[string]string{
		"empty": `[]`, "header alone": `[{}]`, "four elements": `[{},"",{},{}]`, "header no object": `["",""]`, "payload no string": `[{},{}]`, "payload no base64": `[{},"!"]`,
	} {
		c.say(t, `{"Upload":{"Updates":[{"Container":"mmm_Bookmark","Envelopes":[`+envelope+`]}]}}`, nil).is(t, what, 400, 0)
	}
	good := frame(t, "a", "New", "x")
	forged := *good
	forged.Payload = []byte("y") // another digest than the trailer says
	noMeta := must[*dare.Envelope](t)(dare.New([]byte("x"), dare.Options{Digest: true}))
	wrongEvent := frame(t, "b", "Replace", "x")
	r := c.upload(t, "forged among good", []mesh.ContainerUpdate{bookmarks(&forged), bookmarks(noMeta), bookmarks(wrongEvent), bookmarks(good)}, "R R R A1")
	for i, e := range r.Entries {
		if (e.Reason == "") != (e.Result == mesh.ResultAccept) {
			t.Errorf("entry %d: %+v", i, e)
		}
	}
}
