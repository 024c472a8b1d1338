// Package udf implements Uniform Data Fingerprints (draft-hallambaker-mesh-udf):
// the names by which the Mesh calls keys, digests, nonces, secrets and seeds.
package udf

// Type octets, the first octet of every UDF.
const (
	TypeHMAC  = 0x00 // A…: HMAC-SHA-2-512
	TypeKey   = 0x20 // E…: secret, symmetric key
	TypeSHA3  = 0x50 // K…: content digest, compression class added
	TypeSHA2  = 0x60 // M…: content digest, compression class added
	TypeNonce = 0x68 // N…
	TypeOID   = 0x70 // O…
	TypeShare = 0x90 // S…
	TypeSeed  = 0xC8 // Z…
)

// Encode presents octets (type octet first) as base32 in groups of four, cut to bits (0: all).
func Encode(octets []byte, bits int) string { panic("stub") }

// Decode is the inverse of Encode; case, dashes and left-over bits are dropped.
func Decode(text string) ([]byte, error) { panic("stub") }

// Content returns the 65 octets (type with compression class, 64 of digest) of a SHA-2-512 content digest.
func Content(contentType string, data []byte) []byte { panic("stub") }

// MAC returns the octets (type octet 0, 64 of HMAC-SHA-512) of an A-type UDF over the concatenation of data.
func MAC(key []byte, data ...[]byte) []byte { panic("stub") }

// SymmetricKey is SYMKEYID (DATA §9.5): the identifier of a master key or ticket secret, always EBQ….
func SymmetricKey(key []byte) string { panic("stub") }

// EnvelopeID is ENVELOPEID(id), 280 bits (DATA §9.2).
func EnvelopeID(id string) string { panic("stub") }

// ResponseID is RESPONSEID(id), 128 bits (DATA §9.3).
func ResponseID(id string) string { panic("stub") }

// NewNonce returns a fresh N-type UDF of 132 random bits.
func NewNonce() string { panic("stub") }

// Seed is a Z-type UDF: 2 octets of key specifier and a secret, from which keys are derived (DATA §9.6).
type Seed struct {
	Specifier uint16
	Secret    []byte
}

// NewSeed makes a seed with 256 random bits.
func NewSeed(specifier uint16) Seed { panic("stub") }

// ParseSeed reads the Z… text form.
func ParseSeed(text string) (Seed, error) { panic("stub") }

// String is the Z… text form, all characters.
func (s Seed) String() string { panic("stub") }

// Derive returns n octets for the algorithm specifier and label ("Sign", "Encrypt", "Authenticate" or "").
func (s Seed) Derive(specifier uint16, label string, n int) []byte { panic("stub") }
