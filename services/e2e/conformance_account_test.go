package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// §5 and §10.5: what Hello says. §10.4.4: the names of accounts. §10.6.1: whose profiles count.
func TestConformanceAccounts(t *testing.T) {
	onSQLite(t, []row{
		{"C-009, C-047, C-048, C-083, C-084, C-181 to C-187", hello},
		{"C-171 to C-175", accountNames},
		{"C-189 to C-191", profiles},
		{"C-190 replaced", replacedProfiles},
		{"C-006, C-008", twoServices},
	})
}

// §6, §10, §10.6, §10.7 on both stores: a life of an account.
func TestConformanceAccountLife(t *testing.T) {
	onBothStores(t, []row{
		{"C-085 to C-088, C-188", life},
		{"C-146", idempotency},
		{"C-194, C-195", deletion},
	})
}

// hello: the golden example of draft §4.2.4 and §5, in the names that it prints, and the members that its schema adds.
func hello(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	_, body := d.post(t, []byte(draftHello))
	h, e := readHello(t, body)
	const golden = `{"MeshHelloResponse":{"Status":201,"Version":{"Major":3,"Minor":0,"Encodings":[{"ID":["application/json"]}]}`
	if !strings.HasPrefix(string(e.Payload), golden) {
		t.Errorf("%.150s, want it to begin as the draft's example", e.Payload)
	}
	for name, p := range map[string]*dare.Envelope{"service": h.EnvelopedProfileService, "host": h.EnvelopedProfileHost} {
		// C-048: [ {"dig":"SHA2"}, payload, {"signatures":[{"alg","kid","signature"}],"PayloadDigest"} ]
		if string(p.Header) != `{"dig":"SHA2"}` {
			t.Errorf("%s: header %s", name, p.Header)
		}
		var trailer []string
		for _, member := range must[[]jbcd.Member](t)(jbcd.Object(p.Trailer)) {
			trailer = append(trailer, member.Name)
		}
		if diff := cmp.Diff([]string{"signatures", "PayloadDigest"}, trailer); diff != "" {
			t.Errorf("%s: trailer (-want +got)\n%s", name, diff)
		}
		written := must[*dare.Header](t)(p.ParseTrailer()).PayloadDigest
		if string(written) != string(p.Digest()) {
			t.Errorf("%s: PayloadDigest is not SHA-512 of the payload", name)
		}
		_, inner, err := jbcd.Tagged(p.Payload)
		if err != nil {
			t.Fatal(err)
		}
		var profile mesh.Profile
		if err := jbcd.Unmarshal(inner, &profile); err != nil {
			t.Fatal(err)
		}
		key := *profile.KeyOfflineSignature.PublicParameters
		own := false
		for _, s := range must[[]dare.Signature](t)(p.Signatures()) {
			if s.KID == key.KID() {
				own = key.Verify(p.Digest(), s.Signature) == nil && s.Alg == "SHA2"
			}
		}
		if !own {
			t.Errorf("%s: no Ed448 signature over the digest by the key whose UDF is KeyOfflineSignature", name)
		}
	}
	// C-187: the second signature of the host is by the service.
	service := must[*mesh.ProfileService](t)(mesh.VerifyProfileService(h.EnvelopedProfileService))
	if n := len(must[[]dare.Signature](t)(h.EnvelopedProfileHost.Signatures())); n != 2 {
		t.Errorf("%d signatures of the ProfileHost, want its own and the service's", n)
	}
	if err := h.EnvelopedProfileHost.Verify(*service.KeyOfflineSignature.PublicParameters); err != nil {
		t.Errorf("the ProfileHost is not signed by the service: %v", err)
	}
	// C-182 to C-185
	if c := h.ConstraintsUpdate; c == nil || c.MaxEntries == nil || c.BytesMax == nil || *c.MaxEntries != 1000 || *c.BytesMax != 4<<20 {
		t.Errorf("ConstraintsUpdate %+v", c)
	}
	if c := h.ConstraintsPost; c == nil || c.MaxEntries == nil || c.BytesMax == nil || *c.BytesMax != 65536 {
		t.Errorf("ConstraintsPost %+v", c)
	}
	if p := h.PolicyAccount; p == nil || p.Minimum == nil || p.Maximum == nil || p.InvalidCharacters == "" {
		t.Errorf("PolicyAccount %+v", p)
	}
	// C-009, C-010: authenticated it says the same.
	var again mesh.MeshHelloResponse
	_, c := settle(t, m, "c084")
	c.call(t, mesh.TagHello, mesh.HelloRequest{}, &again).is(t, "Hello by ticket", 201, 0)
	if diff := cmp.Diff(h, &again); diff != "" {
		t.Errorf("authenticated Hello (-null +authenticated)\n%s", diff)
	}
}

