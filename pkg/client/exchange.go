package client

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

// Rights that an account grants to contacts (D-39).
const (
	GrantContact      = "Contact"
	GrantConfirmation = "Confirmation"
	GrantGroup        = "Group"
	GrantTask         = "Task"
	GrantMessage      = "Message"
	GrantBlock        = "Block"
)

// Grants lists what a contact can be granted.
func Grants() []string {
	return []string{GrantContact, GrantConfirmation, GrantGroup, GrantTask, GrantMessage}
}

// DefaultGrants are for a contact of whom nothing else is said: letters, and news of his contact. Who may ask questions, or send
// tasks, is chosen.
func DefaultGrants() []string { return []string{GrantContact, GrantMessage} }

const (
	// contactPINLife is how long an answer to a contact request is taken without asking: as long as somebody may be on holiday.
	contactPINLife = 30 * 24 * time.Hour

	// maxOwnContact bounds what is sent of the own contact: with both credentials it has to fit into a message twice encoded.
	maxOwnContact = 16 << 10

	nonceSize = 16
)

// Self returns the own entry of mmm_Contact.
func (a *Account) Self() (*mesh.CatalogedContact, error) {
	b, err := a.contacts()
	if err != nil {
		return nil, err
	}
	if b.self == nil {
		return nil, &NotFoundError{"the own contact"}
	}
	return b.self, nil
}

// SetSelf queues another content for the own contact. The own address and profile stay in it.
func (a *Account) SetSelf(c mesh.Tagged) error {
	self, err := a.selfContact(a.file.Device.Accounts[0].EnvelopedProfileAccount)
	if err != nil {
		return err
	}
	if old, err := a.Self(); err == nil {
		self.Key = old.Key
	}
	proven := mesh.NetworkAddress{Address: a.Address(), EnvelopedProfileAccount: a.file.Device.Accounts[0].EnvelopedProfileAccount}
	if self.Contact, err = withAddress(c, false, a.member.Account.UDF(), proven); err != nil {
		return err
	}
	return a.putContact(self)
}

func (a *Account) putContact(e *mesh.CatalogedContact) error {
	c, err := a.Catalog(mesh.CatalogContact)
	if err != nil {
		return err
	}
	return c.Put(e)
}

// ownContact is the own contact as others get it: signed like a message. Where it came from, a card with a photo perhaps, is left
// out when it would be too long.
func (a *Account) ownContact() (*dare.Envelope, error) {
	self, err := a.Self()
	if err != nil {
		return nil, err
	}
	proven := mesh.NetworkAddress{Address: a.Address(), EnvelopedProfileAccount: a.file.Device.Accounts[0].EnvelopedProfileAccount}
	contact, err := withAddress(self.Contact, true, a.member.Account.UDF(), proven)
	if err != nil {
		return nil, err
	}
	if len(contact.Body) > maxOwnContact {
		if contact.Body, err = jbcd.Without(contact.Body, "Sources"); err != nil {
			return nil, err
		}
	}
	if len(contact.Body) > maxOwnContact {
		return nil, mesh.Errorf("client.ownContact", mesh.RequestSize, "the own contact has %d octets, the most is %d", len(contact.Body), maxOwnContact)
	}
	plain, err := contact.MarshalJBCD()
	if err != nil {
		return nil, err
	}
	return dare.New(plain, dare.Options{Holder: a.member.holder, SignKIDs: []string{a.member.signKID()}, Credential: a.credential()})
}

