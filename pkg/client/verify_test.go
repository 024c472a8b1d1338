package client

import (
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

// world is what a lie may change: everything that the service says, and what the replica knew before.
type world struct {
	t                   *testing.T
	alice               *person
	laptop, phone       *member // phone: of the account, but never in mmm_Device
	shelf               *shelf
	update              *mesh.ContainerUpdate
	status              remote
	known               int64 // frames that the replica has already
	replica             dare.Peaks
	chains              map[string]chain
	signers             map[string]keys.PublicKey
	devices             []*member
	a, b                *mesh.CatalogedCredential
	stranger            *member
	strangersCredential *dare.Envelope
}

// newWorld has a catalog of frames 0 first, 1 New a, 2 New b, 3 Update a, 4 Delete b, 5 New b, 6 New c, all honest.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, alice: newPerson(t, "alice@example.com"), a: credential(1), b: credential(2)}
	w.laptop, _ = w.alice.device(mesh.RightAdmin, mesh.RightAll)
	w.phone, _ = w.alice.device()
	w.devices = []*member{w.laptop}
	mallory := newPerson(t, "mallory@example.com")
	w.stranger, _ = mallory.device(mesh.RightAdmin, mesh.RightAll)
	w.strangersCredential = w.stranger.Credential
	s := newShelf(t, mesh.CatalogCredential)
	s.put(w.laptop, w.a)
	s.put(w.laptop, w.b)
	changed := *w.a
	changed.Password = "changed"
	s.put(w.laptop, &changed)
	s.put(w.laptop, deletion(w.b))
	s.put(w.laptop, w.b)
	s.put(w.laptop, credential(3))
	w.shelf, w.status, w.update = s, s.state(), s.update(0)
	return w
}

// clone is w with everything that a lie changes of its own.
func (w *world) clone(t *testing.T) *world {
	c := *w
	c.t = t
	s := *w.shelf
	s.t = t
	s.frames = slices.Clone(s.frames)
	s.peaks = *s.peaks.Clone()
	s.chains, s.written = map[string]chain{}, map[string]bool{}
	for k, v := range w.shelf.chains {
		s.chains[k] = v
	}
	for k, v := range w.shelf.written {
		s.written[k] = v
	}
	c.shelf = &s
	u := *w.update
	u.Envelopes = slices.Clone(u.Envelopes)
	c.update = &u
	return &c
}

// again serves the shelf as it is now.
func (w *world) again() {
	w.update, w.status = w.shelf.update(0), w.shelf.state()
}

// forge replaces frame i and everything behind it as a service would that computes all digests anew.
func (w *world) forge(i int, edit func(*dare.Envelope) *dare.Envelope) {
	w.t.Helper()
	old := w.shelf.frames
	s := &shelf{t: w.t, container: w.shelf.container, chains: w.shelf.chains, written: w.shelf.written}
	for j, e := range old {
		if j == i {
			e = edit(e)
			stripped, err := jbcd.Without(e.Trailer, "PayloadDigest", "TreeDigest")
			if err != nil {
				w.t.Fatal(err)
			}
			e = &dare.Envelope{Header: e.Header, Payload: e.Payload, Trailer: stripped}
		}
		s.place(e)
	}
	w.shelf = s
	w.again()
}

// edit changes frame i as it is served, and nothing else.
func (w *world) edit(i int, header, trailer func([]byte) []byte) {
	e := *w.update.Envelopes[i]
	if header != nil {
		e.Header = header(slices.Clone(e.Header))
	}
	if trailer != nil {
		e.Trailer = trailer(slices.Clone(e.Trailer))
	}
	w.update.Envelopes[i] = &e
}

// set replaces a member of an object, or adds it.
func set(t *testing.T, object []byte, name string, value any) []byte {
	t.Helper()
	text, err := jbcd.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jbcd.Without(object, name)
	if err != nil {
		t.Fatal(err)
	}
	if out, err = jbcd.With(out, jbcd.Member{Name: name, Value: text}); err != nil {
		t.Fatal(err)
	}
	return out
}

func (w *world) header(i int) *dare.Header {
	h, err := w.update.Envelopes[i].ParseHeader()
	if err != nil {
		w.t.Fatal(err)
	}
	return h
}