// accountNames: what PolicyAccount of Hello says is what CreateAccount does.
func accountNames(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	_, body := d.post(t, []byte(draftHello))
	h, _ := readHello(t, body)
	policy := h.PolicyAccount
	try := func(local string) *outcome {
		t.Helper()
		r := newResident(t, "c171@"+meshtest.Alpha)
		q := r.creation(t)
		q.AccountAddress = local + "@" + meshtest.Alpha
		return r.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, q, nil)
	}
	for _, local := range []string{
		strings.Repeat("a", int(*policy.Minimum)-1), strings.Repeat("a", int(*policy.Maximum)+1), strings.Repeat("é", int(*policy.Maximum)+1), // C-171, C-172
		"a\x01b", "a\u0000b", "a\u007fb", "a\u200bb", "a\nb", // C-174
		"postmaster", "Admin", "mmm",
	} {
		try(local).is(t, fmt.Sprintf("%q", local), 400, 4)
	}
	for _, c := range policy.InvalidCharacters { // C-173
		try("a"+string(c)+"b").is(t, fmt.Sprintf("with %q", c), 400, 4)
	}
	if !strings.Contains(policy.InvalidCharacters, "<") { // C-175
		t.Errorf("the policy %q does not name what makes a<b illegal", policy.InvalidCharacters)
	}
	for _, local := range []string{strings.Repeat("z", int(*policy.Minimum)), strings.Repeat("é", int(*policy.Maximum))} {
		if n := utf8.RuneCountInString(local); n > int(*policy.Maximum) {
			t.Fatal(n)
		}
		newResident(t, local+"@"+meshtest.Alpha).moveIn(t, d)
	}
}

// profiles: an account is its profiles', and they must be right (C-189 to C-191).
func profiles(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	const address = "c189@alpha.example"
	r, other := newResident(t, address), newResident(t, "c189o@alpha.example")
	try := func(what string, change func(*mesh.CreateRequest), status, extended int64) *outcome {
		t.Helper()
		q := r.creation(t)
		change(q)
		return r.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, q, new(mesh.CreateResponse)).is(t, what, status, extended)
	}
	spoil := func(e *dare.Envelope) *dare.Envelope {
		c := *e
		c.Payload = []byte(strings.Replace(string(e.Payload), `"Updated":"2`, `"Updated":"1`, 1))
		if string(c.Payload) == string(e.Payload) {
			t.Fatal("nothing changed")
		}
		return &c
	}
	try("C-189 foreign domain", func(q *mesh.CreateRequest) { q.AccountAddress = "c189@beta.example" }, 400, 4)
	try("C-189 no address", func(q *mesh.CreateRequest) { q.AccountAddress = "" }, 400, 4)
	try("C-190 no mesh", func(q *mesh.CreateRequest) { q.SignedProfileMesh = nil }, 400, 6)
	try("C-190 bad signature", func(q *mesh.CreateRequest) { q.SignedProfileMesh = spoil(q.SignedProfileMesh) }, 400, 6)
	try("C-191 no account", func(q *mesh.CreateRequest) { q.SignedAssertionAccount = nil }, 400, 6)
	try("C-191 bad signature", func(q *mesh.CreateRequest) { q.SignedAssertionAccount = spoil(q.SignedAssertionAccount) }, 400, 6)
	try("C-191 wrong address", func(q *mesh.CreateRequest) { q.AccountAddress = "c189x@alpha.example" }, 400, 6)
	try("C-191 wrong MeshProfileUDF", func(q *mesh.CreateRequest) { q.SignedProfileMesh = other.profileMesh }, 400, 6)
	try("C-191 the profiles of another kind", func(q *mesh.CreateRequest) { q.SignedAssertionAccount = q.SignedProfileMesh }, 400, 6)
	try("C-086 Updates of another container", func(q *mesh.CreateRequest) {
		q.Updates = append(q.Updates, bookmarks(frame(t, "a", "New", "x")))
	}, 400, 6)
	r.device.at(d, address).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "none of these made the account", 401, 7)
	try("C-188", func(*mesh.CreateRequest) {}, 201, 0)
	try("C-189 taken by itself", func(*mesh.CreateRequest) {}, 201, 0)
	rival := newResident(t, address)
	rival.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, rival.creation(t), nil).is(t, "C-189 taken", 409, 1)
}

