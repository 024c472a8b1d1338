package client

import (
	"bytes"
	"context"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

// post office: accounts at one service, whose spools a test fills as it likes.
type office struct {
	t      *testing.T
	fake   *fakeService
	config func() Config
	spools map[string]*shelf // address and spool

	mu      sync.Mutex
	posts   []mesh.PostRequest
	uploads []mesh.UploadRequest
	refuse  map[string]string // recipient → reason
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, fake: newFake(t), spools: map[string]*shelf{}, refuse: map[string]string{}}
	o.fake.serve = o.serve
	server := httptest.NewTLSServer(o.fake)
	t.Cleanup(server.Close)
	o.config = func() Config {
		return Config{Dir: t.TempDir(), Services: map[string]string{"example.com": server.URL}, HTTP: server.Client()}
	}
	return o
}

// serve takes what is posted, and refuses what it is told to.
func (o *office) serve(tag string, body jbcd.Raw) mesh.ResponseMessage {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch tag {
	case mesh.TagPost:
		var q mesh.PostRequest
		if err := jbcd.Unmarshal(body, &q); err != nil {
			o.t.Error(err)
		}
		o.posts = append(o.posts, q)
		res := new(mesh.PostResponse)
		for range q.Message {
			for _, to := range q.Accounts {
				e := mesh.EntryResponse{Result: mesh.ResultAccept}
				if reason := o.refuse[to]; reason != "" {
					e.Result, e.Reason = mesh.ResultReject, reason
				}
				res.Entries = append(res.Entries, e)
			}
		}
		for range q.Self {
			res.Entries = append(res.Entries, mesh.EntryResponse{Result: mesh.ResultAccept})
		}
		return res
	case mesh.TagUpload:
		var q mesh.UploadRequest
		if err := jbcd.Unmarshal(body, &q); err != nil {
			o.t.Error(err)
		}
		o.uploads = append(o.uploads, q)
		res := new(mesh.UploadResponse)
		for range q.Self {
			res.Entries = append(res.Entries, mesh.EntryResponse{Result: mesh.ResultAccept})
		}
		return res
	}
	return new(mesh.MeshHelloResponse)
}

// account is one that the service has bound.
func (o *office) account(address string) *Account {
	o.t.Helper()
	a, err := Create(o.t.Context(), o.config(), address, CreateOptions{Local: true})
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { a.Close() })
	g := o.fake.provider.Gateway
	a.file.State = stateConnected
	a.file.Service = &serviceFile{UDF: g.Service.UDF(), ProfileService: g.EnvelopedProfileService, ProfileHost: g.EnvelopedProfileHost}
	self, err := a.selfContact(a.file.Device.Accounts[0].EnvelopedProfileAccount)
	if err == nil {
		err = errors.Join(a.save(), a.putContact(self))
	}
	if err != nil {
		o.t.Fatal(err)
	}
	return a
}

// knows makes b a contact of a, with these rights.
func (o *office) knows(a, b *Account, rights ...string) {
	o.t.Helper()
	people, err := a.contacts()
	if err != nil {
		o.t.Fatal(err)
	}
	entry, err := people.befriend(b.Address(), b.file.Device.Accounts[0].EnvelopedProfileAccount, mesh.Tagged{}, rights)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := a.putContact(entry); err != nil {
		o.t.Fatal(err)
	}
}

// put lays a message into a spool.
func (o *office) put(a *Account, spool string, e *dare.Envelope) {
	o.t.Helper()
	s := o.spools[a.Address()+spool]
	if s == nil {
		s = newShelf(o.t, spool)
		o.spools[a.Address()+spool] = s
	}
	s.place(e)
	r, err := a.replica(spool)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := r.append(s.frames[r.frames():], a.member); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) box(a *Account) *Mailbox {
	o.t.Helper()
	b, err := a.Mailbox()
	if err != nil {
		o.t.Fatal(err)
	}
	return b
}

// written is a message as from writes it to the account; edit changes what it is made of.
func (o *office) written(from, to *Account, m mesh.Mail, edit func(*dare.Options)) *dare.Envelope {
	o.t.Helper()
	base := m.Base()
	if base.MessageID == "" {
		base.MessageID = udf.NewNonce()
	}
	if base.Sender == "" {
		base.Sender = from.Address()
	}
	if base.Recipient == "" {
		base.Recipient = to.Address()
	}
	opts := dare.Options{
		Header:     dare.Header{EnvelopeID: udf.EnvelopeID(base.MessageID)},
		Meta:       &dare.ContentMeta{UniqueID: base.MessageID, MessageType: m.Tag()},
		Recipients: []keys.PublicKey{to.member.AccountEncryption.Public(), from.member.AccountEncryption.Public()},
		Holder:     from.member.holder, SignKIDs: []string{from.member.signKID()}, Credential: from.credential(),
	}
	if edit != nil {
		edit(&opts)
	}
	e, err := dare.New(must(mesh.EncodeMail(m)), opts)
	if err != nil {
		o.t.Fatal(err)
	}
	return e
}

