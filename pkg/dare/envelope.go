package dare

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/udf"
)

// MaxHeader is the longest header and the longest trailer that is read or written, in octets of JSON (PROTOCOL §1.7):
// room for a signature with its Credential and a hundred recipients, far from what makes a parser work for nothing.
const MaxHeader = 64 << 10

// headerLimits: members are bounded by the length, depth by that of all Mesh JSON.
var headerLimits = jbcd.Limits{Depth: jbcd.DefaultLimits.Depth, Members: MaxHeader, Octets: MaxHeader}

// What is wrong with an envelope. Errors of this package wrap one of these and never hold octets of content or keys.
var (
	ErrMalformed   = errors.New("dare: malformed envelope")
	ErrAlgorithm   = errors.New("dare: algorithm not known")
	ErrDigest      = errors.New("dare: payload does not match its digest")
	ErrNoSignature = errors.New("dare: no signature by this key")
	ErrSignature   = errors.New("dare: signature is not valid")
	ErrNoKey       = errors.New("dare: no key for this envelope")
	ErrOpen        = errors.New("dare: payload does not decrypt") // wrong key, changed octets: not told apart
)

// Parse reads one envelope in JSON (jbcd.DefaultLimits; header and trailer at most MaxHeader). Nothing in it shares
// the memory of data. Errors wrap ErrMalformed, or are those of jbcd.
func Parse(data []byte) (*Envelope, error) {
	e := new(Envelope)
	if err := e.UnmarshalJBCD(data); err != nil {
		return nil, err
	}
	return e, nil
}

// ParseInPlace is Parse of octets that the caller gives away: the envelope is made of data's memory, its payload decoded
// where the text of it stood. data is of no other use afterwards, whatever comes of it.
func ParseInPlace(data []byte) (*Envelope, error) {
	elements, err := jbcd.Array(data)
	if err != nil {
		return nil, err
	}
	e := new(Envelope)
	if err := e.read(elements, true); err != nil {
		return nil, err
	}
	return e, nil
}

// MarshalJBCD writes the bare array: payload base64url unfolded, header and trailer octet by octet as they are.
func (e *Envelope) MarshalJBCD() ([]byte, error) {
	if len(e.Header) > MaxHeader || len(e.Trailer) > MaxHeader {
		return nil, fmt.Errorf("%w: header or trailer over %d octets", ErrMalformed, MaxHeader)
	}
	n := len(e.Header) + base64.RawURLEncoding.EncodedLen(len(e.Payload)) + len(e.Trailer) + len(`[{},"",]`)
	out := append(make([]byte, 0, n), '[')
	if len(e.Header) == 0 {
		out = append(out, '{', '}')
	}
	out = append(out, e.Header...)
	out = append(out, ',', '"')
	out = base64.RawURLEncoding.AppendEncode(out, e.Payload)
	out = append(out, '"')
	if len(e.Trailer) > 0 {
		out = append(out, ',')
		out = append(out, e.Trailer...)
	}
	return append(out, ']'), nil
}

// UnmarshalJBCD reads the bare array: header, payload and perhaps a trailer. White space inside the payload's
// base64url is dropped (D-44). A trailer null is none.
func (e *Envelope) UnmarshalJBCD(raw jbcd.Raw) error {
	elements, err := jbcd.Array(raw)
	if err != nil {
		return err
	}
	return e.UnmarshalElements(elements)
}

// UnmarshalElements is UnmarshalJBCD for an array that was cut already.
func (e *Envelope) UnmarshalElements(elements []jbcd.Raw) error { return e.read(elements, false) }

func (e *Envelope) read(elements []jbcd.Raw, inPlace bool) (err error) {
	if len(elements) < 2 || len(elements) > 3 {
		return fmt.Errorf("%w: want header, payload and perhaps a trailer", ErrMalformed)
	}
	var in Envelope
	if in.Header, err = object("header", elements[0], inPlace); err != nil {
		return err
	}
	if in.Payload, err = octets(elements[1], inPlace); err != nil {
		return err
	}
	if len(elements) == 3 && string(elements[2]) != "null" {
		if in.Trailer, err = object("trailer", elements[2], inPlace); err != nil {
			return err
		}
	}
	*e = in
	return nil
}

// object keeps the octets of an object from `{` to `}`.
func object(what string, raw jbcd.Raw, inPlace bool) ([]byte, error) {
	if raw[0] != '{' {
		return nil, fmt.Errorf("%w: %s is not an object", ErrMalformed, what)
	}
	if len(raw) > MaxHeader {
		return nil, fmt.Errorf("%w: %s over %d octets", ErrMalformed, what, MaxHeader)
	}
	if inPlace {
		return raw, nil
	}
	return bytes.Clone(raw), nil
}

// octets decodes a base64url string.
func octets(raw jbcd.Raw, inPlace bool) ([]byte, error) {
	if raw[0] != '"' {
		return nil, fmt.Errorf("%w: payload is not a string", ErrMalformed)
	}
	if bytes.IndexByte(raw, '\\') >= 0 { // nobody needs to escape base64url, but it is legal
		var b jbcd.Binary
		err := jbcd.Unmarshal(raw, &b)
		return b, err
	}
	decode := jbcd.DecodeBase64
	if inPlace {
		decode = jbcd.DecodeBase64InPlace
	}
	b, ok := decode(raw[1 : len(raw)-1])
	if !ok {
		return nil, fmt.Errorf("%w: payload is not base64url without padding", ErrMalformed)
	}
	return b, nil
}

// ParseHeader decodes the header.
func (e *Envelope) ParseHeader() (*Header, error) { return parseHeader("header", e.Header) }

// ParseTrailer decodes the trailer (an empty Header when absent).
func (e *Envelope) ParseTrailer() (*Header, error) { return parseHeader("trailer", e.Trailer) }

func (e *Envelope) parse() (h, t *Header, err error) {
	if h, err = e.ParseHeader(); err != nil {
		return nil, nil, err
	}
	t, err = e.ParseTrailer()
	return h, t, err
}

func parseHeader(what string, text []byte) (*Header, error) {
	h := new(Header)
	if len(text) == 0 {
		return h, nil
	}
	if err := jbcd.UnmarshalLimits(text, h, headerLimits); err != nil {
		return nil, fmt.Errorf("dare: %s: %w", what, err)
	}
	return h, nil
}

// ParseMeta decodes header.ContentMetaData (zero when absent).
func (h *Header) ParseMeta() (*ContentMeta, error) {
	m := new(ContentMeta)
	if len(h.ContentMetaData) == 0 {
		return m, nil
	}
	if err := jbcd.UnmarshalLimits(h.ContentMetaData, m, headerLimits); err != nil {
		return nil, fmt.Errorf("dare: ContentMetaData: %w", err)
	}
	return m, nil
}

// SameKID compares key identifiers as people do: dashes and case of the fingerprint do not count, and the domain of
// a group key (fingerprint@domain) compares without case.
func SameKID(a, b string) bool { return canonicalKID(a) == canonicalKID(b) }

// canonicalKID writes a key identifier as those write it who make one.
func canonicalKID(kid string) string {
	print, domain, group := strings.Cut(kid, "@")
	print = udf.Canonical(print)
	if group {
		return print + "@" + strings.ToLower(domain)
	}
	return print
}
