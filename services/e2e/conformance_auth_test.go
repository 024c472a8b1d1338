package e2e

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/vectors"
	"github.com/mathmesh/meshd/services/internal/meshtest"
)

// §4.3: who is believed, and what is said to those who are not.
func TestConformanceAuthentication(t *testing.T) {
	onSQLite(t, []row{
		{"C-049, C-052, C-057", unauthenticated},
		{"C-050, C-059, C-060", modes},
		{"C-053", tamperedAnswers},
		{"C-056, C-057", nullHellos},
		{"C-061", foreignAssertions},
		{"C-062, C-145", ticketElsewhere},
		{"C-063 expiry", ticketExpiry},
		{"C-063 revocation", revocation},
		{"C-064", replays},
		{"C-010, C-147", order},
	})
}

// C-052, C-057: thirteen transactions without authentication, in each form that there is: 401/7, a hint, and nothing done.
func unauthenticated(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	r, c := settle(t, m, "c052")
	before := c.states(t)
	tags := mesh.Transactions()[1:]
	if len(tags) != 13 {
		t.Fatalf("%d transactions", len(tags))
	}
	for _, tag := range tags {
		payload := `{"` + tag + `":{"Account":"` + r.addresses[0] + `","AccountAddress":"` + r.addresses[0] + `"}}`
		text := base64.RawURLEncoding.EncodeToString([]byte(payload))
		for _, body := range []string{`[{},"` + text + `"]`, `[{},"` + text + `",{}]`, payload} { // the last: C-049
			if o := d.hint(t, body); o.tag != mesh.TagMeshResponse {
				t.Errorf("%s: a %s", tag, o.tag)
			} else {
				o.says(t, tag, 401, 7)
			}
		}
	}
	// A signature is no authentication of a request, and neither is a name.
	e := must[*dare.Envelope](t)(dare.New([]byte(`{"Status":{}}`), dare.Options{Holder: keys.NewRing(r.device.member.Signature), SignKIDs: []string{r.device.member.Signature.KID()}}))
	d.hint(t, string(must[[]byte](t)(e.MarshalJBCD()))).says(t, "a signed Status", 401, 7)
	d.hint(t, `[{"kid":"`+r.device.member.Authentication.KID()+`"},"e30"]`).says(t, "a kid without ticket", 401, 7)
	if diff := cmp.Diff(before, c.states(t)); diff != "" {
		t.Errorf("the account changed (-before +after)\n%s", diff)
	}
}

// C-050: the same transaction by device, profile and ticket, where each is permitted. C-059, C-060: what a device alone may do.
func modes(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	r := newResident(t, "c050@alpha.example")
	stranger := r.device.byDevice(t, d)
	bare := r.creation(t)
	bare.Updates = nil
	stranger.exchange(t, mesh.TagCreateAccount, bare, nil).is(t, "C-059 CreateAccount with a ProfileDevice only", 401, 8)
	stranger.exchange(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: byAccount(r.addresses[0])}, nil).is(t, "C-060 Status by an unknown device", 401, 8)
	stranger.exchange(t, mesh.TagConnect, mesh.ConnectRequest{}, nil).is(t, "C-060 Connect by an unknown device, of a later build", 400, 24)
	stranger.call(t, mesh.TagConnect, mesh.ConnectRequest{}, nil).is(t, "Connect by a ticket", 401, 8)
	other := newResident(t, "c050b@alpha.example")
	wrong := r.creation(t)
	wrong.Updates[0] = other.device.update(t, "New")
	stranger.exchange(t, mesh.TagCreateAccount, wrong, nil).is(t, "C-059 CreateAccount with the entry of another device", 401, 8)

	c := r.moveIn(t, d) // C-059: device mode with the CatalogedDevice
	for how, ask := range map[string]func(tag string, v any, into mesh.ResponseMessage) *outcome{
		"device":        func(tag string, v any, into mesh.ResponseMessage) *outcome { return stranger.exchange(t, tag, v, into) },
		"device ticket": func(tag string, v any, into mesh.ResponseMessage) *outcome { return stranger.call(t, tag, v, into) },
		"profile":       func(tag string, v any, into mesh.ResponseMessage) *outcome { return c.exchange(t, tag, v, into) },
		"ticket":        func(tag string, v any, into mesh.ResponseMessage) *outcome { return c.call(t, tag, v, into) },
	} {
		ask(mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse)).is(t, "Hello by "+how, 201, 0)
		status, extended := int64(201), int64(0)
		if strings.HasPrefix(how, "device") {
			status, extended = 401, 8
		}
		ask(mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "Status by "+how, status, extended)
		ask(mesh.TagDownload, mesh.DownloadRequest{}, new(mesh.DownloadResponse)).is(t, "Download by "+how, status, extended)
		ask(mesh.TagUpload, mesh.UploadRequest{}, new(mesh.UploadResponse)).is(t, "Upload by "+how, status, extended)
	}
}

