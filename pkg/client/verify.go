package client

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// check is one thing that the verifier looks at in a served frame. Its text is the Fault of a ProofError.
type check string

// The checks, in the order in which they are made. Each stands for a lie that a service can tell.
const (
	checkContainer    check = "container"        // the answer, or the entry, is of another container
	checkTrailer      check = "trailer"          // the trailer cannot be read
	checkWhole        check = "truncated"        // a payload is cut, or frames that were announced do not come
	checkOrder        check = "order"            // a frame is not where its index, or its tree digest, puts it
	checkDigest       check = "payload-digest"   // the payload is not the one of the digest
	checkTree         check = "tree-digest"      // the frame does not continue the container as we know it
	checkFirst        check = "first-frame"      // frame 0 has content, or says that it is another kind of container
	checkUnsigned     check = "unsigned"         // no signature
	checkSigner       check = "signer"           // signed by a key that the account does not vouch for
	checkCredential   check = "credential"       // the signer's ConnectionAccount is not of the pinned account
	checkDevice       check = "device"           // the signer never stood in mmm_Device
	checkSignature    check = "signature"        // the signature is not valid
	checkHeader       check = "header"           // the header cannot be read, or what is signed does not open under it
	checkWitness      check = "witness"          // the signer did not know what is inside
	checkEnvelopeID   check = "envelope-id"      // EnvelopeID and UniqueID differ
	checkPayload      check = "payload"          // what is inside is no entry
	checkEntryID      check = "entry-id"         // UniqueID is not that of the primary key inside
	checkEvent        check = "event"            // Event and the content, or the state of the entry, contradict each other
	checkEmptyDelete  check = "delete-empty"     // a deletion that does not say what it deletes
	checkPrevious     check = "previous"         // Previous or First is not the entry's
	checkUpdateDigest check = "container-digest" // the container's digest is not that of its frames
	checkRollback     check = "rollback"         // the service has fewer frames than it had
	checkFork         check = "fork"             // the service has other frames than it had
	checkReadBack     check = "read-back"        // the service serves other header or trailer than it was given
)

// Faults lists what ProofError.Fault can be.
func Faults() []string {
	all := []check{
		checkContainer, checkTrailer, checkWhole, checkOrder, checkDigest, checkTree, checkFirst, checkEnvelopeID,
		checkUnsigned, checkSigner, checkCredential, checkDevice, checkSignature, checkHeader, checkWitness, checkPayload,
		checkEntryID, checkEvent, checkEmptyDelete, checkPrevious, checkUpdateDigest, checkRollback, checkFork,
		checkReadBack, checkService,
	}
	names := make([]string, len(all))
	for i, c := range all {
		names[i] = string(c)
	}
	return names
}

// fault is a check that failed on a frame.
type fault struct {
	check check
	index int64
	frame *dare.Envelope // nil: of no frame
	err   error
}

func (f *fault) Error() string { return fmt.Sprintf("%s at %d: %v", f.check, f.index, f.err) }

func (f *fault) Unwrap() error { return f.err }

// chain is what a container says of one entry, whoever has it: the frames of its UniqueID, the state after the last.
type chain struct {
	first, last int64
	live        bool
}

// trust is what a container is verified against: keys that the service cannot have made.
type trust struct {
	holder    keys.Holder                          // opens what is sealed for the account
	uniqueIDs func(container, key string) []string // that an entry of that key may have: one for each encryption key that the account had
	// vouched returns the signature key that a ConnectionAccount of the pinned ProfileAccount gives a device.
	vouched func(connection *dare.Envelope) (keys.PublicKey, error)
	// devices are the signature keys that stood in mmm_Device, by kid; nil when this device cannot read it.
	devices map[string]keys.PublicKey
}

// verifier checks served frames one after the other (PROTOCOL D-57) against the container as the replica has it. It is
// given copies: a caller that meets a fault forgets it, and nothing has happened.
type verifier struct {
	container string
	trust     *trust
	peaks     *dare.Peaks
	seen      remote                    // a state that the container must have had
	chains    map[string]chain          // of the replica
	changed   map[string]chain          // by the frames of this verifier
	signers   map[string]keys.PublicKey // by kid, that Credentials in this container have introduced

	off check // a check that is not made: only the tests of the verifier's tests set it
}

func (v *verifier) fails(c check, wrong bool) bool { return wrong && v.off != c }

// verified is a frame that has passed.
type verified struct {
	envelope *dare.Envelope
	meta     *dare.ContentMeta
	entry    mesh.Entry // nil of frame 0 and in a spool
	signer   string     // kid
}

