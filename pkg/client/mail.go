package client

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

// What can be wrong with a message that a service serves at its place in a spool. Each is the Fault of an Unproven.
const (
	checkLetter      check = "message"           // identifiers are missing, or contradict each other
	checkAuthor      check = "message-signer"    // not signed by a device of an account, by the service, or by ourselves as it says
	checkOpen        check = "message-content"   // it does not open, or the signer did not know what is inside
	checkMessageType check = "message-type"      // MessageType, by which the service let it in, is not the type inside
	checkMessageID   check = "message-id"        // MessageID inside is another
	checkSender      check = "message-sender"    // Sender inside is no address of the signer
	checkAddressee   check = "message-recipient" // it was written to others
	checkPinned      check = "contact"           // the address is that of a contact, the signer is not
	checkTwice       check = "message-twice"     // another message has the identifier
	checkPINWitness  check = "pin-witness"       // a reply whose writer did not know the PIN
	checkAnswer      check = "answer"            // a confirmation that is of another question, or not by whom it must be
)

// Relationships of completions (DATA §8, D-25).
const (
	relationOpen     = "Open"
	relationClosed   = "Closed"
	relationRead     = "Read"
	relationUnread   = "Unread"
	relationAccept   = "Accept"
	relationReject   = "Reject"
	relationDeleted  = "Deleted"
	relationSent     = "Sent"
	relationReceived = "Received"
	relationFailed   = "Failed"
)

// ownRelations are those that one's own devices write, serviceRelations the service.
var (
	ownRelations     = []string{relationOpen, relationClosed, relationRead, relationUnread, relationAccept, relationReject, relationDeleted}
	serviceRelations = []string{relationSent, relationReceived, relationFailed}
)

// Relations are the relationships that Complete takes.
func Relations() []string { return slices.Clone(ownRelations) }

// ofDevices are types of the connection of devices: what they prove is for who connects them.
var ofDevices = []string{
	mesh.TagRequestConnection, mesh.TagAcknowledgeConnection, mesh.TagRespondConnection, mesh.TagMessageClaim,
}

// Message is a message of a spool that proved out: its signature, its content, and that both say the same as its header.
type Message struct {
	Container  string
	Index      int64
	ID         string // MessageID
	EnvelopeID string
	Type       string
	Mail       mesh.Mail // what is inside

	Sender    string       // address of the account that signed; empty: the service
	SenderUDF string       // of its ProfileAccount; may be empty (mesh.Sender)
	Signer    *mesh.Sender // nil: the service
	Contact   string       // key of the contact that the signer is; empty: a stranger, or ourselves
	Name      string       // of that contact
	Own       bool         // signed by a device of this account
	Service   bool         // signed by the service
	Encrypted bool         // end to end
	Received  time.Time    // by the service's clock
	Created   time.Time    // by the sender's, not covered by his signature
	Expires   time.Time    // zero: never
	Status    Status
	Envelope  *dare.Envelope // as it was sent

	digest string
}

// Recipients are the addresses that the sender wrote it to.
func (m *Message) Recipients() []string { return strings.Fields(m.Mail.Base().Recipient) }

// Status is what own devices have said of a message (DATA §8).
type Status struct {
	Unread  bool
	Open    bool
	Expired bool
	Deleted bool
	Outcome string // "Accept" or "Reject", when it was answered
}

// Delivery is what the own service, and the recipient's, have said of a message that was sent.
type Delivery struct {
	Recipient string
	State     string // "Sent": on its way; "Received", "Failed"
	Reason    string // of a failure: name of the rule that refused
	At        time.Time
	Outcome   string // "Accept" or "Reject", when the recipient answered
}

// Unproven is a message that is not shown, because it does not prove out.
type Unproven struct {
	Container string
	Index     int64
	Fault     string // short name
	Reason    string
	Evidence  string // folder with the frame
}

