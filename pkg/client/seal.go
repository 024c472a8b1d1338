package client

import (
	"slices"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
)

const (
	ctyObject  = "application/mmm/object"
	ctyCatalog = "application/mmm-catalog"

	// labelConflict marks an entry that was kept against a deletion (FLOWS §4.3).
	labelConflict = "conflict"
)

// member is what this device can do in the account: it seals and opens entries, and says who else may.
type member struct {
	*mesh.Membership
	holder  *keys.Ring
	service keys.PublicKey // reads five of the containers (DATA §5); zero before there is a service
}

func newMember(m *mesh.Membership, service keys.PublicKey) *member {
	return &member{Membership: m, holder: m.Holder(), service: service}
}

// signKID names the key that signs this device's frames.
func (m *member) signKID() string { return m.Signature.KID() }

// uniqueID is that of a new entry.
func (m *member) uniqueID(container, key string) (string, error) {
	return mesh.EntryID(m.AccountEncryption, container, key)
}

// uniqueIDs are those that an entry may have: it keeps the one which it got under an earlier encryption key.
func (m *member) uniqueIDs(container, key string) []string {
	var ids []string
	for _, k := range append([]*keys.PrivateKey{m.AccountEncryption}, m.AccountEncryptionPrevious...) {
		if id, err := mesh.EntryID(k, container, key); err == nil && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// vouched returns the signature key of a device that the account's profile vouches for.
func (m *member) vouched(connection *dare.Envelope) (keys.PublicKey, error) {
	c, err := mesh.VerifyConnectionAccount(connection, m.Account)
	if err != nil {
		return keys.PublicKey{}, err
	}
	return *c.KeySignature.PublicParameters, nil
}

func (m *member) recipients(container string) []keys.PublicKey {
	to := []keys.PublicKey{m.AccountEncryption.Public()}
	if mesh.ServiceReadable(container) && !m.service.IsZero() {
		to = append(to, m.service)
	}
	return to
}

// change is a frame to be made.
type change struct {
	container string
	uniqueID  string
	entry     mesh.Entry // CatalogedDelete: a deletion
	at        chain      // of the entry, in the container as it is now
	have      bool       // there is such a chain
	labels    []string
	introduce bool // the first frame of this device in the container: the signature carries its Credential
	now       time.Time
}

// seal makes the frame of a change as D-57 wants it: sealed with its ContentMeta as additional data, signed, never
// empty, with First and Previous.
func (m *member) seal(c change) (*dare.Envelope, error) {
	plain, err := mesh.EncodeEntry(c.entry)
	if err != nil {
		return nil, err
	}
	modified := jbcd.Time{Time: c.now.UTC().Truncate(time.Second)}
	meta := dare.ContentMeta{UniqueID: c.uniqueID, Labels: c.labels, CTY: ctyObject, Event: eventNew, Modified: &modified}
	switch _, deletes := c.entry.(*mesh.CatalogedDelete); {
	case deletes:
		meta.Event = eventDelete
	case c.have && c.at.live:
		meta.Event = eventUpdate
	}
	if c.have {
		meta.First, meta.Previous = mesh.Int(c.at.first), mesh.Int(c.at.last)
	}
	o := dare.Options{
		Header:     dare.Header{EnvelopeID: c.uniqueID},
		Meta:       &meta,
		Recipients: m.recipients(c.container),
		MetaAAD:    true,
		Holder:     m.holder,
		SignKIDs:   []string{m.signKID()},
	}
	if c.introduce {
		o.Credential = []*dare.Envelope{m.Credential}
	}
	return dare.New(plain, o)
}

// open reads the entry of a frame that has been verified, or that this device made.
func (m *member) open(e *dare.Envelope) (mesh.Entry, error) {
	plain, err := e.Open(m.holder)
	if err != nil {
		return nil, err
	}
	return mesh.DecodeEntry(plain)
}

// firstFrame is frame 0 of a catalog.
func firstFrame() (*dare.Envelope, error) {
	e, err := dare.FirstFrame(&dare.ContentMeta{CTY: ctyCatalog})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// decodeTagged reads {"tag":{…}} into v.
func decodeTagged(payload []byte, tag string, v any) error {
	have, body, err := jbcd.Tagged(payload)
	if err != nil {
		return err
	}
	if have != tag {
		return mesh.Errorf("client", mesh.ProfileInvalid, "the payload is no %s", tag)
	}
	return jbcd.Unmarshal(body, v)
}
