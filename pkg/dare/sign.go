package dare

import (
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"fmt"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

// digSHA2 is how the wire spells SHA-2-512; digS512 is how later builds of the reference spell it.
const (
	digSHA2 = "SHA2"
	digS512 = "S512"
)

// Digest is the PayloadDigest: SHA-2-512 of the payload octets as carried.
func (e *Envelope) Digest() []byte {
	d := sha512.Sum512(e.Payload)
	return d[:]
}

// Signatures returns the signatures of header or trailer; both is malformed (DATA §1.2).
func (e *Envelope) Signatures() ([]Signature, error) {
	h, t, err := e.parse()
	if err != nil {
		return nil, err
	}
	return signatures(h, t)
}

func signatures(h, t *Header) ([]Signature, error) {
	switch {
	case len(t.Signatures) == 0:
		return h.Signatures, nil
	case len(h.Signatures) > 0:
		return nil, fmt.Errorf("%w: signatures in header and trailer", ErrMalformed)
	}
	return t.Signatures, nil
}

// CheckDigest compares the payload with a written PayloadDigest (header or trailer), if any. ErrDigest also for the
// part of a payload (BytesOffset, redaction): it proves nothing before it is whole.
func (e *Envelope) CheckDigest() error {
	h, t, err := e.parse()
	if err != nil {
		return err
	}
	if len(h.PayloadDigest) == 0 && len(t.PayloadDigest) == 0 {
		return checkDig(h, t)
	}
	return checkDigest(e.Digest(), h, t)
}

func checkDigest(digest []byte, h, t *Header) error {
	if err := checkDig(h, t); err != nil {
		return err
	}
	for _, written := range []jbcd.Binary{h.PayloadDigest, t.PayloadDigest} {
		if len(written) > 0 && subtle.ConstantTimeCompare(written, digest) != 1 {
			return ErrDigest
		}
	}
	return nil
}

// checkDig refuses every digest but SHA-2-512: a container has one PayloadDigest and chains it (D-43).
func checkDig(hs ...*Header) error {
	for _, h := range hs {
		if h.Dig != "" && h.Dig != digSHA2 && h.Dig != digS512 {
			return fmt.Errorf("%w: dig", ErrAlgorithm)
		}
	}
	return nil
}

// Verify checks that one signature of e is by key and valid over the payload digest, and that a written PayloadDigest
// is that of the payload. Errors: ErrNoSignature when none names key, ErrSignature, ErrDigest, ErrMalformed.
// It costs one SHA-512 of the payload and one verification, however many signatures there are.
func (e *Envelope) Verify(key keys.PublicKey) error {
	_, err := e.verify(key)
	return err
}

// verify returns the signature that was found good.
func (e *Envelope) verify(key keys.PublicKey) (*Signature, error) {
	h, t, err := e.parse()
	if err != nil {
		return nil, err
	}
	list, err := signatures(h, t)
	if err != nil {
		return nil, err
	}
	kid := key.KID()
	var mine *Signature
	for i := range list {
		if !SameKID(list[i].KID, kid) {
			continue
		}
		if mine != nil { // else a header of 64 KiB would buy hundreds of verifications
			return nil, fmt.Errorf("%w: two signatures by one key", ErrMalformed)
		}
		mine = &list[i]
	}
	if mine == nil {
		return nil, ErrNoSignature
	}
	digest := e.Digest()
	if err := checkDigest(digest, h, t); err != nil {
		return nil, err
	}
	if err := key.Verify(digest, mine.Signature); err != nil {
		return nil, ErrSignature
	}
	return mine, nil
}

// OpenSigned opens an encrypted envelope that signer has signed and whose content signer knew (Content.CheckWitness).
func (e *Envelope) OpenSigned(h keys.Holder, signer keys.PublicKey) ([]byte, error) {
	s, err := e.verify(signer)
	if err != nil {
		return nil, err
	}
	c, err := e.Unseal(h)
	if err != nil {
		return nil, err
	}
	if err := c.CheckWitness(s); err != nil {
		return nil, err
	}
	return c.Plain, nil
}

// witness proves to those who have the master key that the signer has it.
func witness(masterKey, salt, signature []byte) ([]byte, error) {
	prk, err := hkdf.Extract(sha256.New, masterKey, salt)
	if err != nil {
		return nil, err
	}
	return hkdf.Expand(sha256.New, prk, string(signature), sha256.Size)
}
