package mesh

import (
	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
)

// The structures of the requests and responses have the wire names of the draft (PROTOCOL §1.4–§4.5) as Go names.
// Members marked "extension" are not in the draft: its readers ignore them. Integers and booleans that may be
// absent are pointers, because 0 and false mean something else than absence; Int and Bool make them.

// Int returns a pointer to n, for an optional member.
func Int(n int64) *int64 { return &n }

// Bool returns a pointer to b, for an optional member.
func Bool(b bool) *bool { return &b }

// Tagged is a TStruct: an object with exactly one member, which names the type of its value. The reader decides
// by Tag what Body is.
type Tagged struct {
	Tag  string
	Body jbcd.Raw
}

// NewTagged makes a Tagged of a structure.
func NewTagged(tag string, v any) (Tagged, error) {
	body, err := jbcd.Marshal(v)
	return Tagged{Tag: tag, Body: body}, err
}

// Decode reads the body into v.
func (t Tagged) Decode(v any) error { return jbcd.Unmarshal(t.Body, v) }

// IsZero says whether t is absent.
func (t Tagged) IsZero() bool { return t.Tag == "" }

// MarshalJBCD writes {"Tag":body}.
func (t Tagged) MarshalJBCD() ([]byte, error) { return jbcd.Tag(t.Tag, t.Body) }

// UnmarshalJBCD reads {"Tag":body}.
func (t *Tagged) UnmarshalJBCD(raw jbcd.Raw) error {
	tag, body, err := jbcd.Tagged(raw)
	if err != nil {
		return err
	}
	t.Tag, t.Body = tag, append(jbcd.Raw(nil), body...)
	return nil
}

// Request is the base of every request.
type Request struct {
	Service string      `json:"Service,omitempty"` // "mmm"
	ID      jbcd.Binary `json:"ID,omitempty"`      // unique value of the request, 16 random octets from our client (D-04)
}

// Base returns the base members.
func (r *Request) Base() *Request { return r }

// RequestUser (MeshRequestUser) is the base of requests directed to an account.
type RequestUser struct {
	Request
	Account       string         `json:"Account,omitempty"`
	DeviceProfile *dare.Envelope `json:"DeviceProfile,omitempty"` // must match the credential when present (D-09)
}

// User returns the members of RequestUser.
func (r *RequestUser) User() *RequestUser { return r }

// Response (MeshResponse) is the base of every response, and by itself the answer of a failing service to any request.
type Response struct {
	Status            int64       `json:"Status,omitempty"`
	StatusExtended    int64       `json:"StatusExtended,omitempty"`
	StatusDescription string      `json:"StatusDescription,omitempty"` // name of the code; in redirects the new URI or address
	ID                jbcd.Binary `json:"ID,omitempty"`                // echo of the request's
}

// Base returns the base members.
func (r *Response) Base() *Response { return r }

// Code is the status as a Code.
func (r *Response) Code() Code { return Code{Status: int(r.Status), Extended: int(r.StatusExtended)} }

// HelloRequest asks for the description of the service (§2.1).
type HelloRequest struct{ Request }

// MeshHelloResponse describes the service.
//
//nolint:revive // the wire's name
type MeshHelloResponse struct {
	Response
	Version                 *Version         `json:"Version,omitempty"`
	Alternates              []Version        `json:"Alternates,omitempty"`
	ConstraintsUpdate       *ConstraintsData `json:"ConstraintsUpdate,omitempty"`
	ConstraintsPost         *ConstraintsData `json:"ConstraintsPost,omitempty"`
	PolicyAccount           *PolicyAccount   `json:"PolicyAccount,omitempty"`
	EnvelopedProfileService *dare.Envelope   `json:"EnvelopedProfileService,omitempty"`
	EnvelopedProfileHost    *dare.Envelope   `json:"EnvelopedProfileHost,omitempty"`
}

// Version is a version of the protocol with its encodings and endpoints.
type Version struct {
	Major     int64      `json:"Major"`
	Minor     int64      `json:"Minor"`
	Encodings []Encoding `json:"Encodings,omitempty"`
	URI       []string   `json:"URI,omitempty"`
}

// Encoding names an encoding by its media types.
type Encoding struct {
	ID []string `json:"ID,omitempty"`
}

// PolicyAccount bounds the local part of addresses (§2.1). Lengths are in characters.
type PolicyAccount struct {
	Minimum           *int64 `json:"Minimum,omitempty"`
	Maximum           *int64 `json:"Maximum,omitempty"`
	InvalidCharacters string `json:"InvalidCharacters,omitempty"`
}

