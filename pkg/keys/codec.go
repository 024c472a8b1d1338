package keys

import (
	"fmt"
	"strings"

	"github.com/mathmesh/meshd/pkg/jbcd"
)

const (
	tagPublic  = "PublicKeyECDH"
	tagPrivate = "PrivateKeyECDH"
	// scalarSuffix on a curve says that Private is a scalar, not to be pruned (DATA §2).
	scalarSuffix = "z"
)

// wirePublic and wirePrivate have what we use of the JOSE members; kid, kty, use and the like are ignored.
type wirePublic struct {
	Crv    string      `json:"crv"`
	Public jbcd.Binary `json:"Public"`
}

type wirePrivate struct {
	Kid     string      `json:"kid,omitempty"` // written in key files only
	Crv     string      `json:"crv"`
	Private jbcd.Binary `json:"Private"`
	Prefix  jbcd.Binary `json:"Prefix,omitempty"` // ours: nonce prefix of a signature key in scalar form
}

// MarshalJBCD writes {"PublicKeyECDH":{"crv":…,"Public":…}}.
func (k PublicKey) MarshalJBCD() ([]byte, error) {
	if k.IsZero() {
		return nil, fmt.Errorf("%w: none", ErrKey)
	}
	return jbcd.Tag(tagPublic, wirePublic{Crv: string(k.Curve), Public: k.Octets})
}

// UnmarshalJBCD reads it; a key that does not parse is an error.
func (k *PublicKey) UnmarshalJBCD(raw jbcd.Raw) error {
	var w wirePublic
	if err := untag(raw, tagPublic, &w); err != nil {
		return err
	}
	key, err := NewPublicKey(Curve(w.Crv), w.Public)
	if err != nil {
		return err
	}
	*k = key
	return nil
}

// MarshalJBCD writes {"PrivateKeyECDH":{"crv":"X448z"|"Ed448z"|…,"Private":…}}: always the scalar form, signature keys with prefix member `Prefix`.
func (k *PrivateKey) MarshalJBCD() ([]byte, error) { return k.marshal("") }

func (k *PrivateKey) marshal(kid string) ([]byte, error) {
	return jbcd.Tag(tagPrivate, wirePrivate{
		Kid: kid, Crv: string(k.public.Curve) + scalarSuffix, Private: k.scalar, Prefix: k.prefix,
	})
}

// UnmarshalJBCD reads both forms (with and without suffix z).
func (k *PrivateKey) UnmarshalJBCD(raw jbcd.Raw) error {
	key, _, err := unmarshalPrivate(raw)
	if err != nil {
		return err
	}
	*k = *key
	return nil
}

func unmarshalPrivate(raw jbcd.Raw) (key *PrivateKey, kid string, err error) {
	var w wirePrivate
	if err := untag(raw, tagPrivate, &w); err != nil {
		return nil, "", err
	}
	curve, isScalar := strings.CutSuffix(w.Crv, scalarSuffix)
	if !isScalar {
		key, err = FromSecret(Curve(curve), w.Private)
		return key, w.Kid, err
	}
	key, err = FromScalar(Curve(curve), w.Private)
	if err != nil {
		return nil, "", err
	}
	if len(w.Prefix) > 0 {
		if len(w.Prefix) != len(key.prefix) {
			return nil, "", fmt.Errorf("%w: length of the nonce prefix", ErrKey)
		}
		key.prefix = w.Prefix
	}
	return key, w.Kid, nil
}

// untag reads the one member of a TStruct that must have the tag.
func untag(raw jbcd.Raw, want string, v any) error {
	tag, value, err := jbcd.Tagged(raw)
	if err != nil {
		return err
	}
	if tag != want {
		return fmt.Errorf("%w: not a %s", ErrKey, want)
	}
	return jbcd.Unmarshal(value, v)
}