// Mailbox are the messages of all spools, as last synchronised.
type Mailbox struct {
	Messages []*Message // by time of arrival
	Unproven []Unproven

	byEnvelope map[string]*Message // of EnvelopeID, the first of each
	delivered  map[string]map[string]*Delivery
}

// Mailbox reads, decrypts and verifies the messages of the account, and derives their status. What does not prove out is kept
// as evidence, and is in Unproven.
func (a *Account) Mailbox() (*Mailbox, error) {
	people, err := a.contacts()
	if err != nil {
		return nil, err
	}
	v, err := a.mailVerifier(people)
	if err != nil {
		return nil, err
	}
	box := &Mailbox{byEnvelope: map[string]*Message{}, delivered: map[string]map[string]*Delivery{}}
	for _, spool := range []string{mesh.SpoolLocal, mesh.SpoolOutbound, mesh.SpoolInbound, mesh.SpoolArchive} {
		r, err := a.replica(spool)
		if err != nil {
			return nil, err
		}
		n := int(max(r.frames()-1, 0))
		read := make([]*Message, n)
		faults := make([]*fault, n)
		err = parallel(n, func(i int) error {
			e, err := r.frame(int64(i + 1))
			if err != nil {
				return err
			}
			read[i], faults[i] = v.read(spool, int64(i+1), e)
			return nil
		})
		if err != nil {
			return nil, err
		}
		for i, m := range read {
			f := faults[i]
			if m != nil {
				f = box.take(m)
			}
			if f != nil {
				if err := a.unproven(box, spool, f); err != nil {
					return nil, err
				}
			}
		}
	}
	slices.SortStableFunc(box.Messages, func(x, y *Message) int {
		return cmp.Or(x.Received.Compare(y.Received), cmp.Compare(x.Container, y.Container), cmp.Compare(x.Index, y.Index))
	})
	box.derive(a.conf.now())
	return box, nil
}

// unproven keeps the evidence of a fault, once.
func (a *Account) unproven(box *Mailbox, container string, f *fault) error {
	u := Unproven{Container: container, Index: f.index, Fault: string(f.check), Reason: f.err.Error()}
	kept, err := filepath.Glob(filepath.Join(a.dir, dirEvidence, fmt.Sprintf("*-%s-%d-%s", container, f.index, f.check)))
	if err != nil {
		return err
	}
	if len(kept) > 0 {
		u.Evidence = kept[0]
	} else if u.Evidence, err = a.keep(container, f, nil); err != nil {
		return err
	}
	box.Unproven = append(box.Unproven, u)
	return nil
}

// take adds a message. The first of an identifier counts in each spool; the same once more is a service's repetition.
func (b *Mailbox) take(m *Message) *fault {
	before := b.byEnvelope[m.EnvelopeID]
	switch {
	case before == nil:
		b.byEnvelope[m.EnvelopeID] = m
	case before.Container == m.Container && before.digest == m.digest:
		return nil
	case before.digest != m.digest:
		return &fault{check: checkTwice, index: m.Index, frame: m.Envelope, err: fmt.Errorf("%s is already that of another message", m.ID)}
	}
	b.Messages = append(b.Messages, m)
	return nil
}

// mailVerifier is what messages are held against.
type mailVerifier struct {
	address string
	own     string // UDF of the account
	meshUDF string
	holder  keys.Holder
	people  *book
	hosts   []keys.PublicKey // that sign for the service
}

func (a *Account) mailVerifier(people *book) (*mailVerifier, error) {
	v := &mailVerifier{
		address: a.Address(), own: udf.Canonical(a.member.Account.UDF()), meshUDF: udf.Canonical(a.member.Mesh.UDF()),
		holder: a.member.holder, people: people,
	}
	s := a.file.Service
	if s == nil {
		return v, nil
	}
	profile, err := mesh.VerifyProfileService(s.ProfileService)
	if err != nil {
		return nil, err
	}
	for _, e := range append([]*dare.Envelope{s.ProfileHost}, s.EarlierHosts...) {
		host, err := mesh.VerifyProfileHost(e, profile)
		if err != nil {
			return nil, err
		}
		for i := range host.KeysOnlineSignature {
			v.hosts = append(v.hosts, *host.KeysOnlineSignature[i].PublicParameters)
		}
	}
	return v, nil
}

