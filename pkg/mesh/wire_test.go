package mesh

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// sampleRequests are the request payloads of PROTOCOL §7, each with the structure that reads it.
var sampleRequests = []struct {
	tag, in string
	v       any
}{
	{TagHello, `{"Hello":{"ID":"AAECAwQFBgcICQoLDA0ODw"}}`, new(HelloRequest)},
	{TagCreateAccount, `{"CreateAccount":{"ID":"q00","AccountAddress":"alice@example.com","SignedProfileMesh":[{},""],"SignedAssertionAccount":[{},""],` +
		`"Updates":[{"Container":"mmm_Device","Envelopes":[[{"ContainerInfo":{"Index":0}},""],[{},"AAEC",{}]]}]}}`, new(CreateRequest)},
	{TagDeleteAccount, `{"DeleteAccount":{"ID":"q00","Account":"alice@example.com"}}`, new(DeleteRequest)},
	{TagComplete, `{"Complete":{"AccountAddress":"alice@example.com","ResponseID":"MAED-GUSI-NZVB-C6RJ-X3F6-SIOP-T3"}}`, new(CompleteRequest)},
	{TagStatus, `{"Status":{"Account":"alice@example.com","DeviceUDF":"MC","ProfileMasterDigest":"q00","Catalogs":["mmm_Contact"],"Spools":["mmm_Inbound"]}}`, new(StatusRequest)},
	{TagDownload, `{"Download":{"Select":[{"Container":"mmm_Inbound","IndexMin":1,"IndexMax":2,"NotBefore":"2020-07-01T00:00:00Z"}],` +
		`"ConstraintsPost":{"MaxEntries":50,"BytesMax":65536,"Header":true,"Payload":true,"Trailer":true}}}`, new(DownloadRequest)},
	{TagUpload, `{"Upload":{"ID":"q00","Updates":[{"Container":"mmm_Bookmark","Index":4,"Digest":"q00","Envelopes":[[{"ContentMetaData":"e30"},"AAEC",{}]]}],"Self":[[{},""]],"Atomic":false}}`, new(UploadRequest)},
	{TagPublish, `{"Publish":{"ID":"q00","Publications":[{"ID":"EBQM","Authenticator":"EBOO","EnvelopedData":[{},""],"NotOnOrAfter":"2020-07-28T00:00:00Z"}]}}`, new(PublishRequest)},
	{TagPost, `{"Post":{"ID":"q00","Accounts":["bob@example.net"],"Message":[[{},""]],"Self":[[{},""]]}}`, new(PostRequest)},
	{TagConnect, `{"Connect":{"MessageConnectionRequestClient":[{},""]}}`, new(ConnectRequest)},
	{TagClaim, `{"Claim":{"EnvelopedMessageClaim":[{},""]}}`, new(ClaimRequest)},
	{TagPollClaim, `{"PollClaim":{"PublicationId":"EBQM","TargetAccountAddress":"devices@example.com"}}`, new(PollClaimRequest)},
	{TagCreateGroup, `{"CreateGroup":{"ID":"q00","AccountAddress":"groupw@example.com","SignedProfileGroup":[{},""]}}`, new(CreateGroupRequest)},
	{TagOperate, `{"Operate":{"AccountAddress":"groupw@example.com","Operations":[{"CryptographicOperationKeyAgreement":{"KeyId":"N"}}]}}`, new(OperateRequest)},
}

// C-044, C-181…C-196: each request of the specification is read and written as printed.
func TestRequests(t *testing.T) {
	for i, s := range sampleRequests {
		if s.tag != Transactions()[i] {
			t.Errorf("sample %d is not %s", i, Transactions()[i])
		}
		tag, body, err := DecodeRequest([]byte(s.in))
		if err != nil || tag != s.tag {
			t.Errorf("%s: tag %q, %v", s.tag, tag, err)
			continue
		}
		if err := jbcd.Unmarshal(body, s.v); err != nil {
			t.Errorf("%s: %v", s.tag, err)
			continue
		}
		out, err := EncodeRequest(tag, s.v)
		if err != nil || string(out) != s.in {
			t.Errorf("%s\n got %s %v\nwant %s", s.tag, out, err, s.in)
		}
	}
	if len(sampleRequests) != len(Transactions()) {
		t.Errorf("%d samples for %d transactions", len(sampleRequests), len(Transactions()))
	}
}

