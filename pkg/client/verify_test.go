package client

import (
	"bytes"
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

// lie is one thing that a service, or a device that it has turned, does to what is served. Each must be found and named
// (C-003, C-015, C-016, C-178; PROTOCOL D-57).
type lie struct {
	name  string
	want  check
	index int64
	tell  func(w *world)
}

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

func lies() []lie {
	return []lie{
		{"an octet of a payload", checkDigest, 3, func(w *world) {
			e := *w.update.Envelopes[3]
			e.Payload = flip(e.Payload, 20)
			w.update.Envelopes[3] = &e
		}},
		{"an octet of a payload and its digest", checkTree, 3, func(w *world) {
			e := *w.update.Envelopes[3]
			e.Payload = flip(e.Payload, 20)
			w.update.Envelopes[3] = &e
			w.edit(3, nil, func(b []byte) []byte { return set(w.t, b, "PayloadDigest", jbcd.Binary(e.Digest())) })
		}},
		{"an octet of a payload and every digest", checkSignature, 3, func(w *world) {
			w.forge(3, func(e *dare.Envelope) *dare.Envelope {
				return &dare.Envelope{Header: e.Header, Payload: flip(e.Payload, 20), Trailer: e.Trailer}
			})
		}},
		{"a digest taken away", checkDigest, 2, func(w *world) {
			w.edit(2, nil, func(b []byte) []byte {
				b, err := jbcd.Without(b, "PayloadDigest")
				if err != nil {
					w.t.Fatal(err)
				}
				return b
			})
		}},
		{"a tree digest", checkTree, 4, func(w *world) {
			w.edit(4, nil, func(b []byte) []byte {
				_, tree, _ := digests(w.update.Envelopes[4])
				return set(w.t, b, "TreeDigest", jbcd.Binary(flip(tree, 0)))
			})
		}},
		{"a time in ContentMeta", checkHeader, 3, func(w *world) {
			w.edit(3, w.meta(3, func(m *dare.ContentMeta) { m.Modified = &jbcd.Time{Time: epoch.AddDate(1, 0, 0)} }), nil)
		}},
		{"a deletion shown as an update", checkHeader, 4, func(w *world) {
			w.edit(4, w.meta(4, func(m *dare.ContentMeta) { m.Event = eventUpdate }), nil)
		}},
		{"Previous in the header", checkHeader, 3, func(w *world) {
			w.edit(3, w.meta(3, func(m *dare.ContentMeta) { m.Previous = mesh.Int(2) }), nil)
		}},
		{"two entries with each other's UniqueID", checkHeader, 1, func(w *world) {
			a, b := w.id(w.a), w.id(w.b)
			w.edit(1, w.meta(1, func(m *dare.ContentMeta) { m.UniqueID = b }), nil)
			w.edit(2, w.meta(2, func(m *dare.ContentMeta) { m.UniqueID = a }), nil)
		}},
		{"EnvelopeID alone", checkEnvelopeID, 2, func(w *world) {
			w.edit(2, func(h []byte) []byte { return set(w.t, h, "EnvelopeID", w.id(w.a)) }, nil)
		}},
		{"the Salt", checkHeader, 1, func(w *world) {
			w.edit(1, func(h []byte) []byte { return set(w.t, h, "Salt", jbcd.Binary(flip(w.header(1).Salt, 3))) }, nil)
		}},
		{"a header that cannot be read", checkHeader, 2, func(w *world) {
			w.edit(2, func(h []byte) []byte { return bytes.Replace(h, []byte(`"Index":2`), []byte(`"Index":"`), 1) }, nil)
		}},
		{"a trailer that cannot be read", checkTrailer, 2, func(w *world) {
			w.edit(2, nil, func(b []byte) []byte {
				return bytes.Replace(b, []byte(`"signatures":[`), []byte(`"signatures":{`), 1)
			})
		}},
		{"order swapped", checkOrder, 2, func(w *world) {
			w.update.Envelopes[2], w.update.Envelopes[3] = w.update.Envelopes[3], w.update.Envelopes[2]
		}},
		{"order swapped with the indices", checkOrder, 2, func(w *world) {
			two, three := w.update.Envelopes[2], w.update.Envelopes[3]
			w.update.Envelopes[2], w.update.Envelopes[3] = three, two
			for i := range 2 {
				w.edit(2+i, func(h []byte) []byte {
					return set(w.t, h, "ContainerInfo", dare.Info{Index: mesh.Int(int64(2 + i))})
				}, nil)
			}
		}},
		{"content swapped under digests that stay", checkOrder, 2, func(w *world) {
			two, three := *w.update.Envelopes[2], *w.update.Envelopes[3]
			_, tree2, _ := digests(&two)
			_, tree3, _ := digests(&three)
			w.update.Envelopes[2], w.update.Envelopes[3] = &three, &two
			for i, tree := range [][]byte{tree2, tree3} {
				w.edit(2+i, func(h []byte) []byte {
					return set(w.t, h, "ContainerInfo", dare.Info{Index: mesh.Int(int64(2 + i))})
				}, func(b []byte) []byte { return set(w.t, b, "TreeDigest", jbcd.Binary(tree)) })
			}
		}},
		{"a frame twice", checkOrder, 3, func(w *world) {
			w.update.Envelopes = slices.Insert(w.update.Envelopes, 3, w.update.Envelopes[2])
		}},
		{"a frame left out", checkOrder, 3, func(w *world) {
			w.update.Envelopes = slices.Delete(w.update.Envelopes, 3, 4)
		}},
		{"all indices shifted", checkOrder, 0, func(w *world) {
			for i := range w.update.Envelopes {
				w.edit(i, func(h []byte) []byte {
					info := dare.Info{Index: mesh.Int(int64(i + 1))}
					if i == 0 {
						info.DataEncoding, info.ContainerType = "JSON", "Merkle"
					}
					return set(w.t, h, "ContainerInfo", info)
				}, nil)
			}
		}},
		{"no index", checkOrder, 1, func(w *world) {
			w.edit(1, func(h []byte) []byte {
				h, err := jbcd.Without(h, "ContainerInfo")
				if err != nil {
					w.t.Fatal(err)
				}
				return h
			}, nil)
		}},
		{"the signature taken away", checkUnsigned, 3, func(w *world) {
			w.edit(3, nil, func(b []byte) []byte {
				b, err := jbcd.Without(b, "signatures")
				if err != nil {
					w.t.Fatal(err)
				}
				return b
			})
		}},
		{"a signature by a key that nobody vouches for", checkSigner, 3, func(w *world) {
			w.edit(3, nil, func(b []byte) []byte { return set(w.t, b, "signatures", w.resigned(3, w.stranger)) })
		}},
		{"a signature by a stranger with his own credential", checkCredential, 3, func(w *world) {
			s := w.resigned(3, w.stranger)
			s[0].Credential = []*dare.Envelope{w.strangersCredential}
			w.edit(3, nil, func(b []byte) []byte { return set(w.t, b, "signatures", s) })
		}},
		{"a stranger's signature beside the credential of a device", checkSigner, 3, func(w *world) {
			s := w.resigned(3, w.stranger)
			s[0].Credential = []*dare.Envelope{w.phone.Credential}
			w.edit(3, nil, func(b []byte) []byte { return set(w.t, b, "signatures", s) })
		}},
		{"a frame of a device that was never in mmm_Device", checkDevice, 7, func(w *world) {
			w.append(w.shelf.sealed(w.phone, credential(4), nil))
		}},
		{"a signature of another frame", checkSignature, 3, func(w *world) {
			s := w.signature(2)
			w.edit(3, nil, func(b []byte) []byte { return set(w.t, b, "signatures", []dare.Signature{s}) })
		}},
		{"the witness", checkWitness, 3, func(w *world) {
			s := w.signature(3)
			s.Witness = flip(s.Witness, 1)
			w.edit(3, nil, func(b []byte) []byte { return set(w.t, b, "signatures", []dare.Signature{s}) })
		}},
		{"a foreign container's frame", checkContainer, 7, func(w *world) {
			other := newShelf(w.t, mesh.CatalogBookmark)
			w.append(other.sealed(w.laptop, &mesh.CatalogedBookmark{Path: "x", URI: "https://x.example"}, nil))
		}},
		{"the answer is of another container", checkContainer, 0, func(w *world) { w.update.Container = mesh.CatalogNetwork }},
		{"an entry under the name of another", checkEntryID, 7, func(w *world) {
			w.append(w.sealedLoosely(credential(4), dare.ContentMeta{UniqueID: w.id(credential(5)), Event: eventNew}))
		}},
		{"no entry inside", checkPayload, 7, func(w *world) {
			f, err := dare.New([]byte(`["CatalogedCredential"]`), dare.Options{
				Header: dare.Header{EnvelopeID: "X"}, Meta: &dare.ContentMeta{UniqueID: "X", Event: eventNew},
				Holder: w.laptop.holder, SignKIDs: []string{w.laptop.signKID()},
			})
			if err != nil {
				w.t.Fatal(err)
			}
			w.append(f)
		}},
		{"an unknown Event", checkEvent, 7, func(w *world) {
			w.append(w.sealedLoosely(credential(4), dare.ContentMeta{UniqueID: w.id(credential(4)), Event: "Add"}))
		}},
		{"an update that the header calls a deletion", checkEvent, 7, func(w *world) {
			w.append(w.sealedLoosely(w.a, dare.ContentMeta{
				UniqueID: w.id(w.a), Event: eventDelete, First: mesh.Int(1), Previous: mesh.Int(3),
			}))
		}},
		{"an old frame served once more", checkEvent, 7, func(w *world) { w.append(w.shelf.frames[1]) }},
		{"an old update served once more", checkPrevious, 7, func(w *world) { w.append(w.shelf.frames[3]) }},
		{"the deletion of an entry that is not there", checkEvent, 7, func(w *world) {
			w.append(w.shelf.sealed(w.laptop, deletion(credential(9)), nil))
		}},
		{"a deletion emptied", checkEmptyDelete, 7, func(w *world) {
			w.append(w.sealedLoosely(nil, dare.ContentMeta{
				UniqueID: w.id(w.a), Event: eventDelete, First: mesh.Int(1), Previous: mesh.Int(3),
			}))
		}},
		{"a wrong Previous, signed", checkPrevious, 7, func(w *world) {
			w.append(w.shelf.sealed(w.laptop, w.a, func(c *change) { c.at.last = 2 }))
		}},
		{"a wrong First, signed", checkPrevious, 7, func(w *world) {
			w.append(w.shelf.sealed(w.laptop, w.a, func(c *change) { c.at.first = 0 }))
		}},
		{"no Previous where there is one", checkPrevious, 7, func(w *world) {
			w.append(w.sealedLoosely(w.a, dare.ContentMeta{UniqueID: w.id(w.a), Event: eventUpdate}))
		}},
		{"a payload cut", checkWhole, 3, func(w *world) {
			e := *w.update.Envelopes[3]
			n := int64(len(e.Payload))
			e.Payload = e.Payload[:n/2]
			w.update.Envelopes[3] = &e
			w.edit(3, func(h []byte) []byte { return set(w.t, h, "ContentLength", n) }, nil)
		}},
		{"frame 0 with content", checkFirst, 0, func(w *world) {
			w.forge(0, func(e *dare.Envelope) *dare.Envelope {
				return &dare.Envelope{Header: e.Header, Payload: []byte("x"), Trailer: e.Trailer}
			})
		}},
		{"frame 0 of another kind", checkFirst, 0, func(w *world) {
			w.edit(0, func(h []byte) []byte {
				return set(w.t, h, "ContainerInfo", dare.Info{ContainerType: "List", Index: mesh.Int(0)})
			}, nil)
		}},
		{"a digest of the container that is not its", checkUpdateDigest, 6, func(w *world) {
			w.update.Digest = flip(w.update.Digest, 5)
		}},
		{"Status with another digest than Download", checkUpdateDigest, 6, func(w *world) {
			w.status.digest = flip(w.status.digest, 5)
		}},
		{"Download with fewer frames than Status", checkRollback, 5, func(w *world) {
			w.update.Index, w.update.Envelopes = mesh.Int(5), w.update.Envelopes[:5]
			w.update.Digest = nil
			_, tree, _ := digests(w.update.Envelopes[4])
			w.update.Digest = tree
		}},
		{"a stale tail", checkRollback, 5, func(w *world) {
			w.restart(7)
			_, tree, _ := digests(w.shelf.frames[4])
			w.status = remote{5, tree}
			w.update.Index, w.update.Digest = mesh.Int(5), tree
		}},
		{"another history of the same length", checkFork, 7, func(w *world) {
			w.restart(7)
			w.status.digest = flip(w.status.digest, 0)
			w.update.Digest = w.status.digest
		}},
		{"a new frame behind another history", checkTree, 4, func(w *world) {
			fork := newShelf(w.t, w.shelf.container)
			fork.put(w.laptop, w.a)
			fork.put(w.laptop, w.b)
			fork.put(w.laptop, credential(7))
			fork.put(w.laptop, credential(8))
			w.restart(4)
			w.update, w.status = fork.update(4), fork.state()
		}},
	}
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
	elsewhere := []check{ // made outside the verifier; their tests are TestSync…
		checkReadBack, checkService, checkTrailer, checkHeader, checkPayload,
	}
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
