package formats

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/emersion/go-vcard"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
)

// ReadVCard reads contacts of a vCard file, version 3 or 4. The octets of each card are kept in the contact's Sources:
// what the Mesh has no member for – photos, dates, labels of an address book – comes back on export.
// A contact is named by its UID, or by the digest of its card when it has none.
func ReadVCard(data []byte) ([]mesh.CatalogedContact, []Skipped, error) {
	cards := splitCards(data)
	if len(cards) == 0 {
		return nil, nil, errors.New("not a vCard file: it has no line BEGIN:VCARD")
	}
	var entries []mesh.CatalogedContact
	var skipped []Skipped
	seen := map[string]bool{}
	for i, raw := range cards {
		item := fmt.Sprintf("card %d", i+1)
		card, err := vcard.NewDecoder(bytes.NewReader(raw)).Decode()
		if err != nil {
			skipped = append(skipped, skip(item, "it does not parse: %v", err))
			continue
		}
		if v := card.Value(vcard.FieldVersion); v != "3.0" && v != "4.0" {
			skipped = append(skipped, skip(item, "it is of version %q; 3.0 and 4.0 are read", v))
			continue
		}
		key := card.Value(vcard.FieldUID)
		if key == "" {
			key = udf.Encode(udf.Content("text/vcard", raw), 140)
		}
		if seen[key] {
			skipped = append(skipped, skip(item, "another card of the file has the same UID %s", key))
			continue
		}
		seen[key] = true
		entry, err := contactOf(key, card, raw)
		if err != nil {
			skipped = append(skipped, skip(item, "%v", err))
			continue
		}
		entries = append(entries, entry)
	}
	return entries, skipped, nil
}

// splitCards cuts a file into its cards, octets from BEGIN:VCARD to the end of the line END:VCARD.
func splitCards(data []byte) [][]byte {
	data = bytes.TrimPrefix(data, []byte("\xEF\xBB\xBF"))
	var cards [][]byte
	begin := -1
	for at := 0; at < len(data); {
		end := bytes.IndexByte(data[at:], '\n')
		if end < 0 {
			end = len(data)
		} else {
			end += at + 1
		}
		switch line := strings.ToUpper(strings.TrimSpace(string(data[at:end]))); {
		case line == "BEGIN:VCARD" && begin < 0:
			begin = at
		case line == "END:VCARD" && begin >= 0:
			cards = append(cards, data[begin:end])
			begin = -1
		}
		at = end
	}
	if begin >= 0 { // cut off in the middle: the decoder says what is wrong with it
		cards = append(cards, data[begin:])
	}
	return cards
}

func contactOf(key string, card vcard.Card, raw []byte) (mesh.CatalogedContact, error) {
	person := mesh.ContactPerson{}
	person.ID = key
	name := mesh.PersonName{FullName: card.PreferredValue(vcard.FieldFormattedName)}
	if n := card.Name(); n != nil {
		name.Prefix, name.First, name.Last, name.Suffix = n.HonorificPrefix, n.GivenName, n.FamilyName, n.HonorificSuffix
		if n.AdditionalName != "" {
			name.Middle = strings.Split(n.AdditionalName, ",")
		}
	}
	person.CommonNames = []mesh.PersonName{name}
	for _, f := range card[vcard.FieldEmail] {
		person.NetworkAddresses = append(person.NetworkAddresses, mesh.NetworkAddress{Address: "mailto:" + f.Value})
	}
	for _, f := range card[vcard.FieldTelephone] {
		person.NetworkAddresses = append(person.NetworkAddresses, mesh.NetworkAddress{Address: "tel:" + strings.TrimPrefix(f.Value, "tel:")})
	}
	for _, a := range card.Addresses() {
		person.Locations = append(person.Locations, mesh.Location{
			Appartment: a.ExtendedAddress, Street: a.StreetAddress, Locality: a.Locality, District: a.Region, Postcode: a.PostalCode, Country: a.Country,
		})
	}
	if org := card.Value(vcard.FieldOrganization); org != "" {
		role := mesh.Role{OrganizationName: org}
		if t := card.Value(vcard.FieldTitle); t != "" {
			role.Titles = []string{t}
		}
		person.Roles = []mesh.Role{role}
	}
	person.Sources = []mesh.TaggedSource{{LocalName: sourceVCard, BinarySource: raw}}
	contact, err := mesh.NewTagged(mesh.TagContactPerson, &person)
	if err != nil {
		return mesh.CatalogedContact{}, err
	}
	return mesh.CatalogedContact{Key: key, Contact: contact}, nil
}