func text(s string) *mesh.MessageText { return &mesh.MessageText{Text: s} }

// byHost is a message of the service.
func (o *office) byHost(m mesh.Mail, key *keys.PrivateKey) *dare.Envelope {
	o.t.Helper()
	m.Base().MessageID = udf.NewNonce()
	return must(dare.New(must(mesh.EncodeMail(m)), dare.Options{
		Meta:   &dare.ContentMeta{UniqueID: m.Base().MessageID, MessageType: m.Tag()},
		Holder: keys.NewRing(key), SignKIDs: []string{key.KID()},
	}))
}

// Covers C-116, C-126: what a provider or another sender can do to a message is found, named, kept as evidence once, and not shown.
func TestMessageLies_C126(t *testing.T) {
	o := newOffice(t)
	alice, bob, mallory := o.account("alice@example.com"), o.account("bob@example.com"), o.account("mallory@example.com")
	double := o.account("bob@example.com") // another account that says it has Bob's address
	o.knows(alice, bob, GrantMessage)
	stranger, err := keys.Generate(keys.Ed448)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		want check // empty: it is shown
		make func() *dare.Envelope
	}{
		{"an honest one", "", func() *dare.Envelope { return o.written(bob, alice, text("hello"), nil) }},
		{"an honest one of a stranger", "", func() *dare.Envelope { return o.written(mallory, alice, text("hello"), nil) }},
		{"an honest one that is not encrypted", "", func() *dare.Envelope {
			return o.written(bob, alice, &mesh.RequestContact{}, func(d *dare.Options) { d.Recipients = nil })
		}},
		{"of the service", "", func() *dare.Envelope {
			return o.byHost(&mesh.MessageError{ErrorCode: "MeshUnknownAccount"}, o.fake.provider.Gateway.Signature)
		}},
		{"let in as another type", checkMessageType, func() *dare.Envelope {
			return o.written(mallory, alice, text("buy"), func(d *dare.Options) { d.Meta.MessageType = mesh.TagRequestContact })
		}},
		{"another MessageID inside", checkMessageID, func() *dare.Envelope {
			return o.written(bob, alice, text("x"), func(d *dare.Options) {
				d.Meta.UniqueID = udf.NewNonce()
				d.Header.EnvelopeID = udf.EnvelopeID(d.Meta.UniqueID)
			})
		}},
		{"another EnvelopeID", checkLetter, func() *dare.Envelope {
			return o.written(bob, alice, text("x"), func(d *dare.Options) { d.Header.EnvelopeID = udf.EnvelopeID("N") })
		}},
		{"in another's name", checkSender, func() *dare.Envelope {
			return o.written(mallory, alice, &mesh.MessageText{Message: mesh.Message{Sender: bob.Address()}}, nil)
		}},
		{"a contact's address with another key", checkPinned, func() *dare.Envelope { return o.written(double, alice, text("x"), nil) }},
		{"no credential", checkAuthor, func() *dare.Envelope {
			return o.written(bob, alice, text("x"), func(d *dare.Options) { d.Credential = nil })
		}},
		{"another's credential", checkAuthor, func() *dare.Envelope {
			return o.written(mallory, alice, text("x"), func(d *dare.Options) { d.Credential = bob.credential() })
		}},
		{"not signed", checkAuthor, func() *dare.Envelope {
			return o.written(bob, alice, text("x"), func(d *dare.Options) { d.SignKIDs, d.Credential = nil, nil })
		}},
		{"an octet of the payload", checkAuthor, func() *dare.Envelope {
			e := o.written(bob, alice, text("x"), nil)
			e.Payload = flip(e.Payload, 3)
			e.Trailer = set(t, e.Trailer, "PayloadDigest", jbcd.Binary(e.Digest()))
			return e
		}},
		{"another signature on what he cannot read", checkOpen, func() *dare.Envelope {
			e := o.written(bob, alice, text("mine"), nil)
			taken := must(dare.New(e.Payload, dare.Options{
				Holder: mallory.member.holder, SignKIDs: []string{mallory.member.signKID()}, Credential: mallory.credential(),
			}))
			return &dare.Envelope{Header: e.Header, Payload: e.Payload, Trailer: taken.Trailer}
		}},
		{"passed on to somebody to whom it was not written", checkAddressee, func() *dare.Envelope {
			return o.written(bob, alice, &mesh.MessageText{Message: mesh.Message{Recipient: mallory.Address()}}, nil)
		}},
		{"that does not open", checkOpen, func() *dare.Envelope {
			return o.written(bob, alice, text("x"), func(d *dare.Options) {
				d.Recipients = []keys.PublicKey{mallory.member.AccountEncryption.Public()}
			})
		}},
		{"a completion by another account", checkAuthor, func() *dare.Envelope {
			return o.written(bob, alice, &mesh.MessageComplete{}, nil)
		}},
		{"an event by another host", checkAuthor, func() *dare.Envelope { return o.byHost(&mesh.MessageComplete{}, stranger) }},
		{"a letter by the service", checkAuthor, func() *dare.Envelope { return o.byHost(text("x"), o.fake.provider.Gateway.Signature) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := o.box(alice)
			e := c.make()
			o.put(alice, mesh.SpoolInbound, e)
			box := o.box(alice)
			if c.want == "" {
				if len(box.Messages) != len(before.Messages)+1 || len(box.Unproven) != len(before.Unproven) {
					t.Fatalf("%d shown, %d not: %v", len(box.Messages)-len(before.Messages), len(box.Unproven)-len(before.Unproven), box.Unproven)
				}
				return
			}
			if len(box.Messages) != len(before.Messages) || len(box.Unproven) != len(before.Unproven)+1 {
				t.Fatalf("%d shown, %d not", len(box.Messages)-len(before.Messages), len(box.Unproven)-len(before.Unproven))
			}
			u := box.Unproven[len(box.Unproven)-1]
			if u.Fault != string(c.want) {
				t.Errorf("found as %s (%s), want %s", u.Fault, u.Reason, c.want)
			}
			if _, err := os.Stat(filepath.Join(u.Evidence, "frame.json")); err != nil {
				t.Error(err)
			}
			if again := o.box(alice); again.Unproven[len(again.Unproven)-1].Evidence != u.Evidence {
				t.Error("evidence is kept each time it is looked at")
			}
		})
	}
}

