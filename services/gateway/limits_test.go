package gateway

import (
	"fmt"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBuckets(2, 3, func() time.Time { return now })
	for i := range 3 {
		if _, ok := b.take("a"); !ok {
			t.Fatalf("token %d of a burst of 3", i)
		}
	}
	wait, ok := b.take("a")
	if ok || wait != 500*time.Millisecond {
		t.Errorf("fourth token: %s, %t; want half a second", wait, ok)
	}
	if _, ok := b.take("b"); !ok {
		t.Error("another key has to wait")
	}
	now = now.Add(wait)
	if _, ok := b.take("a"); !ok {
		t.Error("no token after the wait")
	}
	if _, ok := b.take("a"); ok {
		t.Error("two tokens after the wait for one")
	}
	if wait, ok := b.takeN("c", 3); !ok || wait != 0 {
		t.Errorf("all of a bucket at once: %s, %t", wait, ok)
	}
	if wait, ok := b.takeN("c", 2); ok || wait != time.Second {
		t.Errorf("two of none: %s, %t; want a second", wait, ok)
	}
	now = now.Add(500 * time.Millisecond)
	if _, ok := b.take("c"); !ok {
		t.Error("what was refused has taken tokens")
	}
}

func TestBucketsForget(t *testing.T) {
	now := time.Unix(1000, 0)
	b := newBuckets(1, 1, func() time.Time { return now })
	for i := range 2 * bucketShards * maxBuckets {
		b.take(fmt.Sprint(i))
	}
	for i := range b.shards {
		if n := len(b.shards[i].m); n > maxBuckets {
			t.Errorf("%d buckets in a shard, want at most %d", n, maxBuckets)
		}
	}
}

func TestRecent(t *testing.T) {
	now := time.Unix(1000, 0)
	r := newRecent[int, struct{}](160, time.Minute, func() time.Time { return now })
	if !r.add(1, struct{}{}) || r.add(1, struct{}{}) {
		t.Error("the second of two equal keys is not told from the first")
	}
	now = now.Add(time.Minute)
	if _, ok := r.get(1); !ok {
		t.Error("forgotten within its life")
	}
	if r.add(1, struct{}{}) {
		t.Error("new again within its life")
	}
	for i := range 10_000 {
		r.add(i+10, struct{}{})
	}
	n := 0
	for i := range r.shards {
		n += len(r.shards[i].young) + len(r.shards[i].old)
	}
	if n > 2*160 {
		t.Errorf("%d entries, want at most twice 160", n)
	}
	now = now.Add(time.Hour)
	for i := range 100 {
		r.add(-i-1, struct{}{})
	}
	if _, ok := r.get(9999); ok {
		t.Error("remembered for an hour")
	}
}
