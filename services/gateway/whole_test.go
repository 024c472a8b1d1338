package gateway_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/gateway"
	"github.com/mathmesh/meshd/services/internal/meshtest"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/internal/stack"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// These tests speak to gateways with real shards behind them, by MAKE-1 itself: what pkg/client would never send too.

// front is a service as a client reaches it.
type front struct {
	domain, url string
	s           keys.PublicKey
	http        *http.Client
}

func frontOf(t *testing.T, p stack.ProviderState) *front {
	t.Helper()
	k, err := mesh.LoadGateway(p.Provider)
	if err != nil {
		t.Fatal(err)
	}
	return &front{domain: p.Domain, url: p.Endpoint, s: k.Authentication[0].Public(), http: meshtest.HTTP(t, p)}
}

func (f *front) send(t *testing.T, body []byte) (*http.Response, []byte) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Host = f.domain
	r.Header.Set("Content-Type", "application/json")
	resp, err := f.http.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, answer
}

// person has a mesh, an account and a device.
type person struct {
	mesh           *mesh.MeshSecrets
	profileMesh    *dare.Envelope
	account        *mesh.AccountSecrets
	profileAccount *dare.Envelope
	udf            string
	addresses      []string
	device         *device
}

// device is a device with its place in an account.
type device struct {
	secrets *mesh.DeviceSecrets
	profile *dare.Envelope
	entry   *mesh.CatalogedDevice
	member  *mesh.Membership
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newPerson(t *testing.T, addresses ...string) *person {
	t.Helper()
	p := &person{addresses: addresses}
	p.mesh = must[*mesh.MeshSecrets](t)(mesh.NewMeshSecrets())
	p.account = must[*mesh.AccountSecrets](t)(mesh.NewAccountSecrets())
	p.profileMesh = must[*dare.Envelope](t)(p.mesh.ProfileMesh(time.Now()))
	owner := must[*mesh.ProfileMesh](t)(mesh.VerifyProfileMesh(p.profileMesh))
	p.profileAccount = must[*dare.Envelope](t)(p.account.ProfileAccount(p.mesh, mesh.AccountOptions{Addresses: addresses, Mesh: owner, Now: time.Now()}))
	p.udf = must[*mesh.ProfileAccount](t)(mesh.VerifyProfileAccount(p.profileAccount, owner)).UDF()
	p.device = p.admit(t, mesh.Rights()...)
	return p
}

// admit makes a device of the account, with these rights.
func (p *person) admit(t *testing.T, rights ...mesh.RightName) *device {
	t.Helper()
	d := &device{secrets: mesh.NewDeviceSecrets()}
	d.profile = must[*dare.Envelope](t)(d.secrets.ProfileDevice("a device", time.Now()))
	a := mesh.Admission{
		Mesh: p.mesh, ProfileMesh: p.profileMesh, Account: p.account, ProfileAccount: p.profileAccount, ProfileDevice: d.profile, Rights: rights, Now: time.Now(),
	}
	d.entry = must[*mesh.CatalogedDevice](t)(a.CatalogedDevice())
	d.member = must[*mesh.Membership](t)(mesh.Activate(d.secrets, d.entry, p.udf))
	return d
}

// update is the mmm_Device update that lets the device in.
func (d *device) update(t *testing.T) mesh.ContainerUpdate {
	t.Helper()
	payload := must[[]byte](t)(jbcd.Tag(mesh.TagCatalogedDevice, d.entry))
	e := must[*dare.Envelope](t)(dare.New(payload, dare.Options{
		Header: dare.Header{EnvelopeID: d.entry.DeviceUDF}, Meta: &dare.ContentMeta{UniqueID: d.entry.DeviceUDF, Event: "New"}, Digest: true,
	}))
	return mesh.ContainerUpdate{Container: mesh.CatalogDevice, Envelopes: []*dare.Envelope{e}}
}

func (p *person) createRequest(t *testing.T, address string) *mesh.CreateRequest {
	t.Helper()
	return &mesh.CreateRequest{
		AccountAddress: address, SignedProfileMesh: p.profileMesh, SignedAssertionAccount: p.profileAccount,
		Updates: []mesh.ContainerUpdate{p.device.update(t)},
	}
}

// caller asks a service with a credential.
type caller struct {
	*front
	key    *keys.PrivateKey
	cred   make1.Credential
	ticket *make1.Ticket
}

func (d *device) at(f *front, address string) *caller {
	return &caller{front: f, key: d.member.Authentication, cred: make1.Credential{Mode: make1.Profile, Account: address, Envelopes: []*dare.Envelope{d.member.Credential}}}
}

// presenting shows the profiles too, as an account of another service does.
func (p *person) presenting(f *front, address string) *caller {
	c := p.device.at(f, address)
	c.cred.Envelopes = append(c.cred.Envelopes, p.profileAccount, p.profileMesh)
	return c
}

func (d *device) byDevice(t *testing.T, f *front) *caller {
	t.Helper()
	key := must[*keys.PrivateKey](t)(d.secrets.Authentication())
	return &caller{front: f, key: key, cred: make1.Credential{Mode: make1.Device, Envelopes: []*dare.Envelope{d.profile}}}
}

// reply is an opened answer.
type reply struct {
	mesh.Response
	how    string // sealed or hint
	http   int
	ticket *make1.Ticket
}

func (r *reply) is(t *testing.T, what string, status, extended int64) {
	t.Helper()
	if r.Status != status || r.StatusExtended != extended || r.how != "sealed" {
		t.Errorf("%s: %d/%d %s (%s, HTTP %d), want %d/%d", what, r.Status, r.StatusExtended, r.StatusDescription, r.how, r.http, status, extended)
	}
}

// exchange asks by a fresh exchange and keeps the ticket.
func (c *caller) exchange(t *testing.T, tag string, request any, into mesh.ResponseMessage) *reply {
	t.Helper()
	client := &make1.Client{Domain: c.domain, S: c.s, Holder: keys.NewRing(c.key), AuthKID: c.key.KID()}
	e, pending, err := client.Exchange(c.cred, must[[]byte](t)(mesh.EncodeRequest(tag, request)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	r := c.open(t, must[[]byte](t)(e.MarshalJBCD()), pending, into)
	if r.ticket != nil {
		c.ticket = r.ticket
	}
	return r
}

// byTicket asks by the ticket kept.
func (c *caller) byTicket(t *testing.T, tag string, request any, into mesh.ResponseMessage) *reply {
	t.Helper()
	if c.ticket == nil {
		t.Fatal("no ticket")
	}
	body, pending := c.sealed(t, tag, request)
	return c.open(t, body, pending, into)
}

func (c *caller) sealed(t *testing.T, tag string, request any) ([]byte, *make1.Pending) {
	t.Helper()
	e, pending, err := c.ticket.Seal(must[[]byte](t)(mesh.EncodeRequest(tag, request)), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return must[[]byte](t)(e.MarshalJBCD()), pending
}

func (f *front) open(t *testing.T, body []byte, pending *make1.Pending, into mesh.ResponseMessage) *reply {
	t.Helper()
	resp, answer := f.send(t, body)
	r := &reply{how: "sealed", http: resp.StatusCode}
	if into == nil {
		into = new(mesh.Response)
	}
	var payload []byte
	a, err := pending.Open(must[*dare.Envelope](t)(dare.Parse(answer)))
	if err == nil {
		payload, r.ticket = a.Payload, a.Ticket
	} else {
		var h *make1.Hint
		if !errors.As(err, &h) {
			t.Fatalf("HTTP %d: %v", resp.StatusCode, err)
		}
		payload, r.how = h.Payload, "hint"
	}
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		t.Fatal(err)
	}
	if tag == mesh.TagMeshResponse {
		err = jbcd.Unmarshal(body, into.Base())
	} else {
		_, err = mesh.DecodeResponse(payload, into)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, payload)
	}
	r.Response = *into.Base()
	return r
}

func (p *person) create(t *testing.T, f *front) *caller {
	t.Helper()
	p.device.byDevice(t, f).exchange(t, mesh.TagCreateAccount, p.createRequest(t, p.addresses[0]), new(mesh.CreateResponse)).is(t, "CreateAccount", 201, 0)
	return p.device.at(f, p.addresses[0])
}

func account(address string) mesh.RequestUser { return mesh.RequestUser{Account: address} }

// Covers C-151, D-09, R-28: one account under several names.
func TestAddresses(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}})
	f := frontOf(t, m.Provider(t, meshtest.Alpha))
	const first, second = "alice@alpha.example", "alicia@alpha.example"
	p := newPerson(t, first, second)
	c := p.create(t, f)
	p.device.byDevice(t, f).exchange(t, mesh.TagCreateAccount, p.createRequest(t, second), new(mesh.CreateResponse)).is(t, "second address", 201, 0)

	status := func(what, name string, code, extended int64) *reply {
		t.Helper()
		r := c.exchange(t, mesh.TagStatus, mesh.StatusRequest{RequestUser: account(name)}, new(mesh.StatusResponse))
		r.is(t, what, code, extended)
		return r
	}
	strong := "alice@mm--" + strings.ToLower(p.udf) + ".alpha.example"
	status("no Account", "", 201, 0)
	status("the same", first, 201, 0)
	status("capitals", "ALICE@Alpha.Example", 201, 0)
	status("strong form", strong, 201, 0)
	status("strong form of another", "alice@mm--"+p.device.entry.DeviceUDF+".alpha.example", 401, 8)
	status("somebody else", "bob@alpha.example", 401, 8)
	status("no address", "alice", 401, 8)
	if r := status("second address", second, 303, 20); r.StatusDescription != first {
		t.Errorf("the redirect names %q", r.StatusDescription)
	}
	r := p.device.at(f, second).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse))
	if r.is(t, "credential of the second address", 303, 20); r.StatusDescription != first {
		t.Errorf("the redirect names %q", r.StatusDescription)
	}
	p.device.at(f, strong).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "credential in strong form", 201, 0)

	q := newPerson(t, "bob@alpha.example")
	q.device.at(f, first).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "another's connection", 401, 7)
	q.presenting(f, first).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "another's profiles", 401, 7)
	q.presenting(f, q.addresses[0]).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "profiles of an account that does not exist", 401, 7)
	q.device.at(f, q.addresses[0]).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "connection of an account that does not exist", 401, 7)
	if r := q.presenting(f, q.addresses[0]).exchange(t, mesh.TagHello, mesh.HelloRequest{}, nil); r.ticket != nil {
		t.Error("a ticket for an account that does not exist")
	}
	// Form (b) of R-12: presented profiles count for CreateAccount alone, and the ticket is one of the account.
	byProfile := q.presenting(f, q.addresses[0])
	request := q.createRequest(t, q.addresses[0])
	request.Updates = nil
	byProfile.exchange(t, mesh.TagCreateAccount, q.createRequest(t, "carol@alpha.example"), nil).is(t, "an address that the profile does not name", 400, 6)
	byProfile.exchange(t, mesh.TagCreateAccount, request, new(mesh.CreateResponse)).is(t, "CreateAccount in profile mode", 201, 0)
	byProfile.byTicket(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "Status by its ticket", 201, 0)
	byProfile.byTicket(t, mesh.TagCreateAccount, request, new(mesh.CreateResponse)).is(t, "the same by ticket", 201, 0)
	byProfile.byTicket(t, mesh.TagCreateAccount, p.createRequest(t, first), nil).is(t, "another's address by ticket", 401, 8)
}

