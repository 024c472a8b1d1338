// Package jbcd reads and writes the JSON of the Mesh: strict where hostile octets come in
// (duplicates, depth, size, UTF-8), tolerant of the folded base64 of the published material,
// exact to the octet where a value must be kept as received.
package jbcd

import "time"

// Raw is one JSON value, the octets as received, without surrounding white space.
type Raw []byte

// Binary is base64url without padding on the wire; white space inside the string is dropped on reading.
type Binary []byte

// Time is RFC 3339, UTC, whole seconds on writing; fractions and offsets are accepted.
type Time struct{ time.Time }

// Marshaler writes its own JSON value.
type Marshaler interface{ MarshalJBCD() ([]byte, error) }

// Unmarshaler reads its own JSON value.
type Unmarshaler interface{ UnmarshalJBCD(raw Raw) error }

// Limits bound what Unmarshal accepts before it allocates.
type Limits struct {
	Depth   int // nesting of objects and arrays
	Members int // members of objects and elements of arrays, in all
	Octets  int // length of the input
}

// DefaultLimits are those of PROTOCOL §1.7: 32 levels; 16 MiB; 1 Mi members.
var DefaultLimits = Limits{Depth: 32, Members: 1 << 20, Octets: 16 << 20}

// Valid checks data against JSON (raw control characters in strings allowed), limits, UTF-8 and duplicate members; one value, white space around it.
func Valid(data []byte, l Limits) error { panic("stub") }

// Unmarshal reads data into v (structs with `json:"Name,omitempty"` tags, exact case; unknown members ignored; null = absent;
// int64/bool/string/slices/pointers/structs/Raw/Binary/Time/Unmarshaler; embedded structs are flattened). A wrong JSON type is an error naming the member path.
func Unmarshal(data []byte, v any) error { panic("stub") }

// UnmarshalLimits is Unmarshal with other limits.
func UnmarshalLimits(data []byte, v any, l Limits) error { panic("stub") }

// Marshal writes v compactly; members with the zero value are left out when tagged omitempty.
func Marshal(v any) ([]byte, error) { panic("stub") }

// Member is one member of an object, name decoded, value raw.
type Member struct {
	Name  string
	Start int // offset of the member (its name's quote) in the input
	End   int // offset after its value
	Value Raw
}

// Object splits an object into its members; duplicates are refused.
func Object(raw []byte) ([]Member, error) { panic("stub") }

// Array splits an array into its elements.
func Array(raw []byte) ([]Raw, error) { panic("stub") }

// Tagged splits {"Tag": value}: an object with exactly one member (TStruct).
func Tagged(raw []byte) (tag string, value Raw, err error) { panic("stub") }

// Tag writes {"tag": value}.
func Tag(tag string, value any) ([]byte, error) { panic("stub") }

// Without returns object raw without the named members; everything else stays as received.
func Without(raw []byte, names ...string) ([]byte, error) { panic("stub") }

// With returns object raw with members appended last. The names must not be present.
func With(raw []byte, members ...Member) ([]byte, error) { panic("stub") }
