package gateway

import (
	"hash/maphash"
	"sync"
	"time"
)

// recent is a bounded map of what was seen lately: two generations per shard, the older of which goes when the younger
// is life old or full. An entry is remembered for at least life unless more than size entries come in that time.
type recent[K comparable, V any] struct {
	life   time.Duration
	size   int // of one generation of one shard
	now    func() time.Time
	seed   maphash.Seed
	shards [recentShards]recentShard[K, V]
}

// recentShards keeps concurrent requests from waiting for each other; a power of two above the processors of a gateway.
const recentShards = 16

type recentShard[K comparable, V any] struct {
	mu         sync.Mutex
	young, old map[K]V
	born       time.Time // of young
}

func newRecent[K comparable, V any](size int, life time.Duration, now func() time.Time) *recent[K, V] {
	r := &recent[K, V]{life: life, size: max(1, size/recentShards), now: now, seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].young, r.shards[i].born = make(map[K]V), now()
	}
	return r
}

func (r *recent[K, V]) shard(k K) *recentShard[K, V] {
	return &r.shards[maphash.Comparable(r.seed, k)%recentShards]
}

// get returns what was added under k lately.
func (r *recent[K, V]) get(k K) (V, bool) {
	s := r.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.get(k)
}

func (s *recentShard[K, V]) get(k K) (V, bool) {
	v, ok := s.young[k]
	if !ok {
		v, ok = s.old[k]
	}
	return v, ok
}

// add remembers v and says whether k is new: of two that add the same key at once exactly one hears true, and what was
// there stays.
func (r *recent[K, V]) add(k K, v V) bool {
	s := r.shard(k)
	now := r.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if age := now.Sub(s.born); age >= r.life || len(s.young) >= r.size {
		s.old = s.young
		if age >= 2*r.life { // nothing came for so long that the young ones are old too
			s.old = nil
		}
		s.young, s.born = make(map[K]V), now
	}
	if _, ok := s.get(k); ok {
		return false
	}
	s.young[k] = v
	return true
}