// A provider that repeats a message shows it once; another message under its identifier is found.
func TestMessageTwice(t *testing.T) {
	o := newOffice(t)
	alice, bob, mallory := o.account("alice@example.com"), o.account("bob@example.com"), o.account("mallory@example.com")
	e := o.written(bob, alice, text("one"), nil)
	o.put(alice, mesh.SpoolInbound, e)
	o.put(alice, mesh.SpoolInbound, e)
	id := must(metaOf(e)).UniqueID
	o.put(alice, mesh.SpoolInbound, o.written(mallory, alice, &mesh.MessageText{Message: mesh.Message{MessageID: id}}, nil))
	box := o.box(alice)
	if len(box.Messages) != 1 || len(box.Unproven) != 1 || box.Unproven[0].Fault != string(checkTwice) {
		t.Errorf("%d messages, %v", len(box.Messages), box.Unproven)
	}
	if m, err := box.Find(id); err != nil || m.Sender != bob.Address() {
		t.Errorf("%v, %v", m, err)
	}
}

// Somebody whose profile claims an address at another provider cannot write in its name: nobody vouches for it.
func TestAddressesOfSeveralProviders(t *testing.T) {
	o := newOffice(t)
	alice, mallory := o.account("alice@example.com"), o.account("mallory@example.com")
	f := mallory.file
	profile, err := f.Secrets.Account.ProfileAccount(f.Secrets.Mesh, mesh.AccountOptions{
		Addresses: []string{"president@gov.example", "mallory@example.com"}, Mesh: mallory.member.Mesh, Now: time.Now(),
	})
	if err != nil {
		t.Fatal(err)
	}
	f.Device.Accounts[0].EnvelopedProfileAccount = profile
	for _, sender := range []string{"president@gov.example", "mallory@example.com"} {
		o.put(alice, mesh.SpoolInbound, o.written(mallory, alice, &mesh.MessageText{Message: mesh.Message{Sender: sender}}, nil))
	}
	box := o.box(alice)
	if len(box.Messages) != 0 || len(box.Unproven) != 2 || box.Unproven[0].Fault != string(checkSender) {
		t.Errorf("%d shown, %v", len(box.Messages), box.Unproven)
	}
	o.knows(alice, mallory, GrantMessage) // as mallory@example.com: what he writes under that name is his
	if box = o.box(alice); len(box.Messages) != 1 || box.Messages[0].Sender != "mallory@example.com" {
		t.Errorf("%d shown, %v", len(box.Messages), box.Unproven)
	}
}