// C-053: no bit of a response can be another, and nobody but the service can answer.
func tamperedAnswers(t *testing.T, m *meshtest.Mesh) {
	_, c := settle(t, m, "c053")
	answers := map[string]*sealed{
		"ticket response":   c.sealTicket(t, request(t, mesh.TagPost, mesh.PostRequest{}), time.Now()),
		"exchange response": c.sealExchange(t, request(t, mesh.TagPost, mesh.PostRequest{})),
		"sealed refusal":    c.sealTicket(t, request(t, mesh.TagHello, mesh.HelloRequest{}), time.Now().Add(-time.Hour)),
	}
	bodies := make(map[string][]byte)
	for name, s := range answers {
		_, body := c.post(t, s.body)
		if _, err := s.pending.Open(must[*dare.Envelope](t)(dare.Parse(body))); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		bodies[name] = body
		stride := 1
		if name == "exchange response" { // each costs four agreements
			stride = 5
		}
		for bit := 0; bit < 8*len(body); bit += stride {
			changed := append([]byte(nil), body...)
			changed[bit/8] ^= 1 << (bit % 8)
			e, err := dare.Parse(changed)
			if err != nil {
				continue
			}
			if a, err := s.pending.Open(e); err == nil {
				t.Errorf("%s: bit %d of octet %d (%q) was flipped and the client reads %s", name, bit%8, bit/8, body[bit/8], a.Payload)
			} else if h := new(make1.Hint); errors.As(err, &h) && h.Code.Status < 400 {
				t.Errorf("%s: bit %d makes a hint of %v", name, bit, h.Code)
			}
		}
	}
	// The authentic answer to another request, also to one of the same content.
	for name, body := range bodies {
		for other, s := range answers {
			if _, err := s.pending.Open(must[*dare.Envelope](t)(dare.Parse(body))); (err == nil) != (name == other) {
				t.Errorf("the %s as answer to the request for the %s: %v", name, other, err)
			}
		}
	}
	// Another service's key: the gateway of beta, published under alpha's name, cannot answer a client that knows alpha's S.
	beta := m.Provider(t, meshtest.Beta)
	k := must[*mesh.GatewayKeys](t)(mesh.LoadGateway(beta.Provider))
	k.Domain = meshtest.Alpha
	thief := serveGateway(t, beta, time.Now, serviceOf(k, newTicketRing(t)))
	for name, s := range answers {
		_, body := thief.post(t, s.body)
		_, err := s.pending.Open(must[*dare.Envelope](t)(dare.Parse(body)))
		var h *make1.Hint
		if !errors.As(err, &h) || h.Code.Status != 401 {
			t.Errorf("%s from another service: %v", name, err)
		}
	}
	// And a client with alpha's ProfileService pinned does not take beta's for it.
	config := client.Config{
		Dir: t.TempDir(), HTTP: thief.http, Services: map[string]string{meshtest.Alpha: thief.url},
		Pins: map[string]string{meshtest.Alpha: must[*client.ServiceInfo](t)(client.Hello(t.Context(), client.Config{Dir: t.TempDir(), StateFile: m.StateFile}, meshtest.Alpha)).ServiceUDF},
	}
	if _, err := client.Hello(t.Context(), config, meshtest.Alpha); err == nil {
		t.Error("the Hello of another service was believed")
	}
}

