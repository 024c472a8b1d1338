package mesh

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/vectors"
)

// published returns the published envelopes (dare.signed) by the id of the vector.
func published(t testing.TB) map[string]*dare.Envelope {
	t.Helper()
	list, err := vectors.Load("profiles")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dare.Envelope{}
	for _, v := range list {
		if v.Kind != "dare.signed" {
			continue
		}
		trailer, err := jbcd.Marshal(dare.Header{
			Signatures: []dare.Signature{{
				Alg: "SHA2", KID: v.Want().Text("signer_kid"), Signature: v.Inputs.Base64("signature_b64"),
			}},
			PayloadDigest: v.Want().Base64("payload_digest_b64"),
		})
		if err != nil {
			t.Fatal(err)
		}
		all[v.ID] = &dare.Envelope{Header: v.Inputs["header"], Payload: v.Inputs.Base64("body_b64"), Trailer: trailer}
	}
	return all
}

// The golden answer of the draft's §5 (C-047, C-048, C-084): its two profiles, as published, inside the printed members.
func TestHelloGolden(t *testing.T) {
	env := published(t)
	service, host := env["sig-protocolhelloresponse-1"], env["sig-protocolhelloresponse-2"]
	text := func(e *dare.Envelope) string {
		b, err := e.MarshalJBCD()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	payload := fmt.Sprintf(`{
  "MeshHelloResponse": {
    "Status": 201,
    "Version": {
      "Major": 3,
      "Minor": 0,
      "Encodings": [{
          "ID": ["application/json"]}]},
    "EnvelopedProfileService": %s,
    "EnvelopedProfileHost": %s}}`, text(service), text(host))
	var r MeshHelloResponse
	tag, err := DecodeResponse([]byte(payload), &r)
	if err != nil || tag != TagMeshHelloResponse {
		t.Fatal(tag, err)
	}
	want := MeshHelloResponse{
		Response:                Response{Status: 201},
		Version:                 &Version{Major: 3, Minor: 0, Encodings: []Encoding{{ID: []string{"application/json"}}}},
		EnvelopedProfileService: service,
		EnvelopedProfileHost:    host,
	}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Error(diff)
	}
	p, err := VerifyProfileService(r.EnvelopedProfileService)
	if err != nil {
		t.Fatal(err)
	}
	if p.UDF() != "MAXZ-IPG7-VHAO-WQUT-CBTL-HLS2-SKOW" || p.KeyEncryption.KID() != p.KeyEncryption.UDF {
		t.Errorf("ProfileService %s with encryption key %s", p.UDF(), p.KeyEncryption.KID())
	}
	// The draft's own ProfileHost is signed by itself alone, so nothing says that it is of this service (D-07).
	if _, err := VerifyProfileHost(r.EnvelopedProfileHost, p); KindOf(err) != ProfileInvalid {
		t.Errorf("a ProfileHost without the service's signature: %v", err)
	}
	out, err := EncodeResponse(&r)
	if err != nil {
		t.Fatal(err)
	}
	var again MeshHelloResponse
	if _, err := DecodeResponse(out, &again); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, again); diff != "" {
		t.Errorf("the published envelopes changed on the way: %s", diff)
	}
}

func TestPublishedProfiles(t *testing.T) {
	env := published(t)
	if p, err := VerifyProfileDevice(env["sig-schemadevice-2"]); err != nil || p.UDF() != "MCXI-75JG-RVBH-NK5X-IUWM-G2BE-JML6" {
		t.Errorf("ProfileDevice: %v", err)
	}
	account, err := VerifyProfileAccount(env["sig-schemadevice-5"], nil)
	if err != nil {
		t.Fatal(err)
	}
	if account.UDF() != "MDWA-A3BV-DQ6V-F3MA-L3RW-GITX-JAPX" || account.MeshProfileUDF != "MBU4-C4AJ-TGTO-AETP-LQDC-R3L6-VMX7" {
		t.Errorf("ProfileAccount %s of mesh %s", account.UDF(), account.MeshProfileUDF)
	}
	c, err := VerifyConnectionAccount(env["sig-schemaaccount-1"], account)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.KeySignature.KID(), c.KeyEncryption.KID(), c.KeyAuthentication.KID()}
	want := []string{"MDBZ-TJV5-QNJU-SEZ5-OKR5-JLBE-4EYD", "MDXD-6XGO-TDRN-VFM6-SM3Q-D2DM-Q5E3", "MDDC-RP5H-YPB7-RKI5-DTGX-NY3T-C4SN"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]RightName{RightMessage, RightContact, RightCredential, RightBookmark, RightCalendar, RightNetwork, RightApplication, RightConfirmation}, RightsOf(c)); diff != "" {
		t.Errorf("a connection without list: %s", diff)
	}

	// The ConnectionDevice is signed by an administration key of a ProfileMesh that was not published.
	list, err := vectors.Load("profiles")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		if v.ID == "sig-schemadevice-3" {
			admin, err := keys.NewPublicKey(keys.Ed448, v.Inputs.Base64("public_b64"))
			if err != nil {
				t.Fatal(err)
			}
			offline := account.KeyOfflineSignature // stands for the key that is missing
			mesh := &ProfileMesh{Profile: Profile{KeyOfflineSignature: offline, KeysOnlineSignature: []KeyData{*NewKeyData(admin)}}}
			if _, err := VerifyConnectionDevice(env[v.ID], mesh); err != nil {
				t.Errorf("ConnectionDevice: %v", err)
			}
		}
	}
	// Each refuses what is another's.
	if _, err := VerifyProfileDevice(env["sig-schemadevice-5"]); err == nil {
		t.Error("a ProfileAccount passes as ProfileDevice")
	}
	if _, err := VerifyConnectionAccount(env["sig-schemadevice-3"], account); err == nil {
		t.Error("a ConnectionDevice passes as ConnectionAccount")
	}
	if _, err := VerifyProfileMesh(env["sig-schemadevice-4"]); err == nil {
		t.Error("an encrypted payload passes as profile")
	}
}

// The vector of DATA §9.12, computed by data_model.py.
func TestEntryID(t *testing.T) {
	k, err := keys.Derive("ZAAA-FFQA-3LE5-SAHG-E6K6-HOTN-TVLB-K4A", keys.X448, "")
	if err != nil {
		t.Fatal(err)
	}
	got, err := EntryID(k, CatalogCredential, "http:example.com:alice")
	const want = "AAUT-VUQU-XVYD-NVYD-SRT5-54H2-FC26-GLKZ-3RV6-4SAP-5Q2U-FZTX-7GWM-EIRJ"
	if err != nil || got != want {
		t.Errorf("EntryID %s %v, want %s", got, err, want)
	}
	if got, _ := EntryID(k, CatalogBookmark, "http:example.com:alice"); got == want {
		t.Error("two containers give the same identifier")
	}
	for _, c := range []string{CatalogDevice, CatalogContact, CatalogPublication, CatalogMember, CatalogCapability} {
		if got, err := EntryID(k, c, "MDWA"); err != nil || got != "MDWA" {
			t.Errorf("%s: %s %v", c, got, err)
		}
	}
}
