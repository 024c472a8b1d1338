package client

import (
	"strings"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

// known is a contact as messages need it.
type known struct {
	entry   *mesh.CatalogedContact
	profile *mesh.ProfileAccount // pinned; nil: the contact brings none
	udf     string               // of profile, canonical
}

func (k *known) may(right string) bool {
	for _, p := range k.entry.Permissions {
		if p.Name == right {
			return true
		}
	}
	return false
}

// book are the contacts of the account, by address and by identity. The own entry is not among them.
type book struct {
	self      *mesh.CatalogedContact
	addresses map[string]*known
	accounts  map[string]*known // by UDF of the profile
}

func (b *book) address(canonical string) *known { return b.addresses[canonical] }

// contacts reads mmm_Contact. An entry that is no contact is passed over: it says nothing of anybody.
func (a *Account) contacts() (*book, error) {
	c, err := a.Catalog(mesh.CatalogContact)
	if err != nil {
		return nil, err
	}
	entries, err := c.Entries()
	if err != nil {
		return nil, err
	}
	b := &book{addresses: map[string]*known{}, accounts: map[string]*known{}}
	for _, e := range entries {
		if e.Tag != mesh.TagCatalogedContact {
			continue
		}
		entry := new(mesh.CatalogedContact)
		var base mesh.Contact
		if jbcd.Unmarshal(e.Body, entry) != nil || entry.Contact.IsZero() || entry.Contact.Decode(&base) != nil {
			continue
		}
		if entry.Self != nil && *entry.Self {
			b.self = entry
			continue
		}
		b.add(entry, &base)
	}
	return b, nil
}

func (b *book) add(entry *mesh.CatalogedContact, base *mesh.Contact) {
	for _, n := range base.NetworkAddresses {
		if n.Inactive != nil && *n.Inactive {
			continue
		}
		k := &known{entry: entry}
		if p, err := mesh.VerifyProfileAccount(n.EnvelopedProfileAccount, nil); n.EnvelopedProfileAccount != nil && err == nil {
			k.profile, k.udf = p, udf.Canonical(p.UDF())
			if b.accounts[k.udf] == nil {
				b.accounts[k.udf] = k
			}
		}
		address, err := mesh.ParseAddress(n.Address)
		if err != nil {
			continue
		}
		// Of two contacts with an address the one with a key counts.
		if have := b.addresses[address.String()]; have == nil || have.profile == nil {
			b.addresses[address.String()] = k
		}
	}
}

// nameOf is what a contact is called, empty when it does not say.
func nameOf(entry *mesh.CatalogedContact) string {
	var p mesh.ContactPerson
	if entry.Contact.Tag == mesh.TagContactPerson && entry.Contact.Decode(&p) == nil {
		for _, n := range p.CommonNames {
			if n.FullName != "" {
				return n.FullName
			}
		}
	}
	return ""
}

// befriend makes the entry of somebody who has proven to be the account of profile and to be reached at address; body is the
// contact that he sent of himself. An entry that there is keeps its key, and what the owner wrote into it.
func (b *book) befriend(address string, profile *dare.Envelope, body mesh.Tagged, rights []string) (*mesh.CatalogedContact, error) {
	p, err := mesh.VerifyProfileAccount(profile, nil)
	if err != nil {
		return nil, err
	}
	id := udf.Canonical(p.UDF())
	entry := &mesh.CatalogedContact{Key: id}
	k := b.accounts[id]
	if k == nil {
		k = b.addresses[address]
	}
	switch {
	case k == nil:
	case k.profile != nil && k.udf != id:
		return nil, mesh.Errorf("client.befriend", mesh.ProfileInvalid, "%s is another account in the contacts", address)
	default:
		kept := *k.entry
		entry, body = &kept, k.entry.Contact
	}
	if entry.Contact, err = withAddress(body, k != nil, id, mesh.NetworkAddress{Address: address, EnvelopedProfileAccount: profile}); err != nil {
		return nil, err
	}
	entry.Permissions = nil
	for _, r := range rights {
		entry.Permissions = append(entry.Permissions, mesh.Permission{Name: r})
	}
	return entry, nil
}

// withAddress puts the proven address first. Of a contact that somebody else wrote other addresses of the Mesh are taken out: who
// claims to be somebody else must not get his messages. What has a scheme, as mailto: or tel:, is no address of the Mesh and stays.
func withAddress(body mesh.Tagged, own bool, id string, proven mesh.NetworkAddress) (mesh.Tagged, error) {
	edit := func(c *mesh.Contact) {
		list := []mesh.NetworkAddress{proven}
		for _, n := range c.NetworkAddresses {
			scheme, _, other := strings.Cut(n.Address, ":")
			other = other && !strings.Contains(scheme, "@")
			if !own && other {
				n.EnvelopedProfileAccount = nil
			}
			if other || own && !sameAddress(n.Address, proven.Address) {
				list = append(list, n)
			}
		}
		c.NetworkAddresses = list
		c.Anchors = []mesh.Anchor{{UDF: id}}
	}
	switch body.Tag {
	case mesh.TagContactOrganization:
		var o mesh.ContactOrganization
		if err := body.Decode(&o); err != nil {
			return body, err
		}
		edit(&o.Contact)
		return mesh.NewTagged(body.Tag, &o)
	case mesh.TagContactPerson, "":
		var p mesh.ContactPerson
		if body.Tag != "" {
			if err := body.Decode(&p); err != nil {
				return body, err
			}
		}
		edit(&p.Contact)
		return mesh.NewTagged(mesh.TagContactPerson, &p)
	}
	return body, mesh.Errorf("client.withAddress", mesh.MessageInvalid, "%s is no person and no organisation", body.Tag)
}

// sameAddress compares an address as somebody wrote it with a canonical one.
func sameAddress(text, canonical string) bool {
	a, err := mesh.ParseAddress(text)
	return err == nil && a.String() == canonical
}
