package mesh

import (
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

// CatalogedEntry is the base of catalog entries (DATA §5).
type CatalogedEntry struct {
	Labels []string `json:"Labels,omitempty"`
}

// Entry is what lies in a catalog: each entry says its tag and its primary key. The key is text of the owner: only
// containers that the service reads show it outside (EntryID).
type Entry interface {
	Tag() string
	PrimaryKey() string
}

// CatalogedDevice is a device of the account (mmm_Device).
type CatalogedDevice struct {
	CatalogedEntry
	UDF                       string         `json:"UDF,omitempty"` // of the key under the mesh
	EnvelopedProfileMesh      *dare.Envelope `json:"EnvelopedProfileMesh,omitempty"`
	DeviceUDF                 string         `json:"DeviceUDF,omitempty"` // of the ProfileDevice
	EnvelopedProfileDevice    *dare.Envelope `json:"EnvelopedProfileDevice,omitempty"`
	EnvelopedConnectionDevice *dare.Envelope `json:"EnvelopedConnectionDevice,omitempty"`
	EnvelopedActivationDevice *dare.Envelope `json:"EnvelopedActivationDevice,omitempty"`
	Accounts                  []AccountEntry `json:"Accounts,omitempty"`
}

// Account returns the account entry of that ProfileAccount UDF, nil when there is none.
func (e *CatalogedDevice) Account(udf string) *AccountEntry {
	for i := range e.Accounts {
		if SameUDF(e.Accounts[i].AccountUDF, udf) {
			return &e.Accounts[i]
		}
	}
	return nil
}

// CatalogedPublication is a publication (mmm_Publication).
type CatalogedPublication struct {
	CatalogedEntry
	ID            string         `json:"ID,omitempty"`            // SYMKEYID of the secret
	Authenticator string         `json:"Authenticator,omitempty"` // E-UDF
	EnvelopedData *dare.Envelope `json:"EnvelopedData,omitempty"`
	NotOnOrAfter  *jbcd.Time     `json:"NotOnOrAfter,omitempty"`
}

// CatalogedDelete is the payload of a Delete frame in every catalog (extension D-57).
type CatalogedDelete struct {
	Key string `json:"Key,omitempty"` // primary key text of the entry deleted
}

// CatalogedCredential is a login (mmm_Credential). Members after Password are extensions.
type CatalogedCredential struct {
	CatalogedEntry
	Protocol string `json:"Protocol,omitempty"`
	Service  string `json:"Service,omitempty"`
	Username string `json:"Username,omitempty"`
	Password string `json:"Password,omitempty"`

	Title             string          `json:"Title,omitempty"`
	Notes             string          `json:"Notes,omitempty"`
	TOTP              string          `json:"TOTP,omitempty"`
	Folder            string          `json:"Folder,omitempty"`
	Key               string          `json:"Key,omitempty"` // primary key where the first three members are not unique
	URIs              []string        `json:"URIs,omitempty"`
	Fields            []dare.KeyValue `json:"Fields,omitempty"`
	PreviousPasswords []dare.KeyValue `json:"PreviousPasswords,omitempty"` // time of the change, password
	Created           *jbcd.Time      `json:"Created,omitempty"`
	Modified          *jbcd.Time      `json:"Modified,omitempty"`
}

// CatalogedNetwork is access to a network (mmm_Network).
type CatalogedNetwork struct {
	CatalogedEntry
	Protocol string `json:"Protocol,omitempty"`
	Service  string `json:"Service,omitempty"`
	Username string `json:"Username,omitempty"`
	Password string `json:"Password,omitempty"`
}

// CatalogedBookmark is a bookmark (mmm_Bookmark). Path names the bookmark, folder included.
type CatalogedBookmark struct {
	CatalogedEntry
	URI         string     `json:"Uri,omitempty"`
	Title       string     `json:"Title,omitempty"`
	Path        string     `json:"Path,omitempty"`
	Created     *jbcd.Time `json:"Created,omitempty"`     // extension
	Description string     `json:"Description,omitempty"` // extension
	Tags        []string   `json:"Tags,omitempty"`        // extension
}

// CatalogedTask is a task or an event (mmm_Calendar).
type CatalogedTask struct {
	CatalogedEntry
	EnvelopedTask *dare.Envelope `json:"EnvelopedTask,omitempty"`
	Title         string         `json:"Title,omitempty"`
	Key           string         `json:"Key,omitempty"`
	BinarySource  jbcd.Binary    `json:"BinarySource,omitempty"` // extension: the iCalendar text it came from
}

// CatalogedContact is a contact (mmm_Contact).
type CatalogedContact struct {
	CatalogedEntry
	Key         string       `json:"Key,omitempty"`
	Self        *bool        `json:"Self,omitempty"`
	Permissions []Permission `json:"Permissions,omitempty"`
	Contact     Tagged       `json:"Contact,omitempty"` // ContactPerson, ContactOrganization, ContactGroup
}

// CatalogedContactRecryption is a contact for whom one recrypts (mmm_Contact).
type CatalogedContactRecryption struct{ CatalogedContact }

// CatalogedApplication is an application (mmm_Application).
type CatalogedApplication struct {
	CatalogedEntry
	Key                   string           `json:"Key,omitempty"`
	EnvelopedCapabilities []*dare.Envelope `json:"EnvelopedCapabilities,omitempty"`
}

// CatalogedGroup is a group of the account (mmm_Application), Key mmm/CatalogedGroup/<address>.
type CatalogedGroup struct {
	CatalogedApplication
	Profile *ProfileGroup `json:"Profile,omitempty"`
}

// CatalogedMember is a member of a group (mmm_Member).
type CatalogedMember struct {
	CatalogedEntry
	ContactAddress      string `json:"ContactAddress,omitempty"`
	MemberCapabilityID  string `json:"MemberCapabilityId,omitempty"`
	ServiceCapabilityID string `json:"ServiceCapabilityId,omitempty"`
}

// CatalogedCapability is a capability (mmm_Capability).
type CatalogedCapability struct {
	CatalogedEntry
	Capability Tagged `json:"Capability,omitempty"` // CapabilityDecryptPartial and others
}

// CryptographicCapability is what every capability has.
type CryptographicCapability struct {
	ID                 string           `json:"Id,omitempty"`
	KeyData            *KeyData         `json:"KeyData,omitempty"` // public only (DATA §5)
	EnvelopedKeyShares []*dare.Envelope `json:"EnvelopedKeyShares,omitempty"`
	SubjectID          string           `json:"SubjectId,omitempty"`
	SubjectAddress     string           `json:"SubjectAddress,omitempty"`
}

// CapabilityDecryptPartial is the share of a user; ServiceID names the share of the service.
type CapabilityDecryptPartial struct {
	CryptographicCapability
	ServiceID      string `json:"ServiceId,omitempty"`
	ServiceAddress string `json:"ServiceAddress,omitempty"`
}

// CapabilityDecryptServiced is the share of the service; AuthenticationID is the ProfileAccount UDF of its user.
type CapabilityDecryptServiced struct {
	CryptographicCapability
	AuthenticationID string `json:"AuthenticationId,omitempty"`
}

// Tags of entries.
const (
	TagCatalogedDevice            = "CatalogedDevice"
	TagCatalogedPublication       = "CatalogedPublication"
	TagCatalogedDelete            = "CatalogedDelete"
	TagCatalogedCredential        = "CatalogedCredential"
	TagCatalogedNetwork           = "CatalogedNetwork"
	TagCatalogedBookmark          = "CatalogedBookmark"
	TagCatalogedTask              = "CatalogedTask"
	TagCatalogedContact           = "CatalogedContact"
	TagCatalogedContactRecryption = "CatalogedContactRecryption"
	TagCatalogedApplication       = "CatalogedApplication"
	TagCatalogedGroup             = "CatalogedGroup"
	TagCatalogedMember            = "CatalogedMember"
	TagCatalogedCapability        = "CatalogedCapability"
)

// Tag implements Entry.
func (*CatalogedDevice) Tag() string            { return TagCatalogedDevice }
func (*CatalogedPublication) Tag() string       { return TagCatalogedPublication }
func (*CatalogedDelete) Tag() string            { return TagCatalogedDelete }
func (*CatalogedCredential) Tag() string        { return TagCatalogedCredential }
func (*CatalogedNetwork) Tag() string           { return TagCatalogedNetwork }
func (*CatalogedBookmark) Tag() string          { return TagCatalogedBookmark }
func (*CatalogedTask) Tag() string              { return TagCatalogedTask }
func (*CatalogedContact) Tag() string           { return TagCatalogedContact }
func (*CatalogedContactRecryption) Tag() string { return TagCatalogedContactRecryption }
func (*CatalogedApplication) Tag() string       { return TagCatalogedApplication }
func (*CatalogedGroup) Tag() string             { return TagCatalogedGroup }
func (*CatalogedMember) Tag() string            { return TagCatalogedMember }
func (*CatalogedCapability) Tag() string        { return TagCatalogedCapability }

// PrimaryKey implements Entry.
func (e *CatalogedDevice) PrimaryKey() string      { return e.DeviceUDF }
func (e *CatalogedPublication) PrimaryKey() string { return e.ID }
func (e *CatalogedDelete) PrimaryKey() string      { return e.Key }
func (e *CatalogedNetwork) PrimaryKey() string     { return e.Protocol + ":" + e.Service }
func (e *CatalogedBookmark) PrimaryKey() string    { return e.Path }
func (e *CatalogedTask) PrimaryKey() string        { return e.Key }
func (e *CatalogedContact) PrimaryKey() string     { return e.Key }
func (e *CatalogedApplication) PrimaryKey() string { return e.Key }
func (e *CatalogedMember) PrimaryKey() string      { return e.ContactAddress }

// PrimaryKey is Protocol:Service:Username, or Key where several logins have all three in common (DATA §5).
func (e *CatalogedCredential) PrimaryKey() string {
	if e.Key != "" {
		return e.Key
	}
	return e.Protocol + ":" + e.Service + ":" + e.Username
}

// PrimaryKey is the Id of the capability, empty when it cannot be read.
func (e *CatalogedCapability) PrimaryKey() string {
	var c CryptographicCapability
	if e.Capability.Decode(&c) != nil {
		return ""
	}
	return c.ID
}

// NewEntry returns an empty entry of the tag, nil for a tag that is none of an entry (applications of no known
// structure included: …SSH, …Mail have no members of their own and are CatalogedApplication).
func NewEntry(tag string) Entry {
	switch tag {
	case TagCatalogedDevice:
		return new(CatalogedDevice)
	case TagCatalogedPublication:
		return new(CatalogedPublication)
	case TagCatalogedDelete:
		return new(CatalogedDelete)
	case TagCatalogedCredential:
		return new(CatalogedCredential)
	case TagCatalogedNetwork:
		return new(CatalogedNetwork)
	case TagCatalogedBookmark:
		return new(CatalogedBookmark)
	case TagCatalogedTask:
		return new(CatalogedTask)
	case TagCatalogedContact:
		return new(CatalogedContact)
	case TagCatalogedContactRecryption:
		return new(CatalogedContactRecryption)
	case TagCatalogedApplication:
		return new(CatalogedApplication)
	case TagCatalogedGroup:
		return new(CatalogedGroup)
	case TagCatalogedMember:
		return new(CatalogedMember)
	case TagCatalogedCapability:
		return new(CatalogedCapability)
	}
	return nil
}

// ContainerOf returns the catalog in which entries of the tag lie; "" for CatalogedDelete, which lies in every one,
// and for tags that are none of an entry.
func ContainerOf(tag string) string {
	switch tag {
	case TagCatalogedDevice:
		return CatalogDevice
	case TagCatalogedPublication:
		return CatalogPublication
	case TagCatalogedCredential:
		return CatalogCredential
	case TagCatalogedNetwork:
		return CatalogNetwork
	case TagCatalogedBookmark:
		return CatalogBookmark
	case TagCatalogedTask:
		return CatalogCalendar
	case TagCatalogedContact, TagCatalogedContactRecryption:
		return CatalogContact
	case TagCatalogedApplication, TagCatalogedGroup:
		return CatalogApplication
	case TagCatalogedMember:
		return CatalogMember
	case TagCatalogedCapability:
		return CatalogCapability
	}
	return ""
}

// EncodeEntry writes the payload of an entry: {"CatalogedBookmark":{…}}.
func EncodeEntry(e Entry) ([]byte, error) { return jbcd.Tag(e.Tag(), e) }

// DecodeEntry reads the payload of an entry. A tag that this package does not know gives UnknownEntry, not an error:
// it is somebody's entry all the same.
func DecodeEntry(payload []byte) (Entry, error) {
	const op = "mesh.DecodeEntry"
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		return nil, E(op, BadRequest, err)
	}
	e := NewEntry(tag)
	if e == nil {
		return &UnknownEntry{tag: tag, Body: append(jbcd.Raw(nil), body...)}, nil
	}
	if err := jbcd.Unmarshal(body, e); err != nil {
		return nil, E(op, BadRequest, err)
	}
	return e, nil
}

// UnknownEntry is an entry of a structure that this package does not have; its primary key is its Key member, if any.
type UnknownEntry struct {
	tag  string
	Body jbcd.Raw
}

// Tag implements Entry.
func (e *UnknownEntry) Tag() string { return e.tag }

// PrimaryKey implements Entry.
func (e *UnknownEntry) PrimaryKey() string {
	var k struct {
		Key string `json:"Key,omitempty"`
	}
	if jbcd.Unmarshal(e.Body, &k) != nil {
		return ""
	}
	return k.Key
}

// MarshalJBCD implements jbcd.Marshaler.
func (e *UnknownEntry) MarshalJBCD() ([]byte, error) { return e.Body, nil }