var sampleResponses = []struct {
	in string
	v  ResponseMessage
}{
	{`{"MeshHelloResponse":{"Status":201,"ID":"q00","Version":{"Major":3,"Minor":0,"Encodings":[{"ID":["application/json"]}]},"ConstraintsUpdate":{"MaxEntries":1000,"BytesMax":4194304},` +
		`"ConstraintsPost":{"MaxEntries":32,"BytesMax":65536},"PolicyAccount":{"Minimum":1,"Maximum":64,"InvalidCharacters":"<>"},"EnvelopedProfileService":[{},""],"EnvelopedProfileHost":[{},""]}}`, new(MeshHelloResponse)},
	{`{"CreateResponse":{"Status":300,"StatusExtended":5,"StatusDescription":"MeshAccountPending","Reason":"Approval needed","URL":"https://example.com/join/8f"}}`, new(CreateResponse)},
	{`{"DeleteResponse":{"Status":201}}`, new(DeleteResponse)},
	{`{"CompleteResponse":{"Status":201,"SignedResponse":[{},""]}}`, new(CompleteResponse)},
	{`{"StatusResponse":{"Status":201,"ContainerStatus":[{"Container":"mmm_Inbound","Index":3,"Digest":"q00"},{"Container":"mmm_Contact","Index":0}]}}`, new(StatusResponse)},
	{`{"DownloadResponse":{"Status":201,"Updates":[{"Container":"mmm_Inbound","Index":3,"Digest":"q00","Envelopes":[[{"ContainerInfo":{"Index":1}},"AAEC",{}]],"PageKey":"x"}]}}`, new(DownloadResponse)},
	{`{"UploadResponse":{"Status":201,"Entries":[{"IndexRequest":0,"IndexContainer":4,"Result":"Accept"},{"IndexRequest":1,"IndexContainer":0,"Result":"Conflict"}]}}`, new(UploadResponse)},
	{`{"PublishResponse":{"Status":201}}`, new(PublishResponse)},
	{`{"PostResponse":{"Status":201,"Entries":[{"IndexRequest":0,"Result":"Reject","Reason":"MeshRecipientBlockedSender"}]}}`, new(PostResponse)},
	{`{"ConnectResponse":{"Status":201,"EnvelopedConnectResponse":[{},""],"EnvelopedProfileMaster":[{},""],"EnvelopedAccountAssertion":[{},""]}}`, new(ConnectResponse)},
	{`{"ClaimResponse":{"Status":201,"CatalogedPublication":{"ID":"EBQM","EnvelopedData":[{},""]}}}`, new(ClaimResponse)},
	{`{"PollClaimResponse":{"Status":201,"EnvelopedMessageClaim":[{},""]}}`, new(PollClaimResponse)},
	{`{"CreateGroupResponse":{"Status":201}}`, new(CreateGroupResponse)},
	{`{"OperateResponse":{"Status":201,"Results":[{"CryptographicResultKeyAgreement":{"KeyAgreement":{"KeyAgreementECDH":{"Curve":"X448","Result":"q00"}}}},{"CryptographicResult":{"Error":"NotAuthorized"}}]}}`, new(OperateResponse)},
	{`{"MeshResponse":{"Status":401,"StatusExtended":7,"StatusDescription":"MeshNotAuthenticated"}}`, new(Response)},
}