// batch verifies the frames of an answer, in order. After a fault nothing of the answer is to be believed.
func (v *verifier) batch(frames []*dare.Envelope) ([]*verified, *fault) {
	passed := make([]*verified, 0, len(frames))
	for i, e := range frames {
		index := v.peaks.Frames
		p, err := v.next(e)
		if err != nil {
			var f *fault
			if !errors.As(err, &f) {
				f = failed(checkHeader, "%w", err)
			}
			f.index, f.frame = index, e
			if f.check == checkTree && v.off != checkOrder && v.displaced(e, frames[i+1:]) {
				f.check = checkOrder
			}
			return nil, f
		}
		if v.fails(checkFork, v.peaks.Frames == v.seen.index && !bytes.Equal(v.peaks.Digest(), v.seen.digest)) {
			return nil, &fault{check: checkFork, index: v.seen.index, frame: e, err: errors.New("the service has other frames than this device has seen")}
		}
		passed = append(passed, p)
	}
	return passed, nil
}

// displaced says whether one of the later frames is the one that belongs here: it continues the container, either as
// it stands or with the tree digest that stands here.
func (v *verifier) displaced(here *dare.Envelope, later []*dare.Envelope) bool {
	_, tree, err := digests(here)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(later, func(e *dare.Envelope) bool {
		digest, own, err := digests(e)
		if err != nil || len(digest) != dare.DigestSize {
			return false
		}
		want := v.peaks.Clone().Append(digest)
		return bytes.Equal(want[:], own) || bytes.Equal(want[:], tree)
	})
}

// digests returns the digests that a frame claims.
func digests(e *dare.Envelope) (payload, tree []byte, err error) {
	h, err := e.ParseHeader()
	if err != nil {
		return nil, nil, err
	}
	t, err := e.ParseTrailer()
	if err != nil {
		return nil, nil, err
	}
	payload, tree = t.PayloadDigest, t.TreeDigest
	if len(payload) == 0 {
		payload = h.PayloadDigest
	}
	if len(tree) == 0 {
		tree = h.TreeDigest
	}
	return payload, tree, nil
}

func failed(c check, format string, args ...any) *fault {
	return &fault{check: c, err: fmt.Errorf(format, args...)}
}

// next verifies the next frame and, when it passes, moves on.
func (v *verifier) next(e *dare.Envelope) (*verified, error) {
	h, err := e.ParseHeader()
	if v.fails(checkHeader, err != nil) {
		return nil, failed(checkHeader, "%w", err)
	}
	if err != nil {
		h = new(dare.Header)
	}
	if v.fails(checkWhole, h.BytesOffset != nil || h.ContentLength != nil && *h.ContentLength != int64(len(e.Payload))) {
		return nil, failed(checkWhole, "payload of %d octets is not whole", len(e.Payload))
	}
	peaks, err := v.place(e, h)
	if err != nil {
		return nil, err
	}
	p := &verified{envelope: e}
	switch {
	case v.peaks.Frames == 0:
		err = v.firstFrame(e, h)
	case mesh.IsSpool(v.container):
		err = v.message(e)
	default:
		err = v.entry(e, h, p)
	}
	if err != nil {
		return nil, err
	}
	v.peaks = peaks
	return p, nil
}

// place checks that the frame is the next one of the container: index, payload digest, tree digest (D-43).
func (v *verifier) place(e *dare.Envelope, h *dare.Header) (*dare.Peaks, error) {
	if v.fails(checkOrder, h.ContainerInfo == nil || h.ContainerInfo.Index == nil || *h.ContainerInfo.Index != v.peaks.Frames) {
		return nil, failed(checkOrder, "the frame says it is another")
	}
	written, tree, err := digests(e)
	if v.fails(checkTrailer, err != nil) {
		return nil, failed(checkTrailer, "%w", err)
	}
	computed := e.Digest()
	if v.fails(checkDigest, len(written) != dare.DigestSize || e.CheckDigest() != nil) {
		return nil, failed(checkDigest, "the payload has another digest")
	}
	peaks := v.peaks.Clone()
	want := peaks.Append(computed)
	if v.fails(checkTree, subtle.ConstantTimeCompare(want[:], tree) != 1) {
		return nil, failed(checkTree, "the frame does not continue the container")
	}
	return peaks, nil
}

// firstFrame: frame 0 says what the container is, and nothing else; a service may have written it, so it is unsigned.
func (v *verifier) firstFrame(e *dare.Envelope, h *dare.Header) error {
	info := h.ContainerInfo
	if v.fails(checkFirst, len(e.Payload) != 0 || info == nil || info.ContainerType != "Merkle" ||
		info.DataEncoding != "" && info.DataEncoding != "JSON") {
		return failed(checkFirst, "frame 0 is not that of a Merkle container")
	}
	return nil
}

