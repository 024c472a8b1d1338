package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

// schema is what may stand in a response: the structures of draft §10 and of DARE with the members that this service may
// write and their types, in the abstract types of draft §4.4. [] is a sequence, Envelope a DareEnvelope. The extensions are
// those of docs/divergences.md.
var schema = map[string]string{
	"MeshResponse":      "Status Integer, StatusExtended Integer, StatusDescription String, ID Binary",
	"MeshHelloResponse": "MeshResponse, Version Version, Alternates []Version, ConstraintsUpdate ConstraintsData, ConstraintsPost ConstraintsData, PolicyAccount PolicyAccount, EnvelopedProfileService Envelope, EnvelopedProfileHost Envelope",
	"CreateResponse":    "MeshResponse, Reason String, URL String",
	"DeleteResponse":    "MeshResponse",
	"StatusResponse":    "MeshResponse, EnvelopedProfileMaster Envelope, EnvelopedCatalogEntryDevice Envelope, ContainerStatus []ContainerStatus",
	"DownloadResponse":  "MeshResponse, Updates []ContainerUpdate",
	"UploadResponse":    "MeshResponse, Entries []EntryResponse, ConstraintsData ConstraintsData",
	"PostResponse":      "MeshResponse, Entries []EntryResponse, ConstraintsData ConstraintsData",

	"Version":         "Major Integer, Minor Integer, Encodings []Encoding, URI []String",
	"Encoding":        "ID []String",
	"ConstraintsData": "MaxEntries Integer, BytesOffset Integer, BytesMax Integer, Header Boolean, Payload Boolean, Trailer Boolean",
	"PolicyAccount":   "Minimum Integer, Maximum Integer, InvalidCharacters String",
	"ContainerStatus": "Container String, Index Integer, Digest Binary",
	"ContainerUpdate": "ContainerStatus, Envelopes []Envelope, PageKey String",
	"EntryResponse":   "IndexRequest Integer, IndexContainer Integer, Result String, Reason String, ConstraintsData ConstraintsData",

	"Header": "EnvelopeID String, enc String, dig String, kid String, Salt Binary, signatures []Signature, recipients []Recipient, " +
		"ContentMetaData Binary, ContainerInfo ContainerInfo, Received DateTime, ContentLength Integer, PayloadDigest Binary, TreeDigest Binary",
	"Signature":     "alg String, kid String, signature Binary, Credential []Envelope",
	"Recipient":     "kid String, wmk Binary, kwd String, epk Variable, rkd Binary",
	"ContainerInfo": "DataEncoding String, ContainerType String, Index Integer",
}

// shapes are the forms of the basic types as JSON text.
var shapes = map[string]*regexp.Regexp{
	"Integer":  regexp.MustCompile(`^-?(0|[1-9][0-9]*)$`),
	"String":   regexp.MustCompile(`^"`),
	"Boolean":  regexp.MustCompile(`^(true|false|null)$`),
	"Binary":   regexp.MustCompile(`^"[A-Za-z0-9_-]*"$`), // without padding, without folding
	"DateTime": regexp.MustCompile(`^"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z"$`),
	"Variable": regexp.MustCompile(`^\{"[A-Za-z]+":`),
}

// checkShape holds a response payload against the schema (C-070).
func checkShape(t *testing.T, payload []byte) {
	t.Helper()
	if faults := misshapen(payload); len(faults) > 0 {
		t.Errorf("not of the schema: %s", strings.Join(faults, "; "))
	}
}

func misshapen(payload []byte) []string {
	tag, body, err := jbcd.Tagged(payload)
	if err != nil {
		return []string{err.Error()}
	}
	if !strings.HasSuffix(tag, "Response") {
		return []string{"a response tagged " + tag}
	}
	return checkStruct(tag, tag, body)
}

