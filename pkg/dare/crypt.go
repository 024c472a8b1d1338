package dare

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"
	"strings"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/udf"
)

const (
	encGCM = "A256GCM" // written and read
	encCBC = "A256CBC" // read: the published material has it
	kwdAES = "kwd-aes-sha2-256-256"

	masterKeySize = 32
	saltSize      = 16 // of a salt of ours, and the least that is read (DATA §1.1)
	ivSize        = 16 // A256GCM uses the first 12 octets (D-46)
)

// Open decrypts the payload with a key that h holds, or returns e.Payload itself when it is not encrypted. It reads
// A256GCM and A256CBC, both infos of the key wrap (D-46), and as additional data the octets of ContentMetaData, then
// none (D-57). The first recipient whose key h holds decides: one ciphertext is never tried with several keys, and
// the master key must be the one that the header's kid names, so that two recipients cannot be shown two contents.
// Errors: ErrNoKey, ErrOpen, ErrAlgorithm, ErrMalformed.
func (e *Envelope) Open(h keys.Holder) ([]byte, error) {
	c, err := e.Unseal(h)
	if err != nil {
		return nil, err
	}
	return c.Plain, nil
}

// Content is the content of an envelope, with what opening it has shown.
type Content struct {
	Plain []byte
	// Bound: ContentMetaData was there and was additional data of the encryption: it is what the writer wrote.
	Bound bool

	masterKey, salt []byte // nil: not encrypted
}

// Unseal is Open for who asks more of an envelope than its content.
func (e *Envelope) Unseal(h keys.Holder) (*Content, error) {
	hdr, err := e.ParseHeader()
	if err != nil {
		return nil, err
	}
	if !hdr.encrypted() {
		return &Content{Plain: e.Payload}, nil
	}
	c := &Content{salt: hdr.Salt}
	if c.masterKey, err = hdr.masterKey(h); err != nil {
		return nil, err
	}
	c.Plain, c.Bound, err = hdr.open(e.Payload, c.masterKey)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// CheckWitness checks that the maker of a signature knew the master key of an encrypted envelope. Without that, anyone
// who took off the signature of another could put his own on what he cannot read. Error: ErrSignature.
func (c *Content) CheckWitness(s *Signature) error {
	if c.masterKey == nil {
		return fmt.Errorf("%w: nothing to witness", ErrSignature)
	}
	want, err := witness(c.masterKey, c.salt, s.Signature)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, s.Witness) {
		return fmt.Errorf("%w: witness", ErrSignature)
	}
	return nil
}

// OpenWith decrypts under a master key of 32 octets: that of a publication (DATA §9.9), or one known before.
func (e *Envelope) OpenWith(masterKey []byte) ([]byte, error) {
	hdr, err := e.ParseHeader()
	if err != nil {
		return nil, err
	}
	if !hdr.encrypted() {
		return e.Payload, nil
	}
	if hdr.KID != "" && !SameKID(hdr.KID, udf.SymmetricKey(masterKey)) {
		return nil, fmt.Errorf("%w: kid names another master key", ErrNoKey)
	}
	plain, _, err := hdr.open(e.Payload, masterKey)
	return plain, err
}

// encrypted: a header with recipients but without enc is taken as encrypted, and fails for want of an algorithm,
// rather than to hand out ciphertext as content.
func (h *Header) encrypted() bool { return h.Enc != "" || len(h.Recipients) > 0 }

// masterKey unwraps the master key for the first recipient whose key holder has.
func (h *Header) masterKey(holder keys.Holder) ([]byte, error) {
	for i := range h.Recipients {
		r := &h.Recipients[i]
		kid := canonicalKID(r.KID)
		if _, ok := holder.Public(kid); !ok {
			print, _, group := strings.Cut(kid, "@")
			if _, ok = holder.Public(print); !group || !ok {
				continue
			}
			kid = print
		}
		mk, err := r.masterKey(holder, kid)
		if err != nil {
			return nil, err
		}
		if !SameKID(h.KID, udf.SymmetricKey(mk)) {
			return nil, fmt.Errorf("%w: kid names another master key", ErrOpen)
		}
		return mk, nil
	}
	return nil, ErrNoKey
}

func (r *Recipient) masterKey(holder keys.Holder, kid string) ([]byte, error) {
	if r.KWD != "" && r.KWD != kwdAES {
		return nil, fmt.Errorf("%w: kwd", ErrAlgorithm)
	}
	epk, err := r.Ephemeral()
	if err != nil {
		return nil, err
	}
	z, err := holder.Agree(kid, epk)
	if err != nil {
		return nil, fmt.Errorf("%w: key agreement: %w", ErrOpen, err)
	}
	for _, info := range []string{"", "master"} { // D-46; the wrap tells by itself which one is right
		kek, err := hkdf.Key(sha512.New, z, nil, info, 32)
		if err != nil {
			return nil, err
		}
		if mk, err := unwrap(kek, r.WMK); err == nil {
			return mk, nil
		}
	}
	return nil, fmt.Errorf("%w: wmk", ErrOpen)
}