// RequestContact asks somebody for his contact and offers the own one (FLOWS §6). His answer proves that it is one by a PIN, and is
// then taken without asking: he gets these rights. Somebody unknown gets the request unencrypted: his provider and ours can read it.
func (a *Account) RequestContact(ctx context.Context, recipient, subject string, rights []string) ([]Posted, error) {
	if err := checkGrants(rights); err != nil {
		return nil, err
	}
	to, err := mesh.ParseAddress(recipient)
	if err != nil {
		return nil, err
	}
	self, err := a.ownContact()
	if err != nil {
		return nil, err
	}
	pin := udf.NewSecret()
	salted, err := mesh.SaltedPIN(pin, mesh.PINContact)
	if err != nil {
		return nil, err
	}
	expires := a.conf.now().Add(contactPINLife).UTC().Truncate(time.Second)
	kept := &mesh.MessagePIN{
		Message: mesh.Message{MessageID: mesh.PINUDF(salted, a.Address()), Recipient: to.String()},
		Account: a.Address(), Expires: &jbcd.Time{Time: expires}, Automatic: mesh.Bool(true), SaltedPIN: salted,
		Action: mesh.PINContact, Rights: rights,
	}
	request := &mesh.RequestContact{Reply: mesh.Bool(true), Subject: subject, PIN: pin, Self: self}
	return a.post(ctx, []string{recipient}, []letter{{mail: request, clear: true}}, []letter{{mail: kept, expire: &expires}})
}

func checkGrants(rights []string) error {
	for _, r := range rights {
		if !slices.Contains(Grants(), r) {
			return mesh.Errorf("client.checkGrants", mesh.BadRequest, "%q is no right of contacts (%s)", r, strings.Join(Grants(), ", "))
		}
	}
	return nil
}

// offered returns the contact that came with a RequestContact or ReplyContact, as its sender signed it.
func offered(m *Message) (mesh.Tagged, error) {
	var e *dare.Envelope
	switch mail := m.Mail.(type) {
	case *mesh.RequestContact:
		e = mail.Self
	case *mesh.ReplyContact:
		e = mail.AuthenticatedData
	}
	return signedContact(e, m.Signer)
}

// signedContact reads a contact signed by the device that sent it, or by another of its account.
func signedContact(e *dare.Envelope, by *mesh.Sender) (mesh.Tagged, error) {
	const op = "client.signedContact"
	if e == nil {
		return mesh.Tagged{}, mesh.Errorf(op, mesh.MessageInvalid, "no contact in it")
	}
	if h, err := e.ParseHeader(); err != nil || h.Enc != "" || len(h.Recipients) > 0 {
		return mesh.Tagged{}, mesh.Errorf(op, mesh.MessageInvalid, "the contact in it cannot be read")
	}
	if err := e.Verify(*by.Connection.KeySignature.PublicParameters); err != nil {
		other, err := mesh.VerifyMessage(e)
		if err != nil || other.UDF == "" || other.UDF != by.UDF {
			return mesh.Tagged{}, mesh.Errorf(op, mesh.MessageInvalid, "the contact in it is not signed by its sender")
		}
	}
	tag, body, err := jbcd.Tagged(e.Payload)
	if err != nil {
		return mesh.Tagged{}, mesh.E(op, mesh.MessageInvalid, err)
	}
	return mesh.Tagged{Tag: tag, Body: body}, nil
}

// befriend queues the contact that a message brought, with these rights.
func (a *Account) befriend(m *Message, rights []string) (*mesh.CatalogedContact, error) {
	contact, err := offered(m)
	if err != nil {
		return nil, err
	}
	people, err := a.contacts()
	if err != nil {
		return nil, err
	}
	profile, err := credentialProfile(m.Envelope)
	if err != nil {
		return nil, err
	}
	entry, err := people.befriend(m.Sender, profile, contact, rights)
	if err != nil {
		return nil, err
	}
	return entry, a.putContact(entry)
}

// credentialProfile is the ProfileAccount that a verified message brought along.
func credentialProfile(e *dare.Envelope) (*dare.Envelope, error) {
	list, err := e.Signatures()
	if err != nil {
		return nil, err
	}
	for i := range list {
		if len(list[i].Credential) > 1 {
			return list[i].Credential[1], nil
		}
	}
	return nil, dare.ErrNoSignature
}

