package dare

import (
	"fmt"

	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/keys"
)

// Options say how New makes an envelope.
type Options struct {
	Header     Header           // members to write besides those made here (EnvelopeID, …)
	Meta       *ContentMeta     // written as ContentMetaData
	Recipients []keys.PublicKey // encrypt to these (A256GCM, D-46), each with an ephemeral key of its own
	MasterKey  []byte           // encrypt under this master key of 32 octets (kid = SYMKEYID); without it, a random one
	MetaAAD    bool             // aad = octets of ContentMeta (catalog entries, D-57)
	Digest     bool             // write PayloadDigest in the trailer
	Holder     keys.Holder      // signs with
	SignKIDs   []string         // these keys (implies Digest)
	Credential []*Envelope      // Credential member of the first signature (D-29, D-57 b)
}

// New makes an envelope of plain; encrypts, then digests, then signs. It encrypts when there are Recipients or a
// MasterKey, under a fresh Salt. An envelope that is not encrypted shares the memory of plain.
func New(plain []byte, o Options) (*Envelope, error) {
	h := o.Header
	if err := o.check(&h); err != nil {
		return nil, err
	}
	if o.Meta != nil {
		meta, err := jbcd.Marshal(o.Meta)
		if err != nil {
			return nil, fmt.Errorf("dare: ContentMetaData: %w", err)
		}
		h.ContentMetaData = meta
	}
	e := &Envelope{Payload: plain}
	var masterKey []byte
	if len(o.Recipients) > 0 || len(o.MasterKey) > 0 {
		var err error
		if e.Payload, masterKey, err = h.seal(plain, &o); err != nil {
			return nil, err
		}
	}
	var t Header
	if o.Digest || len(o.SignKIDs) > 0 {
		h.Dig = digSHA2
		t.PayloadDigest = e.Digest()
		for i, kid := range o.SignKIDs {
			s, err := o.sign(kid, t.PayloadDigest, masterKey, h.Salt)
			if err != nil {
				return nil, err
			}
			if i == 0 {
				s.Credential = o.Credential
			}
			t.Signatures = append(t.Signatures, s)
		}
	}
	var err error
	if e.Header, err = marshalHeader(&h); err != nil {
		return nil, err
	}
	if t.PayloadDigest != nil {
		if e.Trailer, err = marshalHeader(&t); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// check refuses options that contradict each other, which would make an envelope that says what it is not.
func (o *Options) check(h *Header) error {
	switch {
	case h.Enc != "" || h.KID != "" || len(h.Salt) > 0 || len(h.Recipients) > 0:
		return fmt.Errorf("dare: Options.Header has members of the encryption, which New makes")
	case len(h.Signatures) > 0 || len(h.PayloadDigest) > 0 || len(h.TreeDigest) > 0 || h.Dig != "":
		return fmt.Errorf("dare: Options.Header has members of the trailer, which New makes")
	case o.Meta != nil && len(h.ContentMetaData) > 0:
		return fmt.Errorf("dare: Options has ContentMetaData twice")
	case o.MetaAAD && o.Meta == nil && len(h.ContentMetaData) == 0:
		return fmt.Errorf("dare: MetaAAD without ContentMetaData")
	case o.MetaAAD && len(o.Recipients) == 0 && len(o.MasterKey) == 0:
		return fmt.Errorf("dare: MetaAAD without encryption")
	case len(o.MasterKey) > 0 && len(o.MasterKey) != masterKeySize:
		return fmt.Errorf("dare: MasterKey has not %d octets", masterKeySize)
	case len(o.SignKIDs) > 0 && o.Holder == nil:
		return fmt.Errorf("dare: SignKIDs without Holder")
	case len(o.Credential) > 0 && len(o.SignKIDs) == 0:
		return fmt.Errorf("dare: Credential without signature")
	}
	return nil
}

func (o *Options) sign(kid string, digest, masterKey, salt []byte) (Signature, error) {
	value, err := o.Holder.Sign(kid, digest)
	if err != nil {
		return Signature{}, fmt.Errorf("dare: sign: %w", err)
	}
	s := Signature{Alg: digSHA2, KID: kid, Signature: value}
	if masterKey != nil {
		if s.Witness, err = witness(masterKey, salt, value); err != nil {
			return Signature{}, err
		}
	}
	return s, nil
}

func marshalHeader(h *Header) ([]byte, error) {
	text, err := jbcd.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("dare: header: %w", err)
	}
	if len(text) > MaxHeader {
		return nil, fmt.Errorf("%w: header or trailer over %d octets", ErrMalformed, MaxHeader)
	}
	return text, nil
}
