package shard_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"go.opentelemetry.io/otel/metric/noop"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
	"github.com/mathmesh/meshd/services/shard/sqlite"
)

const domain = "alpha.example"

// world is a shard on a real store, and the service encryption key as clients see it.
type world struct {
	*testing.T
	server  *shard.Server
	store   shard.Store
	path    string // of the store
	service *keys.PrivateKey
}

func newWorld(t *testing.T) *world {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s00.db")
	store, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	if err := store.SetPartitions(t.Context(), 0, shardmap.Partitions-1, shard.PartitionOpen, 1); err != nil {
		t.Fatal(err)
	}
	w := &world{T: t, store: store, path: path, service: generate(t, keys.X448)}
	w.server, err = shard.NewServer(shard.Config{
		Name:  "s00",
		Store: store,
		Keys:  map[string]keys.Holder{domain: keys.NewRing(w.service)},
		Log:   slog.New(slog.DiscardHandler),
		Meter: noop.NewMeterProvider(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func generate(t *testing.T, curve keys.Curve) *keys.PrivateKey {
	t.Helper()
	k, err := keys.Generate(curve)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// person has a mesh and an account, and admits devices.
type person struct {
	w       *world
	address string
	mesh    *mesh.MeshSecrets
	account *mesh.AccountSecrets

	profileMesh, profileAccount *dare.Envelope
	meshUDF, udf                string
	updated                     time.Time
	requests                    byte
}

// device is a device as its owner knows it.
type device struct {
	*person
	secrets *mesh.DeviceSecrets
	udf     string
	profile *dare.Envelope
	entry   *mesh.CatalogedDevice
	*mesh.Membership
}

func must[V any](t *testing.T) func(V, error) V {
	return func(v V, err error) V {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (w *world) person(address string) *person {
	w.Helper()
	p := &person{w: w, address: address}
	p.mesh = must[*mesh.MeshSecrets](w.T)(mesh.NewMeshSecrets())
	p.account = must[*mesh.AccountSecrets](w.T)(mesh.NewAccountSecrets())
	now := time.Now()
	p.updated = now
	p.profileMesh = must[*dare.Envelope](w.T)(p.mesh.ProfileMesh(now))
	profile := must[*mesh.ProfileMesh](w.T)(mesh.VerifyProfileMesh(p.profileMesh))
	p.profileAccount = must[*dare.Envelope](w.T)(p.account.ProfileAccount(p.mesh, mesh.AccountOptions{Addresses: []string{address}, Mesh: profile, Now: now}))
	account := must[*mesh.ProfileAccount](w.T)(mesh.VerifyProfileAccount(p.profileAccount, profile))
	p.meshUDF, p.udf = profile.UDF(), account.UDF()
	return p
}

// admit makes a device of the account, with rights.
func (p *person) admit(rights ...mesh.RightName) *device {
	p.w.Helper()
	return p.readmit(mesh.NewDeviceSecrets(), rights...)
}

func (p *person) readmit(secrets *mesh.DeviceSecrets, rights ...mesh.RightName) *device {
	p.w.Helper()
	t := p.w.T
	d := &device{person: p, secrets: secrets}
	d.profile = must[*dare.Envelope](t)(secrets.ProfileDevice("test", time.Now()))
	d.udf = must[*mesh.ProfileDevice](t)(mesh.VerifyProfileDevice(d.profile)).UDF()
	a := mesh.Admission{
		Mesh: p.mesh, ProfileMesh: p.profileMesh, Account: p.account, ProfileAccount: p.profileAccount,
		ProfileDevice: d.profile, Rights: rights, Now: time.Now(),
	}
	d.entry = must[*mesh.CatalogedDevice](t)(a.CatalogedDevice())
	d.Membership = must[*mesh.Membership](t)(mesh.Activate(secrets, d.entry, p.udf))
	return d
}

// caller is the device in profile mode, with a new request.
func (d *device) caller() *shardpb.Caller {
	d.requests++
	return &shardpb.Caller{
		Domain: domain, Mode: shardpb.Mode_MODE_PROFILE, Account: d.address, ProfileUdf: d.person.udf, DeviceUdf: d.udf,
		AuthKid: d.Authentication.KID(), RequestId: []byte{d.requests}, RequestDigest: []byte{d.requests, 1},
	}
}

// creator is the device in device mode.
func (d *device) creator() *shardpb.Caller {
	c := d.caller()
	c.Mode, c.Account, c.ProfileUdf = shardpb.Mode_MODE_DEVICE, "", ""
	c.AuthKid = must[*keys.PrivateKey](d.w.T)(d.secrets.Authentication()).KID()
	return c
}

func compact(t *testing.T, e *dare.Envelope) []byte {
	t.Helper()
	return must[[]byte](t)(jbcd.Marshal(e))
}

// creation asks for the account in device mode, with the entry of the device.
func (d *device) creation() *shardpb.CreateAccountRequest {
	t := d.w.T
	return &shardpb.CreateAccountRequest{
		Caller: d.creator(), Address: d.address, Display: d.address, ProfileUdf: d.person.udf, MeshUdf: d.meshUDF,
		ProfileUpdated: timestamppb.New(d.updated), ProfileMesh: compact(t, d.profileMesh), ProfileAccount: compact(t, d.profileAccount),
		Updates: []*shardpb.Update{{Container: mesh.CatalogDevice, Entries: []*shardpb.Entry{d.deviceEntry("New")}}},
		Policy:  shardpb.CreateAccountRequest_POLICY_OPEN,
	}
}

// create makes the account.
func (d *device) create() *device {
	d.w.Helper()
	if _, err := d.w.server.CreateAccount(d.w.Context(), d.creation()); err != nil {
		d.w.Fatal(err)
	}
	return d
}

// deviceEntry is the entry of the device in mmm_Device, encrypted to the service as the draft asks.
func (d *device) deviceEntry(event string) *shardpb.Entry {
	d.w.Helper()
	return d.w.entry(d.udf, event, d.entry, d.w.service.Public())
}

// entry is what the gateway makes of an envelope.
func (w *world) entry(uniqueID, event string, content mesh.Entry, recipients ...keys.PublicKey) *shardpb.Entry {
	w.Helper()
	return w.signed(uniqueID, event, must[[]byte](w.T)(mesh.EncodeEntry(content)), dare.Options{Recipients: recipients, MetaAAD: len(recipients) > 0})
}

func (w *world) signed(uniqueID, event string, plain []byte, o dare.Options) *shardpb.Entry {
	w.Helper()
	o.Header.EnvelopeID = uniqueID
	o.Meta = &dare.ContentMeta{UniqueID: uniqueID, Event: event}
	e := must[*dare.Envelope](w.T)(dare.New(plain, o))
	return &shardpb.Entry{
		Header: e.Header, Payload: e.Payload, Trailer: e.Trailer, PayloadDigest: e.Digest(), DigestWritten: o.Digest || len(o.SignKIDs) > 0,
		EnvelopeId: uniqueID, UniqueId: uniqueID, Event: event,
	}
}

// upload appends entries to one container.
func (d *device) upload(container string, entries ...*shardpb.Entry) (*shardpb.UploadResponse, error) {
	return d.w.server.Upload(d.w.Context(), &shardpb.UploadRequest{
		Caller: d.caller(), Account: d.address, Updates: []*shardpb.Update{{Container: container, Entries: entries}},
	})
}

// results checks the fate of entries: "accept", or the code of a rejection.
func (w *world) results(what string, r *shardpb.UploadResponse, err error, want ...any) {
	w.Helper()
	if err != nil {
		w.Errorf("%s: %v", what, err)
		return
	}
	if len(r.GetEntries()) != len(want) {
		w.Errorf("%s: %d results, want %d", what, len(r.GetEntries()), len(want))
		return
	}
	for i, e := range r.GetEntries() {
		switch code := want[i].(type) {
		case string:
			if e.GetResult() != shardpb.EntryResult_RESULT_ACCEPT || e.Index == nil {
				w.Errorf("%s: entry %d: %v, want accepted", what, i, e)
			}
		case int:
			if e.GetResult() != shardpb.EntryResult_RESULT_REJECT || e.GetCode() != uint32(code) {
				w.Errorf("%s: entry %d: %v, want rejected with %d", what, i, e, code)
			}
		}
	}
}

func (w *world) kind(what string, err error, want mesh.Kind) {
	w.Helper()
	if err == nil || mesh.KindOf(err) != want {
		w.Errorf("%s: %v, want kind %v", what, err, want)
	}
}

// has says whether the device has a right, by Check.
func (d *device) has(right mesh.RightName) bool {
	d.w.Helper()
	_, err := d.w.server.Check(d.w.Context(), &shardpb.CheckRequest{Caller: d.caller(), Right: string(right)})
	if err != nil && mesh.KindOf(err) != mesh.NotAuthorized {
		d.w.Errorf("Check %s: %v", right, err)
	}
	return err == nil
}

var bookmark = &mesh.CatalogedBookmark{Path: "a/b", URI: "https://example.com"}

// C-059, C-083 to C-086: the account's own key vouches for the device that creates it (PROTOCOL §2.2 step 5).
func TestVouching(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	alice := w.person("alice@" + domain)
	first := alice.admit(mesh.RightAdmin, mesh.RightAll)
	mallory := w.person("mallory@"+domain).admit(mesh.RightAdmin, mesh.RightAll)

	refuse := func(what string, r *shardpb.CreateAccountRequest, want mesh.Kind) {
		t.Helper()
		_, err := w.server.CreateAccount(ctx, r)
		w.kind(what, err, want)
		if _, err := w.store.Resolve(ctx, shardmap.Of(alice.address), alice.address); mesh.KindOf(err) != mesh.UnknownAccount {
			t.Fatalf("%s: the account exists now (%v)", what, err)
		}
	}
	r := first.creation()
	r.Updates = nil
	refuse("device mode without its entry", r, mesh.NotAuthorized)

	r = first.creation()
	r.Updates[0].Entries[0] = alice.admit().deviceEntry("New")
	refuse("the entry of another device", r, mesh.NotAuthorized)

	// Mallory knows everything of Alice that others see: her profiles, and her connection from a message's signature.
	stolen := *mallory
	stolen.person, stolen.entry = alice, &mesh.CatalogedDevice{
		DeviceUDF: mallory.udf, EnvelopedProfileDevice: mallory.profile,
		Accounts: []mesh.AccountEntry{{AccountUDF: alice.udf, EnvelopedConnectionAccount: first.Credential}},
	}
	refuse("a stolen connection in device mode", stolen.creation(), mesh.ProfileInvalid)
	subjectless := mesh.ConnectionAccount{KeySignature: first.Connection.KeySignature, KeyEncryption: first.Connection.KeyEncryption, KeyAuthentication: first.Connection.KeyAuthentication}
	stolen.entry.Accounts[0].EnvelopedConnectionAccount = w.connection(subjectless, alice.account.Admin)
	refuse("a stolen connection without a subject", stolen.creation(), mesh.NotAuthorized)
	stolen.entry.Accounts[0].EnvelopedConnectionAccount = w.connection(subjectless, mallory.account.Admin)
	refuse("a connection by another key", stolen.creation(), mesh.ProfileInvalid)

	profile := func(connection *dare.Envelope, c *shardpb.Caller) *shardpb.CreateAccountRequest {
		r := first.creation()
		r.Caller, r.Updates, r.Connection = c, nil, nil
		if connection != nil {
			r.Connection = compact(t, connection)
		}
		return r
	}
	refuse("profile mode without a connection", profile(nil, first.caller()), mesh.NotAuthorized)
	refuse("profile mode, another's key", profile(first.Credential, mallory.caller()), mesh.NotAuthorized)
	refuse("profile mode, another account's connection", profile(mallory.Credential, mallory.caller()), mesh.NotAuthorized)
	service := first.creation()
	service.Caller.Mode = shardpb.Mode_MODE_SERVICE
	refuse("service mode", service, mesh.NotAuthorized)
	closed := first.creation()
	closed.Policy = shardpb.CreateAccountRequest_POLICY_CLOSED
	refuse("closed policy", closed, mesh.NotAuthorized)

	first.create()
	if !first.has(mesh.RightAdmin) {
		t.Error("the creating device has no Admin")
	}
	if r, err := w.server.CreateAccount(ctx, first.creation()); err != nil || r.GetCreated() || len(r.GetEntries()) != 0 {
		t.Errorf("created again: %v, %v; want no effect", r, err)
	}

	bob := w.person("bob@" + domain).admit(mesh.RightAdmin)
	r = bob.creation()
	r.Caller, r.Updates, r.Connection = bob.caller(), nil, compact(t, bob.Credential)
	if _, err := w.server.CreateAccount(ctx, r); err != nil {
		t.Errorf("profile mode: %v", err)
	}
	if !bob.has(mesh.RightAdmin) {
		t.Error("the creating device has no Admin before mmm_Device exists")
	}

	carol := w.person("carol@" + domain).admit(mesh.RightAdmin)
	r = carol.creation()
	r.Policy = shardpb.CreateAccountRequest_POLICY_MANUAL
	if created, err := w.server.CreateAccount(ctx, r); err != nil || created.GetState() != shardpb.AccountState_ACCOUNT_STATE_PENDING {
		t.Errorf("manual policy: %v, %v; want pending", created, err)
	}
	_, err := carol.upload(mesh.CatalogBookmark, w.entry("x", "New", bookmark))
	w.kind("upload to a pending account", err, mesh.AccountPending)
}

// connection signs any connection.
func (w *world) connection(c mesh.ConnectionAccount, signer *keys.PrivateKey) *dare.Envelope {
	w.Helper()
	payload := must[[]byte](w.T)(jbcd.Tag(mesh.TagConnectionAccount, c))
	return must[*dare.Envelope](w.T)(dare.New(payload, dare.Options{Holder: keys.NewRing(signer), SignKIDs: []string{signer.KID()}}))
}

// C-063, C-093, D-16: rights are those of the current entry in mmm_Device, from the commit on.
func TestDeviceEntries(t *testing.T) {
	w := newWorld(t)
	admin := w.person("alice@"+domain).admit(mesh.RightAdmin, mesh.RightAll).create()
	phone := admin.admit(mesh.RightBookmark)
	if phone.has("") {
		t.Error("a device that nobody admitted is one")
	}
	r, err := admin.upload(mesh.CatalogDevice, phone.deviceEntry("New"))
	w.results("admitting", r, err, "accept")
	if !phone.has(mesh.RightBookmark) || phone.has(mesh.RightContact) || phone.has(mesh.RightAdmin) {
		t.Error("rights are not those of the entry")
	}
	r, err = phone.upload(mesh.CatalogBookmark, w.entry("x", "New", bookmark))
	w.results("the right that it has", r, err, "accept")
	_, err = phone.upload(mesh.CatalogCredential, w.entry("x", "New", &mesh.CatalogedCredential{Service: "s"}))
	w.kind("a right that it has not", err, mesh.NotAuthorized)
	_, err = phone.upload(mesh.CatalogDevice, phone.deviceEntry("Update"))
	w.kind("promoting itself", err, mesh.NotAuthorized)

	again := admin.readmit(phone.secrets) // no list: everything but Admin
	r, err = admin.upload(mesh.CatalogDevice, w.entry(again.udf, "Update", again.entry))
	w.results("an entry in plain text", r, err, "accept")
	if !again.has(mesh.RightContact) || again.has(mesh.RightAdmin) {
		t.Error("no list is not everything but Admin")
	}

	bad := func(what string, e *shardpb.Entry) {
		t.Helper()
		r, err := admin.upload(mesh.CatalogDevice, e)
		w.results(what, r, err, 6)
		if !again.has(mesh.RightContact) {
			t.Errorf("%s: the device lost its rights", what)
		}
	}
	bad("no CatalogedDevice", w.entry(again.udf, "Update", bookmark))
	bad("the entry of another device", w.entry(again.udf, "Update", admin.entry))
	bad("no JSON", w.signed(again.udf, "Update", []byte("{"), dare.Options{}))
	foreign := w.person("mallory@" + domain)
	forged := *again.entry
	forged.Accounts = []mesh.AccountEntry{{AccountUDF: admin.person.udf, EnvelopedConnectionAccount: foreign.readmit(phone.secrets, mesh.RightAdmin).Credential}}
	bad("a connection by another account", w.entry(again.udf, "Update", &forged))
	forged = *again.entry
	forged.EnvelopedConnectionDevice = foreign.readmit(phone.secrets).entry.EnvelopedConnectionDevice
	bad("a connection by another mesh", w.entry(again.udf, "Update", &forged))
	forged = *again.entry
	forged.EnvelopedProfileDevice = admin.profile
	bad("the profile of another device", w.entry(again.udf, "Update", &forged))

	// What the service cannot read it cannot grant: the device is left without rights, and can be readmitted.
	stranger := generate(t, keys.X448)
	r, err = admin.upload(mesh.CatalogDevice, w.entry(again.udf, "Update", again.entry, stranger.Public()))
	w.results("an entry that is not encrypted to the service", r, err, "accept")
	if again.has(mesh.RightBookmark) {
		t.Error("the device kept rights that the service cannot read")
	}
	r, err = admin.upload(mesh.CatalogDevice, again.deviceEntry("Update"))
	w.results("readmitted", r, err, "accept")
	if !again.has(mesh.RightBookmark) {
		t.Error("the device was not readmitted")
	}

	// C-063: removal acts at the next request.
	r, err = admin.upload(mesh.CatalogDevice, w.entry(again.udf, "Delete", &mesh.CatalogedDelete{Key: again.udf}))
	w.results("removing", r, err, "accept")
	if again.has("") || phone.has("") {
		t.Error("a removed device is still one")
	}
}

// Signatures of entries by keys of the account's devices are checked, others are left to the readers (D-57).
func TestEntrySignatures(t *testing.T) {
	w := newWorld(t)
	admin := w.person("alice@"+domain).admit(mesh.RightAdmin, mesh.RightAll).create()
	n := 0
	entry := func(key *keys.PrivateKey, spoil bool, credential ...*dare.Envelope) *shardpb.Entry {
		n++
		e := w.signed(string(rune('a'+n)), "New", []byte(`{"CatalogedBookmark":{}}`), dare.Options{
			Holder: keys.NewRing(key), SignKIDs: []string{key.KID()}, Credential: credential,
		})
		if spoil {
			other := w.signed("x", "New", []byte("other"), dare.Options{Holder: keys.NewRing(key), SignKIDs: []string{key.KID()}, Credential: credential})
			e.Trailer, e.DigestWritten = other.Trailer, false // as the gateway would not: it compares the written digest
		}
		return e
	}
	put := func(what string, e *shardpb.Entry, want any) {
		t.Helper()
		r, err := admin.upload(mesh.CatalogBookmark, e)
		w.results(what, r, err, want)
	}
	for _, round := range []string{"from the store", "from the cache"} {
		put("good, "+round, entry(admin.Signature, false), "accept")
		put("spoilt, "+round, entry(admin.Signature, true), 13)
	}

	unknown := generate(t, keys.Ed448)
	put("unknown key", entry(unknown, false), "accept")
	put("unknown key, spoilt", entry(unknown, true), "accept")

	phone := admin.admit(mesh.RightBookmark) // never uploaded: known by what it shows only
	put("shown connection, spoilt", entry(phone.Signature, true, phone.Credential), 13)
	put("shown connection", entry(phone.Signature, false, phone.Credential), "accept")
	put("shown before, spoilt", entry(phone.Signature, true), 13)
	mallory := w.person("mallory@" + domain).admit()
	put("connection by another account, spoilt", entry(mallory.Signature, true, mallory.Credential), "accept")
	put("connection of another key, spoilt", entry(unknown, true, phone.Credential), "accept")

	removed := admin.admit(mesh.RightBookmark)
	r, err := admin.upload(mesh.CatalogDevice, removed.deviceEntry("New"), w.entry(removed.udf, "Delete", &mesh.CatalogedDelete{Key: removed.udf}))
	w.results("a device that comes and goes", r, err, "accept", "accept")
	put("key of a removed device, spoilt", entry(removed.Signature, true), 13)

	five := w.signed("five", "New", []byte("x"), dare.Options{Holder: keys.NewRing(unknown), SignKIDs: []string{unknown.KID()}})
	five.Trailer = []byte(`{"signatures":[{},{},{},{},{}]}`)
	put("five signatures", five, 13)
	both := w.signed("both", "New", []byte("x"), dare.Options{Holder: keys.NewRing(unknown), SignKIDs: []string{unknown.KID()}})
	both.Header = append(append(both.Header[:len(both.Header)-1:len(both.Header)-1], `,"signatures":[{}]`...), '}')
	put("signatures in header and trailer", both, 13)

	rejected := entry(admin.Signature, false)
	rejected.Reject = 12
	put("a fault that the gateway found", rejected, 12)
	strange := entry(admin.Signature, false)
	strange.Event = "Replace"
	put("an event that there is not", strange, 13)
}

// counting counts the look-ups of signature keys.
type counting struct {
	shard.Store
	signers int
}

func (c *counting) Signer(ctx context.Context, partition uint16, address, kid string) (*shard.SignerKey, error) {
	c.signers++
	return c.Store.Signer(ctx, partition, address, kid)
}

// Who may not write costs no look-up of keys and no verification, and a key that nobody knows one look-up per request.
func TestStrangersCostLittle(t *testing.T) {
	w := newWorld(t)
	alice := w.person("alice@" + domain)
	admin := alice.admit(mesh.RightAdmin, mesh.RightAll).create()
	store := &counting{Store: w.store}
	var err error
	w.server, err = shard.NewServer(shard.Config{Name: "s00", Store: store, Log: slog.New(slog.DiscardHandler), Meter: noop.NewMeterProvider()})
	if err != nil {
		t.Fatal(err)
	}
	unknown := generate(t, keys.Ed448)
	var entries []*shardpb.Entry
	for i := range 20 {
		entries = append(entries, w.signed(fmt.Sprint("e", i), "New", []byte(`{"CatalogedBookmark":{}}`), dare.Options{
			Holder: keys.NewRing(unknown), SignKIDs: []string{unknown.KID()},
		}))
	}
	_, err = alice.admit(mesh.RightAll).upload(mesh.CatalogBookmark, entries...)
	w.kind("a device that was never entered", err, mesh.NotAuthorized)
	if store.signers != 0 {
		t.Errorf("%d look-ups for one who may not write", store.signers)
	}
	if _, err := admin.upload(mesh.CatalogBookmark, entries...); err != nil {
		t.Fatal(err)
	}
	if store.signers != 1 {
		t.Errorf("%d look-ups of one key", store.signers)
	}
}

// C-162 to C-166, D-18, D-19: what Status and Download leave out, and when they refuse.
func TestReading(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin := w.person("alice@"+domain).admit(mesh.RightAdmin, mesh.RightAll).create()
	phone := admin.admit(mesh.RightBookmark)
	if _, err := admin.upload(mesh.CatalogDevice, phone.deviceEntry("New")); err != nil {
		t.Fatal(err)
	}
	if _, err := admin.upload(mesh.CatalogBookmark, w.entry("x", "New", bookmark)); err != nil {
		t.Fatal(err)
	}
	status := func(d *device, containers ...string) *shardpb.StatusResponse {
		t.Helper()
		r, err := w.server.Status(ctx, &shardpb.StatusRequest{Caller: d.caller(), Account: d.address, Containers: containers})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	names := func(r *shardpb.StatusResponse) map[string]bool {
		m := make(map[string]bool)
		for _, c := range r.GetContainers() {
			m[c.GetContainer()] = true
		}
		return m
	}
	if n := names(status(phone)); !n[mesh.CatalogBookmark] || !n[mesh.SpoolInbound] || n[mesh.CatalogDevice] || len(n) != 4 {
		t.Errorf("the phone sees %v", n)
	}
	if n := names(status(phone, "mmm_CatalogBookmark", mesh.CatalogDevice, "no such name")); !n[mesh.CatalogBookmark] || len(n) != 1 {
		t.Errorf("asked by name the phone sees %v", n)
	}
	if n := names(status(phone, "no such name")); len(n) != 0 {
		t.Errorf("a name that no account has gives %v", n)
	}
	_, err := w.server.Status(ctx, &shardpb.StatusRequest{Caller: w.person("m@" + domain).admit().caller(), Account: admin.address, Containers: []string{"no such name"}})
	w.kind("Status by a stranger", err, mesh.NotAuthorized)

	r := status(phone)
	if string(r.GetProfileMesh()) != string(compact(t, admin.profileMesh)) {
		t.Error("the ProfileMesh is not that of the creation")
	}
	for digest, want := range map[string]bool{string(admin.profileMesh.Digest()): false, "another": true} {
		r, err := w.server.Status(ctx, &shardpb.StatusRequest{Caller: phone.caller(), Account: phone.address, ProfileMasterDigest: []byte(digest)})
		if err != nil || (len(r.GetProfileMesh()) > 0) != want {
			t.Errorf("ProfileMesh sent: %v, want %v (%v)", len(r.GetProfileMesh()) > 0, want, err)
		}
	}

	download := func(d *device, containers ...string) (*shardpb.DownloadResponse, error) {
		q := &shardpb.DownloadRequest{Caller: d.caller(), Account: d.address, MaxEntries: 100, MaxBytes: 1 << 20, Payload: true}
		for _, c := range containers {
			q.Select = append(q.Select, &shardpb.Select{Container: c})
		}
		return w.server.Download(ctx, q)
	}
	got, err := download(phone, "no such name", mesh.CatalogDevice, "mmm_CatalogBookmark", mesh.SpoolArchive)
	if err != nil || len(got.GetUpdates()) != 4 {
		t.Fatalf("Download: %d updates, %v", len(got.GetUpdates()), err)
	}
	for i, want := range []struct {
		name    string
		present bool
		frames  int
	}{{"no such name", false, 0}, {mesh.CatalogDevice, false, 0}, {mesh.CatalogBookmark, true, 2}, {mesh.SpoolArchive, false, 0}} {
		u := got.GetUpdates()[i]
		if u.GetContainer() != want.name || u.GetPresent() != want.present || len(u.GetFrames()) != want.frames {
			t.Errorf("update %d: %s, present %v, %d frames; want %v", i, u.GetContainer(), u.GetPresent(), len(u.GetFrames()), want)
		}
	}
	_, err = download(phone, mesh.CatalogDevice, "no such name")
	w.kind("nothing allowed, one forbidden", err, mesh.NotAuthorized)
	if _, err := download(phone, "no such name"); err != nil {
		t.Errorf("nothing but unknown names: %v", err)
	}
	if _, err := download(phone, mesh.CatalogBookmark, mesh.CatalogDevice); err != nil {
		t.Errorf("one allowed, one forbidden: %v", err)
	}
}

func TestAdmin(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	admin := w.person("alice@"+domain).admit(mesh.RightAdmin, mesh.RightAll).create()
	where, err := w.server.Where(ctx, &shardpb.WhereRequest{Address: admin.address})
	if err != nil || where.GetShard() != "s00" || where.GetPartition() != uint32(shardmap.Of(admin.address)) || where.GetMapEpoch() != 1 || len(where.GetContainers()) != 4 {
		t.Errorf("Where: %v, %v", where, err)
	}
	_, err = w.server.Where(ctx, &shardpb.WhereRequest{Address: "nobody@" + domain})
	w.kind("Where of nobody", err, mesh.UnknownAccount)

	freeze := &shardpb.SetPartitionRequest{First: 0, Last: 4095, State: shardpb.PartitionState_PARTITION_STATE_FROZEN, Epoch: 2}
	if _, err := w.server.SetPartition(ctx, freeze); err != nil {
		t.Fatal(err)
	}
	_, err = admin.upload(mesh.CatalogBookmark, w.entry("x", "New", bookmark))
	w.kind("writing to a frozen partition", err, mesh.Overloaded)
	list, err := w.server.ListPartitions(ctx, &shardpb.ListPartitionsRequest{})
	if err != nil || len(list.GetPartitions()) != shardmap.Partitions || list.GetPartitions()[7].GetEpoch() != 2 {
		t.Errorf("ListPartitions: %d, %v", len(list.GetPartitions()), err)
	}
	for what, r := range map[string]*shardpb.SetPartitionRequest{
		"no state":  {Last: 1, Epoch: 3},
		"backwards": {First: 2, Last: 1, State: freeze.State, Epoch: 3},
		"beyond":    {Last: 4096, State: freeze.State, Epoch: 3},
		"no epoch":  {Last: 1, State: freeze.State},
	} {
		_, err := w.server.SetPartition(ctx, r)
		w.kind(what, err, mesh.BadRequest)
	}
}

// A verb of the contract that this build does not have answers a kind of the Mesh, and none is forgotten.
func TestNotBuilt(t *testing.T) {
	s := newWorld(t).server
	ctx := t.Context()
	built := map[string]bool{"Resolve": true, "Check": true, "CreateAccount": true, "DeleteAccount": true, "Status": true, "Download": true, "Upload": true, "Post": true}
	for _, m := range shardpb.AccountsService_ServiceDesc.Methods {
		if built[m.MethodName] {
			continue
		}
		_, err := m.Handler(s, ctx, func(any) error { return nil }, nil)
		var e *mesh.Error
		if !errors.As(err, &e) || e.Kind != mesh.UnknownOperation {
			t.Errorf("%s: %v, want kind UnknownOperation", m.MethodName, err)
		}
	}
}