// AcceptContact takes the contact that a RequestContact brought, or a ReplyContact that nobody asked for any more, grants the rights,
// and answers a request with the own contact. The contact is at the service before the answer is sent, so that what the other writes next is let in.
func (a *Account) AcceptContact(ctx context.Context, m *Message, rights []string) (*mesh.CatalogedContact, []Posted, error) {
	if err := checkGrants(rights); err != nil {
		return nil, nil, err
	}
	if m.Type != mesh.TagRequestContact && m.Type != mesh.TagReplyContact || m.Container != mesh.SpoolInbound || m.Own {
		return nil, nil, mesh.Errorf("client.AcceptContact", mesh.MessageUnsupported, "%s is no contact request", m.Type)
	}
	entry, err := a.befriend(m, rights)
	if err != nil {
		return nil, nil, err
	}
	if _, err := a.Sync(ctx, nil); err != nil {
		return nil, nil, err
	}
	var posted []Posted
	if r, ok := m.Mail.(*mesh.RequestContact); ok && r.Reply != nil && *r.Reply {
		if posted, err = a.replyContact(ctx, m, r); err != nil {
			return entry, nil, err
		}
	}
	return entry, posted, a.complete(ctx, mesh.Reference{MessageID: m.ID, Relationship: relationAccept})
}

// replyContact answers a request with the own contact, vouched for by the PIN that came with it.
func (a *Account) replyContact(ctx context.Context, m *Message, r *mesh.RequestContact) ([]Posted, error) {
	own, err := a.ownContact()
	if err != nil {
		return nil, err
	}
	reply := &mesh.ReplyContact{Subject: r.Subject}
	reply.References = []mesh.Reference{{MessageID: m.ID, Relationship: relationAccept}}
	reply.AuthenticatedData = own
	l := letter{mail: reply}
	if r.PIN != "" {
		salted, err := mesh.SaltedPIN(r.PIN, mesh.PINContact)
		if err != nil {
			return nil, err
		}
		reply.ClientNonce = make([]byte, nonceSize)
		rand.Read(reply.ClientNonce) // never fails: it aborts the program
		reply.PINUDF = mesh.PINUDF(salted, m.Sender)
		reply.PINWitness = mesh.PINWitness(salted, m.Sender, reply.ClientNonce, own.Digest())
		l.pin = reply.PINUDF
	}
	return a.post(ctx, []string{m.Sender}, []letter{l}, nil)
}

// Block refuses a message and everything that its sender will send.
func (a *Account) Block(ctx context.Context, m *Message) error {
	if m.Own || m.Service || m.Container != mesh.SpoolInbound {
		return mesh.Errorf("client.Block", mesh.BadRequest, "the sender is no other account")
	}
	people, err := a.contacts()
	if err != nil {
		return err
	}
	profile, err := credentialProfile(m.Envelope)
	if err != nil {
		return err
	}
	entry, err := people.befriend(m.Sender, profile, mesh.Tagged{}, []string{GrantBlock})
	if err != nil {
		return err
	}
	if err := a.putContact(entry); err != nil {
		return err
	}
	if _, err := a.Sync(ctx, nil); err != nil {
		return err
	}
	return a.Complete(ctx, m.ID, relationReject)
}

// Complete says to one's own devices what became of a message: one of Relations.
func (a *Account) Complete(ctx context.Context, messageID, relationship string) error {
	if !slices.Contains(ownRelations, relationship) {
		return mesh.Errorf("client.Complete", mesh.BadRequest, "%q is none of %s", relationship, strings.Join(ownRelations, ", "))
	}
	return a.complete(ctx, mesh.Reference{MessageID: messageID, Relationship: relationship})
}

// Grant gives a contact a right more, and says whether it had not had it.
func (a *Account) Grant(address, right string) (bool, error) {
	if err := checkGrants([]string{right}); err != nil {
		return false, err
	}
	canonical, err := mesh.ParseAddress(address)
	if err != nil {
		return false, err
	}
	people, err := a.contacts()
	if err != nil {
		return false, err
	}
	k := people.address(canonical.String())
	if k == nil {
		return false, &StrangerError{canonical.String()}
	}
	if k.may(right) {
		return false, nil
	}
	entry := *k.entry
	entry.Permissions = append(slices.Clone(entry.Permissions), mesh.Permission{Name: right})
	return true, a.putContact(&entry)
}

// Introduced is a contact that Receive has taken without asking.
type Introduced struct {
	Address, Key, Name string
	Rights             []string
}

