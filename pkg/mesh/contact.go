package mesh

import (
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

// Tags of contacts, in CatalogedContact.Contact.
const (
	TagContactPerson       = "ContactPerson"
	TagContactOrganization = "ContactOrganization"
	TagContactGroup        = "ContactGroup"
)

// Contact is the base of contacts (DATA §5).
type Contact struct {
	Assertion
	ID               string           `json:"Id,omitempty"`
	Anchors          []Anchor         `json:"Anchors,omitempty"`
	NetworkAddresses []NetworkAddress `json:"NetworkAddresses,omitempty"`
	Locations        []Location       `json:"Locations,omitempty"`
	Roles            []Role           `json:"Roles,omitempty"`
	Bookmark         []Bookmark       `json:"Bookmark,omitempty"`
	Sources          []TaggedSource   `json:"Sources,omitempty"`
}

// ContactPerson is a person.
type ContactPerson struct {
	Contact
	CommonNames []PersonName `json:"CommonNames,omitempty"`
}

// ContactOrganization is an organisation.
type ContactOrganization struct {
	Contact
	CommonNames []OrganizationName `json:"CommonNames,omitempty"`
}

// ContactGroup is a group.
type ContactGroup struct{ Contact }

// Anchor is a trust anchor.
type Anchor struct {
	UDF        string `json:"UDF,omitempty"`
	Validation string `json:"Validation,omitempty"`
}

// TaggedSource is where a contact came from; BinarySource holds an imported vCard as it was.
type TaggedSource struct {
	LocalName       string         `json:"LocalName,omitempty"`
	Validation      string         `json:"Validation,omitempty"`
	BinarySource    jbcd.Binary    `json:"BinarySource,omitempty"`
	EnvelopedSource *dare.Envelope `json:"EnvelopedSource,omitempty"`
}

// PersonName is a name of a person.
type PersonName struct {
	Inactive    *bool    `json:"Inactive,omitempty"`
	FullName    string   `json:"FullName,omitempty"`
	Prefix      string   `json:"Prefix,omitempty"`
	First       string   `json:"First,omitempty"`
	Middle      []string `json:"Middle,omitempty"`
	Last        string   `json:"Last,omitempty"`
	Suffix      string   `json:"Suffix,omitempty"`
	PostNominal string   `json:"PostNominal,omitempty"`
}

// OrganizationName is a name of an organisation.
type OrganizationName struct {
	Inactive       *bool  `json:"Inactive,omitempty"`
	RegisteredName string `json:"RegisteredName,omitempty"`
	DBA            string `json:"DBA,omitempty"`
}

// NetworkAddress is how a contact is reached.
type NetworkAddress struct {
	Inactive                *bool           `json:"Inactive,omitempty"`
	Address                 string          `json:"Address,omitempty"`
	NetworkCapability       []string        `json:"NetworkCapability,omitempty"`
	EnvelopedProfileAccount *dare.Envelope  `json:"EnvelopedProfileAccount,omitempty"`
	Protocols               []NamedProtocol `json:"Protocols,omitempty"`
	Capabilities            []Tagged        `json:"Capabilities,omitempty"`
}

// NamedProtocol is a protocol that an address understands.
type NamedProtocol struct {
	Protocol     string   `json:"Protocol,omitempty"`
	Capabilities []Tagged `json:"Capabilities,omitempty"`
}

// Role is a role in an organisation.
type Role struct {
	OrganizationName string     `json:"OrganizationName,omitempty"`
	Titles           []string   `json:"Titles,omitempty"`
	Locations        []Location `json:"Locations,omitempty"`
}

// Location is a postal address; the spelling is that of the wire. Latitude and Longitude are numbers as written.
type Location struct {
	Appartment string   `json:"Appartment,omitempty"`
	Street     string   `json:"Street,omitempty"`
	District   string   `json:"District,omitempty"`
	Locality   string   `json:"Locality,omitempty"`
	County     string   `json:"County,omitempty"`
	Postcode   string   `json:"Postcode,omitempty"`
	Country    string   `json:"Country,omitempty"`
	Latitude   jbcd.Raw `json:"Latitude,omitempty"`
	Longitude  jbcd.Raw `json:"Longitude,omitempty"`
}

// Bookmark is a link of a contact.
type Bookmark struct {
	URI   string   `json:"Uri,omitempty"`
	Title string   `json:"Title,omitempty"`
	Role  []string `json:"Role,omitempty"`
}

// Task is the payload of CatalogedTask.EnvelopedTask.
type Task struct {
	Key          string     `json:"Key,omitempty"`
	Start        *jbcd.Time `json:"Start,omitempty"`
	Finish       *jbcd.Time `json:"Finish,omitempty"`
	StartTravel  string     `json:"StartTravel,omitempty"`
	FinishTravel string     `json:"FinishTravel,omitempty"`
	TimeZone     string     `json:"TimeZone,omitempty"`
	Title        string     `json:"Title,omitempty"`
	Description  string     `json:"Description,omitempty"`
	Location     string     `json:"Location,omitempty"`
	Trigger      []string   `json:"Trigger,omitempty"`
	Conference   []string   `json:"Conference,omitempty"`
	Repeat       string     `json:"Repeat,omitempty"`
	Busy         *bool      `json:"Busy,omitempty"`
}

// TagTask is the tag of Task.
const TagTask = "Task"