// replacedProfiles: the ProfileMesh of the creation decides about later changes, and only a fresh ticket may bring them.
func replacedProfiles(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c190")
	q := r.creation(t)
	q.Updates = nil
	c.exchange(t, mesh.TagCreateAccount, q, new(mesh.CreateResponse)).is(t, "the same profiles", 201, 0)
	r.describe(t, time.Now().Add(time.Hour))
	q.SignedAssertionAccount = r.profileAccount
	ticket := c.ticket
	c.exchange(t, mesh.TagCreateAccount, q, nil).is(t, "newer, by an exchange", 401, 9)
	c.ticket = ticket
	c.call(t, mesh.TagCreateAccount, q, new(mesh.CreateResponse)).is(t, "newer, by a fresh ticket", 201, 0)
	// The same account by another mesh.
	another := must[*mesh.MeshSecrets](t)(mesh.NewMeshSecrets())
	r.mesh, r.profileMesh = another, must[*dare.Envelope](t)(another.ProfileMesh(time.Now()))
	r.describe(t, time.Now().Add(2*time.Hour))
	q.SignedProfileMesh, q.SignedAssertionAccount = r.profileMesh, r.profileAccount
	c.call(t, mesh.TagCreateAccount, q, nil).is(t, "C-190 an update signed by another mesh", 400, 6)
}

// twoServices: one profile at two services, the first named being the authoritative one (C-006, C-008 in part).
func twoServices(t *testing.T, m *meshtest.Mesh) {
	r := newResident(t, "c006@alpha.example", "c006@beta.example")
	at := []*door{alphaDoor(t, m), doorOf(t, m.Provider(t, meshtest.Beta))}
	for i, d := range at {
		q := r.creation(t)
		q.AccountAddress = r.addresses[i]
		r.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, q, new(mesh.CreateResponse)).is(t, d.domain, 201, 0)
	}
	first := r.device.at(at[0], r.addresses[0]).greet(t)
	first.call(t, mesh.TagDeleteAccount, mesh.DeleteRequest{}, new(mesh.DeleteResponse)).is(t, "DeleteAccount at the first", 201, 0)
	second := r.device.at(at[1], r.addresses[1]).greet(t)
	second.call(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "Status at the second", 201, 0)
}