// C-056, C-057: a Hello needs nothing; its answer is signed by the host and echoes the ID.
func nullHellos(t *testing.T, m *meshtest.Mesh) {
	d := alphaDoor(t, m)
	id := base64.RawURLEncoding.EncodeToString([]byte("sixteen octets !"))
	wrap := func(payload string) string { return base64.RawURLEncoding.EncodeToString([]byte(payload)) }
	for body, want := range map[string]string{
		draftHello:      "",
		`{"Hello": {}}`: "",
		`[{},"` + wrap(`{"Hello":{"ID":"`+id+`"}}`) + `"]`:                                     "sixteen octets !",
		`[{"cty":"application/json"},"` + wrap(`{"Hello":{"ID":"`+id+`"}}`) + `",{}]`:          "sixteen octets !",
		"\n{ \"Hello\" : {\"ID\":\"" + id + "\", \"Service\":\"mmm\", \"Unheard\":[{}]} }\r\n": "sixteen octets !",
	} {
		resp, answer := d.post(t, []byte(body))
		if resp.StatusCode != 201 {
			t.Errorf("%s: HTTP %d", body, resp.StatusCode)
			continue
		}
		h, e := readHello(t, answer)
		if string(h.ID) != want {
			t.Errorf("%s: ID %q, want %q", body, h.ID, want)
		}
		if n := len(must[[]dare.Signature](t)(e.Signatures())); n != 1 {
			t.Errorf("%s: %d signatures", body, n)
		}
	}
}

// C-061: the connection assertion must be one by the account's own key, for the key that speaks.
func foreignAssertions(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c061")
	address := r.addresses[0]
	status := func(c *caller) *outcome {
		t.Helper()
		return c.exchange(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse))
	}
	status(c).is(t, "its ConnectionAccount", 201, 0)
	mallory := newResident(t, "c061m@alpha.example")
	status(mallory.device.at(c.door, address)).is(t, "a ConnectionAccount by a foreign key", 401, 7)
	stolen := mallory.device.at(c.door, address)
	stolen.cred.Envelopes = c.cred.Envelopes
	status(stolen).is(t, "another's ConnectionAccount", 401, 7)
	presented := mallory.device.at(c.door, address)
	presented.cred.Envelopes = append(presented.cred.Envelopes, mallory.profileAccount, mallory.profileMesh)
	status(presented).is(t, "with profiles of its own", 401, 7)
	none := r.device.at(c.door, address)
	none.cred.Envelopes = nil
	status(none).is(t, "no assertion", 401, 7)
	spoilt := r.device.at(c.door, address)
	e := *spoilt.cred.Envelopes[0]
	e.Payload = []byte(strings.Replace(string(e.Payload), `"`, `" `, 1))
	spoilt.cred.Envelopes = []*dare.Envelope{&e}
	status(spoilt).is(t, "an assertion that was changed", 401, 7)
	// One that was never put into mmm_Device is an assertion of the account, and no device of it.
	ghost := r.admit(t, mesh.NewDeviceSecrets(), mesh.RightAll).at(c.door, address)
	status(ghost).is(t, "a device that mmm_Device does not have", 401, 8)
}