func membersOf(structure string) map[string]string {
	all := make(map[string]string)
	for member := range strings.SplitSeq(schema[structure], ", ") {
		name, kind, inherits := strings.Cut(member, " ")
		if inherits {
			all[name] = kind
			continue
		}
		for n, k := range membersOf(name) {
			all[n] = k
		}
	}
	return all
}

func checkStruct(path, structure string, raw jbcd.Raw) (faults []string) {
	if schema[structure] == "" {
		return []string{path + ": no structure " + structure}
	}
	members, err := jbcd.Object(raw)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", path, err)}
	}
	known := membersOf(structure)
	for _, m := range members {
		kind, ok := known[m.Name]
		if !ok {
			faults = append(faults, path+"."+m.Name+" is no member of "+structure)
			continue
		}
		faults = append(faults, checkValue(path+"."+m.Name, kind, m.Value)...)
	}
	return faults
}

func checkValue(path, kind string, raw jbcd.Raw) (faults []string) {
	if of, ok := strings.CutPrefix(kind, "[]"); ok {
		list, err := jbcd.Array(raw)
		if err != nil {
			return []string{path + " is no sequence"}
		}
		for i, e := range list {
			faults = append(faults, checkValue(fmt.Sprintf("%s[%d]", path, i), of, e)...)
		}
		return faults
	}
	if kind == "Envelope" {
		return checkEnvelope(path, raw)
	}
	if shape, ok := shapes[kind]; ok {
		if !shape.Match(raw) {
			faults = append(faults, fmt.Sprintf("%s is no %s: %.40s", path, kind, raw))
		}
		return faults
	}
	return checkStruct(path, kind, raw)
}

// checkEnvelope: [ header, payload, trailer? ].
func checkEnvelope(path string, raw jbcd.Raw) []string {
	list, err := jbcd.Array(raw)
	if err != nil || len(list) < 2 || len(list) > 3 {
		return []string{path + " is no envelope"}
	}
	faults := append(checkStruct(path+"[0]", "Header", list[0]), checkValue(path+"[1]", "Binary", list[1])...)
	if len(list) == 3 {
		faults = append(faults, checkStruct(path+"[2]", "Header", list[2])...)
	}
	return faults
}

// C-070: what the walk over the responses would find.
func TestConformanceShape(t *testing.T) {
	t.Parallel()
	for payload, fault := range map[string]bool{
		`{"StatusResponse":{"Status":201,"ContainerStatus":[{"Container":"c","Index":0,"Digest":"AA-_"}]}}`:     false,
		`{"DownloadResponse":{"Status":201,"Updates":[{"Envelopes":[[{"ContainerInfo":{"Index":1}},"",{}]]}]}}`: false,
		`{"StatusResponse":{"Status":201,"ContainerStatus":{"mmm_Inbound":3}}}`:                                 true,
		`{"StatusResponse":{"Status":201,"ContainerStatus":[{"mmm_Inbound":3}]}}`:                               true,
		`{"StatusResponse":{"status":201}}`:                                                                     true,
		`{"StatusResponse":{"Status":"201"}}`:                                                                   true,
		`{"StatusResponse":{"Status":201.0}}`:                                                                   true,
		`{"StatusResponse":{"Status":201,"ID":"AA=="}}`:                                                         true,
		`{"StatusResponse":{"Status":201,"ID":"AA+/"}}`:                                                         true,
		`{"StatusResponse":{"Status":201,"ID":"AA\nAA"}}`:                                                       true,
		`{"Status":{"Status":201}}`:                                                                             true,
		`{"DownloadResponse":{"Status":201,"Updates":[{"Envelopes":[{}]}]}}`:                                    true,
		`{"DownloadResponse":{"Status":201,"Updates":[{"Envelopes":[[{"Received":"27.7.2020"},""]]}]}}`:         true,
	} {
		if got := misshapen([]byte(payload)); (len(got) > 0) != fault {
			t.Errorf("%s: %v", payload, got)
		}
	}
}
