package shard

import (
	"container/list"
	"context"
	"sync"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/keys"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/pkg/udf"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

const (
	// maxSignatures of one entry: a device signs, an administrator may sign beside it. More would only buy verifications
	// of 154 µs each with one header.
	maxSignatures = 4
	// signerCacheSize: about 200 octets each; the devices of some thousand accounts that write at the moment.
	signerCacheSize = 8192
)

// checkSignatures returns the extended code of the fault of an entry's signatures, 0 when there is none: a signature by a
// key of the account's devices must be valid. A key that nobody here knows is left to the readers: it may belong to
// another client's way of signing (D-57).
func (s *Server) checkSignatures(ctx context.Context, a *account, e *shardpb.Entry) (code uint16, err error) {
	list, err := (&dare.Envelope{Header: e.GetHeader(), Trailer: e.GetTrailer()}).Signatures()
	if err != nil || len(list) > maxSignatures {
		return codeMessageInvalid, nil
	}
	for i := range list {
		list[i].KID = udf.Canonical(list[i].KID) // one key, however it is spelt
		key, ok, err := s.signer(ctx, a, &list[i])
		if err != nil {
			return 0, err
		}
		if ok && key.Verify(e.GetPayloadDigest(), list[i].Signature) != nil {
			return codeMessageInvalid, nil
		}
	}
	return 0, nil
}

// signer finds the key of a signature: known to this process, known to the store, or shown with the signature.
func (s *Server) signer(ctx context.Context, a *account, sig *dare.Signature) (keys.PublicKey, bool, error) {
	if key, ok := s.signers.get(a.address, sig.KID); ok {
		return key, true, nil
	}
	var known *SignerKey
	if !a.strangers[sig.KID] {
		var err error
		if known, err = s.store.Signer(ctx, a.partition, a.address, sig.KID); err != nil {
			return keys.PublicKey{}, false, err
		}
	}
	if known != nil {
		key, err := keys.NewPublicKey(keys.Curve(known.Curve), known.Key)
		if err != nil {
			return keys.PublicKey{}, false, mesh.E("shard.signer", mesh.Internal, err)
		}
		s.signers.put(a.address, sig.KID, key)
		return key, true, nil
	}
	if a.strangers == nil {
		a.strangers = make(map[string]bool)
	}
	a.strangers[sig.KID] = true
	if len(sig.Credential) == 0 {
		return keys.PublicKey{}, false, nil
	}
	profile, err := a.profileAccount(ctx)
	if err != nil {
		return keys.PublicKey{}, false, err
	}
	connection, err := mesh.VerifyConnectionAccount(sig.Credential[0], profile)
	if err != nil || !dare.SameKID(connection.KeySignature.KID(), sig.KID) {
		return keys.PublicKey{}, false, nil
	}
	key := *connection.KeySignature.PublicParameters
	s.signers.put(a.address, sig.KID, key)
	return key, true, nil
}

// signerCache holds keys by (account, kid), the least recently used goes. A kid is the hash of its key, so an entry never
// becomes wrong; that a device was removed is asked of the store at every request, not here.
type signerCache struct {
	mu    sync.Mutex
	size  int
	order *list.List // of *cachedSigner, the last used in front
	byKey map[signerKey]*list.Element
}

type signerKey struct{ address, kid string }

type cachedSigner struct {
	signerKey
	public keys.PublicKey
}

func newSignerCache(size int) *signerCache {
	return &signerCache{size: size, order: list.New(), byKey: make(map[signerKey]*list.Element)}
}

func (c *signerCache) get(address, kid string) (keys.PublicKey, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, ok := c.byKey[signerKey{address, kid}]
	if !ok {
		return keys.PublicKey{}, false
	}
	c.order.MoveToFront(element)
	return element.Value.(*cachedSigner).public, true
}

func (c *signerCache) put(address, kid string, public keys.PublicKey) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := signerKey{address, kid}
	if _, ok := c.byKey[key]; ok {
		return
	}
	c.byKey[key] = c.order.PushFront(&cachedSigner{key, public})
	if c.order.Len() > c.size {
		oldest := c.order.Remove(c.order.Back()).(*cachedSigner)
		delete(c.byKey, oldest.signerKey)
	}
}