// life: the account is bound with its first entries, filled later, and gone after its deletion.
func life(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	r := newResident(t, "c085@alpha.example")
	r.device.at(d, r.addresses[0]).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "before", 401, 7)
	q := r.creation(t)
	contact := frame(t, "me", "New", `{"CatalogedContact":{"Key":"me"}}`)
	q.Updates = append(q.Updates, mesh.ContainerUpdate{Container: mesh.CatalogContact, Envelopes: []*dare.Envelope{contact}})
	r.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, q, new(mesh.CreateResponse)).is(t, "CreateAccount", 201, 0)
	c := r.device.at(d, r.addresses[0]).greet(t)
	counts := func() map[string]int64 {
		all := make(map[string]int64)
		for _, s := range c.states(t) {
			all[s.Container] = *s.Index
		}
		return all
	}
	want := map[string]int64{mesh.SpoolInbound: 1, mesh.SpoolOutbound: 1, mesh.SpoolLocal: 1, mesh.CatalogDevice: 2, mesh.CatalogContact: 2}
	if diff := cmp.Diff(want, counts()); diff != "" { // C-085, C-086
		t.Errorf("after the creation (-want +got)\n%s", diff)
	}
	// C-087: a catalog that begins with a frame 0 of the client's.
	zero := must[*dare.Envelope](t)(dare.FirstFrame(&dare.ContentMeta{CTY: "application/mmm-bookmark"}))
	c.upload(t, "frame 0", []mesh.ContainerUpdate{bookmarks(zero, frame(t, "a", "New", "x"))}, "A0 A1")
	want[mesh.CatalogBookmark] = 2
	if diff := cmp.Diff(want, counts()); diff != "" {
		t.Errorf("after the upload (-want +got)\n%s", diff)
	}
	c.call(t, mesh.TagDeleteAccount, mesh.DeleteRequest{RequestUser: byAccount(r.addresses[0])}, new(mesh.DeleteResponse)).is(t, "DeleteAccount", 201, 0)
	c.call(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "C-088 Status by the old ticket", 404, 3)
	c.exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "C-088 Status by an exchange", 404, 3)
	rival := newResident(t, r.addresses[0])
	if o := rival.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, rival.creation(t), nil); o.Status == 201 {
		t.Error("the address of a deleted account was given away at once") // D-15
	}
}