// Covers C-192 and D-14: who may create accounts.
func TestPolicies(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{Policies: map[string]gateway.Policy{meshtest.Alpha: gateway.Manual, meshtest.Beta: gateway.Closed}})
	manual, closed := frontOf(t, m.Provider(t, meshtest.Alpha)), frontOf(t, m.Provider(t, meshtest.Beta))
	p := newPerson(t, "alice@alpha.example")
	for i := range 2 {
		var r mesh.CreateResponse
		got := p.device.byDevice(t, manual).exchange(t, mesh.TagCreateAccount, p.createRequest(t, p.addresses[0]), &r)
		got.is(t, fmt.Sprint("manual, call ", i), 300, 5)
		if got.http != 200 || r.Reason == "" || !strings.HasPrefix(r.URL, "https://alpha.example/") {
			t.Errorf("HTTP %d, Reason %q, URL %q", got.http, r.Reason, r.URL)
		}
	}
	p.device.at(manual, p.addresses[0]).exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "Status of a pending account", 401, 5)
	q := newPerson(t, "bob@beta.example")
	q.device.byDevice(t, closed).exchange(t, mesh.TagCreateAccount, q.createRequest(t, q.addresses[0]), nil).is(t, "closed", 401, 8)
}

// Rows of PROTOCOL §1.6 in profile mode and by its tickets, of this service's accounts and of another's. Covers C-050,
// C-062, C-063, C-195, and that what is not built says so to those who may ask.
func TestProfileMode(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{})
	f, other := frontOf(t, m.Provider(t, meshtest.Alpha)), frontOf(t, m.Provider(t, meshtest.Beta))
	p := newPerson(t, "alice@alpha.example")
	c := p.create(t, f)
	c.exchange(t, mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse)).is(t, "Hello", 201, 0)
	away := p.presenting(other, p.addresses[0])
	r := away.exchange(t, mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse))
	r.is(t, "Hello at another service", 201, 0)
	if life := time.Until(r.ticket.NotOnOrAfter); life > 15*time.Minute {
		t.Errorf("the ticket of a foreign account lives %s", life)
	}
	p.device.at(other, p.addresses[0]).exchange(t, mesh.TagHello, mesh.HelloRequest{}, nil).is(t, "Hello at another service without profiles", 401, 7)

	for _, row := range []struct {
		tag                       string
		exchange, ticket, foreign int64 // extended codes; 0: 201
	}{
		{mesh.TagStatus, 0, 0, 8},
		{mesh.TagDownload, 0, 0, 8},
		{mesh.TagUpload, 0, 0, 8},
		{mesh.TagPublish, 24, 24, 8},
		{mesh.TagConnect, 8, 8, 8},
		{mesh.TagComplete, 24, 24, 24},
		{mesh.TagClaim, 24, 24, 24},
		{mesh.TagPollClaim, 24, 24, 24},
		{mesh.TagCreateGroup, 24, 24, 8},
		{mesh.TagOperate, 24, 24, 24},
	} {
		check := func(how string, got *reply, extended int64) {
			t.Helper()
			status := map[int64]int64{0: 201, 8: 401, 24: 400}[extended]
			got.is(t, row.tag+" by "+how, status, extended)
		}
		request := mesh.Request{ID: []byte(row.tag + "sixteen octets ")[:16]}
		check("profile", c.exchange(t, row.tag, request, into(row.tag)), row.exchange)
		check("ticket", c.byTicket(t, row.tag, request, into(row.tag)), row.ticket)
		check("a foreign profile", away.exchange(t, row.tag, request, into(row.tag)), row.foreign)
		check("a foreign profile's ticket", away.byTicket(t, row.tag, request, into(row.tag)), row.foreign)
	}

	deletion := mesh.DeleteRequest{RequestUser: account(p.addresses[0])}
	plain := p.admit(t, mesh.RightBookmark)
	c.byTicket(t, mesh.TagUpload, mesh.UploadRequest{Updates: []mesh.ContainerUpdate{plain.update(t)}}, new(mesh.UploadResponse)).is(t, "admitting a device", 201, 0)
	d := plain.at(f, p.addresses[0])
	d.exchange(t, mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse)).is(t, "Hello of the other device", 201, 0)
	d.byTicket(t, mesh.TagDeleteAccount, deletion, nil).is(t, "DeleteAccount without Admin", 401, 8)
	c.ticket = nil
	c.exchange(t, mesh.TagDeleteAccount, deletion, nil).is(t, "DeleteAccount under an exchange", 401, 9)
	away.byTicket(t, mesh.TagDeleteAccount, deletion, nil).is(t, "DeleteAccount at another service", 401, 8)
	c.byTicket(t, mesh.TagDeleteAccount, deletion, new(mesh.DeleteResponse)).is(t, "DeleteAccount by the ticket of the refusal", 201, 0)
	c.exchange(t, mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse)).is(t, "Hello of a tombstone's device", 201, 0)
	c.byTicket(t, mesh.TagDeleteAccount, deletion, new(mesh.DeleteResponse)).is(t, "DeleteAccount once more", 201, 0)
	c.byTicket(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "Status of a tombstone", 404, 3)
}

