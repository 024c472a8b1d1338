package gateway

import (
	"hash/maphash"
	"sync"
	"time"
)

// recent is a bounded set of keys seen lately: two generations per shard, the older of which goes when the younger is
// life old or full. A key is remembered for at least life unless more than size keys come in that time.
type recent[K comparable] struct {
	life   time.Duration
	size   int // of one generation of one shard
	now    func() time.Time
	seed   maphash.Seed
	shards [recentShards]recentShard[K]
}

const recentShards = 16

type recentShard[K comparable] struct {
	mu         sync.Mutex
	young, old map[K]struct{}
	born       time.Time // of young
}

func newRecent[K comparable](size int, life time.Duration, now func() time.Time) *recent[K] {
	r := &recent[K]{life: life, size: max(1, size/recentShards), now: now, seed: maphash.MakeSeed()}
	for i := range r.shards {
		r.shards[i].young, r.shards[i].born = make(map[K]struct{}), now()
	}
	return r
}

func (r *recent[K]) shard(k K) *recentShard[K] {
	return &r.shards[maphash.Comparable(r.seed, k)%recentShards]
}

// has says whether k was added lately.
func (r *recent[K]) has(k K) bool {
	s := r.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.has(k)
}

func (s *recentShard[K]) has(k K) bool {
	if _, ok := s.young[k]; ok {
		return true
	}
	_, ok := s.old[k]
	return ok
}

// add remembers k and says whether it is new: of two that add the same key at once exactly one hears true.
func (r *recent[K]) add(k K) bool {
	s := r.shard(k)
	now := r.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.has(k) {
		return false
	}
	if age := now.Sub(s.born); age >= r.life || len(s.young) >= r.size {
		s.old = s.young
		if age >= 2*r.life { // nothing came for so long that the young ones are old too
			s.old = nil
		}
		s.young, s.born = make(map[K]struct{}), now
	}
	s.young[k] = struct{}{}
	return true
}
