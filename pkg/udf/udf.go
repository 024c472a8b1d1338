// Package udf implements Uniform Data Fingerprints (draft-hallambaker-mesh-udf):
// the names by which the Mesh calls keys, digests, nonces, secrets and seeds.
//
// A UDF is a type octet and data, presented as base32 in groups of four. What the draft's text and the published
// vectors say differently is decided by the vectors.
//
// Nothing here is constant time but the HMACs and HKDFs of the standard library; presenting and parsing a
// secret as text, and Split and Combine, are not.
package udf

import (
	"encoding/base32"
	"errors"
	"strings"
)

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

// Precisions, in bits of presentation.
const (
	// Bits is the default of a fingerprint: 28 characters, 132 bits of digest.
	Bits = 140
	// LongBits is that of locators and envelope ids, which must not collide even for those who choose the content.
	LongBits = 280
	// ResponseBits is that of RESPONSEID (DATA §9.3).
	ResponseBits = 128
)

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

var encoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// Encode presents octets (type octet first) as base32 in groups of four, cut to bits (0: all).
// The bits are rounded up to a whole character.
func Encode(octets []byte, bits int) string {
	text := encoding.EncodeToString(octets)
	if n := (bits + 4) / 5; bits > 0 && n < len(text) {
		text = text[:n]
	}
	return group(text)
}

// Canonical is the form in which fingerprints are compared: upper case, a dash after every four characters. Text that
// is none comes out as something that equals none.
func Canonical(text string) string {
	upper := func(c rune) rune { // of ASCII alone: strings.ToUpper makes S of U+017F and I of U+0131
		switch {
		case c == '-':
			return -1
		case 'a' <= c && c <= 'z':
			return c - ('a' - 'A')
		}
		return c
	}
	return group(strings.Map(upper, text))
}

func group(text string) string {
	var b strings.Builder
	b.Grow(len(text) + len(text)/4)
	for i := 0; i < len(text); i += 4 {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(text[i:min(i+4, len(text))])
	}
	return b.String()
}

// errText is the one error of Decode: the text may be a secret.
var errText = errors.New("udf: not the text of a UDF")

// Decode is the inverse of Encode; case, dashes and left-over bits are dropped.
func Decode(text string) ([]byte, error) {
	octets := make([]byte, 0, len(text)*5/8)
	var acc, n uint
	for i := range len(text) {
		c := text[i]
		if c == '-' {
			continue
		}
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		v := strings.IndexByte(alphabet, c)
		if v < 0 {
			return nil, errText
		}
		acc, n = acc<<5|uint(v), n+5
		if n >= 8 {
			n -= 8
			octets = append(octets, byte(acc>>n))
			acc &= 1<<n - 1
		}
	}
	if len(octets) == 0 {
		return nil, errText
	}
	return octets, nil
}

// decodeType is Decode for one type; it returns the octets after the type octet.
func decodeType(text string, want byte) ([]byte, error) {
	octets, err := Decode(text)
	if err != nil {
		return nil, err
	}
	if octets[0] != want || len(octets) == 1 {
		return nil, errText
	}
	return octets[1:], nil
}

// Secret returns the octets of an E-type UDF after its type octet: a PIN, the secret of a publication, the key of an EARL.
func Secret(text string) ([]byte, error) { return decodeType(text, TypeKey) }
