package gateway

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// Bounds of a Post (PROTOCOL §1.7, §4.1).
const (
	maxRecipients = 100
	// postTime bounds the transaction once its body is there (draft §9.1.2.1).
	postTime = 5 * time.Second
	// verdictTime is how long the verdicts of local recipients are waited for, of the five seconds (D-54).
	verdictTime = 3 * time.Second
	// verdictReserve is left of them to answer in.
	verdictReserve = 200 * time.Millisecond
	// Messages per second and at once of one account, before their signatures are checked, each of which costs a
	// millisecond: what the shard allows in a minute is no more than half of it (PROTOCOL §1.7).
	letterRate  = 2
	letterBurst = 4 * maxPostMessages
)

// neverTravels are types that are made by the service or for one's own devices: no other service takes them (FLOWS §9).
var neverTravels = []string{
	mesh.TagMessageComplete, mesh.TagRespondConnection, mesh.TagAcknowledgeConnection, mesh.TagMessagePIN, mesh.TagMessageClaim,
}

// post sends messages (PROTOCOL §4.1): of a device of ours, or forwarded by another service.
func (q *request) post(ctx context.Context, body jbcd.Raw) (mesh.ResponseMessage, error) {
	const op = "gateway.post"
	byUs := q.who.mode != make1.Service
	switch {
	case byUs && !q.local(): // two services stand between any two accounts (draft §9.1)
		q.readID(body)
		return nil, mesh.Errorf(op, mesh.NotAuthorized, "Post for an account of another service")
	case q.queue == nil || q.waiter == nil:
		q.readID(body)
		return nil, mesh.Errorf(op, mesh.UnknownOperation, "messaging is not configured")
	}
	ctx, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	if byUs {
		return q.submit(ctx, body)
	}
	return q.receive(ctx, body)
}

// posting is a Post, read and taken apart.
type posting struct {
	recipients []recipient // each once
	place      []int       // of each of Accounts in recipients
	letters    []letter
	self       []*dare.Envelope // messages without Accounts, then Self
}

// recipient is one of Accounts.
type recipient struct {
	address string // canonical; to another provider in the strong form, when it was written so: theirs to compare
	domain  string // destination; empty: an account of this provider
	pinned  string // UDF that the strong form of a local address names
	fault   mesh.Kind
}

// pin adds the identity that another spelling of the address asks for: of two there is at most one.
func (r *recipient) pin(udf string) {
	switch {
	case r.pinned == "":
		r.pinned = udf
	case udf != "" && !mesh.SameUDF(r.pinned, udf):
		r.fault = mesh.UnknownAccount
	}
}

// letter is one of Message. A fault is of the message alone, for all recipients; the zero Kind is none.
type letter struct {
	envelope *dare.Envelope
	read     *mesh.Letter
	entry    *shardpb.Entry // client's only
	signKID  string
	fault    mesh.Kind
}

// readPost reads a Post within its limits. Recipients and messages with faults are marked.
func (g *Gateway) readPost(v *mesh.PostRequest) (*posting, error) {
	const op = "gateway.readPost"
	if len(v.Message) > maxPostMessages || len(v.Accounts) > maxRecipients || len(v.Self) > maxUploadEntries || payloads(v.Self) > maxUploadOctets {
		return nil, mesh.Errorf(op, mesh.RequestSize, "%d messages to %d recipients, %d of its own", len(v.Message), len(v.Accounts), len(v.Self))
	}
	p := new(posting)
	at := make(map[string]int, len(v.Accounts))
	for _, text := range v.Accounts {
		r := g.readRecipient(text)
		i, again := at[r.address]
		if !again {
			i = len(p.recipients)
			at[r.address] = i
			p.recipients = append(p.recipients, r)
		}
		p.recipients[i].pin(r.pinned)
		p.place = append(p.place, i)
	}
	if len(v.Accounts) == 0 {
		p.self = slices.Concat(v.Message, v.Self) // D-27
		return p, nil
	}
	p.self = v.Self
	for _, e := range v.Message {
		l, err := readLetter(e)
		if err != nil {
			return nil, err
		}
		p.letters = append(p.letters, l)
	}
	return p, nil
}

// readRecipient makes an address canonical (D-11). What cannot be one is nobody's.
func (g *Gateway) readRecipient(text string) recipient {
	a, err := mesh.ParseAddress(text)
	if err != nil {
		return recipient{fault: mesh.UnknownAccount}
	}
	if g.domains[a.Domain] != nil {
		return recipient{address: a.String(), pinned: a.SINUDF}
	}
	r := recipient{address: a.String(), domain: a.Domain}
	if a.SINUDF != "" {
		r.address = a.Local + "@mm--" + strings.ToLower(a.SINUDF) + "." + a.Domain
	}
	return r
}