func complete(id, relation string) *mesh.MessageComplete {
	return &mesh.MessageComplete{Message: mesh.Message{References: []mesh.Reference{{MessageID: id, Relationship: relation}}}}
}

// The latest completion by a device of one's own counts; deliveries are the service's word, and nobody else's.
func TestStatusOfMessages(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.account("alice@example.com"), o.account("bob@example.com")
	o.knows(alice, bob, GrantMessage)
	e := o.written(bob, alice, &mesh.RequestContact{}, nil)
	id := must(metaOf(e)).UniqueID
	o.put(alice, mesh.SpoolInbound, o.written(alice, alice, complete(id, relationRead), nil)) // before the message itself is there
	o.put(alice, mesh.SpoolInbound, e)
	for _, step := range []struct {
		relation string
		want     Status
	}{
		{"", Status{Open: true}},
		{relationUnread, Status{Open: true, Unread: true}},
		{relationReceived, Status{Open: true, Unread: true}}, // is not for devices to say
		{relationAccept, Status{Outcome: relationAccept}},
		{relationReject, Status{Outcome: relationReject}},
		{relationOpen, Status{Open: true, Outcome: relationReject}},
		{relationDeleted, Status{Deleted: true, Outcome: relationReject}},
		{relationRead, Status{Outcome: relationReject}},
	} {
		if step.relation != "" {
			o.put(alice, mesh.SpoolInbound, o.written(alice, alice, complete(id, step.relation), nil))
		}
		if m, err := o.box(alice).Find(id); err != nil || m.Status != step.want {
			t.Errorf("after %q: %+v, %v", step.relation, m.Status, err)
		}
	}

	sent := o.written(alice, bob, text("x"), nil)
	sentID := must(metaOf(sent)).UniqueID
	o.put(alice, mesh.SpoolOutbound, sent)
	state := func() Delivery {
		t.Helper()
		b := o.box(alice)
		m, err := b.Find(sentID)
		if err != nil || len(b.Deliveries(m)) != 1 {
			t.Fatal(err)
		}
		d := b.Deliveries(m)[0]
		d.At = time.Time{}
		return d
	}
	host := o.fake.provider.Gateway.Signature
	event := func(m mesh.Mail) {
		m.Base().Recipient = bob.Address()
		m.Base().References = []mesh.Reference{{MessageID: sentID, Relationship: relationFailed}}
		o.put(alice, mesh.SpoolOutbound, o.byHost(m, host))
	}
	if d := state(); d.State != relationSent {
		t.Errorf("%+v", d)
	}
	o.put(alice, mesh.SpoolOutbound, o.written(alice, alice, complete(sentID, relationReceived), nil))
	if d := state(); d.State != relationSent {
		t.Errorf("a device says that a message has arrived, and is believed: %+v", d)
	}
	event(&mesh.MessageComplete{})
	event(&mesh.MessageError{ErrorCode: "MeshUnknownAccount"})
	if d := state(); d != (Delivery{Recipient: bob.Address(), State: relationFailed, Reason: "MeshUnknownAccount"}) {
		t.Errorf("%+v", d)
	}
}

// Covers C-116, C-124, C-224: a message is sealed to its recipients and the own account; what became of it is told for each.
func TestPost_C116_C124(t *testing.T) {
	o := newOffice(t)
	alice, bob, carol := o.account("alice@example.com"), o.account("bob@example.com"), o.account("carol@example.com")
	o.knows(alice, bob)
	o.knows(alice, carol)
	o.refuse[carol.Address()] = "MeshRecipientBlockedSender"
	posted, err := alice.Post(t.Context(), []string{"Bob@Example.COM", "carol@example.com", "bob@example.com"}, text("top secret"))
	if err != nil {
		t.Fatal(err)
	}
	want := []Posted{{posted[0].MessageID, bob.Address(), true, ""}, {posted[0].MessageID, carol.Address(), false, "MeshRecipientBlockedSender"}}
	if !slices.Equal(posted, want) {
		t.Errorf("%+v", posted)
	}
	e := o.posts[0].Message[0]
	if bytes.Contains(must(e.MarshalJBCD()), []byte("top secret")) || bytes.Contains(e.Payload, []byte("top secret")) {
		t.Error("the providers can read it")
	}
	for _, a := range []*Account{alice, bob, carol} {
		if plain, err := e.Open(a.member.holder); err != nil || !bytes.Contains(plain, []byte("top secret")) {
			t.Errorf("%s cannot read it: %v", a.Address(), err)
		}
	}
	if s, err := mesh.VerifyMessage(e); err != nil || s.UDF != udf.Canonical(alice.member.Account.UDF()) {
		t.Errorf("%v, %v", s, err)
	}
	var stranger *StrangerError
	if _, err := alice.Post(t.Context(), []string{"bob@example.com", "nobody@example.com"}, text("x")); !errors.As(err, &stranger) || len(o.posts) != 1 {
		t.Errorf("%v, %d posts", err, len(o.posts))
	}
	if _, err := alice.Post(t.Context(), []string{"bob@example.com"}, text(strings.Repeat("x", mesh.MaxMessage))); mesh.KindOf(err) != mesh.RequestSize {
		t.Errorf("%v", err) // C-120
	}
	if waiting, err := alice.outgoing(); err != nil || len(waiting) != 0 {
		t.Errorf("%v wait, %v", waiting, err)
	}
}