// C-062, C-145: a ticket request names no key of the service, and any gateway of the provider takes it.
func ticketElsewhere(t *testing.T, m *meshtest.Mesh) {
	p := m.Provider(t, meshtest.Alpha)
	ring := newTicketRing(t)
	one, two := anotherGateway(t, p, ring, time.Now), anotherGateway(t, p, ring, time.Now)
	r := newResident(t, "c062@alpha.example")
	c := r.moveIn(t, one)
	s := c.sealTicket(t, request(t, mesh.TagStatus, mesh.StatusRequest{}), time.Now())
	h := must[*dare.Header](t)(s.envelope.ParseHeader())
	if len(h.Recipients) != 0 || h.KID == "" || len(h.Salt) <= 24 {
		t.Errorf("a ticket request with %d recipients, kid %q, Salt of %d", len(h.Recipients), h.KID, len(h.Salt))
	}
	o := two.send(t, s, new(mesh.StatusResponse)).is(t, "at the other gateway", 201, 0)
	answer := must[*dare.Header](t)(must[*dare.Envelope](t)(dare.Parse(o.raw)).ParseHeader())
	if len(answer.Recipients) != 0 || answer.KID != h.KID {
		t.Errorf("answered with %d recipients, kid %s", len(answer.Recipients), answer.KID)
	}
	c.door = two
	c.upload(t, "Upload at the other gateway", []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"))}, "A1")
	c.door = one
	if n, _ := c.state(t, mesh.CatalogBookmark); n != 2 {
		t.Errorf("%d frames at the first, want 2", n)
	}
	// The gateway of the provider that has another ring cannot open it, and says so without a seal.
	c.door = alphaDoor(t, m)
	if o := c.call(t, mesh.TagStatus, mesh.StatusRequest{}, nil); o.how != "hint" || o.Status != 401 || o.StatusExtended != 10 {
		t.Errorf("a ticket of another ring: %d/%d, %s", o.Status, o.StatusExtended, o.how)
	}
}

// C-063: a ticket ends when it says, by the clock of the service.
func ticketExpiry(t *testing.T, m *meshtest.Mesh) {
	start, clock := time.Now(), new(skew)
	d := anotherGateway(t, m.Provider(t, meshtest.Alpha), newTicketRing(t), clock.now)
	r := newResident(t, "c063@alpha.example")
	c := r.moveIn(t, d)
	life := c.ticket.NotOnOrAfter.Sub(start)
	if life > time.Hour+time.Minute || life < time.Hour-time.Minute {
		t.Errorf("a ticket lives %s, want 1 h", life)
	}
	for _, at := range []struct {
		later            time.Duration
		status, extended int64
	}{{life - 5*time.Second, 201, 0}, {life + time.Second, 401, 9}, {24 * time.Hour, 401, 9}} {
		clock.set(at.later)
		c.call(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "after "+at.later.String(), at.status, at.extended)
	}
	c.greet(t)
	c.call(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "with a new one", 201, 0)
}

// C-063: who is no device of the account any more is out at the next request, ticket or not.
func revocation(t *testing.T, m *meshtest.Mesh) {
	r, c := settle(t, m, "c063r")
	phone := r.admit(t, mesh.NewDeviceSecrets(), mesh.RightBookmark)
	c.upload(t, "admitting", []mesh.ContainerUpdate{phone.update(t, "New")}, "A2")
	p := phone.at(c.door, r.addresses[0]).greet(t)
	p.upload(t, "Upload", []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"))}, "A1")
	c.upload(t, "removing", []mesh.ContainerUpdate{phone.update(t, "Delete")}, "A3")
	p.call(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "ticket of a removed device", 401, 8)
	p.call(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(frame(t, "b", "New", "x"))}}, nil).is(t, "Upload by it", 401, 8)
	p.exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "exchange of a removed device", 401, 8)
	if n, _ := c.state(t, mesh.CatalogBookmark); n != 2 {
		t.Errorf("%d frames, want 2", n)
	}
}