// message checks what a frame of a spool proves by itself; what the message says is for who reads it (D-29). A
// signature by a device of the account must hold.
func (v *verifier) message(e *dare.Envelope) error {
	list, err := e.Signatures()
	if err != nil {
		return failed(checkTrailer, "%w", err)
	}
	for i := range list {
		key, ok := v.known(list[i].KID)
		if ok && v.fails(checkSignature, e.Verify(key) != nil) {
			return failed(checkSignature, "signature by %s", list[i].KID)
		}
	}
	return nil
}

// entry checks a frame of a catalog: who made it, what it says inside, and that its header says the same.
func (v *verifier) entry(e *dare.Envelope, h *dare.Header, p *verified) error {
	meta, err := h.ParseMeta()
	if err != nil {
		return failed(checkHeader, "%w", err)
	}
	p.meta = meta
	if v.fails(checkHeader, h.Dig == "") { // what is signed is digested, and says so
		return failed(checkHeader, "no dig")
	}
	list, err := e.Signatures()
	if err != nil {
		return failed(checkTrailer, "%w", err)
	}
	if v.fails(checkUnsigned, len(list) == 0) {
		return failed(checkUnsigned, "no signature")
	}
	if len(list) == 0 {
		list = []dare.Signature{{}}
	}
	s := &list[0] // a device signs once; more would be for others
	key, introduced, err := v.signer(e, s)
	if err != nil {
		return err
	}
	p.signer = s.KID
	plain, err := v.open(e, h, s)
	if err != nil {
		return err
	}
	if v.fails(checkEnvelopeID, meta.UniqueID == "" || h.EnvelopeID != meta.UniqueID) {
		return failed(checkEnvelopeID, "EnvelopeID is not UniqueID")
	}
	if p.entry, err = v.content(plain, meta); err != nil {
		return err
	}
	if err := v.event(meta, p.entry); err != nil {
		return err
	}
	if introduced {
		v.signers[s.KID] = key
	}
	return nil
}

// known returns the signature key of a device of the account.
func (v *verifier) known(kid string) (keys.PublicKey, bool) {
	for _, m := range []map[string]keys.PublicKey{v.signers, v.trust.devices} {
		if key, ok := m[kid]; ok {
			return key, true
		}
	}
	return keys.PublicKey{}, false
}

// signer checks the signature and returns the key that made it: known, or introduced by the Credential beside it.
func (v *verifier) signer(e *dare.Envelope, s *dare.Signature) (key keys.PublicKey, introduced bool, err error) {
	key, ok := v.known(s.KID)
	if !ok && len(s.Credential) > 0 {
		vouched, err := v.trust.vouched(s.Credential[0])
		if v.fails(checkCredential, err != nil) {
			return key, false, failed(checkCredential, "%w", err)
		}
		if err == nil && dare.SameKID(vouched.KID(), s.KID) {
			key, ok, introduced = vouched, true, true
		}
	}
	if v.fails(checkSigner, !ok) {
		return key, false, failed(checkSigner, "signed by %s, which is no device of the account", s.KID)
	}
	if v.trust.devices != nil {
		if _, stood := v.trust.devices[s.KID]; v.fails(checkDevice, !stood) {
			return key, false, failed(checkDevice, "signed by %s, which never stood in %s", s.KID, mesh.CatalogDevice)
		}
	}
	if ok && v.fails(checkSignature, e.Verify(key) != nil) {
		return key, false, failed(checkSignature, "signature by %s", s.KID)
	}
	return key, introduced, nil
}

// open decrypts. Signature and digest hold by now, so what does not open is an intact payload under a header that
// was changed: ContentMeta is its additional data, recipients and Salt give the key. Entries in the clear are legal (DATA §5).
func (v *verifier) open(e *dare.Envelope, h *dare.Header, s *dare.Signature) ([]byte, error) {
	if h.Enc == "" && len(h.Recipients) == 0 {
		return e.Payload, nil
	}
	c, err := e.Unseal(v.trust.holder)
	if v.fails(checkHeader, err != nil) {
		return nil, failed(checkHeader, "%w", err)
	}
	if err != nil {
		return nil, nil
	}
	if err := c.CheckWitness(s); v.fails(checkWitness, err != nil) {
		return nil, failed(checkWitness, "%w", err)
	}
	return c.Plain, nil
}

