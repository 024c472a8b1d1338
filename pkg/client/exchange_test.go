package client

import (
	"errors"
	"testing"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

// exchanged is a contact exchange up to the reply: Alice has asked Bob, Bob has answered.
func exchanged(t *testing.T) (o *office, alice, bob *Account, reply *dare.Envelope) {
	t.Helper()
	o = newOffice(t)
	alice, bob = o.account("alice@example.com"), o.account("bob@example.com")
	if _, err := alice.RequestContact(t.Context(), bob.Address(), "hello", []string{GrantMessage, GrantConfirmation}); err != nil {
		t.Fatal(err)
	}
	request := o.posts[0]
	o.put(alice, mesh.SpoolOutbound, request.Message[0])
	o.put(alice, mesh.SpoolLocal, request.Self[0])
	o.put(bob, mesh.SpoolInbound, request.Message[0])
	m := o.box(bob).In(mesh.SpoolInbound, false)[0]
	if m.Type != mesh.TagRequestContact || m.Contact != "" || m.Sender != alice.Address() {
		t.Fatalf("Bob got %+v", m)
	}
	if _, err := bob.befriend(m, DefaultGrants()); err != nil {
		t.Fatal(err)
	}
	if _, err := bob.replyContact(t.Context(), m, m.Mail.(*mesh.RequestContact)); err != nil {
		t.Fatal(err)
	}
	return o, alice, bob, o.posts[1].Message[0]
}

// Covers C-121: a request goes out with a PIN that own devices know; the reply proves it, is encrypted, shows only which PIN it is, and is
// taken without asking, with the rights that were chosen. Then the PIN is used up.
func TestContactExchange_C121(t *testing.T) {
	o, alice, bob, reply := exchanged(t)
	letter, err := mesh.ReadLetter(reply)
	if err != nil || !letter.Encrypted || letter.PinUDF == "" {
		t.Fatalf("%+v, %v", letter, err)
	}
	pin := o.posts[0].Self[0]
	meta := must(metaOf(pin))
	if letter.PinUDF != meta.UniqueID || meta.Expire == nil {
		t.Errorf("the reply names PIN %s, kept is %s until %v", letter.PinUDF, meta.UniqueID, meta.Expire)
	}
	if kept := must(mesh.ReadLetter(pin)); !kept.Encrypted {
		t.Error("the provider can read the salted PIN")
	}
	o.put(alice, mesh.SpoolInbound, reply)
	all, err := alice.takeReplies(t.Context(), o.box(alice))
	if err != nil || len(all) != 1 || all[0].Address != bob.Address() {
		t.Fatalf("%+v, %v", all, err)
	}
	people := must(alice.contacts())
	k := people.address(bob.Address())
	if k == nil || k.udf != udf.Canonical(bob.member.Account.UDF()) || !k.may(GrantConfirmation) || k.may(GrantContact) {
		t.Fatalf("%+v", k)
	}
	o.put(alice, mesh.SpoolInbound, o.uploads[0].Self[0]) // the completion, as it comes back
	box := o.box(alice)
	if len(box.In(mesh.SpoolInbound, false)) != 0 {
		t.Errorf("%d messages are listed", len(box.In(mesh.SpoolInbound, false)))
	}
	if m := box.byEnvelope[letter.EnvelopeID]; m.Status.Outcome != relationAccept {
		t.Errorf("%+v", m.Status)
	}
	// The same PIN again, in another reply of Bob's.
	m := must(o.box(bob).Find(must(metaOf(o.posts[0].Message[0])).UniqueID))
	if _, err := bob.replyContact(t.Context(), m, m.Mail.(*mesh.RequestContact)); err != nil {
		t.Fatal(err)
	}
	o.put(alice, mesh.SpoolInbound, o.posts[2].Message[0])
	if all, err := alice.takeReplies(t.Context(), o.box(alice)); err != nil || len(all) != 0 {
		t.Errorf("a used PIN is taken: %+v, %v", all, err)
	}
}

// A reply is for the owner to decide when no live PIN of ours went to its sender; it is evidence when its writer did not know the PIN.
func TestContactReplyLies(t *testing.T) {
	resealed := func(o *office, from, to *Account, edit func(*mesh.ReplyContact)) *dare.Envelope {
		m := o.box(to).In(mesh.SpoolInbound, false)[0]
		r := *m.Mail.(*mesh.ReplyContact)
		r.Message = mesh.Message{}
		edit(&r)
		return o.written(from, to, &r, nil)
	}
	for name, c := range map[string]struct {
		edit  func(o *office, alice, bob *Account, honest *dare.Envelope) *dare.Envelope
		fault bool
	}{
		"another witness": {func(o *office, alice, bob *Account, _ *dare.Envelope) *dare.Envelope {
			return resealed(o, bob, alice, func(r *mesh.ReplyContact) { r.PINWitness = flip(r.PINWitness, 0) })
		}, true},
		"no witness": {func(o *office, alice, bob *Account, _ *dare.Envelope) *dare.Envelope {
			return resealed(o, bob, alice, func(r *mesh.ReplyContact) { r.PINWitness = nil })
		}, true},
		"another contact under the witness": {func(o *office, alice, bob *Account, _ *dare.Envelope) *dare.Envelope {
			return resealed(o, bob, alice, func(r *mesh.ReplyContact) { r.AuthenticatedData = must(alice.ownContact()) })
		}, true},
		"by somebody who was not asked": {func(o *office, alice, _ *Account, _ *dare.Envelope) *dare.Envelope {
			return resealed(o, o.account("mallory@example.com"), alice, func(*mesh.ReplyContact) {})
		}, false},
		"a PIN that is none": {func(o *office, alice, bob *Account, _ *dare.Envelope) *dare.Envelope {
			return resealed(o, bob, alice, func(r *mesh.ReplyContact) { r.PINUDF = udf.NewNonce() })
		}, false},
		"no PIN": {func(o *office, alice, bob *Account, _ *dare.Envelope) *dare.Envelope {
			return resealed(o, bob, alice, func(r *mesh.ReplyContact) { r.PINUDF = "" })
		}, false},
		"an expired PIN": {func(_ *office, alice, _ *Account, honest *dare.Envelope) *dare.Envelope {
			alice.conf.Now = func() time.Time { return time.Now().Add(contactPINLife + time.Hour) }
			return honest
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o, alice, bob, honest := exchanged(t)
			o.put(alice, mesh.SpoolInbound, honest)
			lie := c.edit(o, alice, bob, honest)
			r := must(alice.replica(mesh.SpoolInbound))
			if err := errors.Join(r.close(), deleteReplica(alice, mesh.SpoolInbound)); err != nil {
				t.Fatal(err)
			}
			delete(o.spools, alice.Address()+mesh.SpoolInbound)
			o.put(alice, mesh.SpoolInbound, lie)
			box := o.box(alice)
			all, err := alice.takeReplies(t.Context(), box)
			if err != nil || len(all) != 0 || len(o.uploads) != 0 {
				t.Fatalf("%+v, %v", all, err)
			}
			if k := must(alice.contacts()).address(bob.Address()); k != nil {
				t.Error("the contact was taken")
			}
			if found := len(box.Unproven) == 1 && box.Unproven[0].Fault == string(checkPINWitness); found != c.fault {
				t.Errorf("found: %v, want %v: %v", found, c.fault, box.Unproven)
			}
			if listed := len(box.In(mesh.SpoolInbound, false)) == 1; listed == c.fault {
				t.Errorf("listed: %v", listed)
			}
		})
	}
}

// Somebody's contact does not make him somebody else.
func TestContactClaimsOthersAddresses(t *testing.T) {
	o := newOffice(t)
	alice, bob, carol := o.account("alice@example.com"), o.account("bob@example.com"), o.account("carol@example.com")
	claim := must(mesh.NewTagged(mesh.TagContactPerson, mesh.ContactPerson{
		Contact: mesh.Contact{NetworkAddresses: []mesh.NetworkAddress{
			{Address: "president@gov.example", EnvelopedProfileAccount: bob.file.Device.Accounts[0].EnvelopedProfileAccount},
			{Address: "mailto:bob@mail.example"},
			{Address: bob.Address(), EnvelopedProfileAccount: carol.file.Device.Accounts[0].EnvelopedProfileAccount},
		}},
		CommonNames: []mesh.PersonName{{FullName: "Bob"}},
	}))
	people := must(alice.contacts())
	entry, err := people.befriend(bob.Address(), bob.file.Device.Accounts[0].EnvelopedProfileAccount, claim, DefaultGrants())
	if err != nil {
		t.Fatal(err)
	}
	if err := alice.putContact(entry); err != nil {
		t.Fatal(err)
	}
	people = must(alice.contacts())
	if people.address("president@gov.example") != nil {
		t.Error("Bob is the president")
	}
	k := people.address(bob.Address())
	if k == nil || k.udf != udf.Canonical(bob.member.Account.UDF()) || nameOf(k.entry) != "Bob" {
		t.Errorf("%+v", k)
	}
	// What the owner has written into an entry stays when the contact comes again; another account does not take the address.
	if again, err := people.befriend(bob.Address(), bob.file.Device.Accounts[0].EnvelopedProfileAccount, mesh.Tagged{}, []string{GrantBlock}); err != nil || nameOf(again) != "Bob" {
		t.Errorf("%v", err)
	}
	if _, err := people.befriend(bob.Address(), carol.file.Device.Accounts[0].EnvelopedProfileAccount, claim, nil); mesh.KindOf(err) != mesh.ProfileInvalid {
		t.Errorf("%v", err)
	}
	// A contact that somebody else signed is not taken.
	m := o.written(bob, alice, &mesh.RequestContact{Self: must(carol.ownContact())}, nil)
	o.put(alice, mesh.SpoolInbound, m)
	if _, err := alice.befriend(o.box(alice).Messages[0], DefaultGrants()); mesh.KindOf(err) != mesh.MessageInvalid {
		t.Errorf("%v", err)
	}
}

// asked is a question of Alice's that Bob has got.
func asked(t *testing.T) (o *office, alice, bob *Account, question *dare.Envelope, got *Message) {
	t.Helper()
	o = newOffice(t)
	alice, bob = o.account("alice@example.com"), o.account("bob@example.com")
	o.knows(alice, bob, GrantConfirmation)
	o.knows(bob, alice, GrantConfirmation)
	if _, _, err := alice.Ask(t.Context(), bob.Address(), "Open the door?"); err != nil {
		t.Fatal(err)
	}
	question = o.posts[0].Message[0]
	o.put(alice, mesh.SpoolOutbound, question)
	o.put(bob, mesh.SpoolInbound, question)
	return o, alice, bob, question, o.box(bob).Messages[0]
}

// Covers C-121: a question, its signed answer, and their proof without a service.
func TestConfirmation_C121(t *testing.T) {
	for _, accept := range []bool{true, false} {
		o, alice, bob, question, got := asked(t)
		asking := must(o.box(alice).Find(must(metaOf(question)).UniqueID))
		if c, err := alice.Confirmation(o.box(alice), asking); c != nil || err != nil {
			t.Fatalf("an answer before there is one: %v, %v", c, err)
		}
		if _, err := bob.Answer(t.Context(), got, accept); err != nil {
			t.Fatal(err)
		}
		o.put(alice, mesh.SpoolInbound, o.posts[1].Message[0])
		box := o.box(alice)
		c, err := alice.Confirmation(box, asking)
		if err != nil || c.Accept != accept || c.Answer.Sender != bob.Address() {
			t.Fatalf("%+v, %v", c, err)
		}
		if d := box.Deliveries(asking)[0]; d.Outcome != map[bool]string{true: relationAccept, false: relationReject}[accept] {
			t.Errorf("%+v", d)
		}
		file, err := c.Export()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := alice.VerifyConfirmation(file); err != nil || again.Accept != accept {
			t.Errorf("%v, %v", again, err)
		}
		for i := 40; i < len(file); i += len(file) / 60 { // an octet anywhere
			bent := flip(file, i)
			if again, err := alice.VerifyConfirmation(bent); err == nil && again.Accept != accept {
				t.Errorf("octet %d changed: another answer", i)
			}
		}
	}
}

// An answer that is not by who was asked, of what was asked, by a device that may answer, is found.
func TestConfirmationLies(t *testing.T) {
	answer := func(q *dare.Envelope, edit func(*mesh.ResponseConfirmation)) *mesh.ResponseConfirmation {
		r := &mesh.ResponseConfirmation{Request: q, Accept: mesh.Bool(true)}
		r.MessageID = udf.ResponseID(must(metaOf(q)).UniqueID)
		if edit != nil {
			edit(r)
		}
		return r
	}
	for name, lie := range map[string]func(o *office, alice, bob *Account, q *dare.Envelope) *dare.Envelope{
		"another question in it": func(o *office, alice, bob *Account, q *dare.Envelope) *dare.Envelope {
			other := o.written(alice, bob, &mesh.RequestConfirmation{Text: "Close the door?"}, nil)
			return o.written(bob, alice, answer(q, func(r *mesh.ResponseConfirmation) { r.Request = other }), nil)
		},
		"no question in it": func(o *office, alice, bob *Account, q *dare.Envelope) *dare.Envelope {
			return o.written(bob, alice, answer(q, func(r *mesh.ResponseConfirmation) { r.Request = nil }), nil)
		},
		"neither yes nor no": func(o *office, alice, bob *Account, q *dare.Envelope) *dare.Envelope {
			return o.written(bob, alice, answer(q, func(r *mesh.ResponseConfirmation) { r.Accept = nil }), nil)
		},
		"by another contact": func(o *office, alice, _ *Account, q *dare.Envelope) *dare.Envelope {
			carol := o.account("carol@example.com")
			o.knows(alice, carol, GrantConfirmation)
			return o.written(carol, alice, answer(q, nil), nil)
		},
		"of another type": func(o *office, alice, bob *Account, q *dare.Envelope) *dare.Envelope {
			return o.written(bob, alice, &mesh.MessageText{Message: mesh.Message{MessageID: udf.ResponseID(must(metaOf(q)).UniqueID)}}, nil)
		},
		"by a device that may not answer": func(o *office, alice, bob *Account, q *dare.Envelope) *dare.Envelope {
			f := bob.file
			admission := mesh.Admission{
				Mesh: f.Secrets.Mesh, ProfileMesh: f.Device.EnvelopedProfileMesh, Account: f.Secrets.Account,
				ProfileAccount: f.Device.Accounts[0].EnvelopedProfileAccount, ProfileDevice: f.Device.EnvelopedProfileDevice,
				Rights: []mesh.RightName{mesh.RightMessage}, Now: time.Now(),
			}
			f.Device = must(admission.CatalogedDevice())
			if err := bob.activate(); err != nil {
				t.Fatal(err)
			}
			if _, err := bob.Answer(t.Context(), o.box(bob).Messages[0], true); mesh.KindOf(err) != mesh.InsufficientPrivilege {
				t.Errorf("it answers: %v", err)
			}
			return o.written(bob, alice, answer(q, nil), nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o, alice, bob, q, _ := asked(t)
			o.put(alice, mesh.SpoolInbound, lie(o, alice, bob, q))
			box := o.box(alice)
			asking := must(box.Find(must(metaOf(q)).UniqueID))
			var proof *ProofError
			c, err := alice.Confirmation(box, asking)
			if !errors.As(err, &proof) || proof.Fault != string(checkAnswer) || proof.Evidence == "" {
				t.Errorf("%+v, %v", c, err)
			}
			if d := box.Deliveries(asking)[0]; d.Outcome != "" {
				t.Errorf("%+v", d)
			}
		})
	}
}

// The right to block is not for sale: only the known rights are granted, and Block shuts out.
func TestGrants(t *testing.T) {
	o := newOffice(t)
	alice, bob := o.account("alice@example.com"), o.account("bob@example.com")
	if _, err := alice.RequestContact(t.Context(), bob.Address(), "", []string{"Everything"}); mesh.KindOf(err) != mesh.BadRequest || len(o.posts) != 0 {
		t.Errorf("%v", err)
	}
	if _, err := alice.Grant(bob.Address(), GrantConfirmation); err == nil {
		t.Error("a stranger was granted something")
	}
	o.knows(alice, bob, GrantMessage)
	if granted, err := alice.Grant(bob.Address(), GrantConfirmation); err != nil || !granted {
		t.Errorf("%v", err)
	}
	if granted, err := alice.Grant(bob.Address(), GrantConfirmation); err != nil || granted {
		t.Errorf("granted twice, %v", err)
	}
	if k := must(alice.contacts()).address(bob.Address()); !k.may(GrantMessage) || !k.may(GrantConfirmation) {
		t.Errorf("%+v", k.entry.Permissions)
	}
}

// A report shows the message as it was signed, to the provider of its sender.
func TestReport(t *testing.T) {
	o := newOffice(t)
	alice, mallory := o.account("alice@example.com"), o.account("mallory@example.com")
	spam := o.written(mallory, alice, text("buy"), nil)
	o.put(alice, mesh.SpoolInbound, spam)
	if _, err := alice.Report(t.Context(), o.box(alice).Messages[0], "spam"); err != nil {
		t.Fatal(err)
	}
	post := o.posts[0]
	letter := must(mesh.ReadLetter(post.Message[0]))
	var r mesh.MessageReport
	_, body, err := jbcd.Tagged(post.Message[0].Payload)
	if err == nil {
		err = jbcd.Unmarshal(body, &r)
	}
	if err != nil || letter.Encrypted || post.Accounts[0] != "abuse@example.com" || r.Text != "spam" {
		t.Fatalf("%+v, %v, %v", letter, post.Accounts, err)
	}
	if s, err := mesh.VerifyMessage(r.Reported); err != nil || s.UDF != udf.Canonical(mallory.member.Account.UDF()) {
		t.Errorf("what is reported does not prove its sender: %v", err)
	}
}
