package mesh

import (
	"errors"
	"slices"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// Tags of requests: the names of the transactions (PROTOCOL §1.2).
const (
	TagHello         = "Hello"
	TagCreateAccount = "CreateAccount"
	TagDeleteAccount = "DeleteAccount"
	TagComplete      = "Complete"
	TagStatus        = "Status"
	TagDownload      = "Download"
	TagUpload        = "Upload"
	TagPublish       = "Publish"
	TagPost          = "Post"
	TagConnect       = "Connect"
	TagClaim         = "Claim"
	TagPollClaim     = "PollClaim"
	TagCreateGroup   = "CreateGroup"
	TagOperate       = "Operate"
)

// Transactions lists the request tags.
func Transactions() []string {
	return []string{
		TagHello, TagCreateAccount, TagDeleteAccount, TagComplete, TagStatus, TagDownload, TagUpload, TagPublish,
		TagPost, TagConnect, TagClaim, TagPollClaim, TagCreateGroup, TagOperate,
	}
}

// Tags of responses: the names of their structures.
const (
	TagMeshHelloResponse   = "MeshHelloResponse"
	TagCreateResponse      = "CreateResponse"
	TagDeleteResponse      = "DeleteResponse"
	TagCompleteResponse    = "CompleteResponse"
	TagStatusResponse      = "StatusResponse"
	TagDownloadResponse    = "DownloadResponse"
	TagUploadResponse      = "UploadResponse"
	TagPublishResponse     = "PublishResponse"
	TagPostResponse        = "PostResponse"
	TagConnectResponse     = "ConnectResponse"
	TagClaimResponse       = "ClaimResponse"
	TagPollClaimResponse   = "PollClaimResponse"
	TagCreateGroupResponse = "CreateGroupResponse"
	TagOperateResponse     = "OperateResponse"
	TagMeshResponse        = "MeshResponse" // base of all
	TagResponse            = "Response"     // base of MeshResponse in the schema
)

// ResponseTag is the tag of a successful answer to the transaction; "MeshResponse" for one that is not known.
func ResponseTag(transaction string) string {
	switch transaction {
	case TagHello:
		return TagMeshHelloResponse
	case TagCreateAccount:
		return TagCreateResponse
	case TagDeleteAccount:
		return TagDeleteResponse
	}
	if slices.Contains(Transactions(), transaction) {
		return transaction + "Response"
	}
	return TagMeshResponse
}

// ResponseMessage is a pointer to one of the response structures.
type ResponseMessage interface {
	Base() *Response
	tags() []string // of the structure, then of its parents
}

var baseTags = []string{TagMeshResponse, TagResponse}

func (*Response) tags() []string          { return baseTags }
func (*MeshHelloResponse) tags() []string { return append([]string{TagMeshHelloResponse}, baseTags...) }

func (*CreateResponse) tags() []string { return append([]string{TagCreateResponse}, baseTags...) }

func (*DeleteResponse) tags() []string { return append([]string{TagDeleteResponse}, baseTags...) }

func (*CompleteResponse) tags() []string { return append([]string{TagCompleteResponse}, baseTags...) }

func (*StatusResponse) tags() []string { return append([]string{TagStatusResponse}, baseTags...) }

func (*DownloadResponse) tags() []string { return append([]string{TagDownloadResponse}, baseTags...) }

func (*UploadResponse) tags() []string { return append([]string{TagUploadResponse}, baseTags...) }

func (*PublishResponse) tags() []string { return append([]string{TagPublishResponse}, baseTags...) }

func (*ConnectResponse) tags() []string   { return append([]string{TagConnectResponse}, baseTags...) }
func (*ClaimResponse) tags() []string     { return append([]string{TagClaimResponse}, baseTags...) }
func (*PollClaimResponse) tags() []string { return append([]string{TagPollClaimResponse}, baseTags...) }

func (*OperateResponse) tags() []string { return append([]string{TagOperateResponse}, baseTags...) }

func (*PostResponse) tags() []string {
	return append([]string{TagPostResponse, TagUploadResponse}, baseTags...)
}

func (*CreateGroupResponse) tags() []string {
	return append([]string{TagCreateGroupResponse, TagCreateResponse}, baseTags...)
}

// RequestLimits bound a request payload: what jbcd.DefaultLimits allow, with members for a thousand envelopes, or for
// 32 messages to a hundred recipients each (PROTOCOL §1.7). A structure of Go is many times as large as `{}` is.
var RequestLimits = jbcd.Limits{Depth: jbcd.DefaultLimits.Depth, Members: 1 << 17, Octets: jbcd.DefaultLimits.Octets}

// DecodeRequest splits a request payload {"<transaction>":{…}}. The body is an object and shares the memory of payload;
// it is read with jbcd.Unmarshal. It is within RequestLimits. The tag may be one that nobody knows: that is for the caller to refuse, with
// UnknownOperation. Errors are of kind BadRequest.
func DecodeRequest(payload []byte) (tag string, body jbcd.Raw, err error) {
	tag, body, err = jbcd.TaggedLimits(payload, RequestLimits)
	if err == nil && body[0] != '{' {
		err = errors.New("the request is no object")
	}
	if err != nil {
		return "", nil, E("mesh.DecodeRequest", BadRequest, err)
	}
	return tag, body, nil
}

// EncodeRequest writes a request payload.
func EncodeRequest(tag string, v any) ([]byte, error) { return jbcd.Tag(tag, v) }

// DecodeResponse reads a response payload into v and returns its tag: that of v, or of a parent structure, as in
// {"MeshResponse":{"Status":401}}, which a failing service may answer to everything (PROTOCOL §1.2). Whether the
// status is a success is for the caller to ask. Errors are of kind BadRequest.
func DecodeResponse(payload []byte, v ResponseMessage) (tag string, err error) {
	const op = "mesh.DecodeResponse"
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		return "", E(op, BadRequest, err)
	}
	switch i := slices.Index(v.tags(), tag); {
	case i < 0:
		return tag, Errorf(op, BadRequest, "not an answer to this request")
	case i == 0:
		err = jbcd.Unmarshal(body, v)
	case tag == TagMeshResponse || tag == TagResponse:
		err = jbcd.Unmarshal(body, v.Base())
	default:
		err = decodeParent(body, v)
	}
	if err != nil {
		return tag, E(op, BadRequest, err)
	}
	return tag, nil
}

// decodeParent reads the structures that have a parent other than MeshResponse.
func decodeParent(body jbcd.Raw, v ResponseMessage) error {
	switch v := v.(type) {
	case *PostResponse:
		return jbcd.Unmarshal(body, &v.UploadResponse)
	case *CreateGroupResponse:
		return jbcd.Unmarshal(body, &v.CreateResponse)
	}
	return jbcd.Unmarshal(body, v.Base())
}

// EncodeResponse writes a response payload under the tag of v's structure.
func EncodeResponse(v ResponseMessage) ([]byte, error) { return jbcd.Tag(v.tags()[0], v) }

// Failure makes the MeshResponse for an error: status, extended code and name of its kind, and of its text nothing,
// but for the target of a Redirect.
func Failure(err error, id []byte) *Response {
	kind := KindOf(err)
	code := kind.Code()
	r := &Response{
		Status:            int64(code.Status),
		StatusExtended:    int64(code.Extended),
		StatusDescription: kind.String(),
		ID:                id,
	}
	var e *Error
	if kind == Redirect && errors.As(err, &e) && e.Err != nil {
		r.StatusDescription = e.Err.Error()
	}
	return r
}