// readLetter checks size and identifiers of a message. The error, for the whole request, is that of two-phase Post,
// which this build does not have.
func readLetter(e *dare.Envelope) (letter, error) {
	l := letter{envelope: e}
	h, err := readStored(e)
	switch {
	case err != nil:
		l.fault = mesh.MessageInvalid
	case redacted(h, e):
		return l, mesh.Errorf("gateway.readLetter", mesh.UnknownOperation, "two-phase Post")
	case mesh.MessageSize(e) > mesh.MaxMessage:
		l.fault = mesh.RequestSize
	default:
		if l.read, err = mesh.ReadLetter(e); err != nil {
			l.fault = mesh.MessageInvalid
		}
	}
	return l, nil
}

// redacted says whether the envelope has less than its payload (D-23).
func redacted(h *stored, e *dare.Envelope) bool {
	return h.BytesOffset != nil || h.ContentLength != nil && *h.ContentLength != int64(len(e.Payload))
}

// submit sends messages of a device of ours: from here to the sender's shard, which holds them until they are delivered.
func (q *request) submit(ctx context.Context, body jbcd.Raw) (mesh.ResponseMessage, error) {
	const op = "gateway.submit"
	var v mesh.PostRequest
	if err := q.read(body, &v, &v.Request); err != nil {
		return nil, err
	}
	p, err := q.readPost(&v)
	if err != nil {
		return nil, err
	}
	if wait, ok := q.letters.takeN(q.who.account, len(p.letters)); !ok {
		return nil, limited(op, wait)
	}
	ask := &shardpb.PostRequest{Caller: q.caller(), Account: q.who.account, Waiter: q.waiter.Token()}
	if ask.Self, err = takeApartAll(p.self, true); err != nil {
		return nil, err
	}
	if err := q.checkPinned(ctx, p.recipients); err != nil {
		return nil, err
	}
	for i := range p.letters {
		if err := q.checkLetter(ctx, &p.letters[i]); err != nil {
			return nil, err
		}
	}
	q.countFaults(ctx, egress, p)
	for _, r := range p.recipients {
		ask.Recipients = append(ask.Recipients, &shardpb.Addressee{Address: r.address, Domain: r.domain, Reject: code(r.fault)})
	}
	for _, l := range p.letters {
		if l.fault != 0 {
			l.entry = reject(new(shardpb.Entry), l.fault)
		}
		ask.Messages = append(ask.Messages, &shardpb.Letter{Entry: l.entry, SignKid: l.signKID})
	}
	var s *shardpb.PostResponse
	err = q.shard(ctx, q.who.account, func(ctx context.Context, c shardpb.AccountsServiceClient) (err error) {
		s, err = c.Post(ctx, ask)
		return err
	})
	if err != nil {
		return nil, err
	}
	if want := len(p.letters)*len(p.recipients) + len(p.self); len(s.GetEntries()) != want || len(s.GetDeliveryIds()) > want {
		return nil, mesh.Errorf(op, mesh.Internal, "%d entries of %d", len(s.GetEntries()), want)
	}
	return q.posted(p, s, q.await(ctx, waitedFor(p, s)))
}

// checkLetter checks a message of a device of ours, cheapest first: type, stored form, signature, sender. An error is
// that the shard is away.
func (q *request) checkLetter(ctx context.Context, l *letter) error {
	if l.fault != 0 {
		return nil
	}
	if slices.Contains(neverTravels, l.read.Type) {
		l.fault = mesh.MessageUnsupported
		return nil
	}
	entry, err := takeApart(l.envelope, true)
	if err != nil {
		return err
	}
	if r := entry.GetReject(); r != 0 {
		l.fault = mesh.KindOfCode(mesh.Code{Extended: int(r)})
		return nil
	}
	// ContainerInfo of a frame that is sent on says nothing here.
	entry.Index, entry.EnvelopeId, entry.UniqueId, entry.MessageType = nil, l.read.EnvelopeID, l.read.ID, l.read.Type
	entry.Header = l.read.Header(entry.Header)
	sender, err := mesh.VerifyMessage(l.envelope)
	if err != nil {
		l.fault = mesh.MessageInvalid
		return nil
	}
	mine, err := q.sends(ctx, sender, l.read.Message)
	if err != nil {
		return err
	}
	if !mine {
		l.fault = mesh.MessageInvalid
		return nil
	}
	l.entry, l.signKID = entry, sender.SignKID
	return nil
}