// read verifies a frame of a spool. Neither message nor fault: it is for others to judge.
func (v *mailVerifier) read(spool string, index int64, e *dare.Envelope) (*Message, *fault) {
	m := &Message{Container: spool, Index: index}
	err := v.message(m, e)
	if err == nil {
		return m, nil
	}
	if slices.Contains(ofDevices, m.Type) {
		return nil, nil
	}
	var f *fault
	if !errors.As(err, &f) {
		f = failed(checkLetter, "%w", err)
	}
	f.index, f.frame = index, e
	return nil, f
}

// message verifies what is in a frame, cheapest first.
func (v *mailVerifier) message(m *Message, frame *dare.Envelope) error {
	l, err := mesh.ReadLetter(frame)
	if err != nil {
		return failed(checkLetter, "%w", err)
	}
	m.ID, m.EnvelopeID, m.Type, m.Encrypted = l.ID, l.EnvelopeID, l.Type, l.Encrypted
	h, err := frame.ParseHeader()
	if err != nil {
		return err
	}
	meta, err := h.ParseMeta()
	if err != nil {
		return err
	}
	if h.Received != nil {
		m.Received = h.Received.Time
	}
	if meta.Created != nil {
		m.Created = meta.Created.Time
	}
	if meta.Expire != nil {
		m.Expires = meta.Expire.Time
	}
	if m.Envelope, err = frame.Stored(); err != nil {
		return err
	}
	m.digest = string(frame.Digest())
	if m.Service = v.byService(frame); !m.Service {
		if m.Signer, err = mesh.VerifyMessage(frame); err != nil {
			return failed(checkAuthor, "%w", err)
		}
		m.SenderUDF = m.Signer.UDF
		m.Own = m.SenderUDF == v.own || m.Signer.MeshUDF == v.meshUDF && mesh.SameUDF(m.Signer.Profile.UDF(), v.own)
	}
	if err := v.content(m, frame); err != nil {
		return err
	}
	return v.author(m)
}

// byService says whether a host of the service has signed it.
func (v *mailVerifier) byService(e *dare.Envelope) bool {
	return slices.ContainsFunc(v.hosts, func(k keys.PublicKey) bool { return e.Verify(k) == nil })
}

// content opens a message and holds what is inside against what stands outside, which nobody has signed.
func (v *mailVerifier) content(m *Message, e *dare.Envelope) error {
	plain := e.Payload
	if m.Encrypted {
		c, err := e.Unseal(v.holder)
		if err != nil {
			return failed(checkOpen, "%w", err)
		}
		if err := v.witnessed(m, e, c); err != nil {
			return failed(checkOpen, "%w", err)
		}
		plain = c.Plain
	}
	mail, err := mesh.DecodeMail(plain)
	if err != nil {
		return failed(checkOpen, "%w", err)
	}
	m.Mail = mail
	if mail.Tag() != m.Type {
		return failed(checkMessageType, "it came as %s and is %s", m.Type, mail.Tag())
	}
	if mail.Base().MessageID != m.ID {
		return failed(checkMessageID, "MessageID is not UniqueID")
	}
	return nil
}

// witnessed: who signed knew what is inside. Else somebody could put his signature on what he cannot read.
func (v *mailVerifier) witnessed(m *Message, e *dare.Envelope, c *dare.Content) error {
	list, err := e.Signatures()
	if err != nil {
		return err
	}
	for i := range list {
		if m.Service || udf.Canonical(list[i].KID) == m.Signer.SignKID {
			return c.CheckWitness(&list[i])
		}
	}
	return dare.ErrNoSignature
}