func into(tag string) mesh.ResponseMessage {
	switch tag {
	case mesh.TagStatus:
		return new(mesh.StatusResponse)
	case mesh.TagDownload:
		return new(mesh.DownloadResponse)
	case mesh.TagUpload:
		return new(mesh.UploadResponse)
	}
	return nil
}

// A device may show its connection to the mesh instead of that to the account.
func TestMeshConnection(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}})
	f := frontOf(t, m.Provider(t, meshtest.Alpha))
	p := newPerson(t, "alice@alpha.example")
	p.create(t, f)
	encryption := must[*keys.PrivateKey](t)(p.device.secrets.Encryption())
	plain := must[[]byte](t)(p.device.entry.EnvelopedActivationDevice.Open(keys.NewRing(encryption)))
	_, body, err := jbcd.Tagged(plain)
	if err != nil {
		t.Fatal(err)
	}
	var activation mesh.ActivationDevice
	if err := jbcd.Unmarshal(body, &activation); err != nil {
		t.Fatal(err)
	}
	base := must[*keys.PrivateKey](t)(p.device.secrets.Authentication())
	key := must[*keys.PrivateKey](t)(base.Add(must[*keys.PrivateKey](t)(keys.Derive(activation.ActivationKey, keys.X448, "Authenticate"))))
	c := &caller{front: f, key: key, cred: make1.Credential{
		Mode: make1.Profile, Account: p.addresses[0], Envelopes: []*dare.Envelope{p.device.entry.EnvelopedConnectionDevice, p.profileMesh},
	}}
	c.exchange(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "Status", 201, 0)
	c.byTicket(t, mesh.TagStatus, mesh.StatusRequest{}, new(mesh.StatusResponse)).is(t, "Status by ticket", 201, 0)
	q := newPerson(t, "bob@alpha.example")
	c.cred.Envelopes = []*dare.Envelope{q.device.entry.EnvelopedConnectionDevice, q.profileMesh}
	c.exchange(t, mesh.TagStatus, mesh.StatusRequest{}, nil).is(t, "another's mesh", 401, 7)
}

