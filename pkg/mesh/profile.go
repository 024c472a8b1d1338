package mesh

import (
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

// Tags of profiles, connections and activations, as payloads of envelopes (DATA §3, §4).
const (
	TagProfileMesh       = "ProfileMesh"
	TagProfileDevice     = "ProfileDevice"
	TagProfileAccount    = "ProfileAccount"
	TagProfileService    = "ProfileService"
	TagProfileHost       = "ProfileHost"
	TagProfileGroup      = "ProfileGroup"
	TagConnectionDevice  = "ConnectionDevice"
	TagConnectionAccount = "ConnectionAccount"
	TagActivationDevice  = "ActivationDevice"
	TagActivationAccount = "ActivationAccount"
)

// KeyData is a key with its identifier (DATA §2).
type KeyData struct {
	UDF               string           `json:"UDF,omitempty"`
	X509Certificate   jbcd.Binary      `json:"X509Certificate,omitempty"`
	X509Chain         []jbcd.Binary    `json:"X509Chain,omitempty"`
	X509CSR           jbcd.Binary      `json:"X509CSR,omitempty"`
	NotBefore         *jbcd.Time       `json:"NotBefore,omitempty"`
	NotOnOrAfter      *jbcd.Time       `json:"NotOnOrAfter,omitempty"`
	PublicParameters  *keys.PublicKey  `json:"PublicParameters,omitempty"`
	PrivateParameters *keys.PrivateKey `json:"PrivateParameters,omitempty"`
}

// NewKeyData describes a public key.
func NewKeyData(key keys.PublicKey) *KeyData {
	return &KeyData{UDF: key.KID(), PublicParameters: &key}
}

// KID is KEYUDF of the key itself; what UDF claims does not matter. Empty when there is no key.
func (k *KeyData) KID() string {
	if k == nil || k.PublicParameters == nil {
		return ""
	}
	return k.PublicParameters.KID()
}

// Assertion is the base of profiles, connections and activations.
type Assertion struct {
	Names       []string   `json:"Names,omitempty"`
	Updated     *jbcd.Time `json:"Updated,omitempty"`
	NotaryToken string     `json:"NotaryToken,omitempty"`
}

// Profile is the base of profiles. The UDF of KeyOfflineSignature is the permanent name of the profile.
type Profile struct {
	Assertion
	KeyOfflineSignature *KeyData  `json:"KeyOfflineSignature,omitempty"`
	KeysOnlineSignature []KeyData `json:"KeysOnlineSignature,omitempty"`
}

// UDF is the permanent name of the profile, empty when it has no key.
func (p *Profile) UDF() string { return p.KeyOfflineSignature.KID() }

// OnlineKey returns the online signature key of that identifier.
func (p *Profile) OnlineKey(kid string) (keys.PublicKey, bool) {
	for i := range p.KeysOnlineSignature {
		if k := &p.KeysOnlineSignature[i]; k.PublicParameters != nil && SameUDF(k.KID(), kid) {
			return *k.PublicParameters, true
		}
	}
	return keys.PublicKey{}, false
}

// ProfileMesh is the root of a person's Mesh. Its online keys are the administration keys.
type ProfileMesh struct {
	Profile
	KeysMasterEscrow []KeyData `json:"KeysMasterEscrow,omitempty"`
	KeyEncryption    *KeyData  `json:"KeyEncryption,omitempty"`
}

// ProfileDevice describes a device; it never changes.
type ProfileDevice struct {
	Profile
	Description       string   `json:"Description,omitempty"`
	KeyEncryption     *KeyData `json:"KeyEncryption,omitempty"`
	KeyAuthentication *KeyData `json:"KeyAuthentication,omitempty"`
}

// ProfileAccount describes an account. The first of AccountAddresses is the authoritative one.
type ProfileAccount struct {
	Profile
	AccountAddresses        []string       `json:"AccountAddresses,omitempty"`
	MeshProfileUDF          string         `json:"MeshProfileUDF,omitempty"`
	KeyEncryption           *KeyData       `json:"KeyEncryption,omitempty"`
	KeyAuthentication       *KeyData       `json:"KeyAuthentication,omitempty"`
	EnvelopedProfileService *dare.Envelope `json:"EnvelopedProfileService,omitempty"`
}

// ProfileService describes a service: the provider of a domain.
type ProfileService struct {
	Profile
	KeyAuthentication *KeyData `json:"KeyAuthentication,omitempty"`
	KeyEncryption     *KeyData `json:"KeyEncryption,omitempty"`
}

// ProfileHost describes a host of a service. KeyAuthentication is the service authentication key S (AUTH §3), the
// online keys are those that sign for the host.
type ProfileHost struct {
	Profile
	KeyAuthentication *KeyData `json:"KeyAuthentication,omitempty"`
}

// ProfileGroup describes a group.
type ProfileGroup struct {
	Profile
	AccountAddresses []string `json:"AccountAddresses,omitempty"`
	KeyEncryption    *KeyData `json:"KeyEncryption,omitempty"`
}

// Permission grants a right to a device or a contact.
type Permission struct {
	Name         string         `json:"Name,omitempty"`
	Role         string         `json:"Role,omitempty"`
	Capabilities *dare.Envelope `json:"Capabilities,omitempty"`
}

// Connection is the base of connections: authority says that subject belongs to it.
type Connection struct {
	Assertion
	SubjectUDF   string `json:"SubjectUDF,omitempty"`
	AuthorityUDF string `json:"AuthorityUDF,omitempty"`
}

// ConnectionDevice connects a device to a mesh.
type ConnectionDevice struct {
	Connection
	Permissions       []Permission `json:"Permissions,omitempty"`
	KeySignature      *KeyData     `json:"KeySignature,omitempty"`
	KeyEncryption     *KeyData     `json:"KeyEncryption,omitempty"`
	KeyAuthentication *KeyData     `json:"KeyAuthentication,omitempty"`
}

// ConnectionAccount connects a device to an account: the device connection assertion of profile authentication and of
// message signatures.
type ConnectionAccount struct {
	Connection
	AccountAddresses  []string     `json:"AccountAddresses,omitempty"`
	Permissions       []Permission `json:"Permissions,omitempty"`
	KeySignature      *KeyData     `json:"KeySignature,omitempty"`
	KeyEncryption     *KeyData     `json:"KeyEncryption,omitempty"`
	KeyAuthentication *KeyData     `json:"KeyAuthentication,omitempty"`
}

// KeyComposite is a key of several parts.
type KeyComposite struct {
	Public  *keys.PublicKey `json:"Public,omitempty"`
	Part    *keys.PublicKey `json:"Part,omitempty"`
	Service string          `json:"Service,omitempty"`
}

// ConnectionGroup connects a member to a group.
type ConnectionGroup struct {
	Connection
	KeyEncryption *KeyComposite `json:"KeyEncryption,omitempty"`
}

// Activation is the base of activations: what a device must know to use a connection, encrypted to the device.
type Activation struct {
	Assertion
	EnvelopedConnection *dare.Envelope `json:"EnvelopedConnection,omitempty"`
	ActivationKey       string         `json:"ActivationKey,omitempty"` // Z-type UDF
}

// ActivationDevice activates a ConnectionDevice.
type ActivationDevice struct {
	Activation
	Activations []Tagged `json:"Activations,omitempty"`
}

// ActivationAccount activates a ConnectionAccount. It carries the private keys of the account.
type ActivationAccount struct {
	Activation
	AccountUDF           string   `json:"AccountUDF,omitempty"`
	KeyAccountEncryption *KeyData `json:"KeyAccountEncryption,omitempty"` // with PrivateParameters
	KeyAccountSignature  *KeyData `json:"KeyAccountSignature,omitempty"`  // with PrivateParameters; administrators only

	// Extensions: the earlier ones, the newest first (FLOWS §3.4).
	KeysAccountEncryptionPrevious   []KeyData        `json:"KeysAccountEncryptionPrevious,omitempty"`
	EnvelopedProfileAccountPrevious []*dare.Envelope `json:"EnvelopedProfileAccountPrevious,omitempty"`
}

// ActivationGroup activates a ConnectionGroup.
type ActivationGroup struct {
	Activation
	GroupUDF string `json:"GroupUDF,omitempty"`
}

// AccountEntry is an account inside a CatalogedDevice.
type AccountEntry struct {
	AccountUDF                 string         `json:"AccountUDF,omitempty"`
	EnvelopedProfileAccount    *dare.Envelope `json:"EnvelopedProfileAccount,omitempty"`
	EnvelopedConnectionAccount *dare.Envelope `json:"EnvelopedConnectionAccount,omitempty"`
	EnvelopedActivationAccount *dare.Envelope `json:"EnvelopedActivationAccount,omitempty"`
}