// C-064: nothing has an effect twice.
func replays(t *testing.T, m *meshtest.Mesh) {
	p := m.Provider(t, meshtest.Alpha)
	ring := newTicketRing(t)
	one, two := anotherGateway(t, p, ring, time.Now), anotherGateway(t, p, ring, time.Now)
	r := newResident(t, "c064@alpha.example")
	c := r.moveIn(t, one)
	stale := func(what string, o *outcome) {
		t.Helper()
		if o.is(t, what, 401, 11); o.received == nil {
			t.Errorf("%s: a sealed refusal that does not tell the time", what)
		}
	}
	payload := request(t, mesh.TagUpload, mesh.UploadRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: []byte("sixteen octets !")}}, Updates: []mesh.ContainerUpdate{bookmarks(frame(t, "a", "New", "x"))},
	})
	captured := c.sealTicket(t, payload, time.Now())
	first := one.send(t, captured, new(mesh.UploadResponse)).is(t, "Upload", 201, 0)
	stale("identical octets at the same gateway", one.send(t, captured, nil))
	same := func(what string, o *outcome) {
		t.Helper()
		if o.is(t, what, 201, 0); string(o.payload) != string(first.payload) {
			t.Errorf("%s: %s, want %s", what, o.payload, first.payload)
		}
	}
	same("identical octets at the other gateway", two.send(t, captured, new(mesh.UploadResponse)))
	stale("and there again", two.send(t, captured, nil))
	same("new Salt, same ID", one.send(t, c.sealTicket(t, payload, time.Now()), new(mesh.UploadResponse)))
	same("same ID by an exchange", one.send(t, c.sealExchange(t, payload), new(mesh.UploadResponse)))
	stale("Salt 5 min old", one.send(t, c.sealTicket(t, payload, time.Now().Add(-5*time.Minute)), nil))
	stale("Salt of the future", one.send(t, c.sealTicket(t, payload, time.Now().Add(5*time.Minute)), nil))

	// Without an ID the random octets of the Salt stand in.
	nameless := c.sealTicket(t, request(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{bookmarks(frame(t, "b", "New", "x"))}}), time.Now())
	first = one.send(t, nameless, new(mesh.UploadResponse)).is(t, "Upload without ID", 201, 0)
	same("its octets at the other gateway", two.send(t, nameless, new(mesh.UploadResponse)))

	exchange := c.sealExchange(t, []byte(`{"Hello":{}}`))
	one.send(t, exchange, new(mesh.MeshHelloResponse)).is(t, "exchange", 201, 0)
	stale("exchange again", one.send(t, exchange, nil))
	if n, _ := c.state(t, mesh.CatalogBookmark); n != 3 {
		t.Errorf("%d frames after two uploads sent ten times, want 3", n)
	}
}

// C-010, C-147: there is no order. A client with keys from elsewhere begins with Status; Hello gives a ticket and needs none.
func order(t *testing.T, m *meshtest.Mesh) {
	r, _ := settle(t, m, "c147")
	fresh := r.device.at(alphaDoor(t, m), r.addresses[0])
	o := fresh.exchange(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse))
	if o.is(t, "Status as the first request", 201, 0); o.ticket == nil {
		t.Error("no ticket came with it")
	}
	fresh.call(t, mesh.TagDownload, mesh.DownloadRequest{}, new(mesh.DownloadResponse)).is(t, "its ticket", 201, 0)
	fresh.greet(t) // C-010
	fresh.call(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "the ticket of a Hello", 201, 0)
}

// makeVectors are the members of auth_vectors.json that a service can be asked with.
type makeVectors struct {
	Suite, Domain string
	Seeds         map[string]string `json:"private_seeds"`
	U             map[string]string `json:"public_u"`
	KeyUDF        map[string]string
	CK0, ES       string
	Request       struct{ Header, Ciphertext, TH string } `json:"exchange_request"`
}

// vectorKeys holds S of the vectors under its name there.
type vectorKeys struct {
	keys.Holder
	name string
	s    *keys.PrivateKey
}

func (h vectorKeys) Public(kid string) (keys.PublicKey, bool) {
	if kid == h.name {
		return h.s.Public(), true
	}
	return h.Holder.Public(kid)
}

func (h vectorKeys) Agree(kid string, peer keys.PublicKey) ([]byte, error) {
	if kid == h.name {
		return h.s.Agree(peer)
	}
	return h.Holder.Agree(kid, peer)
}