// Person is the person of a contact; false when it is an organisation or a group.
func Person(c mesh.CatalogedContact) (mesh.ContactPerson, bool) {
	var p mesh.ContactPerson
	if c.Contact.Tag != mesh.TagContactPerson {
		return p, false
	}
	return p, c.Contact.Decode(&p) == nil
}

// sourceVCard is the LocalName of a contact's original card.
const sourceVCard = "text/vcard"

func originalOf(c mesh.CatalogedContact) []byte {
	person, ok := Person(c)
	if !ok {
		return nil
	}
	for _, s := range person.Sources {
		if s.LocalName == sourceVCard {
			return s.BinarySource
		}
	}
	return nil
}

// WriteVCard writes contacts. version "" gives back each original card to the octet; "3.0" and "4.0" convert. A contact
// without an original is written from its members.
func WriteVCard(entries []mesh.CatalogedContact, version string) ([]byte, error) {
	var out bytes.Buffer
	for _, c := range entries {
		raw := originalOf(c)
		if raw != nil && version == "" {
			out.Write(raw)
			if !bytes.HasSuffix(raw, []byte("\n")) {
				out.WriteString("\r\n")
			}
			continue
		}
		card, err := cardOf(c, raw)
		if err != nil {
			return nil, err
		}
		convert(card, version)
		if err := vcard.NewEncoder(&out).Encode(card); err != nil {
			return nil, fmt.Errorf("contact %s: %w", c.Key, err)
		}
	}
	return out.Bytes(), nil
}

func cardOf(c mesh.CatalogedContact, raw []byte) (vcard.Card, error) {
	if raw != nil {
		card, err := vcard.NewDecoder(bytes.NewReader(raw)).Decode()
		if err != nil {
			return nil, fmt.Errorf("contact %s: its original card does not parse: %w", c.Key, err)
		}
		return card, nil
	}
	card := vcard.Card{}
	card.SetValue(vcard.FieldVersion, "4.0")
	card.SetValue(vcard.FieldUID, c.Key)
	person, _ := Person(c)
	for _, n := range person.CommonNames {
		card.AddValue(vcard.FieldFormattedName, n.FullName)
		card.AddName(&vcard.Name{FamilyName: n.Last, GivenName: n.First, AdditionalName: strings.Join(n.Middle, ","), HonorificPrefix: n.Prefix, HonorificSuffix: n.Suffix})
	}
	if card.Value(vcard.FieldFormattedName) == "" {
		card.SetValue(vcard.FieldFormattedName, c.Key)
	}
	for _, a := range person.NetworkAddresses {
		switch {
		case strings.HasPrefix(a.Address, "tel:"):
			card.AddValue(vcard.FieldTelephone, strings.TrimPrefix(a.Address, "tel:"))
		case strings.HasPrefix(a.Address, "mailto:"):
			card.AddValue(vcard.FieldEmail, strings.TrimPrefix(a.Address, "mailto:"))
		default: // a Mesh account
			card.Add(vcard.FieldIMPP, &vcard.Field{Value: "mmm:" + a.Address})
		}
	}
	for _, r := range person.Roles {
		card.AddValue(vcard.FieldOrganization, r.OrganizationName)
		for _, t := range r.Titles {
			card.AddValue(vcard.FieldTitle, t)
		}
	}
	return card, nil
}

// convert changes a card's version. The one member that the versions spell differently and people miss is the photo.
func convert(card vcard.Card, version string) {
	if version == "" || card.Value(vcard.FieldVersion) == version {
		return
	}
	card.SetValue(vcard.FieldVersion, version)
	for _, f := range card[vcard.FieldPhoto] {
		if version == "4.0" && strings.EqualFold(f.Params.Get("ENCODING"), "b") {
			f.Value = "data:image/" + strings.ToLower(f.Params.Get(vcard.ParamType)) + ";base64," + f.Value
			f.Params = nil
		} else if head, body, ok := strings.Cut(f.Value, ";base64,"); ok && version == "3.0" {
			f.Value = body
			f.Params = vcard.Params{"ENCODING": {"b"}, vcard.ParamType: {strings.ToUpper(strings.TrimPrefix(head, "data:image/"))}}
		}
	}
}