// sends says whether the account that signed a message is the caller's. Other services take our word for the addresses
// of our domains, so all that the profile claims there must be this account, under its first name or a second one, and
// so must the Sender in the payload be (FLOWS §9).
func (q *request) sends(ctx context.Context, s *mesh.Sender, m *mesh.Message) (bool, error) {
	if s.UDF == "" || !mesh.SameUDF(s.UDF, q.who.profileUDF) {
		// A profile that its mesh alone signs is that of the account when the mesh is the account's.
		stored, err := q.account(ctx, q.who.account)
		if err != nil {
			return false, err
		}
		if s.MeshUDF == "" || !mesh.SameUDF(s.MeshUDF, stored.mesh.UDF()) || !mesh.SameUDF(s.Profile.UDF(), stored.profile.UDF()) {
			return false, nil
		}
	}
	if !slices.Contains(s.Addresses, q.who.account) {
		return false, nil
	}
	for _, address := range s.Addresses {
		_, domain, _ := strings.Cut(address, "@")
		if q.domains[domain] == nil || address == q.who.account {
			continue
		}
		other, err := q.account(ctx, address)
		switch {
		case mesh.KindOf(err) == mesh.UnknownAccount:
			return false, nil
		case err != nil:
			return false, err
		case other.redirect != q.who.account:
			return false, nil
		}
	}
	if m == nil || m.Sender == "" {
		return true, nil
	}
	named, ok := s.Named(m.Sender)
	_, domain, _ := strings.Cut(named, "@")
	return ok && q.domains[domain] != nil, nil
}

// checkPinned compares the identity that a strong address names with that of the account (DATA §10).
func (q *request) checkPinned(ctx context.Context, recipients []recipient) error {
	for i := range recipients {
		r := &recipients[i]
		if r.pinned == "" || r.fault != 0 {
			continue
		}
		a, err := q.account(ctx, r.address)
		switch {
		case mesh.KindOf(err) == mesh.UnknownAccount:
			r.fault = mesh.UnknownAccount
		case err != nil:
			return err
		case !mesh.SameUDF(r.pinned, provenUDF(&a.profile, a.signed)):
			r.fault = mesh.UnknownAccount
		}
	}
	return nil
}

// code is the extended code of a fault; 0 is none.
func code(k mesh.Kind) uint32 {
	if k == 0 {
		return 0
	}
	return uint32(k.Code().Extended)
}

// waitedFor are the deliveries to local recipients that have no verdict yet. For the others Accept says that the outbox
// holds the message.
func waitedFor(p *posting, s *shardpb.PostResponse) []string {
	var ids []string
	for m := range p.letters {
		for r := range p.recipients {
			if id := deliveryID(s, m*len(p.recipients)+r); id != "" && p.recipients[r].domain == "" {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

func deliveryID(s *shardpb.PostResponse, i int) string {
	if ids := s.GetDeliveryIds(); i < len(ids) {
		return ids[i]
	}
	return ""
}

// await returns the verdicts on these deliveries that come in time (D-54).
func (q *request) await(ctx context.Context, ids []string) map[string]*eventpb.Verdict {
	if len(ids) == 0 {
		return nil
	}
	wait := verdictTime
	if end, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(end)-verdictReserve)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return q.waiter.Wait(ctx, ids)
}

// posted is the answer to a client: for message m and the r-th of Accounts entry m·R + r, then its own.
func (q *request) posted(p *posting, s *shardpb.PostResponse, verdicts map[string]*eventpb.Verdict) (mesh.ResponseMessage, error) {
	r := new(mesh.PostResponse)
	var moved string
	for m := range p.letters {
		for _, place := range p.place {
			i := m*len(p.recipients) + place
			one, err := entryResponse(len(r.Entries), s.GetEntries()[i])
			if err != nil {
				return nil, err
			}
			if v := verdicts[deliveryID(s, i)]; v != nil {
				one = verdictResponse(len(r.Entries), v)
				if len(r.Entries) == 0 {
					moved = v.GetRedirect()
				}
			}
			r.Entries = append(r.Entries, one)
		}
	}
	toOthers := len(r.Entries)
	for _, e := range s.GetEntries()[len(s.GetEntries())-len(p.self):] {
		one, err := entryResponse(len(r.Entries), e)
		if err != nil {
			return nil, err
		}
		r.Entries = append(r.Entries, one)
	}
	ok(q, r)
	tellRefused(r, r.Entries[:toOthers], moved)
	return r, nil
}

// verdictResponse is the entry for a verdict of a recipient's access control.
func verdictResponse(i int, v *eventpb.Verdict) mesh.EntryResponse {
	r := mesh.EntryResponse{IndexRequest: int64(i), Result: mesh.ResultReject}
	if v.GetAccepted() {
		r.Result, r.IndexContainer = mesh.ResultAccept, mesh.Int(v.GetIndex())
		return r
	}
	r.Reason = mesh.KindOfCode(mesh.Code{Extended: int(v.GetCode())}).String()
	return r
}

// tellRefused puts the code of the first entry into an answer whose entries are all refused; of a recipient who
// has moved, the address.
func tellRefused(r *mesh.PostResponse, entries []mesh.EntryResponse, moved string) {
	for _, e := range entries {
		if e.Result != mesh.ResultReject {
			return
		}
	}
	if len(entries) == 0 {
		return
	}
	r.StatusDescription = entries[0].Reason
	for _, k := range mesh.Kinds() {
		if k.String() == r.StatusDescription {
			r.StatusExtended = int64(k.Code().Extended)
			break
		}
	}
	if moved != "" && r.StatusDescription == mesh.Redirect.String() {
		r.StatusDescription = moved
	}
}