// C-051: the exchange request of the vectors, to the octet, at a gateway that has S of the vectors and stands at their time.
// Its credential has no profile, so the answer is a refusal under K_err, which is opened here by the formula of
// docs/divergences.md and the standard library alone: es, ck0 and th are those of the vectors. That the refusal is about the
// credential shows that S was agreed with and rkd opened; the accepting half of the vectors has its test in pkg/make1.
func TestConformanceVectors(t *testing.T) {
	t.Parallel()
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}, Shards: 1})
	p := m.Provider(t, meshtest.Alpha)
	var v makeVectors
	if err := json.Unmarshal(must[[]byte](t)(vectors.Raw("auth_vectors")), &v); err != nil {
		t.Fatal(err)
	}
	octets := func(text string) []byte { t.Helper(); return must[[]byte](t)(hex.DecodeString(text)) }
	s := must[*keys.PrivateKey](t)(keys.FromSecret(keys.X448, octets(v.Seeds["S"])))
	at := func() time.Time { return time.UnixMilli(1595862394000) }
	provider := must[*mesh.Provider](t)(mesh.NewProvider(v.Domain, at().Add(-time.Hour), 1))
	domain := serviceOf(provider.Gateway, must[*make1.Ring](t)(make1.NewRing([]make1.RingEntry{make1.NewRingEntry(at().Add(-time.Hour))})))
	domain.Keys, domain.Next = vectorKeys{domain.Keys, v.KeyUDF["S"], s}, append(domain.Next, v.KeyUDF["S"])
	d := serveGateway(t, p, at, domain)

	body := `[` + v.Request.Header + `,"` + base64.RawURLEncoding.EncodeToString(octets(v.Request.Ciphertext)) + `"]`
	resp, answer := d.post(t, []byte(body))
	e := must[*dare.Envelope](t)(dare.Parse(answer))
	h := must[*dare.Header](t)(e.ParseHeader())
	if resp.StatusCode != 401 || h.Enc != "A256GCM" || len(h.Salt) != 24 || h.Received == nil {
		t.Fatalf("HTTP %d, %s", resp.StatusCode, answer)
	}
	open := func(salt []byte) ([]byte, error) {
		info := "mmm-make1 error" + string(octets(v.U["E"])) + string(salt)
		k := must[[]byte](t)(hkdf.Key(sha512.New, octets(v.ES), octets(v.CK0), info, 44))
		gcm := must[cipher.AEAD](t)(cipher.NewGCM(must[cipher.Block](t)(aes.NewCipher(k[:32]))))
		return gcm.Open(nil, k[32:], e.Payload, append(append([]byte(nil), e.Header...), octets(v.Request.TH)...))
	}
	payload, err := open(h.Salt)
	if err != nil {
		t.Fatalf("the refusal does not open under the keys of the vectors: %v", err)
	}
	checkShape(t, payload)
	var r mesh.Response
	if _, err := mesh.DecodeResponse(payload, &r); err != nil || r.Status != 401 || r.StatusExtended != 7 {
		t.Errorf("%s, %v; want 401/7", payload, err)
	}
	if _, err := open(append([]byte{h.Salt[0] ^ 1}, h.Salt[1:]...)); err == nil {
		t.Error("it opens under another Salt too")
	}

	// C-051, C-052: a wrong S, or a client key that is not that of the credential.
	r2 := newResident(t, "c051@alpha.example")
	right := r2.device.byDevice(t, alphaDoor(t, m))
	right.exchange(t, mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse)).is(t, "right keys", 201, 0)
	wrongC := r2.device.byDevice(t, alphaDoor(t, m))
	wrongC.key = must[*keys.PrivateKey](t)(keys.Generate(keys.X448))
	if o := wrongC.exchange(t, mesh.TagHello, mesh.HelloRequest{}, nil).is(t, "wrong C", 401, 7); !o.refused || o.ticket != nil {
		t.Error("a wrong C is not refused under K_err")
	}
	wrongS := r2.device.byDevice(t, alphaDoor(t, m))
	wrongS.s = must[*keys.PrivateKey](t)(keys.Generate(keys.X448)).Public()
	if o := wrongS.exchange(t, mesh.TagHello, mesh.HelloRequest{}, nil); o.how != "hint" || o.Status != 401 || o.StatusExtended != 10 {
		t.Errorf("wrong S: %d/%d, %s; want a hint of 401/10", o.Status, o.StatusExtended, o.how)
	}
	// The name of S with another key under it: the service agrees with its own and nothing opens.
	forged := r2.device.byDevice(t, alphaDoor(t, m))
	forged.s = must[*keys.PrivateKey](t)(keys.Generate(keys.X448)).Public()
	sent := forged.sealExchange(t, []byte(`{"Hello":{}}`))
	header := strings.Replace(string(sent.envelope.Header), forged.s.KID(), right.s.KID(), 1)
	body = `[` + header + `,"` + base64.RawURLEncoding.EncodeToString(sent.envelope.Payload) + `"]`
	if resp, _ := forged.post(t, []byte(body)); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(header, right.s.KID()) {
		t.Errorf("another key under the name of S: HTTP %d", resp.StatusCode)
	}
}
