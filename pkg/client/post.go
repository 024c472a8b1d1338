package client

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

const (
	ctyMessage = "application/mmm/message"

	// dirOutgoing holds the requests that the service may not have got yet, one file each, in the order of their numbers.
	dirOutgoing = "outgoing"

	// maxPostRecipients and maxPostMessages are what a service takes in one Post (PROTOCOL §1.7, D-25).
	maxPostRecipients = 100
	maxPostMessages   = 32
)

// StrangerError says that a message cannot be encrypted to an address: no contact has it with a profile.
type StrangerError struct{ Address string }

// Error implements error.
func (e *StrangerError) Error() string {
	return e.Address + " is in no contact that brings its key: exchange contacts first"
}

// Posted is what became of a message for one recipient.
type Posted struct {
	MessageID string
	Recipient string
	Accepted  bool   // of another provider: it is kept until it is delivered
	Reason    string // name of the rule that refused (PROTOCOL §5)
}

// letter is a message to be sealed.
type letter struct {
	mail   mesh.Mail
	pin    string     // PinUDF that stands open, since the recipient's service cannot read the message (FLOWS §6)
	expire *time.Time // told to the service
	clear  bool       // signed and not encrypted: to somebody whose key is not known
}

// Post sends each message to each recipient: signed by this device with its Credential (D-29), encrypted to the account
// encryption keys of the recipients' contacts and to the own account, which keeps a copy. MessageID, Sender and Recipient are
// written here. The request is on disk before it is sent: after a *NetworkError or a crash the next Sync sends it again, under
// the same ID. A recipient without contact is *StrangerError, and nothing is sent.
func (a *Account) Post(ctx context.Context, recipients []string, messages ...mesh.Mail) ([]Posted, error) {
	letters := make([]letter, len(messages))
	for i, m := range messages {
		letters[i].mail = m
	}
	return a.post(ctx, recipients, letters, nil)
}

// post sends letters to others, and self to mmm_Local (D-26), in one request.
func (a *Account) post(ctx context.Context, recipients []string, letters []letter, self []letter) ([]Posted, error) {
	const op = "client.Post"
	if len(recipients) == 0 || len(recipients) > maxPostRecipients || len(letters) == 0 || len(letters) > maxPostMessages {
		return nil, mesh.Errorf(op, mesh.BadRequest, "%d messages to %d recipients", len(letters), len(recipients))
	}
	book, err := a.contacts()
	if err != nil {
		return nil, err
	}
	req := &mesh.PostRequest{Request: mesh.Request{ID: newID()}}
	to := []keys.PublicKey{a.member.AccountEncryption.Public()}
	var stranger error
	for _, text := range recipients {
		address, err := mesh.ParseAddress(text)
		if err != nil {
			return nil, err
		}
		if slices.Contains(req.Accounts, address.String()) {
			continue
		}
		req.Accounts = append(req.Accounts, address.String())
		known := book.address(address.String())
		switch {
		case address.String() == a.Address():
		case known == nil || known.profile == nil || known.profile.KeyEncryption == nil:
			stranger = &StrangerError{address.String()}
		case address.SINUDF != "" && !mesh.SameUDF(address.SINUDF, known.udf):
			return nil, mesh.Errorf(op, mesh.NameInvalid, "the contact of %s is another than the strong name says", address.String())
		default:
			to = append(to, *known.profile.KeyEncryption.PublicParameters)
		}
	}
	for _, l := range letters {
		if stranger != nil && !l.clear {
			return nil, stranger
		}
		base := l.mail.Base()
		base.Recipient = strings.Join(req.Accounts, " ") // no address has a space (D-11)
		keys := to
		if stranger != nil {
			keys = nil
		}
		e, err := a.seal(l, keys)
		if err != nil {
			return nil, err
		}
		if n := mesh.MessageSize(e); n > mesh.MaxMessage {
			return nil, mesh.Errorf(op, mesh.RequestSize, "a message of %d octets, the most is %d", n, mesh.MaxMessage)
		}
		req.Message = append(req.Message, e)
	}
	for _, l := range self {
		e, err := a.seal(l, to[:1])
		if err != nil {
			return nil, err
		}
		req.Self = append(req.Self, e)
	}
	return a.send(ctx, mesh.TagPost, req)
}

// complete tells one's own devices what became of messages (DATA §8): by Upload.Self, encrypted to the own account.
func (a *Account) complete(ctx context.Context, references ...mesh.Reference) error {
	e, err := a.seal(letter{mail: &mesh.MessageComplete{Message: mesh.Message{References: references}}}, []keys.PublicKey{a.member.AccountEncryption.Public()})
	if err != nil {
		return err
	}
	_, err = a.send(ctx, mesh.TagUpload, &mesh.UploadRequest{
		RequestUser: mesh.RequestUser{Request: mesh.Request{ID: newID()}, Account: a.Address()}, Self: []*dare.Envelope{e},
	})
	return err
}

// seal makes the envelope of a message, encrypted to the keys; none: signed only.
func (a *Account) seal(l letter, to []keys.PublicKey) (*dare.Envelope, error) {
	base := l.mail.Base()
	if base.MessageID == "" {
		base.MessageID = udf.NewNonce()
	}
	base.Sender = a.Address()
	plain, err := mesh.EncodeMail(l.mail)
	if err != nil {
		return nil, err
	}
	created := jbcd.Time{Time: a.conf.now().UTC().Truncate(time.Second)}
	meta := &dare.ContentMeta{UniqueID: base.MessageID, MessageType: l.mail.Tag(), CTY: ctyMessage, Created: &created}
	if l.pin != "" {
		meta.KeyValues = []dare.KeyValue{{Key: mesh.KeyPin, Value: l.pin}}
	}
	if l.expire != nil {
		meta.Expire = &jbcd.Time{Time: l.expire.UTC().Truncate(time.Second)}
	}
	return dare.New(plain, dare.Options{
		Header: dare.Header{EnvelopeID: udf.EnvelopeID(base.MessageID)}, Meta: meta, Recipients: to,
		Holder: a.member.holder, SignKIDs: []string{a.member.signKID()}, Credential: a.credential(),
	})
}

