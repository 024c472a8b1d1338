// Package vectors holds published test vectors of the Mesh (reference output of 27 July 2020, commit
// e6c3110a9) and those computed for MAKE-1. It is test material: nothing that ships imports it, and it is
// the one place where encoding/json reads Mesh data.
//
//	udf.json            fingerprints, key derivation, Shamir shares
//	dare-envelope.json  plain, encrypted and signed envelopes
//	profiles.json       key identifiers, signed profiles, activation
//	auth_vectors.json   MAKE-1, computed; no list of vectors: see Raw
package vectors

import (
	"embed"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
)

//go:embed testdata/*.json
var files embed.FS

// Status says what became of a vector when it was recomputed from its inputs.
type Status string

// The two states. A vector that fails was published wrong: Corrected holds what its inputs really give.
const (
	Verified Status = "verified"
	Fails    Status = "fails"
)

// Fields are named values of a vector, as in the file.
type Fields map[string]json.RawMessage

// Vector is one test vector.
type Vector struct {
	ID            string `json:"id"`
	Kind          string `json:"kind"` // which computation, as in "udf.content"
	Status        Status `json:"status"`
	Description   string `json:"description"`
	Note          string `json:"note"`
	Inputs        Fields `json:"inputs"`
	Intermediates Fields `json:"intermediates"`
	Expected      Fields `json:"expected"`
	Corrected     Fields `json:"corrected"` // replaces members of Expected when Status is Fails
	Computed      Fields `json:"computed"`  // further values, by whoever verified the vector
}

// Raw returns the file testdata/<name>.json.
func Raw(name string) ([]byte, error) { return files.ReadFile("testdata/" + name + ".json") }

// Load returns the vectors of testdata/<name>.json: "udf", "dare-envelope" or "profiles".
func Load(name string) ([]Vector, error) {
	raw, err := Raw(name)
	if err != nil {
		return nil, err
	}
	var file struct {
		Vectors []Vector `json:"vectors"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("vectors: %s: %w", name, err)
	}
	if len(file.Vectors) == 0 {
		return nil, fmt.Errorf("vectors: %s holds no vectors", name)
	}
	return file.Vectors, nil
}

// Want returns the expected values, corrected where the published ones are wrong.
func (v Vector) Want() Fields {
	want := Fields{}
	for _, from := range []Fields{v.Expected, v.Corrected} {
		for name, value := range from {
			want[name] = value
		}
	}
	return want
}

// Has says whether the member is there.
func (f Fields) Has(name string) bool { _, ok := f[name]; return ok }

// Decode reads the member into v as encoding/json does. It panics where the vector has no such member or one of
// another type: vectors are fixed, so that is a mistake of the test.
func (f Fields) Decode(name string, v any) {
	raw, ok := f[name]
	if !ok {
		panic("vectors: no member " + name)
	}
	if err := json.Unmarshal(raw, v); err != nil {
		panic("vectors: member " + name + ": " + err.Error())
	}
}

// Text returns a string member.
func (f Fields) Text(name string) (s string) { f.Decode(name, &s); return s }

// Int returns a number.
func (f Fields) Int(name string) (n int) { f.Decode(name, &n); return n }

// Bool returns a boolean.
func (f Fields) Bool(name string) (b bool) { f.Decode(name, &b); return b }

// Hex returns the octets of a member in hexadecimal, as members whose name ends in _hex are.
func (f Fields) Hex(name string) []byte {
	b, err := hex.DecodeString(f.Text(name))
	if err != nil {
		panic("vectors: member " + name + ": " + err.Error())
	}
	return b
}

// Base64 returns the octets of a base64url member, which may be folded; members whose name ends in _b64 are such.
func (f Fields) Base64(name string) []byte {
	b, err := base64.RawURLEncoding.DecodeString(strings.Join(strings.Fields(f.Text(name)), ""))
	if err != nil {
		panic("vectors: member " + name + ": " + err.Error())
	}
	return b
}
