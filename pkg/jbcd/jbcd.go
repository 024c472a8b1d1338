// Package jbcd reads and writes the JSON of the Mesh (draft-hallambaker-mesh-protocol §4.4).
//
// It is strict where hostile octets come in: one value and nothing after it, valid UTF-8, no lone surrogates,
// no duplicate member at any level (also inside values that nobody asked for), bounded depth, members and
// length, integers exactly in int64, base64url without padding. It is tolerant of one thing only, because the
// published material needs it: raw control characters (but NUL) inside strings, as in folded base64.
// It is exact to the octet where a value must be kept as received: Raw, Object, Without and With never
// re-serialise what they were not asked to change, for signatures and digests are over octets.
//
// The codec works on the tokens of a scanner (scanner.go) and knows nothing of braces, quotes and digits: a reader of
// JSON-B or JSON-C is another scanner with the same methods.
//
// Nothing here puts a value into an error: an Error names the member path and the offset.
package jbcd

import (
	"fmt"
	"strings"
	"time"
)

// Raw is one JSON value, the octets as received, without surrounding white space.
type Raw []byte

// Binary is base64url without padding on the wire; white space inside the string is dropped on reading.
type Binary []byte

// Time is RFC 3339, UTC, whole seconds on writing; fractions and offsets are accepted.
type Time struct{ time.Time }

// Marshaler writes its own JSON value. What it returns must be valid JSON: it goes into the output as it is.
type Marshaler interface{ MarshalJBCD() ([]byte, error) }

// Unmarshaler reads its own JSON value. raw is one value that has passed Valid; its memory belongs to the
// caller of Unmarshal: what is kept is copied.
type Unmarshaler interface{ UnmarshalJBCD(raw Raw) error }

// ElementsUnmarshaler reads its own JSON array, cut into its elements: an Unmarshaler would have to cut it once more.
// The elements are as an Unmarshaler's raw.
type ElementsUnmarshaler interface{ UnmarshalElements(elements []Raw) error }

// Limits bound what Unmarshal accepts before it allocates.
type Limits struct {
	Depth   int // nesting of objects and arrays
	Members int // members of objects and elements of arrays, in all
	Octets  int // length of the input
}

// DefaultLimits are those of PROTOCOL §1.7: 32 levels; 16 MiB, twice the largest HTTP body; 1 Mi members,
// a thousand for each of the thousand envelopes of an Upload.
var DefaultLimits = Limits{Depth: 32, Members: 1 << 20, Octets: 16 << 20}

// Error says where the input is not what was asked for. It never holds octets of a value.
type Error struct {
	Path   string // members from the outermost, as in Updates[3].Index; unknown members are not named
	Offset int    // octets from the start of the input; inside a value that reads itself, from somewhere in it
	Reason string
	Err    error // of an Unmarshaler
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("jbcd: ")
	if e.Path != "" {
		b.WriteString(e.Path)
		b.WriteString(": ")
	}
	if e.Err != nil {
		fmt.Fprintf(&b, "%v (in the value at offset %d)", e.Err, e.Offset)
	} else {
		fmt.Fprintf(&b, "%s (offset %d)", e.Reason, e.Offset)
	}
	return b.String()
}

// Unwrap returns the error of the Unmarshaler, if any.
func (e *Error) Unwrap() error { return e.Err }

// within puts a member or an index in front of the path of err.
func within(err error, element string) error {
	e, ok := err.(*Error) //nolint:errorlint // a wrapped one keeps its text
	if !ok {
		return &Error{Path: element, Err: err}
	}
	switch {
	case e.Path == "":
		e.Path = element
	case e.Path[0] == '[':
		e.Path = element + e.Path
	default:
		e.Path = element + "." + e.Path
	}
	return e
}

// inValue turns an error from the octets of a value that begins at offset into one of the whole input.
func inValue(err error, offset int) error {
	if e, ok := err.(*Error); ok { //nolint:errorlint // a wrapped one keeps its text
		moved := *e
		moved.Offset += offset
		return &moved
	}
	return &Error{Offset: offset, Err: err}
}
