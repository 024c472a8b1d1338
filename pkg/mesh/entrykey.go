package mesh

import "github.com/mathmesh/meshd/pkg/jbcd"

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
func (*CatalogedDevice) Tag() string { return TagCatalogedDevice }

// Tag implements Entry.
func (*CatalogedPublication) Tag() string { return TagCatalogedPublication }

// Tag implements Entry.
func (*CatalogedDelete) Tag() string { return TagCatalogedDelete }

// Tag implements Entry.
func (*CatalogedCredential) Tag() string { return TagCatalogedCredential }

// Tag implements Entry.
func (*CatalogedNetwork) Tag() string { return TagCatalogedNetwork }

// Tag implements Entry.
func (*CatalogedBookmark) Tag() string { return TagCatalogedBookmark }

// Tag implements Entry.
func (*CatalogedTask) Tag() string { return TagCatalogedTask }

// Tag implements Entry.
func (*CatalogedContact) Tag() string { return TagCatalogedContact }

// Tag implements Entry.
func (*CatalogedContactRecryption) Tag() string { return TagCatalogedContactRecryption }

// Tag implements Entry.
func (*CatalogedApplication) Tag() string { return TagCatalogedApplication }

// Tag implements Entry.
func (*CatalogedGroup) Tag() string { return TagCatalogedGroup }

// Tag implements Entry.
func (*CatalogedMember) Tag() string { return TagCatalogedMember }

// Tag implements Entry.
func (*CatalogedCapability) Tag() string { return TagCatalogedCapability }

// PrimaryKey implements Entry.
func (e *CatalogedDevice) PrimaryKey() string { return e.DeviceUDF }

// PrimaryKey implements Entry.
func (e *CatalogedPublication) PrimaryKey() string { return e.ID }

// PrimaryKey implements Entry.
func (e *CatalogedDelete) PrimaryKey() string { return e.Key }

// PrimaryKey implements Entry.
func (e *CatalogedNetwork) PrimaryKey() string { return e.Protocol + ":" + e.Service }

// PrimaryKey implements Entry.
func (e *CatalogedBookmark) PrimaryKey() string { return e.Path }

// PrimaryKey implements Entry.
func (e *CatalogedTask) PrimaryKey() string { return e.Key }

// PrimaryKey implements Entry.
func (e *CatalogedContact) PrimaryKey() string { return e.Key }

// PrimaryKey implements Entry.
func (e *CatalogedApplication) PrimaryKey() string { return e.Key }

// PrimaryKey implements Entry.
func (e *CatalogedMember) PrimaryKey() string { return e.ContactAddress }

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
