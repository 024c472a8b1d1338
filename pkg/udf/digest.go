package udf

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha3"
	"crypto/sha512"
	"math/bits"
)

// encryptionContent is the content type under which symmetric keys and the ids made of texts are digested.
const encryptionContent = "application/udf-encryption"

// Content returns the 65 octets (type with compression class, 64 of digest) of a SHA-2-512 content digest.
func Content(contentType string, data []byte) []byte {
	inner := sha512.Sum512(data)
	digest := sha512.Sum512(typed(contentType, inner[:]))
	return append([]byte{TypeSHA2 + compression(digest[:])}, digest[:]...)
}

// ContentSHA3 is Content with SHA-3-512. The Mesh makes none; they are recognised.
func ContentSHA3(contentType string, data []byte) []byte {
	inner := sha3.Sum512(data)
	digest := sha3.Sum512(typed(contentType, inner[:]))
	return append([]byte{TypeSHA3 + compression(digest[:])}, digest[:]...)
}

func typed(contentType string, digest []byte) []byte {
	return append(append([]byte(contentType), ':'), digest...)
}

// compression is the class of a digest by its trailing zero bits: an octet of zeros that somebody worked for need
// not be presented. Thresholds 20, 30, 40, 50 (ALGORITHMS: the draft's "leading" is refuted by its vectors).
func compression(digest []byte) byte {
	zeros := 0
	for i := len(digest) - 1; i >= 0; i-- {
		if digest[i] != 0 {
			zeros += bits.TrailingZeros8(digest[i])
			break
		}
		zeros += 8
	}
	switch {
	case zeros < 20:
		return 0
	case zeros < 30:
		return 1
	case zeros < 40:
		return 2
	case zeros < 50:
		return 3
	}
	return 4
}

// MAC returns the octets (type octet 0, 64 of HMAC-SHA-512) of an A-type UDF over the concatenation of data.
func MAC(key []byte, data ...[]byte) []byte {
	h := hmac.New(sha512.New, key)
	for _, d := range data {
		h.Write(d)
	}
	return h.Sum([]byte{TypeHMAC})
}

// Authenticator returns the octets of the A-type UDF of content under the text of a key or nonce UDF, with its dashes.
func Authenticator(keyText, contentType string, data []byte) []byte {
	prk := MAC([]byte("KeyedUDFMaster"), []byte(keyText))[1:]
	okm := must(hkdf.Expand(sha512.New, prk, "KeyedUDFExpand", 64))
	inner := sha512.Sum512(data)
	return MAC(okm, typed(contentType, inner[:]))
}

// SymmetricKey is SYMKEYID (DATA §9.5): the identifier of a master key or ticket secret, always EBQ….
func SymmetricKey(key []byte) string {
	return Encode(append([]byte{TypeKey}, encryptionDigest(key)...), Bits)
}

// EnvelopeID is ENVELOPEID(id), 280 bits (DATA §9.2).
func EnvelopeID(id string) string { return Encode(encryptionDigest([]byte(id)), LongBits) }

// ResponseID is RESPONSEID(id), 128 bits (DATA §9.3).
func ResponseID(id string) string { return Encode(encryptionDigest([]byte(id)), ResponseBits) }

// encryptionDigest has no inner digest and no compression class: the type octet is fixed (DATA §9.2, 9.3, 9.5).
func encryptionDigest(data []byte) []byte {
	digest := sha512.Sum512(typed(encryptionContent, data))
	return append([]byte{TypeSHA2}, digest[:]...)
}

// NewNonce returns a fresh N-type UDF of 132 random bits.
func NewNonce() string { return random(TypeNonce) }

// NewSecret returns a fresh E-type UDF of 132 random bits, as for PINs and publications (DATA §9.4).
func NewSecret() string { return random(TypeKey) }

func random(kind byte) string {
	octets := make([]byte, 18) // the type and 17 of which 132 bits are presented
	rand.Read(octets)          // never fails
	octets[0] = kind
	return Encode(octets, Bits)
}

// must is for HKDF with lengths that are constants within its limit of 255 digests.
func must(b []byte, err error) []byte {
	if err != nil {
		panic("udf: " + err.Error())
	}
	return b
}