// author settles who the sender is, and whether he may say this.
func (v *mailVerifier) author(m *Message) error {
	base := m.Mail.Base()
	if m.Service {
		if m.Type != mesh.TagMessageError && m.Type != mesh.TagMessageComplete && m.Type != mesh.TagAcknowledgeConnection {
			return failed(checkAuthor, "%s by the service", m.Type)
		}
		return nil
	}
	m.Sender = m.Signer.Addresses[0]
	if base.Sender != "" {
		named, ok := m.Signer.Named(base.Sender)
		if !ok {
			return failed(checkSender, "Sender is no address of the account that signed")
		}
		m.Sender = named
	}
	private := m.Type == mesh.TagMessageComplete || m.Type == mesh.TagMessagePIN || m.Type == mesh.TagMessageError
	switch {
	case m.Own:
		m.Sender = v.address
		return nil
	case m.Container != mesh.SpoolInbound || private:
		return failed(checkAuthor, "%s in %s by another account", m.Type, m.Container)
	}
	if to := m.Recipients(); len(to) > 0 && !slices.ContainsFunc(to, func(s string) bool { return sameAddress(s, v.address) }) {
		return failed(checkAddressee, "it was written to %s", base.Recipient)
	}
	return v.contact(m)
}

// contact finds the contact that signed: who has its address must be who it is.
func (v *mailVerifier) contact(m *Message) error {
	k := v.people.address(m.Sender)
	if k != nil && k.profile != nil && k.udf != m.SenderUDF {
		return failed(checkPinned, "%s is account %s in the contacts, and this is signed by %s", m.Sender, k.udf, m.Signer.Profile.UDF())
	}
	if k == nil || k.profile == nil {
		// The provider that sent it vouches for addresses of its own domain, and did not say which that is.
		if domains(m.Signer.Addresses) > 1 {
			return failed(checkSender, "the sender claims addresses of several providers, and %s is in no contact of his", m.Sender)
		}
		k = v.people.accounts[m.SenderUDF]
	}
	if k != nil && m.SenderUDF != "" {
		m.Contact, m.Name = k.entry.Key, nameOf(k.entry)
	}
	return nil
}

// domains counts the domains of addresses.
func domains(addresses []string) int {
	seen := map[string]bool{}
	for _, a := range addresses {
		_, domain, _ := strings.Cut(a, "@")
		seen[domain] = true
	}
	return len(seen)
}

// derive reads status and deliveries off the messages: of completions of a message the latest counts.
func (b *Mailbox) derive(now time.Time) {
	for _, m := range b.Messages {
		m.Status = Status{Unread: true, Open: true, Expired: !m.Expires.IsZero() && !now.Before(m.Expires)}
		if pin, ok := m.Mail.(*mesh.MessagePIN); ok && pin.Expires != nil && !now.Before(pin.Expires.Time) {
			m.Status.Expired = true
		}
	}
	for _, m := range b.Messages {
		for i := range m.Mail.Base().References {
			b.apply(m, &m.Mail.Base().References[i])
		}
	}
}

// apply takes one reference of a message into account, if its author may make it.
func (b *Mailbox) apply(m *Message, r *mesh.Reference) {
	target := udf.EnvelopeID(r.MessageID)
	switch {
	case m.Service && m.Type == mesh.TagMessageComplete && slices.Contains(serviceRelations, r.Relationship):
		d := b.delivery(target, m.Mail.Base().Recipient)
		if d.State == "" || r.Relationship != relationSent { // what is settled is not on its way again
			d.State, d.At = r.Relationship, m.Received
		}
	case m.Service && m.Type == mesh.TagMessageError:
		d := b.delivery(target, m.Mail.Base().Recipient)
		d.State, d.At = relationFailed, m.Received
		if e, ok := m.Mail.(*mesh.MessageError); ok {
			d.Reason = e.ErrorCode
		}
	case m.Own && m.Type == mesh.TagMessageComplete && slices.Contains(ownRelations, r.Relationship):
		if of := b.byEnvelope[target]; of != nil {
			of.Status.apply(r.Relationship)
		}
	case m.Own && r.ResponseID != "" && r.MessageID != "":
		if of := b.byEnvelope[target]; of != nil {
			of.Status.Open = false
		}
	}
}

