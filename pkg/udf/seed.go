package udf

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha512"
	"encoding/binary"
	"fmt"
	"log/slog"
	"strconv"
)

// Key specifiers: what a seed is for, and the algorithm for which a key is derived. Mesh specifiers are from the
// reference; SeedProfileAccount is 250 by its vectors, apparently a slip for 260.
const (
	SeedAny               uint16 = 0
	SeedX25519            uint16 = 1
	SeedX448              uint16 = 2
	SeedEd25519           uint16 = 3
	SeedEd448             uint16 = 4
	SeedProfileAccount    uint16 = 250
	SeedProfileMesh       uint16 = 256
	SeedActivationMesh    uint16 = 257
	SeedProfileDevice     uint16 = 258
	SeedActivationDevice  uint16 = 259
	SeedActivationAccount uint16 = 261
	SeedProfileGroup      uint16 = 262
	SeedActivationGroup   uint16 = 263
	SeedProfileService    uint16 = 264
	SeedActivationService uint16 = 265
)

// Seed is a Z-type UDF: 2 octets of key specifier and a secret, from which keys are derived (DATA §9.6).
// Formatted or logged it shows its specifier only; String is the secret.
type Seed struct {
	Specifier uint16
	Secret    []byte
}

// seedOctets is the strength of new seeds: 256 bits, above the 224 of curve448, so that the curve is the limit.
const seedOctets = 32

// NewSeed makes a seed with 256 random bits.
func NewSeed(specifier uint16) Seed {
	secret := make([]byte, seedOctets)
	rand.Read(secret) // never fails
	return Seed{Specifier: specifier, Secret: secret}
}

// ParseSeed reads the Z… text form. How much secret there is in it is up to its maker; none is refused.
func ParseSeed(text string) (Seed, error) {
	octets, err := decodeType(text, TypeSeed)
	if err != nil {
		return Seed{}, err
	}
	if len(octets) < 3 {
		return Seed{}, errText
	}
	return Seed{Specifier: binary.BigEndian.Uint16(octets), Secret: octets[2:]}, nil
}

// String is the Z… text form, all characters.
func (s Seed) String() string { return Encode(append([]byte{TypeSeed}, s.keyMaterial()...), 0) }

// Format implements fmt.Formatter: a seed in a message never shows.
func (s Seed) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "udf.Seed(%d)", s.Specifier) }

// MarshalJSON keeps the secret out of logs in JSON: a handler writes a structure with encoding/json, which asks for
// neither Format nor LogValue.
func (s Seed) MarshalJSON() ([]byte, error) { return strconv.AppendQuote(nil, fmt.Sprint(s)), nil }

// LogValue implements slog.LogValuer.
func (s Seed) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

// Derive returns n octets for the algorithm specifier and label ("Sign", "Encrypt", "Authenticate" or "").
// n is at most 16320, the limit of HKDF.
func (s Seed) Derive(specifier uint16, label string, n int) []byte {
	return s.DeriveInfo(specifier, label, "", n)
}

// DeriveInfo is Derive with an info text for HKDF, as primes of RSA keys have.
func (s Seed) DeriveInfo(specifier uint16, label, info string, n int) []byte {
	salt := append(binary.BigEndian.AppendUint16(nil, specifier), label...)
	return must(hkdf.Key(sha512.New, s.keyMaterial(), salt, info, n))
}

// keyMaterial is the specifier of the seed itself and the secret, whatever is derived.
func (s Seed) keyMaterial() []byte {
	return append(binary.BigEndian.AppendUint16(nil, s.Specifier), s.Secret...)
}