// content reads the entry inside and holds the header's UniqueID against its primary key.
func (v *verifier) content(plain []byte, meta *dare.ContentMeta) (mesh.Entry, error) {
	if v.fails(checkEmptyDelete, len(plain) == 0 && meta.Event == eventDelete) {
		return nil, failed(checkEmptyDelete, "the deletion does not say what it deletes")
	}
	entry, err := mesh.DecodeEntry(plain)
	if v.fails(checkPayload, err != nil) {
		return nil, failed(checkPayload, "%w", err)
	}
	if err != nil {
		return nil, nil
	}
	key := entry.PrimaryKey()
	home := mesh.ContainerOf(entry.Tag())
	if v.fails(checkContainer, home != "" && home != v.container) {
		return nil, failed(checkContainer, "%s is an entry of %s", entry.Tag(), home)
	}
	if v.fails(checkEntryID, key == "" || !slices.Contains(v.trust.uniqueIDs(v.container, key), meta.UniqueID)) {
		return nil, failed(checkEntryID, "UniqueID is not that of the entry inside")
	}
	return entry, nil
}

// Events of catalog frames.
const (
	eventNew    = "New"
	eventUpdate = "Update"
	eventDelete = "Delete"
)

// event runs the state machine (Add Update* Delete)* of the entry and the chain of its frames.
func (v *verifier) event(meta *dare.ContentMeta, entry mesh.Entry) error {
	_, deletes := entry.(*mesh.CatalogedDelete)
	at, have := v.chain(meta.UniqueID)
	index := v.peaks.Frames
	wrong := ""
	switch {
	case deletes != (meta.Event == eventDelete):
		wrong = "a deletion in one of header and payload only"
	case meta.Event == eventNew && at.live:
		wrong = "New of an entry that is there"
	case meta.Event == eventDelete && !at.live:
		wrong = "Delete of an entry that is not there"
	case meta.Event != eventNew && meta.Event != eventUpdate && meta.Event != eventDelete:
		wrong = "unknown Event"
	}
	if v.fails(checkEvent, wrong != "") {
		return failed(checkEvent, "%s", wrong)
	}
	if v.fails(checkPrevious, !refers(meta.Previous, have, at.last) || !refers(meta.First, have, at.first)) {
		return failed(checkPrevious, "First or Previous is not the entry's")
	}
	if !have {
		at.first = index
	}
	at.last, at.live = index, !deletes
	v.changed[meta.UniqueID] = at
	return nil
}

func (v *verifier) chain(uniqueID string) (chain, bool) {
	if c, ok := v.changed[uniqueID]; ok {
		return c, true
	}
	c, ok := v.chains[uniqueID]
	return c, ok
}

// refers: an entry without earlier frame has the member not at all.
func refers(written *int64, have bool, want int64) bool {
	if !have {
		return written == nil
	}
	return written != nil && *written == want
}

// answer verifies what an answer brings of the container: frames, and the state that it and Status give.
func (v *verifier) answer(update *mesh.ContainerUpdate, at remote) ([]*verified, *fault) {
	canonical, _ := mesh.CanonicalContainer(update.Container)
	if v.fails(checkContainer, canonical != v.container) {
		return nil, &fault{check: checkContainer, index: v.peaks.Frames, err: fmt.Errorf("%q was answered", update.Container)}
	}
	passed, f := v.batch(update.Envelopes)
	if f == nil {
		f = v.state(at.index, at.digest)
	}
	if f != nil || update.Index == nil {
		return passed, f
	}
	if v.fails(checkRollback, *update.Index < at.index) {
		return nil, &fault{
			check: checkRollback, index: *update.Index,
			err: fmt.Errorf("Status said %d frames, Download says %d", at.index, *update.Index),
		}
	}
	return passed, v.state(*update.Index, update.Digest)
}

// status holds a state that the service gives against what it gave before.
func (v *verifier) status(now remote) *fault {
	have := v.peaks
	had := max(have.Frames, v.seen.index)
	switch {
	case v.fails(checkRollback, now.index < had):
		return &fault{check: checkRollback, index: now.index, err: fmt.Errorf("the service has %d frames, it had %d", now.index, had)}
	case v.fails(checkFork, now.index == have.Frames && !bytes.Equal(now.digest, have.Digest())):
		return &fault{check: checkFork, index: now.index, err: errors.New("the service has other frames than it had")}
	}
	return nil
}

// state checks what an answer says of the container, once the frames that it announces are there. update is
// whichever of Status and Download says it.
func (v *verifier) state(index int64, digest []byte) *fault {
	if v.fails(checkUpdateDigest, v.peaks.Frames == index && !bytes.Equal(digest, v.peaks.Digest())) {
		return &fault{check: checkUpdateDigest, index: index - 1, err: errors.New("the container's digest is not that of its last frame")}
	}
	return nil
}
