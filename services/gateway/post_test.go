package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/queue/embedded"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/shardmap"
)

const (
	aliceAddress = "alice@" + domainName
	bobAddress   = "bob@" + domainName
	carolAddress = "carol@beta.example"
)

// author is an account with a device that signs.
type author struct {
	secrets                     mesh.Secrets
	profileMesh, profileAccount *dare.Envelope
	udf                         string
	member                      *mesh.Membership
}

func newAuthor(t testing.TB, addresses ...string) *author {
	t.Helper()
	a := new(author)
	var err error
	check := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a.secrets.Mesh, err = mesh.NewMeshSecrets()
	check()
	a.secrets.Account, err = mesh.NewAccountSecrets()
	check()
	a.secrets.Device = *mesh.NewDeviceSecrets()
	a.profileMesh, err = a.secrets.Mesh.ProfileMesh(time.Now())
	check()
	a.claim(t, addresses...)
	admission := mesh.Admission{
		Mesh: a.secrets.Mesh, ProfileMesh: a.profileMesh, Account: a.secrets.Account, ProfileAccount: a.profileAccount,
		Rights: []mesh.RightName{mesh.RightMessage}, Now: time.Now(),
	}
	admission.ProfileDevice, err = a.secrets.Device.ProfileDevice("a device", time.Now())
	check()
	entry, err := admission.CatalogedDevice()
	check()
	a.member, err = mesh.Activate(&a.secrets.Device, entry, a.udf)
	check()
	return a
}