// ConstraintsData bounds the data of a request or a response.
type ConstraintsData struct {
	MaxEntries  *int64 `json:"MaxEntries,omitempty"`
	BytesOffset *int64 `json:"BytesOffset,omitempty"` // octets of the decoded payload
	BytesMax    *int64 `json:"BytesMax,omitempty"`    // octets
	Header      *bool  `json:"Header,omitempty"`
	Payload     *bool  `json:"Payload,omitempty"`
	Trailer     *bool  `json:"Trailer,omitempty"`
}

// CreateRequest binds an address (§2.2).
type CreateRequest struct {
	Request
	AccountAddress         string            `json:"AccountAddress,omitempty"`
	SignedProfileMesh      *dare.Envelope    `json:"SignedProfileMesh,omitempty"`
	SignedAssertionAccount *dare.Envelope    `json:"SignedAssertionAccount,omitempty"`
	Updates                []ContainerUpdate `json:"Updates,omitempty"` // extension D-13
}

// CreateResponse answers CreateRequest. When the account is pending the owner finishes at URL.
type CreateResponse struct {
	Response
	Reason string `json:"Reason,omitempty"`
	URL    string `json:"URL,omitempty"`
}

// DeleteRequest deletes an account (§2.3).
type DeleteRequest struct{ RequestUser }

// DeleteResponse answers DeleteRequest.
type DeleteResponse struct{ Response }

// ConnectRequest starts the connection of a device (§2.4).
type ConnectRequest struct {
	Request
	MessageConnectionRequestClient *dare.Envelope `json:"MessageConnectionRequestClient,omitempty"`
}

// ConnectResponse answers ConnectRequest.
type ConnectResponse struct {
	Response
	EnvelopedConnectResponse    *dare.Envelope `json:"EnvelopedConnectResponse,omitempty"`
	EnvelopedConnectionResponse *dare.Envelope `json:"EnvelopedConnectionResponse,omitempty"` // other spelling, read only (D-30)
	EnvelopedProfileMaster      *dare.Envelope `json:"EnvelopedProfileMaster,omitempty"`
	EnvelopedAccountAssertion   *dare.Envelope `json:"EnvelopedAccountAssertion,omitempty"`
}

// Acknowledgement returns the AcknowledgeConnection under either of its names.
func (r *ConnectResponse) Acknowledgement() *dare.Envelope {
	if r.EnvelopedConnectResponse != nil {
		return r.EnvelopedConnectResponse
	}
	return r.EnvelopedConnectionResponse
}

// CompleteRequest fetches the answer to a Connect (§2.5).
type CompleteRequest struct {
	StatusRequest
	AccountAddress string `json:"AccountAddress,omitempty"`
	ResponseID     string `json:"ResponseID,omitempty"`
}

// CompleteResponse answers CompleteRequest.
type CompleteResponse struct {
	Response
	SignedResponse *dare.Envelope `json:"SignedResponse,omitempty"`
}

// StatusRequest asks for the state of containers (§3.1).
type StatusRequest struct {
	RequestUser
	DeviceUDF           string            `json:"DeviceUDF,omitempty"`
	ProfileMasterDigest jbcd.Binary       `json:"ProfileMasterDigest,omitempty"` // SHA-2-512 of the ProfileMesh payload
	Catalogs            []string          `json:"Catalogs,omitempty"`
	Spools              []string          `json:"Spools,omitempty"`
	Wait                *int64            `json:"Wait,omitempty"`  // extension D-52: milliseconds, at most 55 000
	Known               []ContainerStatus `json:"Known,omitempty"` // extension D-52
}

// StatusResponse answers StatusRequest.
type StatusResponse struct {
	Response
	EnvelopedProfileMaster      *dare.Envelope    `json:"EnvelopedProfileMaster,omitempty"`
	EnvelopedCatalogEntryDevice *dare.Envelope    `json:"EnvelopedCatalogEntryDevice,omitempty"`
	ContainerStatus             []ContainerStatus `json:"ContainerStatus,omitempty"`
}

// ContainerStatus is the state of a container.
type ContainerStatus struct {
	Container string      `json:"Container,omitempty"`
	Index     *int64      `json:"Index,omitempty"`  // number of frames, the next index
	Digest    jbcd.Binary `json:"Digest,omitempty"` // tree digest of the last frame, 64 octets
}

// DownloadRequest asks for frames (§3.2).
type DownloadRequest struct {
	RequestUser
	Select          []ConstraintsSelect `json:"Select,omitempty"`
	ConstraintsPost *ConstraintsData    `json:"ConstraintsPost,omitempty"` // of the response, in spite of the name
}