func (s *Status) apply(relation string) {
	switch relation {
	case relationOpen:
		s.Open = true
	case relationClosed:
		s.Open = false
	case relationRead:
		s.Unread, s.Deleted = false, false
	case relationUnread:
		s.Unread, s.Deleted = true, false
	case relationAccept, relationReject:
		s.Open, s.Unread, s.Outcome = false, false, relation
	case relationDeleted:
		s.Deleted, s.Open = true, false
	}
}

func (b *Mailbox) delivery(envelopeID, recipient string) *Delivery {
	all := b.delivered[envelopeID]
	if all == nil {
		all = map[string]*Delivery{}
		b.delivered[envelopeID] = all
	}
	if all[recipient] == nil {
		all[recipient] = &Delivery{Recipient: recipient}
	}
	return all[recipient]
}

// Deliveries are what became of a message of mmm_Outbound, for each of its recipients.
func (b *Mailbox) Deliveries(m *Message) []Delivery {
	var list []Delivery
	for _, to := range m.Recipients() {
		d := Delivery{Recipient: to, State: relationSent, At: m.Received}
		if have := b.delivered[m.EnvelopeID][to]; have != nil {
			d = *have
		}
		d.Outcome = b.outcome(m, to)
		list = append(list, d)
	}
	return list
}

// outcome is how a recipient answered a question.
func (b *Mailbox) outcome(m *Message, recipient string) string {
	if m.Type != mesh.TagRequestConfirmation {
		return ""
	}
	answer := b.byEnvelope[udf.EnvelopeID(udf.ResponseID(m.ID))]
	if answer == nil || answer.Sender != recipient || answer.Container != mesh.SpoolInbound {
		return ""
	}
	accept, err := b.judge(m, answer)
	switch {
	case err != nil:
		return ""
	case accept:
		return relationAccept
	}
	return relationReject
}

// asking are the types that somebody waits for an answer to.
var asking = []string{
	mesh.TagRequestContact, mesh.TagReplyContact, mesh.TagRequestConfirmation, mesh.TagGroupInvitation, mesh.TagRequestTask,
}

// Asks says whether the message still waits for the owner's answer.
func (m *Message) Asks() bool {
	return m.Status.Open && !m.Own && slices.Contains(asking, m.Type)
}

// In lists the messages of a spool that are unread or wait for an answer; all: every one of people and of the service.
func (b *Mailbox) In(spool string, all bool) []*Message {
	var list []*Message
	for _, m := range b.Messages {
		told := m.Type == mesh.TagMessageComplete || m.Type == mesh.TagMessagePIN
		if m.Container == spool && !told && (all || !m.Status.Deleted && (m.Status.Unread || m.Asks())) {
			list = append(list, m)
		}
	}
	return list
}

// AmbiguousError says that a beginning of an identifier fits several messages.
type AmbiguousError struct {
	ID string
	N  int
}

// Error implements error.
func (e *AmbiguousError) Error() string { return fmt.Sprintf("%q fits %d messages", e.ID, e.N) }

// Find returns the message of a MessageID, or of a beginning of one that fits only one. Completions are not looked at.
func (b *Mailbox) Find(id string) (*Message, error) {
	var found []*Message
	for _, m := range b.Messages {
		if m.Type == mesh.TagMessageComplete || m.Container == mesh.SpoolLocal {
			continue
		}
		if m.ID == id || mesh.SameUDF(m.ID, id) {
			return m, nil
		}
		if begin := strings.ToUpper(id); len(begin) >= 4 && strings.HasPrefix(m.ID, begin) {
			found = append(found, m)
		}
	}
	switch len(found) {
	case 0:
		return nil, &NotFoundError{"message " + id}
	case 1:
		return found[0], nil
	}
	return nil, &AmbiguousError{id, len(found)}
}