// A message outlives the process that sent it, and goes out once: the same octets under the same ID.
func TestPostAfterACrash(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.account("alice@example.com"), o.account("bob@example.com")
	o.knows(alice, bob)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := alice.Post(ctx, []string{bob.Address()}, text("before")); err != nil { // with a ticket from now on
		t.Fatal(err)
	}
	for range 20 {
		o.fake.script = append(o.fake.script, act{hangUp: true})
	}
	var network *NetworkError
	if _, err := alice.Post(ctx, []string{bob.Address()}, text("after")); !errors.As(err, &network) {
		t.Fatalf("%v", err)
	}
	path := alice.outgoingPath(1)
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	conf := alice.conf
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	o.fake.mu.Lock()
	o.fake.script = nil
	o.fake.mu.Unlock()
	again, err := Open(conf, "alice@example.com")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { again.Close() })
	var posted []Posted
	if err := again.flush(t.Context(), func(_ int64, p []Posted) { posted = append(posted, p...) }); err != nil || len(posted) != 1 || !posted[0].Accepted {
		t.Fatalf("%v, %v", posted, err)
	}
	if len(o.posts) != 2 || !bytes.Equal(must(mesh.EncodeRequest(mesh.TagPost, &o.posts[1])), kept) {
		t.Errorf("%d posts, or not the octets that were kept", len(o.posts))
	}
	if waiting, err := again.outgoing(); err != nil || len(waiting) != 0 {
		t.Errorf("%v wait, %v", waiting, err)
	}
}

// FuzzMessage: whatever lies in a spool, nothing is shown but what somebody has signed.
func FuzzMessage(f *testing.F) {
	p, q := newPerson(f, "alice@example.com"), newPerson(f, "bob@example.com")
	alice, _ := p.device()
	bob, entry := q.device()
	v := &mailVerifier{address: "alice@example.com", own: udf.Canonical(alice.Account.UDF()), holder: alice.holder, people: &book{}}
	made := must(dare.New(must(mesh.EncodeMail(&mesh.MessageText{Message: mesh.Message{MessageID: "NABC", Sender: "bob@example.com"}})), dare.Options{
		Meta: &dare.ContentMeta{UniqueID: "NABC", MessageType: mesh.TagMessageText}, Recipients: []keys.PublicKey{alice.AccountEncryption.Public()},
		Holder: bob.holder, SignKIDs: []string{bob.signKID()}, Credential: []*dare.Envelope{bob.Credential, entry.Accounts[0].EnvelopedProfileAccount},
	}))
	if m, fault := v.read(mesh.SpoolInbound, 1, made); m == nil {
		f.Fatal(fault)
	}
	f.Add(made.Header, made.Payload, made.Trailer)
	f.Add([]byte(`{"ContentMetaData":"e30"}`), []byte(`{"MessageText":{}}`), []byte(`{"signatures":[{}]}`))
	f.Fuzz(func(t *testing.T, header, payload, trailer []byte) {
		m, fault := v.read(mesh.SpoolInbound, 1, &dare.Envelope{Header: header, Payload: payload, Trailer: trailer})
		if m != nil && fault != nil {
			t.Fatal("both shown and not")
		}
		if m != nil && !bytes.Equal(payload, made.Payload) {
			t.Error("a message that nobody signed is shown")
		}
	})
}

// deleteReplica forgets a replica, as one who has lost it.
func deleteReplica(a *Account, container string) error {
	delete(a.replicas, container)
	return os.Remove(replicaPath(replicaDir(a), container))
}