func TestResponses(t *testing.T) {
	for _, s := range sampleResponses {
		tag, err := DecodeResponse([]byte(s.in), s.v)
		if err != nil {
			t.Errorf("%s: %v", s.in, err)
			continue
		}
		out, err := EncodeResponse(s.v)
		if err != nil || string(out) != s.in {
			t.Errorf("%s\n got %s %v\nwant %s", tag, out, err, s.in)
		}
	}
	if got := ResponseTag("Fly"); got != TagMeshResponse {
		t.Errorf("an unknown transaction is answered by %s", got)
	}
	for i, transaction := range Transactions() {
		want, _, _ := strings.Cut(strings.TrimPrefix(sampleResponses[i].in, `{"`), `"`)
		if ResponseTag(transaction) != want {
			t.Errorf("%s is answered by %s, want %s", transaction, ResponseTag(transaction), want)
		}
	}
}

// A failing service may answer any parent structure (PROTOCOL §1.2).
func TestParentResponses(t *testing.T) {
	const in = `":{"Status":401,"StatusExtended":7,"StatusDescription":"MeshNotAuthenticated","ID":"q00","Unknown":{}}}`
	want := Code{401, 7}
	for _, s := range sampleResponses {
		v := s.v
		*v.Base() = Response{}
		for _, tag := range []string{TagMeshResponse, TagResponse} {
			got, err := DecodeResponse([]byte(`{"`+tag+in), v)
			if err != nil || got != tag || v.Base().Code() != want {
				t.Errorf("%T reads %s as %q %v %v", v, tag, got, v.Base().Code(), err)
			}
		}
		if _, ok := v.(*DeleteResponse); !ok {
			if _, err := DecodeResponse([]byte(`{"DeleteResponse`+in), v); KindOf(err) != BadRequest {
				t.Errorf("%T reads DeleteResponse: %v", v, err)
			}
		}
	}
	var post PostResponse
	if tag, err := DecodeResponse([]byte(`{"UploadResponse":{"Status":201,"Entries":[{"IndexRequest":5}]}}`), &post); err != nil || tag != TagUploadResponse || len(post.Entries) != 1 {
		t.Errorf("PostResponse from its parent: %q %+v %v", tag, post, err)
	}
	var group CreateGroupResponse
	if tag, err := DecodeResponse([]byte(`{"CreateResponse":{"Status":300,"URL":"u"}}`), &group); err != nil || tag != TagCreateResponse || group.URL != "u" {
		t.Errorf("CreateGroupResponse from its parent: %q %+v %v", tag, group, err)
	}
	if _, err := DecodeResponse([]byte(`{"PostResponse":{}}`), new(UploadResponse)); err == nil {
		t.Error("a child passes as its parent")
	}
}

func TestDecodeRequestRefuses(t *testing.T) {
	for _, in := range []string{``, `{}`, `[]`, `"Hello"`, `{"Hello":{},"Status":{}}`, `{"Hello":[]}`, `{"Hello":null}`, `{"Hello":{"a":1,"a":2}}`, `{"Hello":{}}{}`} {
		if tag, _, err := DecodeRequest([]byte(in)); KindOf(err) != BadRequest || err == nil {
			t.Errorf("%s: %q %v", in, tag, err)
		}
	}
	many := `{"Download":{"Select":[{}` + strings.Repeat(`,{}`, RequestLimits.Members) + `]}}`
	if _, _, err := DecodeRequest([]byte(many)); KindOf(err) != BadRequest || err == nil {
		t.Errorf("more members than any request has: %v", err)
	}
	if tag, _, err := DecodeRequest([]byte(`{"Fly":{}}`)); err != nil || tag != "Fly" {
		t.Errorf("an unknown transaction is for the gateway to refuse: %q %v", tag, err)
	}
}