// Receive synchronises, takes the contacts with which others have answered requests of this account, synchronises again when it
// did, and returns the mailbox. A reply is taken when its PIN is one that this account gave to its sender for a contact, is live
// and was not used, and the reply's witness is made with it. Others stay for the owner to decide.
func (a *Account) Receive(ctx context.Context, p Progress) (*Mailbox, []Introduced, *SyncReport, error) {
	report, err := a.Sync(ctx, p)
	if err != nil {
		return nil, nil, report, err
	}
	box, err := a.Mailbox()
	if err != nil {
		return nil, nil, report, err
	}
	all, faulty := a.takeReplies(ctx, box)
	if len(all) == 0 {
		return box, nil, report, faulty
	}
	if report, err = a.Sync(ctx, p); err != nil {
		return nil, all, report, errors.Join(faulty, err)
	}
	box, err = a.Mailbox()
	return box, all, report, errors.Join(faulty, err)
}

// takeReplies takes the contacts of the replies that a PIN of ours vouches for.
func (a *Account) takeReplies(ctx context.Context, box *Mailbox) (all []Introduced, faulty error) {
	for _, m := range box.In(mesh.SpoolInbound, false) {
		reply, ok := m.Mail.(*mesh.ReplyContact)
		if !ok || !m.Status.Open || m.Own {
			continue
		}
		pin, err := box.vouches(m, reply, a.Address())
		var f *fault
		if errors.As(err, &f) {
			f.index, f.frame = m.Index, m.Envelope
			faulty = errors.Join(faulty, a.unproven(box, m.Container, f))
			box.Messages = slices.DeleteFunc(box.Messages, func(x *Message) bool { return x == m })
		}
		if err != nil {
			continue
		}
		one, err := a.introduce(ctx, m, pin)
		var unfit *mesh.Error
		if errors.As(err, &unfit) { // the contact in it is none, or another's: for the owner to look at
			continue
		}
		if err != nil {
			faulty = errors.Join(faulty, err)
			continue
		}
		pin.Status.Open = false
		all = append(all, *one)
	}
	return all, faulty
}

// errNotAsked: a reply that the owner decides about.
const errNotAsked = errConst("no live PIN of ours was given to its sender")

// vouches returns the PIN of ours that a reply proves. A wrong witness is a *fault: somebody knew which PIN there is, and not the PIN.
func (b *Mailbox) vouches(m *Message, r *mesh.ReplyContact, account string) (*Message, error) {
	kept := b.byEnvelope[udf.EnvelopeID(r.PINUDF)]
	if r.PINUDF == "" || kept == nil {
		return nil, errNotAsked
	}
	pin, ok := kept.Mail.(*mesh.MessagePIN)
	if !ok || !kept.Own || pin.Action != mesh.PINContact || pin.Automatic == nil || !*pin.Automatic ||
		!kept.Status.Open || kept.Status.Expired || pin.Recipient != "" && !sameAddress(pin.Recipient, m.Sender) {
		return nil, errNotAsked
	}
	if r.AuthenticatedData == nil || len(r.ClientNonce) == 0 {
		return nil, failed(checkPINWitness, "nothing to witness")
	}
	want := mesh.PINWitness(pin.SaltedPIN, account, r.ClientNonce, r.AuthenticatedData.Digest())
	if subtle.ConstantTimeCompare(want, r.PINWitness) != 1 {
		return nil, failed(checkPINWitness, "the writer did not know the PIN")
	}
	return kept, nil
}

// introduce takes the contact of a reply, and closes the PIN that vouched for it.
func (a *Account) introduce(ctx context.Context, m *Message, kept *Message) (*Introduced, error) {
	pin := kept.Mail.(*mesh.MessagePIN)
	rights := slices.DeleteFunc(slices.Clone(pin.Rights), func(r string) bool { return !slices.Contains(Grants(), r) })
	if len(rights) == 0 {
		rights = DefaultGrants()
	}
	entry, err := a.befriend(m, rights)
	if err != nil {
		return nil, err
	}
	err = a.complete(ctx,
		mesh.Reference{MessageID: m.ID, Relationship: relationAccept},
		mesh.Reference{MessageID: kept.ID, Relationship: relationClosed})
	return &Introduced{Address: m.Sender, Key: entry.Key, Name: nameOf(entry), Rights: rights}, err
}