// credential is what a message signature of this device brings along (D-29).
func (a *Account) credential() []*dare.Envelope {
	return []*dare.Envelope{a.member.Credential, a.file.Device.Accounts[0].EnvelopedProfileAccount}
}

// send keeps a request and sends it, after those that wait already.
func (a *Account) send(ctx context.Context, tag string, req request) ([]Posted, error) {
	payload, err := mesh.EncodeRequest(tag, req)
	if err != nil {
		return nil, err
	}
	waiting, err := a.outgoing()
	if err != nil {
		return nil, err
	}
	number := int64(1)
	if len(waiting) > 0 {
		number = waiting[len(waiting)-1] + 1
	}
	if err := os.MkdirAll(filepath.Join(a.dir, dirOutgoing), dirMode); err != nil {
		return nil, err
	}
	if err := replaceFile(a.outgoingPath(number), payload); err != nil {
		return nil, err
	}
	var last []Posted
	err = a.flush(ctx, func(n int64, p []Posted) {
		if n == number {
			last = p
		}
	})
	return last, err
}

func (a *Account) outgoingPath(number int64) string {
	return filepath.Join(a.dir, dirOutgoing, fmt.Sprintf("%d.json", number))
}

// outgoing lists the requests that wait, by number.
func (a *Account) outgoing() ([]int64, error) {
	entries, err := os.ReadDir(filepath.Join(a.dir, dirOutgoing))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var all []int64
	for _, e := range entries {
		var n int64
		if _, err := fmt.Sscanf(e.Name(), "%d.json", &n); err == nil && e.Name() == fmt.Sprintf("%d.json", n) {
			all = append(all, n)
		}
	}
	slices.Sort(all)
	return all, nil
}

// flush sends what waits, oldest first, and tells what became of each. What the service refuses as a whole is forgotten, and
// its error returned once the others are through; of what may or may not have arrived the file stays.
func (a *Account) flush(ctx context.Context, told func(number int64, p []Posted)) error {
	waiting, err := a.outgoing()
	if err != nil || len(waiting) == 0 {
		return err
	}
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	var refusals error
	for _, n := range waiting {
		payload, err := os.ReadFile(a.outgoingPath(n))
		if err != nil {
			return errors.Join(refusals, err)
		}
		posted, err := a.transmit(ctx, s, payload)
		var refusal *ServiceError
		if err != nil && (!errors.As(err, &refusal) || refusal.Hint || refusal.Temporary()) {
			return errors.Join(refusals, err)
		}
		refusals = errors.Join(refusals, err)
		told(n, posted)
		if err := os.Remove(a.outgoingPath(n)); err != nil {
			return errors.Join(refusals, err)
		}
		if err := syncDir(filepath.Join(a.dir, dirOutgoing)); err != nil {
			return errors.Join(refusals, err)
		}
	}
	return refusals
}

// transmit sends one kept request and reads what became of each message. *ServiceError: refused as a whole, or one of its own entries.
func (a *Account) transmit(ctx context.Context, s *session, payload []byte) ([]Posted, error) {
	tag, body, err := mesh.DecodeRequest(payload)
	if err != nil {
		return nil, err
	}
	if tag == mesh.TagUpload {
		var req mesh.UploadRequest
		if err := jbcd.Unmarshal(body, &req); err != nil {
			return nil, err
		}
		res := new(mesh.UploadResponse)
		if _, err := s.perform(ctx, payload, req.ID, res, needTicket); err != nil {
			return nil, err
		}
		return nil, ownEntries(res.Entries, len(req.Self))
	}
	var req mesh.PostRequest
	if err := jbcd.Unmarshal(body, &req); err != nil {
		return nil, err
	}
	res := new(mesh.PostResponse)
	if _, err := s.perform(ctx, payload, req.ID, res, needTicket); err != nil {
		return nil, err
	}
	if len(res.Entries) != len(req.Message)*len(req.Accounts)+len(req.Self) {
		return nil, &NetworkError{errMissingEntries}
	}
	var posted []Posted
	for _, e := range req.Message {
		meta, err := metaOf(e)
		if err != nil {
			return nil, err
		}
		for _, to := range req.Accounts {
			r := res.Entries[len(posted)]
			posted = append(posted, Posted{MessageID: meta.UniqueID, Recipient: to, Accepted: r.Result == mesh.ResultAccept, Reason: r.Reason})
		}
	}
	return posted, ownEntries(res.Entries[len(posted):], len(req.Self))
}

// ownEntries checks that the entries for one's own spools were taken.
func ownEntries(entries []mesh.EntryResponse, want int) error {
	if len(entries) != want {
		return &NetworkError{errMissingEntries}
	}
	for _, e := range entries {
		if e.Result != mesh.ResultAccept {
			return &ServiceError{Kind: mesh.MessageInvalid, Code: mesh.MessageInvalid.Code(), Description: e.Result, Reason: e.Reason}
		}
	}
	return nil
}
