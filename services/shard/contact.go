package shard

import (
	"errors"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// contactRights are the names of rights that an account grants to contacts (D-39), in the order of their bits.
var contactRights = []string{"Contact", "Confirmation", "Group", "Task", "Message", "Block"}

// contact reads an entry of mmm_Contact: what it grants, nil when that is nothing – the entry is not encrypted to the
// service or is another client's, which is no fault: then it is the owner's alone, and grants nothing.
func (a *account) contact(e *shardpb.Entry, event Event) (*ContactChange, error) {
	if event == Delete {
		return nil, nil // the event alone counts
	}
	key, ok := a.server.keys[a.domain]
	if !ok { // the entry would look like one that nobody may read, and the contact lose its rights
		return nil, mesh.Errorf("shard.contact", mesh.Internal, "no service encryption key of domain %q", a.domain)
	}
	return readContact(&dare.Envelope{Header: e.GetHeader(), Payload: e.GetPayload(), Trailer: e.GetTrailer()}, key), nil
}

func readContact(envelope *dare.Envelope, key keys.Holder) *ContactChange {
	plain, err := envelope.Open(key)
	if err != nil {
		return nil
	}
	entry, err := mesh.DecodeEntry(plain)
	if err != nil {
		return nil
	}
	var c *mesh.CatalogedContact
	switch entry := entry.(type) {
	case *mesh.CatalogedContact:
		c = entry
	case *mesh.CatalogedContactRecryption:
		c = &entry.CatalogedContact
	default:
		return nil
	}
	var person mesh.Contact // the base is the same in all kinds of contacts
	if c.Self != nil && *c.Self || c.Contact.IsZero() || c.Contact.Decode(&person) != nil {
		return nil
	}
	change := &ContactChange{}
	for _, p := range c.Permissions {
		for bit, name := range contactRights {
			if p.Name == name {
				change.Rights |= 1 << bit
			}
		}
	}
	for _, n := range person.NetworkAddresses {
		if n.Inactive != nil && *n.Inactive {
			continue
		}
		address, err := mesh.ParseAddress(n.Address)
		if err != nil || len(change.Addresses) == MaxContactAddresses {
			continue
		}
		change.Addresses = append(change.Addresses, address.String())
		if change.ProfileUDF == "" && n.EnvelopedProfileAccount != nil {
			change.ProfileUDF, _ = pinOf(n.EnvelopedProfileAccount) // one that cannot be read pins nothing
		}
	}
	return change
}

// pinOf is the UDF of the ProfileAccount in a contact. Its signatures are not asked: the owner of the catalog says that this is
// the contact.
func pinOf(e *dare.Envelope) (string, error) {
	tag, body, err := jbcd.Tagged(e.Payload)
	if err != nil {
		return "", err
	}
	if tag != mesh.TagProfileAccount {
		return "", errors.New("no ProfileAccount")
	}
	var p mesh.ProfileAccount
	if err := jbcd.Unmarshal(body, &p); err != nil {
		return "", err
	}
	if p.KeyOfflineSignature == nil {
		return "", errors.New("ProfileAccount without key")
	}
	return udf.Canonical(p.UDF()), nil
}

// namesOf are the names of a set of rights of a contact.
func namesOf(rights ContactRight) []string {
	var names []string
	for bit, name := range contactRights {
		if rights&(1<<bit) != 0 {
			names = append(names, name)
		}
	}
	return names
}
