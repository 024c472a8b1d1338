package make1

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"time"

	"github.com/mathmesh/meshd/pkg/keys"
)

// Lengths in octets. They are fixed, so that no concatenation in an info, an aad or th can be read in two ways.
const (
	uLen     = 56 // u coordinate of X448
	saltLen  = 24 // time ‖ random, of everything but a ticket request
	timeLen  = 8  // Unix milliseconds, big endian
	keyLen   = 32 // AES-256
	nonceLen = 12 // GCM
	wrapLen  = keyLen + nonceLen
	kidLen   = 4 // key id of the ring
)

// Labels of the key schedule, the first part of an HKDF info.
const (
	labelCredential = "mmm-make1 credential"
	labelMaster     = "mmm-make1 master"
	labelResponse   = "mmm-make1 response"
	labelTicketKey  = "mmm-make1 ticket secret"
	labelTicketWrap = "mmm-make1 ticket wrap"
	labelRequest    = "mmm-make1 c2s"
	labelAnswer     = "mmm-make1 s2c"
	labelError      = "mmm-make1 error"
)

// chain is ck0: the suite, the target domain and the service key that every key depends on.
func chain(domain string, serviceU []byte) []byte {
	return hash([]byte(Suite), []byte{0}, []byte(domain), []byte{0}, serviceU)
}

func hash(parts ...[]byte) []byte {
	h := sha512.New()
	for _, p := range parts {
		h.Write(p)
	}
	return h.Sum(nil)
}

// derive is HKDF-SHA-512 with info = label ‖ parts.
func derive(ikm, salt []byte, n int, label string, parts ...[]byte) []byte {
	key, err := hkdf.Key(sha512.New, ikm, salt, label+string(cat(parts...)), n)
	if err != nil {
		panic("make1: " + err.Error()) // only for n over 255 blocks; ours are constants
	}
	return key
}

// box is AES-256-GCM for one message.
type box struct {
	aead  cipher.AEAD
	nonce []byte
}

// payloadBox derives the keys of a payload as every DARE envelope does (DATA §1.5): HKDF-SHA-256 with the infos "encrypt"
// and "iv", both of one block (RFC 5869). The three steps stand here because a ticket request does them twice, and crypto/hkdf
// makes thirty objects each time.
func payloadBox(master, salt []byte) box {
	prk := mac(salt, master)
	return newBox(mac(prk, []byte("encrypt\x01"))[:keyLen], mac(prk, []byte("iv\x01"))[:nonceLen])
}

// mac is HMAC-SHA-256.
func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(message)
	return h.Sum(nil)
}

// wrapBox takes the 44 octets that the schedule derives for a value of its own.
func wrapBox(k []byte) box { return newBox(k[:keyLen], k[keyLen:]) }

func newBox(key, nonce []byte) box {
	block, err := aes.NewCipher(key)
	if err != nil {
		panic("make1: " + err.Error()) // only for a key of another length than 16, 24, 32
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("make1: " + err.Error()) // only for a block of another length than 16
	}
	return box{aead, nonce}
}

func (b box) seal(plain []byte, aad ...[]byte) []byte {
	return b.aead.Seal(nil, b.nonce, plain, additional(aad))
}

func (b box) open(sealed []byte, aad ...[]byte) ([]byte, error) {
	return b.aead.Open(nil, b.nonce, sealed, additional(aad))
}

// openInPlace is open into the memory of sealed.
func (b box) openInPlace(sealed []byte, aad ...[]byte) ([]byte, error) {
	return b.aead.Open(sealed[:0], b.nonce, sealed, additional(aad))
}

// additional is cat for reading: a single part needs no copy.
func additional(parts [][]byte) []byte {
	if len(parts) == 1 {
		return parts[0]
	}
	return cat(parts...)
}

// newSalt is time ‖ random, new for every message.
func newSalt(now time.Time) []byte {
	salt := make([]byte, saltLen)
	binary.BigEndian.PutUint64(salt, uint64(now.UnixMilli()))
	rand.Read(salt[timeLen:]) // never fails (crypto/rand)
	return salt
}

func saltTime(salt []byte) time.Time {
	return time.UnixMilli(int64(binary.BigEndian.Uint64(salt)))
}

// stale says whether t lies outside the window around now; Sub and Abs saturate.
func stale(t, now time.Time) bool { return now.Sub(t).Abs() > Window }

// agreer is the private half of an agreement: an ephemeral key, or a Holder's key.
type agreer func(peer keys.PublicKey) ([]byte, error)

func held(h keys.Holder, kid string) agreer {
	return func(peer keys.PublicKey) ([]byte, error) { return h.Agree(kid, peer) }
}

var errAgreement = errors.New("key agreement of wrong length or all zero")

// agree refuses the all-zero result (AUTH §3.4) whoever computes: a Holder may be a device that does not.
func agree(private agreer, peer keys.PublicKey) ([]byte, error) {
	z, err := private(peer)
	if err != nil {
		return nil, err
	}
	if len(z) != uLen || subtle.ConstantTimeCompare(z, make([]byte, uLen)) == 1 {
		return nil, errAgreement
	}
	return z, nil
}

var errCoordinate = errors.New("not an X448 key with u < p")

// coordinate returns u of an X448 key; u ≥ p would give one point two names.
func coordinate(k keys.PublicKey) ([]byte, error) {
	if k.Curve != keys.X448 || len(k.Octets) != uLen && len(k.Octets) != uLen+1 {
		return nil, errCoordinate
	}
	u := k.Octets[:uLen]
	// p = 2^448 − 2^224 − 1: little endian 28 × ff, fe, 27 × ff.
	for i := uLen - 1; i >= 0; i-- {
		p := byte(0xff)
		if i == uLen/2 {
			p = 0xfe
		}
		if u[i] != p {
			if u[i] < p {
				return u, nil
			}
			break
		}
	}
	return nil, errCoordinate
}

func cat(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	all := make([]byte, 0, n)
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}
