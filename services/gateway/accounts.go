package gateway

import (
	"crypto/sha256"
	"sync"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// account is what a gateway needs of a stored account to check a credential.
type account struct {
	state    shardpb.AccountState
	epoch    uint64
	profile  mesh.ProfileAccount
	mesh     mesh.ProfileMesh
	signed   *dare.Envelope // of profile
	redirect string
	digest   [sha256.Size]byte // of both profiles
	fetched  time.Time
}

func readAccount(r *shardpb.ResolveResponse) (*account, error) {
	a := &account{state: r.GetState(), epoch: r.GetEpoch(), redirect: r.GetRedirect()}
	h := sha256.New()
	h.Write(r.GetProfileAccount())
	h.Write(r.GetProfileMesh())
	h.Sum(a.digest[:0])
	var err error
	if a.signed, err = readProfile(r.GetProfileAccount(), &a.profile); err != nil {
		return nil, err
	}
	_, err = readProfile(r.GetProfileMesh(), &a.mesh)
	return a, err
}

// readProfile reads a profile that was verified before it was stored, and returns its envelope.
func readProfile(text []byte, v any) (*dare.Envelope, error) {
	e, err := dare.Parse(text)
	if err != nil {
		return nil, err
	}
	_, body, err := jbcd.Tagged(e.Payload)
	if err != nil {
		return nil, err
	}
	return e, jbcd.Unmarshal(body, v)
}

// provenUDF is the profile's UDF when its own key has signed it, else empty: a profile that only its mesh signed
// (D-12 b) can have anybody's public key for its own, and is known by its address alone.
func provenUDF(p *mesh.ProfileAccount, signed *dare.Envelope) string {
	if signed.Verify(*p.KeyOfflineSignature.PublicParameters) != nil {
		return ""
	}
	return p.UDF()
}

// accountLife is how long an account is remembered. It matters only when its profile was replaced through another
// gateway, and then in one direction: who was connected before shows a connection that no longer counts, and the shard,
// which is asked about the device every time, refuses. A connection that does not check is looked up anew.
const accountLife = 5 * time.Second

// accountCache remembers accounts between the exchanges of their devices: parsing two profiles and asking the shard cost
// more than the rest of the check.
type accountCache struct {
	max int
	now func() time.Time

	mu sync.Mutex
	m  map[string]*account
}

func newAccountCache(size int, now func() time.Time) *accountCache {
	return &accountCache{max: size, now: now, m: make(map[string]*account)}
}

func (c *accountCache) get(address string) *account {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.m[address]
	if a == nil || c.now().Sub(a.fetched) > accountLife {
		return nil
	}
	return a
}

func (c *accountCache) put(address string, a *account) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= c.max {
		for k, old := range c.m {
			if c.now().Sub(old.fetched) > accountLife {
				delete(c.m, k)
			}
		}
		if len(c.m) >= c.max {
			clear(c.m)
		}
	}
	c.m[address] = a
}

func (c *accountCache) forget(address string) {
	c.mu.Lock()
	delete(c.m, address)
	c.mu.Unlock()
}