// C-071, C-074: a member of the wrong type is refused and named.
func TestWrongTypes(t *testing.T) {
	for in, path := range map[string]string{
		`{"Updates":{}}`:                             "Updates",
		`{"Updates":[{"Index":"3"}]}`:                "Updates[0].Index",
		`{"Updates":[{"Envelopes":[{}]}]}`:           "Updates[0].Envelopes[0]",
		`{"Self":[[{}]]}`:                            "Self[0]",
		`{"Account":7}`:                              "Account",
		`{"ID":"a+/="}`:                              "ID",
		`{"Updates":[{"Digest":"q00","Index":1.0}]}`: "Updates[0].Index",
	} {
		err := jbcd.Unmarshal([]byte(in), new(UploadRequest))
		var e *jbcd.Error
		if !errors.As(err, &e) || e.Path != path {
			t.Errorf("%s: %v, want the path %s", in, err, path)
		}
	}
	var r ConnectResponse // D-30: both spellings
	if err := jbcd.Unmarshal([]byte(`{"EnvelopedConnectionResponse":[{},"AA"]}`), &r); err != nil || r.Acknowledgement() == nil {
		t.Errorf("other spelling: %v", err)
	}
}

func TestEntries(t *testing.T) {
	capability, err := NewTagged("CapabilityDecryptPartial", CapabilityDecryptPartial{CryptographicCapability: CryptographicCapability{ID: "MDXD"}, ServiceID: "N1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		e         Entry
		key       string
		container string
	}{
		{&CatalogedDevice{DeviceUDF: "MDWA"}, "MDWA", CatalogDevice},
		{&CatalogedPublication{ID: "EBQM"}, "EBQM", CatalogPublication},
		{&CatalogedDelete{Key: "k"}, "k", ""},
		{&CatalogedCredential{Protocol: "http", Service: "example.com", Username: "alice"}, "http:example.com:alice", CatalogCredential},
		{&CatalogedCredential{Protocol: "http", Service: "example.com", Username: "alice", Key: "http:example.com:alice:2"}, "http:example.com:alice:2", CatalogCredential},
		{&CatalogedNetwork{Protocol: "wpa", Service: "home"}, "wpa:home", CatalogNetwork},
		{&CatalogedBookmark{Path: "Folder/1"}, "Folder/1", CatalogBookmark},
		{&CatalogedTask{Key: "t"}, "t", CatalogCalendar},
		{&CatalogedContact{Key: "c", Self: Bool(false)}, "c", CatalogContact},
		{&CatalogedContactRecryption{CatalogedContact{Key: "c"}}, "c", CatalogContact},
		{&CatalogedApplication{Key: "a"}, "a", CatalogApplication},
		{&CatalogedGroup{CatalogedApplication: CatalogedApplication{Key: "mmm/CatalogedGroup/g@example.com"}}, "mmm/CatalogedGroup/g@example.com", CatalogApplication},
		{&CatalogedMember{ContactAddress: "bob@example.com"}, "bob@example.com", CatalogMember},
		{&CatalogedCapability{Capability: capability}, "MDXD", CatalogCapability},
	} {
		payload, err := EncodeEntry(c.e)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeEntry(payload)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.e, got); diff != "" {
			t.Errorf("%s: %s", c.e.Tag(), diff)
		}
		if got.PrimaryKey() != c.key || ContainerOf(got.Tag()) != c.container {
			t.Errorf("%s has key %q in %q", got.Tag(), got.PrimaryKey(), ContainerOf(got.Tag()))
		}
	}
	const foreign = `{"CatalogedShoe":{"Key":"left", "Size":43}}`
	e, err := DecodeEntry([]byte(foreign))
	if err != nil || e.Tag() != "CatalogedShoe" || e.PrimaryKey() != "left" {
		t.Fatalf("%+v %v", e, err)
	}
	if out, err := EncodeEntry(e); err != nil || string(out) != foreign {
		t.Errorf("an entry of nobody we know: %s %v", out, err)
	}
	for _, in := range []string{`{}`, `{"CatalogedTask":{"Key":1}}`, `[]`, ``} {
		if _, err := DecodeEntry([]byte(in)); KindOf(err) != BadRequest || err == nil {
			t.Errorf("%s: %v", in, err)
		}
	}
}