// claim makes the account say that it has these addresses.
func (a *author) claim(t testing.TB, addresses ...string) {
	t.Helper()
	owner, err := mesh.VerifyProfileMesh(a.profileMesh)
	if err != nil {
		t.Fatal(err)
	}
	a.profileAccount, err = a.secrets.Account.ProfileAccount(a.secrets.Mesh, mesh.AccountOptions{Addresses: addresses, Mesh: owner, Now: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	profile, err := mesh.VerifyProfileAccount(a.profileAccount, owner)
	if err != nil {
		t.Fatal(err)
	}
	a.udf = profile.UDF()
}

// byMeshAlone is the profile without the account's own signature.
func (a *author) byMeshAlone(t testing.TB) *dare.Envelope {
	t.Helper()
	admin := a.secrets.Mesh.Admin
	e, err := dare.New(a.profileAccount.Payload, dare.Options{Holder: keys.NewRing(admin), SignKIDs: []string{admin.KID()}})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func (a *author) stored(t testing.TB) *shardpb.ResolveResponse {
	t.Helper()
	r := &shardpb.ResolveResponse{State: shardpb.AccountState_ACCOUNT_STATE_CONNECTED, Epoch: 1}
	for into, e := range map[*[]byte]*dare.Envelope{&r.ProfileAccount: a.profileAccount, &r.ProfileMesh: a.profileMesh} {
		text, err := e.MarshalJBCD()
		if err != nil {
			t.Fatal(err)
		}
		*into = text
	}
	return r
}

// draft is a message; changes are made before it is signed.
type draft struct {
	tag, metaType, id, sender, text, envelopeID string
	unsigned                                    bool
	credential                                  []*dare.Envelope
	info                                        *dare.Info
	to                                          []keys.PublicKey
}

func (a *author) message(t testing.TB, changes ...func(*draft)) *dare.Envelope {
	t.Helper()
	d := draft{
		tag: mesh.TagMessageText, id: udf.NewNonce(), sender: aliceAddress, text: "hello",
		credential: []*dare.Envelope{a.member.Credential, a.profileAccount},
	}
	for _, change := range changes {
		change(&d)
	}
	if d.metaType == "" {
		d.metaType = d.tag
	}
	payload, err := jbcd.Tag(d.tag, mesh.MessageText{Message: mesh.Message{MessageID: d.id, Sender: d.sender}, Text: d.text})
	if err != nil {
		t.Fatal(err)
	}
	o := dare.Options{
		Header: dare.Header{EnvelopeID: d.envelopeID, ContainerInfo: d.info},
		Meta:   &dare.ContentMeta{UniqueID: d.id, MessageType: d.metaType}, Recipients: d.to,
	}
	if !d.unsigned {
		o.Holder, o.SignKIDs, o.Credential = a.member.Holder(), []string{a.member.Connection.KeySignature.KID()}, d.credential
	}
	e, err := dare.New(payload, o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// recorder is a shard that writes down what it is asked, over gRPC.
type recorder struct {
	shardpb.UnimplementedAccountsServiceServer

	mu       sync.Mutex
	accounts map[string]*shardpb.ResolveResponse
	asked    []*shardpb.PostRequest
	answered func(*shardpb.PostRequest, *shardpb.PostResponse) // before the answer goes
}

func (r *recorder) Resolve(_ context.Context, q *shardpb.ResolveRequest) (*shardpb.ResolveResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.accounts[q.GetAddress()]; a != nil {
		return a, nil
	}
	return nil, rpc.ToStatus(mesh.Errorf("recorder.Resolve", mesh.UnknownAccount, "none"))
}

// Post accepts what the gateway has found no fault in, as shard.Post is described.
func (r *recorder) Post(_ context.Context, q *shardpb.PostRequest) (*shardpb.PostResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, q)
	s := new(shardpb.PostResponse)
	add := func(reject uint32, id string) {
		e := &shardpb.EntryResult{Result: shardpb.EntryResult_RESULT_ACCEPT}
		if reject != 0 {
			e, id = &shardpb.EntryResult{Result: shardpb.EntryResult_RESULT_REJECT, Code: reject}, ""
		}
		s.Entries, s.DeliveryIds = append(s.Entries, e), append(s.DeliveryIds, id)
	}
	for m, l := range q.GetMessages() {
		for i, a := range q.GetRecipients() {
			reject := l.GetEntry().GetReject()
			if reject == 0 {
				reject = a.GetReject()
			}
			add(reject, fmt.Sprintf("%032x", len(r.asked)<<16|m<<8|i))
		}
	}
	for i, e := range q.GetSelf() {
		add(e.GetReject(), "")
		if e.GetReject() == 0 {
			s.Entries[len(s.Entries)-1].Index = mesh.Int(int64(100 + i))
		}
	}
	if r.answered != nil {
		r.answered(q, s)
	}
	return s, nil
}

// last is the last Post that was asked.
func (r *recorder) last(t testing.TB) *shardpb.PostRequest {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.asked) == 0 {
		t.Fatal("the shard was asked for no Post")
	}
	return r.asked[len(r.asked)-1]
}

// messaging is a gateway between a recording shard and a real queue.
type messaging struct {
	*lonely
	shard   *recorder
	alice   *author
	inbound *queue.Conn // speaks as the inbound worker
	nats    *embedded.Server
}

func newMessaging(t *testing.T, change func(*Config)) *messaging {
	t.Helper()
	now := time.Now()
	m := &messaging{shard: &recorder{accounts: make(map[string]*shardpb.ResolveResponse)}, alice: newAuthor(t, aliceAddress)}
	m.shard.accounts[aliceAddress] = m.alice.stored(t)

	ca, err := rpc.NewCA("test", now)
	if err != nil {
		t.Fatal(err)
	}
	config, err := ca.QueueServer(now)
	if err != nil {
		t.Fatal(err)
	}
	m.nats, err = embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Addr: "127.0.0.1:0", TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.nats.Close)
	dial := func(role rpc.Role) *queue.Conn {
		t.Helper()
		id, err := ca.Identity(role, now)
		if err != nil {
			t.Fatal(err)
		}
		c, err := queue.Dial(t.Context(), queue.Options{
			Servers: []string{m.nats.URL()}, TLS: id.QueueClient(), Role: string(role), Log: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = c.Close(ctx) // after a test that stopped the server there is nothing to drain to
		})
		return c
	}
	if _, err := dial(rpc.Meshctl).Apply(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	m.inbound = dial(rpc.Inbound)
	conn := dial(rpc.Gateway)
	waiter, err := conn.Waiter(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	shardpb.RegisterAccountsServiceServer(server, m.shard)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	one, err := shardmap.NewStatic(shardmap.Even(1, l.Addr().String()))
	if err != nil {
		t.Fatal(err)
	}
	router := rpc.NewRouter(one, func(target string) (*grpc.ClientConn, error) {
		return grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	})
	t.Cleanup(func() { _ = router.Close() })
	m.lonely = newLonely(t, func(c *Config) {
		c.Router, c.Queue, c.Waiter = router, conn, waiter
		if change != nil {
			change(c)
		}
	})
	return m
}

// post is a Post of an account's device, by an exchange.
func (m *messaging) post(t testing.TB, a *author, address string, v *mesh.PostRequest) (*reply, *mesh.PostResponse) {
	t.Helper()
	payload, err := mesh.EncodeRequest(mesh.TagPost, v)
	if err != nil {
		t.Fatal(err)
	}
	cred := make1.Credential{Mode: make1.Profile, Account: address, Envelopes: []*dare.Envelope{a.member.Credential}}
	if !strings.HasSuffix(address, "@"+domainName) {
		cred.Envelopes = append(cred.Envelopes, a.profileAccount, a.profileMesh)
	}
	e, p, err := m.client(a.member.Authentication).Exchange(cred, payload, m.clock)
	if err != nil {
		t.Fatal(err)
	}
	r := new(mesh.PostResponse)
	return send(t, m.Handler(), e, p, r), r
}

// shown is an entry in a line.
func shown(list []mesh.EntryResponse) []string {
	var out []string
	for i, e := range list {
		text := fmt.Sprint(e.IndexRequest, " ", e.Result, e.Reason)
		if e.IndexContainer != nil {
			text += fmt.Sprint("@", *e.IndexContainer)
		}
		if int64(i) != e.IndexRequest {
			text += " in another place"
		}
		out = append(out, text)
	}
	return out
}

// Covers C-124, C-224, C-227, C-228, D-54, R-30: messages times recipients, then Self; the verdicts of local recipients
// are waited for, the others are Accept.
func TestPostEntries_C228(t *testing.T) {
	m := newMessaging(t, nil)
	m.shard.answered = func(q *shardpb.PostRequest, s *shardpb.PostResponse) {
		tell := func(i int, v *eventpb.Verdict) {
			v.DeliveryId = s.GetDeliveryIds()[i]
			if err := m.inbound.SendVerdict(q.GetWaiter(), v); err != nil {
				t.Error(err)
			}
		}
		tell(0, &eventpb.Verdict{Accepted: true, Index: 7}) // bob, before the gateway waits
		go func() {
			time.Sleep(50 * time.Millisecond)
			tell(3, &eventpb.Verdict{Code: 17}) // bob, the second message
		}()
	}
	one, two := m.alice.message(t), m.alice.message(t)
	self := m.alice.message(t, func(d *draft) { d.tag, d.unsigned = mesh.TagMessagePIN, true })
	start := time.Now()
	got, r := m.post(t, m.alice, aliceAddress, &mesh.PostRequest{
		Accounts: []string{"BOB@Alpha.Example", carolAddress, "nobody", bobAddress}, Message: []*dare.Envelope{one, two}, Self: []*dare.Envelope{self},
	})
	got.is(t, "Post", 201, 0)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("waited %s although every verdict was there", took)
	}
	want := []string{
		"0 Accept@7", "1 Accept", "2 RejectMeshUnknownAccount", "3 Accept@7",
		"4 RejectMeshRecipientBlockedSender", "5 Accept", "6 RejectMeshUnknownAccount", "7 RejectMeshRecipientBlockedSender",
		"8 Accept@100",
	}
	if diff := cmp.Diff(want, shown(r.Entries)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	q := m.shard.last(t)
	var recipients []string
	for _, a := range q.GetRecipients() {
		recipients = append(recipients, fmt.Sprint(a.GetAddress(), " ", a.GetDomain(), " ", a.GetReject()))
	}
	if diff := cmp.Diff([]string{bobAddress + "  0", carolAddress + " beta.example 0", "  3"}, recipients); diff != "" {
		t.Errorf("recipients (-want +got)\n%s", diff)
	}
	if q.GetAccount() != aliceAddress || q.GetCaller().GetMode() != shardpb.Mode_MODE_PROFILE || len(q.GetMessages()) != 2 {
		t.Errorf("asked for %s, %s, %d messages", q.GetAccount(), q.GetCaller().GetMode(), len(q.GetMessages()))
	}
	l := q.GetMessages()[0]
	if l.GetSignKid() != m.alice.member.Connection.KeySignature.KID() || l.GetEntry().GetMessageType() != mesh.TagMessageText ||
		string(l.GetEntry().GetPayload()) != string(one.Payload) || l.GetEntry().GetEnvelopeId() != udf.EnvelopeID(l.GetEntry().GetUniqueId()) {
		t.Errorf("the shard got %v", l)
	}
}

// Covers D-27, C-224: messages without Accounts are entries of its own, in front of Self, signed or not.
func TestPostWithoutAccounts_C224(t *testing.T) {
	m := newMessaging(t, nil)
	message := m.alice.message(t, func(d *draft) { d.tag, d.unsigned = mesh.TagRespondConnection, true })
	got, r := m.post(t, m.alice, aliceAddress, &mesh.PostRequest{Message: []*dare.Envelope{message}, Self: []*dare.Envelope{m.alice.message(t)}})
	got.is(t, "Post", 201, 0)
	if diff := cmp.Diff([]string{"0 Accept@100", "1 Accept@101"}, shown(r.Entries)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if q := m.shard.last(t); len(q.GetSelf()) != 2 || len(q.GetMessages()) != 0 || q.GetSelf()[0].GetMessageType() != mesh.TagRespondConnection {
		t.Errorf("the shard got %d messages, %v", len(q.GetMessages()), q.GetSelf())
	}
}

// Covers D-54: no verdict in time is Accept, since the outbox holds the message; also while the queue is away.
func TestPostWithoutVerdict(t *testing.T) {
	m := newMessaging(t, nil)
	start := time.Now()
	got, r := m.post(t, m.alice, aliceAddress, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{m.alice.message(t)}})
	took := time.Since(start)
	got.is(t, "Post", 201, 0)
	if diff := cmp.Diff([]string{"0 Accept"}, shown(r.Entries)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if took < verdictTime || took > postTime {
		t.Errorf("took %s", took)
	}
	m.nats.Close()
	got, r = m.post(t, m.alice, aliceAddress, &mesh.PostRequest{Accounts: []string{carolAddress}, Message: []*dare.Envelope{m.alice.message(t)}})
	got.is(t, "Post without a queue", 201, 0)
	if diff := cmp.Diff([]string{"0 Accept"}, shown(r.Entries)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// Covers C-117, C-126, C-226, D-29: what is refused at egress, message by message, with the code that the shard gets.
func TestPostEgress_C126(t *testing.T) {
	m := newMessaging(t, nil)
	m.letters = newBuckets(1e6, 1e6, m.now)
	const second, stranger = "alicia@" + domainName, "mallory@" + domainName
	m.shard.accounts[second] = &shardpb.ResolveResponse{
		State: shardpb.AccountState_ACCOUNT_STATE_CONNECTED, Redirect: aliceAddress,
		ProfileAccount: m.shard.accounts[aliceAddress].GetProfileAccount(), ProfileMesh: m.shard.accounts[aliceAddress].GetProfileMesh(),
	}
	mallory := newAuthor(t, stranger)
	m.shard.accounts[stranger] = mallory.stored(t)
	claims := func(addresses ...string) func(*draft) {
		return func(d *draft) {
			before := m.alice.profileAccount
			m.alice.claim(t, addresses...)
			d.credential = []*dare.Envelope{m.alice.member.Credential, m.alice.profileAccount}
			m.alice.profileAccount = before
		}
	}
	for _, c := range []struct {
		name string
		e    *dare.Envelope
		code uint32
	}{
		{"as it should be", m.alice.message(t), 0},
		{"encrypted", m.alice.message(t, func(d *draft) { d.to = []keys.PublicKey{*mallory.member.Account.KeyEncryption.PublicParameters} }), 0},
		{"without Sender", m.alice.message(t, func(d *draft) { d.sender = "" }), 0},
		{"a frame that is sent on", m.alice.message(t, func(d *draft) { d.info = &dare.Info{Index: mesh.Int(0)} }), 0},
		{"a second address", m.alice.message(t, claims(aliceAddress, second), func(d *draft) { d.sender = second }), 0},
		{"an address at another provider", m.alice.message(t, claims(aliceAddress, carolAddress)), 0},
		{"by the mesh alone", m.alice.message(t, func(d *draft) {
			d.credential = []*dare.Envelope{m.alice.member.Credential, m.alice.byMeshAlone(t), m.alice.profileMesh}
		}), 0},

		{"unsigned", m.alice.message(t, func(d *draft) { d.unsigned = true }), 13},
		{"no credential", m.alice.message(t, func(d *draft) { d.credential = nil }), 13},
		{"another account's", mallory.message(t, func(d *draft) { d.sender = stranger }), 13},
		{"another account's, encrypted", mallory.message(t, func(d *draft) {
			d.to = []keys.PublicKey{*mallory.member.Account.KeyEncryption.PublicParameters}
		}), 13},
		{"Sender another", m.alice.message(t, func(d *draft) { d.sender = stranger }), 13},
		{"claims another's address", m.alice.message(t, claims(aliceAddress, stranger)), 13},
		{"claims another's address, encrypted", m.alice.message(t, claims(stranger, aliceAddress), func(d *draft) {
			d.to = []keys.PublicKey{*mallory.member.Account.KeyEncryption.PublicParameters}
		}), 13},
		{"claims an address that nobody has", m.alice.message(t, claims(aliceAddress, "dave@"+domainName)), 13},
		{"claims not its own address", m.alice.message(t, claims(carolAddress), func(d *draft) { d.sender = carolAddress }), 13},
		{"Sender at another provider", m.alice.message(t, claims(aliceAddress, carolAddress), func(d *draft) { d.sender = carolAddress }), 13},
		{"EnvelopeID of another", m.alice.message(t, func(d *draft) { d.envelopeID = udf.EnvelopeID("another") }), 13},
		{"another type inside", m.alice.message(t, func(d *draft) { d.metaType = mesh.TagRequestContact }), 13},
		{"a line end in the identifier", m.alice.message(t, func(d *draft) { d.id = "N\r\nX: y" }), 13},
		{"too long", m.alice.message(t, func(d *draft) { d.text = strings.Repeat("a", mesh.MaxMessage) }), 12},
		{"MessageComplete", m.alice.message(t, func(d *draft) { d.tag = mesh.TagMessageComplete }), 14},
		{"RespondConnection", m.alice.message(t, func(d *draft) { d.tag = mesh.TagRespondConnection }), 14},
		{"AcknowledgeConnection", m.alice.message(t, func(d *draft) { d.tag = mesh.TagAcknowledgeConnection }), 14},
		{"MessagePIN", m.alice.message(t, func(d *draft) { d.tag = mesh.TagMessagePIN }), 14},
		{"MessageClaim", m.alice.message(t, func(d *draft) { d.tag = mesh.TagMessageClaim }), 14},
	} {
		got, r := m.post(t, m.alice, aliceAddress, &mesh.PostRequest{Accounts: []string{carolAddress}, Message: []*dare.Envelope{c.e}})
		got.is(t, c.name, 201, int64(c.code)) // all recipients refused: the code of the first
		entry := m.shard.last(t).GetMessages()[0].GetEntry()
		if entry.GetReject() != c.code || (c.code == 0) != (entry.GetEnvelopeId() != "") || entry.Index != nil {
			t.Errorf("%s: the shard got code %d, EnvelopeID %q", c.name, entry.GetReject(), entry.GetEnvelopeId())
		}
		want := "0 Accept"
		if c.code != 0 {
			want = "0 Reject" + mesh.KindOfCode(mesh.Code{Extended: int(c.code)}).String()
			if got.StatusDescription != strings.TrimPrefix(want, "0 Reject") {
				t.Errorf("%s: StatusDescription %q", c.name, got.StatusDescription)
			}
		}
		if diff := cmp.Diff([]string{want}, shown(r.Entries)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
	// The account's profile may be signed by its mesh alone; then the mesh of the credential must be the account's.
	m.alice.profileAccount = m.alice.byMeshAlone(t)
	m.shard.accounts[aliceAddress] = m.alice.stored(t)
	m.accounts.forget(aliceAddress)
	for what, credential := range map[string][]*dare.Envelope{
		"0 Accept":                   {m.alice.member.Credential, m.alice.profileAccount, m.alice.profileMesh},
		"0 RejectMeshMessageInvalid": {m.alice.member.Credential, m.alice.profileAccount},
	} {
		_, r := m.post(t, m.alice, aliceAddress, &mesh.PostRequest{
			Accounts: []string{carolAddress}, Message: []*dare.Envelope{m.alice.message(t, func(d *draft) { d.credential = credential })},
		})
		if diff := cmp.Diff([]string{what}, shown(r.Entries)); diff != "" {
			t.Errorf("by the mesh alone (-want +got)\n%s", diff)
		}
	}
}

// Covers D-11 for recipients, and the strong form of DATA §10.
func TestPostRecipients(t *testing.T) {
	m := newMessaging(t, nil)
	bob := newAuthor(t, bobAddress)
	m.shard.accounts[bobAddress] = bob.stored(t)
	strong := func(udf, domain string) string { return "bob@mm--" + strings.ToLower(udf) + "." + domain }
	for _, c := range []struct {
		name     string
		accounts []string
		want     []string // address, domain, code, as the shard gets it
	}{
		{"local", []string{"Bob@ALPHA.example"}, []string{bobAddress + "  0"}},
		{"remote", []string{"Ünal@BÜCHER.example"}, []string{"ünal@xn--bcher-kva.example xn--bcher-kva.example 0"}},
		{"strong", []string{strong(bob.udf, domainName)}, []string{bobAddress + "  0"}},
		{"strong and plain", []string{bobAddress, strong(bob.udf, domainName)}, []string{bobAddress + "  0"}},
		{"strong, of another", []string{strong(m.alice.udf, domainName)}, []string{bobAddress + "  3"}},
		{"strong, of two", []string{strong(bob.udf, domainName), strong(m.alice.udf, domainName)}, []string{bobAddress + "  3"}},
		{"strong, of nobody", []string{strings.Replace(strong(bob.udf, domainName), "bob", "dave", 1)}, []string{"dave@" + domainName + "  3"}},
		{"strong, at another provider", []string{strong(bob.udf, "Beta.example")}, []string{strong(bob.udf, "beta.example") + " beta.example 0"}},
		{"no addresses", []string{"", "bob", "@" + domainName, "bob@", "b ob@beta.example", "bob@beta..example", "bob@beta.example\r\nX: y", "bob\x00@beta.example"}, []string{"  3"}},
	} {
		_, r := m.post(t, m.alice, aliceAddress, &mesh.PostRequest{Accounts: c.accounts})
		if len(r.Entries) != 0 || r.Status != 201 {
			t.Errorf("%s: %d/%d, %v", c.name, r.Status, r.StatusExtended, r.Entries)
		}
		var got []string
		for _, a := range m.shard.last(t).GetRecipients() {
			got = append(got, fmt.Sprint(a.GetAddress(), " ", a.GetDomain(), " ", a.GetReject()))
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", c.name, diff)
		}
	}
}

// Covers C-122, C-125, C-225 as far as it is built, and the limits of §1.7.
func TestPostRefused_C122(t *testing.T) {
	m := newMessaging(t, nil)
	mallory := newAuthor(t, carolAddress)
	message := m.alice.message(t)
	got, _ := m.post(t, mallory, carolAddress, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{message}})
	got.is(t, "a device of another service", 401, 8)
	redacted := &dare.Envelope{Header: []byte(strings.Replace(string(message.Header), "{", `{"ContentLength":1000,`, 1)), Trailer: message.Trailer}
	for _, c := range []struct {
		name string
		v    mesh.PostRequest
		code int64
	}{
		{"messages", mesh.PostRequest{Accounts: []string{bobAddress}, Message: slices.Repeat([]*dare.Envelope{message}, maxPostMessages+1)}, 12},
		{"recipients", mesh.PostRequest{Accounts: slices.Repeat([]string{bobAddress}, maxRecipients+1)}, 12},
		{"of its own", mesh.PostRequest{Self: slices.Repeat([]*dare.Envelope{{Header: []byte(`{}`)}}, maxUploadEntries+1)}, 12},
		{"redacted", mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{redacted}}, 24},
		{"redacted, of its own", mesh.PostRequest{Message: []*dare.Envelope{redacted}}, 24},
	} {
		got, _ := m.post(t, m.alice, aliceAddress, &c.v)
		got.is(t, c.name, 400, c.code)
	}
	if len(m.shard.asked) != 0 {
		t.Errorf("the shard was asked %d times", len(m.shard.asked))
	}
	all := mesh.PostRequest{Accounts: []string{carolAddress}, Message: slices.Repeat([]*dare.Envelope{message}, maxPostMessages)}
	for range letterBurst / maxPostMessages {
		got, _ := m.post(t, m.alice, aliceAddress, &all)
		got.is(t, "as many as may be", 201, 0)
	}
	got, _ = m.post(t, m.alice, aliceAddress, &all)
	got.is(t, "one Post too many", 429, 31)
	if wait := got.http.Header().Get("Retry-After"); wait != "16" {
		t.Errorf("Retry-After %q", wait)
	}
}

// Covers R-20 with a recipient who has moved.
func TestPostMoved(t *testing.T) {
	m := newMessaging(t, nil)
	m.shard.answered = func(q *shardpb.PostRequest, s *shardpb.PostResponse) {
		v := &eventpb.Verdict{DeliveryId: s.GetDeliveryIds()[0], Code: 20, Redirect: carolAddress}
		if err := m.inbound.SendVerdict(q.GetWaiter(), v); err != nil {
			t.Error(err)
		}
	}
	got, r := m.post(t, m.alice, aliceAddress, &mesh.PostRequest{Accounts: []string{bobAddress}, Message: []*dare.Envelope{m.alice.message(t)}})
	got.is(t, "moved", 201, 20)
	if got.StatusDescription != carolAddress || r.Entries[0].Reason != mesh.Redirect.String() {
		t.Errorf("%q, %+v", got.StatusDescription, r.Entries)
	}
}

// FuzzPost: anybody's Post is refused, or comes apart into recipients and messages that hold together.
func FuzzPost(f *testing.F) {
	alice := newAuthor(f, aliceAddress)
	add := func(v *mesh.PostRequest) {
		payload, err := jbcd.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	add(&mesh.PostRequest{Accounts: []string{bobAddress, carolAddress, "nobody", "BOB@alpha.example"}, Message: []*dare.Envelope{alice.message(f)}, Self: []*dare.Envelope{alice.message(f)}})
	add(&mesh.PostRequest{Message: []*dare.Envelope{alice.message(f)}})
	add(&mesh.PostRequest{Accounts: []string{"bob@mm--" + alice.udf + ".alpha.example"}, Message: []*dare.Envelope{{Header: []byte(`{"ContentLength":1}`)}}})
	f.Add([]byte(`{"Accounts":[],"Message":[[{},""]],"Self":[[{},"",{}]]}`))
	g := &Gateway{domains: map[string]*domain{domainName: {}}}
	f.Fuzz(func(t *testing.T, in []byte) {
		var v mesh.PostRequest
		if jbcd.Unmarshal(in, &v) != nil {
			return
		}
		p, err := g.readPost(&v)
		if err != nil {
			if k := mesh.KindOf(err); k != mesh.RequestSize && k != mesh.UnknownOperation {
				t.Fatal(err)
			}
			return
		}
		if len(p.place) != len(v.Accounts) || len(p.letters)*min(1, len(v.Accounts))+len(p.self) != len(v.Message)+len(v.Self) {
			t.Fatalf("%+v", p)
		}
		seen := make(map[string]bool)
		for _, r := range p.recipients {
			if seen[r.address] || (r.fault == 0) == (r.address == "") && r.pinned == "" {
				t.Fatalf("recipients %+v", p.recipients)
			}
			seen[r.address] = true
			if a, err := mesh.ParseAddress(r.address); r.address != "" && (err != nil || (r.domain == "") != (a.Domain == domainName)) {
				t.Fatalf("%+v: %v", r, err)
			}
		}
		for _, l := range p.letters {
			if (l.fault == 0) != (l.read != nil) || l.fault == 0 && mesh.MessageSize(l.envelope) > mesh.MaxMessage {
				t.Fatalf("%+v", l)
			}
		}
	})
}
