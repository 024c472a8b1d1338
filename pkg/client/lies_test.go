package client

import (
	"bytes"
	"slices"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
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