// another is a second gateway of a provider: it shares keys and ring with who has the same ring, and nothing else.
func another(t *testing.T, m *meshtest.Mesh, domain string, ring *make1.Ring) *front {
	t.Helper()
	p := m.Provider(t, domain)
	k := must[*mesh.GatewayKeys](t)(mesh.LoadGateway(p.Provider))
	tel := must[*telemetry.Telemetry](t)(telemetry.New(t.Context(), telemetry.Options{Role: "gateway", Out: t.Output(), Level: "warn"}))
	id := must[*rpc.Identity](t)(rpc.OpenIdentity(filepath.Join(p.PKI, "gateway.pem"), filepath.Join(p.PKI, "gateway-key.pem"), filepath.Join(p.PKI, "ca.pem"), tel.Log))
	source := must[*shardmap.File](t)(shardmap.OpenFile(p.ShardMap))
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	ca := must[*rpc.CA](t)(rpc.NewCA("a test", time.Now()))
	certPEM, keyPEM, err := ca.IssueServer([]string{domain}, nil, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	cert := must[tls.Certificate](t)(tls.X509KeyPair(certPEM, keyPEM))
	g, err := stack.StartGateway(t.Context(), stack.GatewayParts{
		Domains: []gateway.Domain{stack.GatewayDomain(k, func() *make1.Ring { return ring }, gateway.Open)},
		Map:     source, Identity: id, Telemetry: tel, TLS: &tls.Config{Certificates: []tls.Certificate{cert}}, Listener: l,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	// Who the gateway is shows MAKE-1; its certificate is another test's matter.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &front{domain: domain, url: "https://" + l.Addr().String() + "/.well-known/mmm", s: k.Authentication[0].Public(), http: &http.Client{Transport: transport}}
}

// Covers C-062, C-064, C-145: gateways hold nothing. A ticket is good at each, a replay has no second effect at any.
func TestTwoGateways(t *testing.T) {
	m := meshtest.Start(t, meshtest.Options{Domains: []string{meshtest.Alpha}})
	ring := must[*make1.Ring](t)(make1.NewRing([]make1.RingEntry{make1.NewRingEntry(time.Now().Add(-time.Minute))}))
	one, two := another(t, m, meshtest.Alpha, ring), another(t, m, meshtest.Alpha, ring)
	p := newPerson(t, "alice@alpha.example")
	c := p.create(t, one)
	c.exchange(t, mesh.TagHello, mesh.HelloRequest{}, new(mesh.MeshHelloResponse)).is(t, "Hello", 201, 0)

	bookmark := must[*dare.Envelope](t)(dare.New([]byte("x"), dare.Options{Meta: &dare.ContentMeta{UniqueID: "a", Event: "New"}, Digest: true}))
	request := mesh.UploadRequest{Updates: []mesh.ContainerUpdate{{Container: mesh.CatalogBookmark, Envelopes: []*dare.Envelope{bookmark}}}}
	body, pending := c.sealed(t, mesh.TagUpload, request)
	var first, stored mesh.UploadResponse
	one.open(t, body, pending, &first).is(t, "Upload", 201, 0)
	one.open(t, body, pending, nil).is(t, "the same octets at the same gateway", 401, 11)
	two.open(t, body, pending, &stored).is(t, "the same octets at the other gateway", 201, 0)
	if d := cmp.Diff(first.Entries, stored.Entries); d != "" {
		t.Errorf("another outcome (-first +replay)\n%s", d)
	}
	c.front = two
	var s mesh.StatusResponse
	c.byTicket(t, mesh.TagStatus, mesh.StatusRequest{Catalogs: []string{"mmm_CatalogBookmark"}}, &s).is(t, "Status by the ticket of the other gateway", 201, 0)
	if len(s.ContainerStatus) == 1 && (s.ContainerStatus[0].Container != mesh.CatalogBookmark || *s.ContainerStatus[0].Index != 2) {
		t.Errorf("%+v, want two frames", s.ContainerStatus)
	} else if len(s.ContainerStatus) != 1 {
		t.Errorf("%d containers, want the one that the alias names", len(s.ContainerStatus))
	}
	c.byTicket(t, mesh.TagStatus, mesh.StatusRequest{Catalogs: []string{"mmm_Nonsense"}}, &s).is(t, "Status of nothing", 201, 0)

	// Another ring, as after its loss: the client is told to make an exchange.
	lost := another(t, m, meshtest.Alpha, must[*make1.Ring](t)(make1.NewRing([]make1.RingEntry{make1.NewRingEntry(time.Now().Add(-time.Minute))})))
	body, pending = c.sealed(t, mesh.TagStatus, mesh.StatusRequest{})
	if r := lost.open(t, body, pending, nil); r.how != "hint" || r.Status != 401 || r.StatusExtended != 10 {
		t.Errorf("ticket of another ring: %d/%d, %s", r.Status, r.StatusExtended, r.how)
	}
}