func (w *world) meta(i int, edit func(*dare.ContentMeta)) func([]byte) []byte {
	m, err := w.header(i).ParseMeta()
	if err != nil {
		w.t.Fatal(err)
	}
	edit(m)
	text, err := jbcd.Marshal(m)
	if err != nil {
		w.t.Fatal(err)
	}
	return func(h []byte) []byte {
		h = set(w.t, h, "ContentMetaData", jbcd.Binary(text))
		if m.UniqueID != w.header(i).EnvelopeID {
			h = set(w.t, h, "EnvelopeID", m.UniqueID)
		}
		return h
	}
}

func (w *world) signature(i int) dare.Signature {
	list, err := w.update.Envelopes[i].Signatures()
	if err != nil || len(list) != 1 {
		w.t.Fatal("no signature to change", err)
	}
	return list[0]
}

// append adds a frame that a device of the account has made, in a place that the service has computed right.
func (w *world) append(e *dare.Envelope) {
	w.shelf.place(e)
	w.again()
}

// sealedLoosely makes a frame whose header is not bound to the payload, as clients may that do not follow D-57 a.
func (w *world) sealedLoosely(e mesh.Entry, m dare.ContentMeta) *dare.Envelope {
	w.t.Helper()
	var plain []byte
	if e != nil {
		var err error
		if plain, err = mesh.EncodeEntry(e); err != nil {
			w.t.Fatal(err)
		}
	}
	f, err := dare.New(plain, dare.Options{
		Header: dare.Header{EnvelopeID: m.UniqueID}, Meta: &m, Recipients: w.laptop.recipients(w.shelf.container),
		Holder: w.laptop.holder, SignKIDs: []string{w.laptop.signKID()},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

func (w *world) id(e mesh.Entry) string {
	id, err := w.laptop.uniqueID(w.shelf.container, e.PrimaryKey())
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// restart makes the replica one that has the first n frames.
func (w *world) restart(n int64) {
	w.t.Helper()
	v := w.verifier("")
	if _, f := v.batch(w.shelf.frames[:n]); f != nil {
		w.t.Fatal(f)
	}
	w.known, w.replica, w.chains, w.signers = n, *v.peaks, v.changed, v.signers
	w.update.Envelopes = w.update.Envelopes[n:]
}

func (w *world) verifier(off check) *verifier {
	v := &verifier{
		container: w.shelf.container, trust: trustOf(w.laptop, w.devices...), peaks: w.replica.Clone(),
		chains: w.chains, changed: map[string]chain{}, signers: map[string]keys.PublicKey{}, off: off,
	}
	for k, s := range w.signers {
		v.signers[k] = s
	}
	return v
}

// judge is what Sync does with Status and the answer to Download, with one check left out.
func (w *world) judge(off check) *fault {
	v := w.verifier(off)
	if f := v.status(w.status); f != nil {
		return f
	}
	_, f := v.answer(w.update, w.status)
	return f
}

func flip(octets []byte, at int) []byte {
	out := slices.Clone(octets)
	out[at] ^= 1
	return out
}

// resigned is the signature list of frame i when m signs it.
func (w *world) resigned(i int, m *member) []dare.Signature {
	w.t.Helper()
	value, err := m.holder.Sign(m.signKID(), w.update.Envelopes[i].Digest())
	if err != nil {
		w.t.Fatal(err)
	}
	s := w.signature(i)
	return []dare.Signature{{Alg: s.Alg, KID: m.signKID(), Signature: value, Witness: s.Witness}}
}

func TestHonestServiceIsBelieved(t *testing.T) {
	w := newWorld(t)
	if f := w.judge(""); f != nil {
		t.Fatalf("an honest service was refused: %v", f)
	}
	w.restart(3)
	if f := w.judge(""); f != nil {
		t.Fatalf("an honest service was refused behind a replica of 3 frames: %v", f)
	}
	w = newWorld(t)
	w.devices = nil // a device without Admin: the credentials must do
	w.append(w.shelf.sealed(w.phone, credential(4), nil))
	if f := w.judge(""); f != nil {
		t.Fatalf("a device that a credential introduces was refused: %v", f)
	}
}

func TestLiesAreFoundAndNamed(t *testing.T) {
	base := newWorld(t)
	for _, l := range lies() {
		t.Run(strings.ReplaceAll(l.name, " ", "-"), func(t *testing.T) {
			w := base.clone(t)
			l.tell(w)
			f := w.judge("")
			if f == nil {
				t.Fatal("not found")
			}
			if f.check != l.want || f.index != l.index {
				t.Fatalf("found %s at %d (%v), want %s at %d", f.check, f.index, f.err, l.want, l.index)
			}
		})
	}
}

// TestEveryCheckIsNeeded tests the tests: with one check of the verifier left out, a lie must go through or get another
// name, so that the table above fails. A check that nobody would miss is not tested, or not needed.
func TestEveryCheckIsNeeded(t *testing.T) {
	base := newWorld(t)
	elsewhere := []check{checkReadBack, checkService} // not made here: TestRejoin, TestHelloIsVerified
	for _, name := range Faults() {
		off := check(name)
		if slices.Contains(elsewhere, off) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			missed := 0
			for _, l := range lies() {
				w := base.clone(t)
				l.tell(w)
				if f := w.judge(off); f == nil || f.check != l.want || f.index != l.index {
					missed++
				}
			}
			if missed == 0 {
				t.Errorf("without the check %q every lie is still found and named", off)
			}
		})
	}
}

// TestEveryOctet changes each octet of a frame as it is stored, as somebody with the database would, and wants it found
// at that frame. Both bits: the lowest gives another letter, the sixth another case.
func TestEveryOctet(t *testing.T) {
	base := newWorld(t)
	frame := base.shelf.frames[3]
	stored, err := frame.Stored()
	if err != nil {
		t.Fatal(err)
	}
	base.restart(3)
	base.update.Envelopes = base.update.Envelopes[:1]
	base.update.Index = nil                                                // the frame alone is on trial
	ignored := regexp.MustCompile(`"alg":"SHA2"`).FindIndex(frame.Trailer) // the kind of key fixes it (DATA §1.3)
	try := func(part string, i int, e *dare.Envelope) {
		if part == "trailer" && i >= ignored[0] && i < ignored[1] {
			return
		}
		w := base.clone(t)
		w.update.Envelopes[0] = e
		switch f := w.judge(""); {
		case f == nil && !meaningless(frame, e):
			text := append(slices.Clone(e.Header), e.Trailer...)
			if part == "trailer" {
				i += len(e.Header)
			}
			t.Errorf("%s octet %d not found: …%s…", part, i, text[max(0, i-16):min(len(text), i+16)])
		case f != nil && f.index != 3:
			t.Errorf("%s octet %d found at %d, want 3", part, i, f.index)
		}
	}
	changed := func(octets []byte, i int, bit byte) []byte {
		out := slices.Clone(octets)
		out[i] ^= bit
		return out
	}
	for _, bit := range []byte{0x01, 0x20} {
		for i := range len(stored.Header) - 1 {
			try("header", i, &dare.Envelope{Header: changed(frame.Header, i, bit), Payload: frame.Payload, Trailer: frame.Trailer})
		}
		for i := range len(stored.Trailer) - 1 {
			try("trailer", i, &dare.Envelope{Header: frame.Header, Payload: frame.Payload, Trailer: changed(frame.Trailer, i, bit)})
		}
		for i := range frame.Payload {
			try("payload", i, &dare.Envelope{Header: frame.Header, Payload: changed(frame.Payload, i, bit), Trailer: frame.Trailer})
		}
	}
}

// meaningless says whether two frames differ in the case of key identifiers only, which compare without case (DATA §10).
func meaningless(a, b *dare.Envelope) bool {
	return strings.EqualFold(string(a.Header), string(b.Header)) && strings.EqualFold(string(a.Trailer), string(b.Trailer))
}

func TestFaultsAreErrors(t *testing.T) {
	inner := errors.New("inner")
	var f error = &fault{check: checkTree, index: 3, err: inner}
	if !errors.Is(f, inner) {
		t.Error("the reason is lost")
	}
	if want := "tree-digest at 3: inner"; f.Error() != want {
		t.Errorf("%q, want %q", f.Error(), want)
	}
}
