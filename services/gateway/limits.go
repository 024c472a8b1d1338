package gateway

import (
	"hash/maphash"
	"math"
	"sync"
	"time"
)

// Limits bound what one gateway takes on. Zero values mean the defaults.
type Limits struct {
	// Exchanges per second and at once, of one network address: a public-key operation costs about a millisecond of
	// our time and nothing of the sender's (AUTH §4).
	ExchangeRate  float64
	ExchangeBurst float64

	// Creations per hour and at once, of one network address.
	CreateRate  float64
	CreateBurst float64

	// Messages per second and at once of one other service, and of one network address of services, each counted for each recipient.
	ForwardRate  float64
	ForwardBurst float64

	// Forwards is how many Posts of one other service may be under way.
	Forwards int

	// Bodies is how many octets of request bodies may be in memory at the same time.
	Bodies int64
}

// The defaults. 10 and 50 are those of AUTH §4. Creations: an office behind one address opens a few accounts an hour,
// a script thousands. Forwarded messages: a provider of a million accounts sends us some tens a second; each costs the
// inbound worker some milliseconds, and 64 Posts that wait for three seconds each let 32 of them through. 128 MiB of bodies: 16 of the largest at once, thousands of the usual kind; decoding takes nearly as
// much again and the collector lets that double, so half a GiB is what a flood of them costs.
const (
	defaultExchangeRate  = 10
	defaultExchangeBurst = 50
	defaultCreateRate    = 20.0 / 3600
	defaultCreateBurst   = 20
	defaultForwardRate   = 200
	defaultForwardBurst  = 1000
	defaultForwards      = 64
	defaultBodies        = 128 << 20
)

func (l Limits) withDefaults() Limits {
	set := func(v *float64, d float64) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.ExchangeRate, defaultExchangeRate)
	set(&l.ExchangeBurst, defaultExchangeBurst)
	set(&l.CreateRate, defaultCreateRate)
	set(&l.CreateBurst, defaultCreateBurst)
	set(&l.ForwardRate, defaultForwardRate)
	set(&l.ForwardBurst, defaultForwardBurst)
	if l.Forwards <= 0 {
		l.Forwards = defaultForwards
	}
	if l.Bodies <= 0 {
		l.Bodies = defaultBodies
	}
	return l
}

// buckets is a token bucket per key, in shards so that addresses do not wait for each other. A bucket that is full
// again is forgotten; when a shard holds more than maxBuckets the fullest half goes, which errs in the sender's favour.
type buckets struct {
	rate, burst float64
	now         func() time.Time
	seed        maphash.Seed
	shards      [bucketShards]bucketShard
}

const (
	bucketShards = 16
	maxBuckets   = 8192 // per shard: 131,072 addresses, about 10 MiB
)

type bucketShard struct {
	mu sync.Mutex
	m  map[string]bucket
}

// bucket holds the time when it will be full: one number instead of level and time.
type bucket struct{ full time.Time }

func newBuckets(rate, burst float64, now func() time.Time) *buckets {
	b := &buckets{rate: rate, burst: burst, now: now, seed: maphash.MakeSeed()}
	for i := range b.shards {
		b.shards[i].m = make(map[string]bucket)
	}
	return b
}

// take takes one token of key's bucket. When there is none it says how long until there will be.
func (b *buckets) take(key string) (wait time.Duration, ok bool) { return b.takeN(key, 1) }

// takeN takes n tokens, all or none; more than burst are never there.
func (b *buckets) takeN(key string, n int) (wait time.Duration, ok bool) {
	now := b.now()
	one := time.Duration(float64(time.Second) / b.rate)
	window := time.Duration(math.Min(float64(one)*b.burst, math.MaxInt64/2))
	s := &b.shards[maphash.String(b.seed, key)%bucketShards]
	s.mu.Lock()
	defer s.mu.Unlock()
	full := s.m[key].full
	if full.Before(now) {
		full = now
	}
	full = full.Add(one * time.Duration(n))
	if over := full.Sub(now) - window; over > 0 {
		return over, false
	}
	if _, known := s.m[key]; !known && len(s.m) >= maxBuckets {
		s.forget(now, window)
	}
	s.m[key] = bucket{full}
	return 0, true
}

// forget drops buckets that are full, then, if that was not enough, those that are more than half full.
func (s *bucketShard) forget(now time.Time, window time.Duration) {
	for _, limit := range []time.Time{now, now.Add(window / 2)} {
		for k, v := range s.m {
			if !v.full.After(limit) {
				delete(s.m, k)
			}
		}
		if len(s.m) < maxBuckets/2 {
			return
		}
	}
	clear(s.m)
}
