package keys

import (
	"iter"
	"maps"

	"github.com/mathmesh/meshd/pkg/udf"
)

// Holder uses private keys by name for code that never sees them.
type Holder interface {
	// Public returns the public key of kid.
	Public(kid string) (PublicKey, bool)
	// Sign signs with kid. ErrUnknown where there is no such key.
	Sign(kid string, message []byte) ([]byte, error)
	// Agree computes the shared secret of kid with peer. ErrUnknown where there is no such key.
	Agree(kid string, peer PublicKey) ([]byte, error)
}

// Ring is the Holder in memory. It does not change once made and may be used by several goroutines.
type Ring struct{ keys map[string]*PrivateKey }

// NewRing makes a Ring of keys.
func NewRing(keys ...*PrivateKey) *Ring {
	r := &Ring{keys: make(map[string]*PrivateKey, len(keys))}
	for _, k := range keys {
		r.keys[k.KID()] = k
	}
	return r
}

// Get returns the key of kid: case and dashes of a kid do not matter (DATA §10).
func (r *Ring) Get(kid string) (*PrivateKey, bool) {
	k, ok := r.keys[kid]
	if !ok {
		k, ok = r.keys[udf.Canonical(kid)]
	}
	return k, ok
}

// All returns the keys in no order.
func (r *Ring) All() iter.Seq[*PrivateKey] { return maps.Values(r.keys) }

// Public implements Holder.
func (r *Ring) Public(kid string) (PublicKey, bool) {
	k, ok := r.Get(kid)
	if !ok {
		return PublicKey{}, false
	}
	return k.Public(), true
}

// Sign implements Holder.
func (r *Ring) Sign(kid string, message []byte) ([]byte, error) {
	k, ok := r.Get(kid)
	if !ok {
		return nil, ErrUnknown
	}
	return k.Sign(message)
}

// Agree implements Holder.
func (r *Ring) Agree(kid string, peer PublicKey) ([]byte, error) {
	k, ok := r.Get(kid)
	if !ok {
		return nil, ErrUnknown
	}
	return k.Agree(peer)
}