// idempotency: every mutating transaction twice under one ID has one effect and one outcome; another request under that ID
// is refused (C-146, D-10).
func idempotency(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	r := newResident(t, "c146@alpha.example")
	stranger := r.device.byDevice(t, d)
	id := func(n byte) mesh.Request { return mesh.Request{ID: append([]byte("fifteen octets!"), n)} }
	q := r.creation(t)
	q.Request = id(1)
	first := stranger.exchange(t, mesh.TagCreateAccount, q, new(mesh.CreateResponse)).is(t, "CreateAccount", 201, 0)
	c := r.device.at(d, r.addresses[0]).greet(t)
	before := c.states(t)
	again := stranger.exchange(t, mesh.TagCreateAccount, q, new(mesh.CreateResponse)).is(t, "CreateAccount again", 201, 0)
	if string(first.payload) != string(again.payload) {
		t.Errorf("%s, then %s", first.payload, again.payload)
	}
	if diff := cmp.Diff(before, c.states(t)); diff != "" {
		t.Errorf("the second CreateAccount changed (-before +after)\n%s", diff)
	}

	up := mesh.UploadRequest{RequestUser: mesh.RequestUser{Request: id(2)}, Updates: []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"), frame(t, "a", "New", "y"))}}
	first = c.call(t, mesh.TagUpload, up, new(mesh.UploadResponse)).is(t, "Upload", 201, 0)
	before = c.states(t)
	for _, again := range []*outcome{c.call(t, mesh.TagUpload, up, new(mesh.UploadResponse)), c.exchange(t, mesh.TagUpload, up, new(mesh.UploadResponse))} {
		if string(first.payload) != string(again.payload) {
			t.Errorf("%s, then %s", first.payload, again.payload)
		}
	}
	up.Updates = []mesh.ContainerUpdate{bookmarks(frame(t, "b", "New", "x"))}
	c.call(t, mesh.TagUpload, up, nil).is(t, "another Upload under the ID", 409, 21)
	if diff := cmp.Diff(before, c.states(t)); diff != "" {
		t.Errorf("repeated Uploads changed (-before +after)\n%s", diff)
	}

	del := mesh.DeleteRequest{RequestUser: mesh.RequestUser{Request: id(3)}}
	c.greet(t)
	first = c.call(t, mesh.TagDeleteAccount, del, new(mesh.DeleteResponse)).is(t, "DeleteAccount", 201, 0)
	again = c.call(t, mesh.TagDeleteAccount, del, new(mesh.DeleteResponse)).is(t, "DeleteAccount again", 201, 0)
	if string(first.payload) != string(again.payload) {
		t.Errorf("%s, then %s", first.payload, again.payload)
	}
}

// deletion: by an administrator with a ticket made a moment ago, and by nobody else.
func deletion(t *testing.T, m *meshtest.Mesh) {
	offset := new(skew)
	d := anotherGateway(t, m.Provider(t, meshtest.Alpha), newTicketRing(t), offset.now)
	r := newResident(t, "c194@alpha.example")
	c := r.moveIn(t, d)
	phone := r.admit(t, mesh.NewDeviceSecrets(), mesh.RightAll)
	c.upload(t, "admitting", []mesh.ContainerUpdate{phone.update(t, "New")}, "A2")
	p := phone.at(d, r.addresses[0]).greet(t)
	del := mesh.DeleteRequest{RequestUser: byAccount(r.addresses[0])}
	p.call(t, mesh.TagDeleteAccount, del, nil).is(t, "a device without Admin", 401, 8)
	r.device.byDevice(t, d).exchange(t, mesh.TagDeleteAccount, del, nil).is(t, "device mode", 401, 8)
	offset.set(121 * time.Second)
	c.call(t, mesh.TagDeleteAccount, del, nil).is(t, "a ticket of 121 s", 401, 9)
	old := c.ticket
	o := c.exchange(t, mesh.TagDeleteAccount, del, nil).is(t, "an exchange", 401, 9)
	if o.ticket == nil {
		t.Error("the refusal of an exchange brings no ticket")
	}
	c.ticket = old
	c.call(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "nothing was deleted", 201, 0)
	c.ticket = o.ticket
	if string(request(t, mesh.TagDeleteAccount, del)) != `{"DeleteAccount":{"Account":"c194@alpha.example"}}` { // C-194
		t.Error("the request has other members than MeshRequestUser's")
	}
	c.call(t, mesh.TagDeleteAccount, del, new(mesh.DeleteResponse)).is(t, "the ticket of the refusal", 201, 0)
	c.greet(t)
	c.call(t, mesh.TagDeleteAccount, del, new(mesh.DeleteResponse)).is(t, "repeated", 201, 0)
	p.exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "Status afterwards", 404, 3)
}

// C-192, C-193: who is refused or has to wait is told why, and where it goes on. The page behind URL is of a later build.
func TestConformancePolicies(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Shards: 1, Policies: map[string]gateway.Policy{meshtest.Alpha: gateway.Manual, meshtest.Beta: gateway.Closed}})
	r := newResident(t, "c193@alpha.example")
	d := alphaDoor(t, m)
	for i := range 2 {
		var answer mesh.CreateResponse
		o := r.device.byDevice(t, d).exchange(t, mesh.TagCreateAccount, r.creation(t), &answer).is(t, fmt.Sprint("manual, call ", i), 300, 5)
		if o.http != 200 || answer.Reason == "" || !strings.HasPrefix(answer.URL, "https://") {
			t.Errorf("HTTP %d, Reason %q, URL %q", o.http, answer.Reason, answer.URL)
		}
	}
	for _, tag := range []string{mesh.TagStatus, mesh.TagDownload, mesh.TagUpload} {
		r.device.at(d, r.addresses[0]).exchange(t, tag, mesh.StatusRequest{}, nil).is(t, tag+" of a pending account", 401, 5)
	}
	s := newResident(t, "c192@beta.example")
	s.device.byDevice(t, doorOf(t, m.Provider(t, meshtest.Beta))).exchange(t, mesh.TagCreateAccount, s.creation(t), nil).is(t, "closed", 401, 8)
}