// ConstraintsSelect selects frames of one container; IndexMin, IndexMax and NotBefore are inclusive, Before is not.
type ConstraintsSelect struct {
	Container string          `json:"Container,omitempty"`
	IndexMin  *int64          `json:"IndexMin,omitempty"`
	IndexMax  *int64          `json:"IndexMax,omitempty"`
	NotBefore *jbcd.Time      `json:"NotBefore,omitempty"`
	Before    *jbcd.Time      `json:"Before,omitempty"`
	PageKey   string          `json:"PageKey,omitempty"`
	KeyValues []dare.KeyValue `json:"KeyValues,omitempty"` // extension D-21
}

// DownloadResponse answers DownloadRequest.
type DownloadResponse struct {
	Response
	Updates []ContainerUpdate `json:"Updates,omitempty"`
}

// ContainerUpdate is the state of a container with envelopes of it.
type ContainerUpdate struct {
	Container string           `json:"Container,omitempty"`
	Index     *int64           `json:"Index,omitempty"`
	Digest    jbcd.Binary      `json:"Digest,omitempty"`
	Envelopes []*dare.Envelope `json:"Envelopes,omitempty"`
	PageKey   string           `json:"PageKey,omitempty"` // extension D-19
}

// UploadRequest appends frames (§3.3).
type UploadRequest struct {
	RequestUser
	Updates []ContainerUpdate `json:"Updates,omitempty"`
	Self    []*dare.Envelope  `json:"Self,omitempty"`
	Atomic  *bool             `json:"Atomic,omitempty"` // extension D-22
}

// UploadResponse answers UploadRequest.
type UploadResponse struct {
	Response
	Entries         []EntryResponse  `json:"Entries,omitempty"`
	ConstraintsData *ConstraintsData `json:"ConstraintsData,omitempty"`
}

// Results of an entry (§3.3).
const (
	ResultAccept   = "Accept"
	ResultReject   = "Reject"
	ResultConflict = "Conflict" // catalog entries only
)

// EntryResponse is the result for one entry of a request.
type EntryResponse struct {
	IndexRequest    int64            `json:"IndexRequest"` // running number in the request, from 0 (D-22)
	IndexContainer  *int64           `json:"IndexContainer,omitempty"`
	Result          string           `json:"Result,omitempty"`
	Reason          string           `json:"Reason,omitempty"` // extension D-56: name of the rule that refused
	ConstraintsData *ConstraintsData `json:"ConstraintsData,omitempty"`
}

// PublishRequest adds publications (§3.4).
type PublishRequest struct {
	Request
	Publications []CatalogedPublication `json:"Publications,omitempty"`
}

// PublishResponse answers PublishRequest.
type PublishResponse struct {
	Response
	Entries []EntryResponse `json:"Entries,omitempty"` // extension §3.4
}

// PostRequest sends messages (§4.1).
type PostRequest struct {
	Request
	Accounts []string         `json:"Accounts,omitempty"`
	Message  []*dare.Envelope `json:"Message,omitempty"`
	Self     []*dare.Envelope `json:"Self,omitempty"`
}

// PostResponse answers PostRequest.
type PostResponse struct{ UploadResponse }

// ClaimRequest claims a publication (§4.2).
type ClaimRequest struct {
	Request
	EnvelopedMessageClaim *dare.Envelope `json:"EnvelopedMessageClaim,omitempty"`
	BytesOffset           *int64         `json:"BytesOffset,omitempty"` // extension D-58
	BytesMax              *int64         `json:"BytesMax,omitempty"`    // extension D-58
}

// ClaimResponse answers ClaimRequest.
type ClaimResponse struct {
	Response
	CatalogedPublication *CatalogedPublication `json:"CatalogedPublication,omitempty"`
}

// PollClaimRequest asks whether a publication was claimed (§4.3).
type PollClaimRequest struct {
	Request
	PublicationID        string `json:"PublicationId,omitempty"`
	TargetAccountAddress string `json:"TargetAccountAddress,omitempty"`
}

// PollClaimResponse answers PollClaimRequest.
type PollClaimResponse struct {
	Response
	EnvelopedMessageClaim *dare.Envelope `json:"EnvelopedMessageClaim,omitempty"`
}

// CreateGroupRequest binds the address of a group (§4.4).
type CreateGroupRequest struct {
	Request
	AccountAddress     string         `json:"AccountAddress,omitempty"`
	SignedProfileGroup *dare.Envelope `json:"SignedProfileGroup,omitempty"`
}

// CreateGroupResponse answers CreateGroupRequest.
type CreateGroupResponse struct{ CreateResponse }

// OperateRequest asks for cryptographic operations (§4.5). The operations are CryptographicOperation… structures.
type OperateRequest struct {
	Request
	AccountAddress string   `json:"AccountAddress,omitempty"`
	Operations     []Tagged `json:"Operations,omitempty"`
}

// OperateResponse answers OperateRequest: Results[i] answers Operations[i].
type OperateResponse struct {
	Response
	Results []Tagged `json:"Results,omitempty"`
}