// Ephemeral reads epk. ParseHeader does not: to check one point costs twice what it costs to read all the rest, only
// the recipient needs it, and the key of another may be of a kind that we do not know.
func (r *Recipient) Ephemeral() (keys.PublicKey, error) {
	var epk keys.PublicKey
	if len(r.EPK) == 0 {
		return epk, fmt.Errorf("%w: recipient without epk", ErrMalformed)
	}
	if err := jbcd.Unmarshal(r.EPK, &epk); err != nil {
		return keys.PublicKey{}, fmt.Errorf("dare: epk: %w", err)
	}
	return epk, nil
}

// newRecipient wraps masterKey for to, under an ephemeral key of its own.
func newRecipient(to keys.PublicKey, masterKey []byte) (Recipient, error) {
	if to.Curve != keys.X448 && to.Curve != keys.X25519 {
		return Recipient{}, fmt.Errorf("%w: recipient key is not one to encrypt to", ErrAlgorithm)
	}
	ephemeral, err := keys.Generate(to.Curve)
	if err != nil {
		return Recipient{}, err
	}
	z, err := ephemeral.Agree(to)
	if err != nil {
		return Recipient{}, err
	}
	kek, err := hkdf.Key(sha512.New, z, nil, "", 32)
	if err != nil {
		return Recipient{}, err
	}
	wmk, err := wrap(kek, masterKey)
	if err != nil {
		return Recipient{}, err
	}
	epk, err := jbcd.Marshal(ephemeral.Public())
	if err != nil {
		return Recipient{}, err
	}
	return Recipient{KID: to.KID(), EPK: epk, WMK: wmk}, nil
}

// payloadKeys derives key and initialisation vector of the payload (DATA §1.5).
func payloadKeys(masterKey, salt []byte) (block cipher.Block, iv []byte, err error) {
	if len(masterKey) != masterKeySize {
		return nil, nil, fmt.Errorf("%w: master key has not %d octets", ErrNoKey, masterKeySize)
	}
	if len(salt) < saltSize {
		return nil, nil, fmt.Errorf("%w: Salt under %d octets", ErrMalformed, saltSize)
	}
	prk, err := hkdf.Extract(sha256.New, masterKey, salt)
	if err != nil {
		return nil, nil, err
	}
	key, err := hkdf.Expand(sha256.New, prk, "encrypt", 32)
	if err != nil {
		return nil, nil, err
	}
	if iv, err = hkdf.Expand(sha256.New, prk, "iv", ivSize); err != nil {
		return nil, nil, err
	}
	block, err = aes.NewCipher(key)
	return block, iv, err
}

// open decrypts payload, which is left as it is; bound says that ContentMetaData was its additional data.
func (h *Header) open(payload, masterKey []byte) (plain []byte, bound bool, err error) {
	if h.Enc != encGCM && h.Enc != encCBC {
		return nil, false, fmt.Errorf("%w: enc", ErrAlgorithm)
	}
	block, iv, err := payloadKeys(masterKey, h.Salt)
	if err != nil {
		return nil, false, err
	}
	if h.Enc == encCBC {
		plain, err = openCBC(block, iv, payload)
		return plain, false, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, false, err
	}
	nonce := iv[:aead.NonceSize()]
	if len(h.ContentMetaData) > 0 {
		if plain, err = aead.Open(nil, nonce, payload, h.ContentMetaData); err == nil {
			return plain, true, nil
		}
	}
	if plain, err = aead.Open(nil, nonce, payload, nil); err != nil {
		return nil, false, ErrOpen
	}
	return plain, false, nil
}

// openCBC takes off PKCS#7 padding without telling how it was wrong.
func openCBC(block cipher.Block, iv, payload []byte) ([]byte, error) {
	if len(payload) == 0 || len(payload)%aes.BlockSize != 0 {
		return nil, ErrOpen
	}
	plain := make([]byte, len(payload))
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(plain, payload)
	last := plain[len(plain)-aes.BlockSize:]
	n := int(last[aes.BlockSize-1])
	good := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, aes.BlockSize)
	for i, b := range last {
		inside := subtle.ConstantTimeLessOrEq(aes.BlockSize-n, i)
		good &= (1 - inside) | subtle.ConstantTimeByteEq(b, byte(n))
	}
	if good != 1 {
		return nil, ErrOpen
	}
	return plain[:len(plain)-n], nil
}

// seal encrypts with A256GCM and writes enc, kid, Salt and recipients into h.
func (h *Header) seal(plain []byte, o *Options) (payload, masterKey []byte, err error) {
	mk := o.MasterKey
	if len(mk) == 0 {
		mk = random(masterKeySize)
	}
	h.Enc, h.KID, h.Salt = encGCM, udf.SymmetricKey(mk), jbcd.Binary(random(saltSize))
	for _, to := range o.Recipients {
		r, err := newRecipient(to, mk)
		if err != nil {
			return nil, nil, err
		}
		h.Recipients = append(h.Recipients, r)
	}
	block, iv, err := payloadKeys(mk, h.Salt)
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, nil, err
	}
	var aad []byte
	if o.MetaAAD {
		aad = h.ContentMetaData
	}
	return aead.Seal(nil, iv[:aead.NonceSize()], plain, aad), mk, nil
}

// random returns n random octets; crypto/rand does not fail.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}
