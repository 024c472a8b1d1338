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
