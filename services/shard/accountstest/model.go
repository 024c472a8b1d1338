package accountstest

import (
	"fmt"
	"slices"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mathmesh/meshd/services/shard"
	"pgregory.net/rapid"
)

// model is the contract of Apply for one account, as plainly as it can be written: containers are slices of entries.
type model struct {
	containers map[string][]shard.Entry // frame 0 included
}

func (m *model) clone() *model {
	c := &model{containers: map[string][]shard.Entry{}}
	for name, entries := range m.containers {
		c.containers[name] = slices.Clone(entries)
	}
	return c
}

func spool(name string) bool { return name == containerArchive || name == containerInbound }

func serviceZero() shard.Entry { return entry("", "", "", shard.NoEvent) }

// digest is the tree digest of a container.
func (m *model) digest(name string) []byte {
	var payloads [][]byte
	for _, e := range m.containers[name] {
		payloads = append(payloads, e.PayloadDigest)
	}
	if len(payloads) == 0 {
		return nil
	}
	return treeDigests(payloads)[len(payloads)-1]
}

// store does one update; false: in conflict, and m is spoilt.
func (m *model) store(u shard.ContainerUpdate) ([]shard.Result, bool) {
	frames := m.containers[u.Container]
	if u.Index != nil && *u.Index != int64(len(frames)) || len(u.Digest) > 0 && string(u.Digest) != string(m.digest(u.Container)) {
		return nil, false
	}
	var fates []shard.Result
	for i, e := range u.Entries {
		isZero := i == 0 && e.Index != nil && *e.Index == 0
		switch {
		case isZero && len(frames) == 0:
		case isZero && string(e.Header) == string(frames[0].Header) && string(e.PayloadDigest) == string(frames[0].PayloadDigest):
			fates = append(fates, accept(0))
			continue
		case isZero:
			return nil, false
		case len(frames) == 0:
			z := serviceZero()
			z.Header = []byte(shard.FrameZero)
			frames = append(frames, z)
		}
		at := -1
		alive := false
		for n, f := range frames {
			if spool(u.Container) && e.EnvelopeID != "" && f.EnvelopeID == e.EnvelopeID && string(f.PayloadDigest) == string(e.PayloadDigest) && at < 0 {
				at = n
			}
			if n > 0 && f.UniqueID == e.UniqueID {
				alive = f.Event != shard.Delete
			}
		}
		if !spool(u.Container) && !isZero && (e.Event == shard.New && alive || e.Event == shard.Delete && !alive) {
			return nil, false
		}
		if at < 0 {
			at = len(frames)
			frames = append(frames, e)
		}
		fates = append(fates, accept(int64(at)))
	}
	if len(u.Entries) > 0 {
		m.containers[u.Container] = frames
	}
	return fates, true
}

// apply is the whole request.
func (m *model) apply(a shard.Application) []shard.Result {
	atomic, conditional := false, 0
	all := slices.Clone(a.Updates)
	var first []int // of an update's entries in the results
	var fates []shard.Result
	faults := false
	for _, u := range a.Updates {
		first = append(first, len(fates))
		for _, e := range u.Entries {
			fates = append(fates, shard.Result{Outcome: shard.Conflict})
			if e.Reject != 0 {
				fates[len(fates)-1], faults = reject(e.Reject), true
			}
		}
		if u.Index != nil {
			conditional++
		}
	}
	for _, e := range a.Self {
		first = append(first, len(fates))
		all = append(all, update(containerInbound, e))
		fates = append(fates, shard.Result{Outcome: shard.Conflict})
		if e.Reject != 0 {
			fates[len(fates)-1], faults = reject(e.Reject), true
		}
	}
	atomic = conditional > 1
	if a.Atomic != nil {
		atomic = *a.Atomic
	}
	if atomic && faults {
		return fates
	}
	order := make([]int, len(all))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(x, y int) int {
		switch xs, ys := x >= len(a.Updates), y >= len(a.Updates); {
		case xs != ys && xs:
			return 1
		case xs != ys:
			return -1
		case all[x].Container < all[y].Container:
			return -1
		case all[x].Container > all[y].Container:
			return 1
		}
		return 0
	})
	refused := slices.Clone(fates)
	next := m.clone()
	for _, i := range order {
		if slices.ContainsFunc(all[i].Entries, func(e shard.Entry) bool { return e.Reject != 0 }) {
			continue
		}
		try := next.clone()
		done, ok := try.store(all[i])
		if !ok && atomic {
			return refused
		}
		if ok {
			next = try
			copy(fates[first[i]:], done)
		}
	}
	*m = *next
	return fates
}

var modelCases = []testCase{
	{"model/random uploads", func(b *bench) {
		account := 0
		rapid.Check(b.T, func(t *rapid.T) {
			account++
			u := b.user(fmt.Sprint("u", account))
			m := &model{containers: map[string][]shard.Entry{containerInbound: {serviceZero()}}}
			m.containers[containerInbound][0].Header = []byte(shard.FrameZero)
			n := 0
			draw := func(name string) shard.Entry {
				n++
				id := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "id")
				e := entry(fmt.Sprint(id, n), id, id, shard.Event(rapid.IntRange(1, 3).Draw(t, "event")))
				if spool(name) {
					e = message(rapid.SampledFrom([]string{"m", "n", "o", "p"}).Draw(t, "message"))
				}
				if rapid.IntRange(0, 11).Draw(t, "fault") == 0 {
					e.Reject = 12
				}
				return e
			}
			for range rapid.IntRange(1, 8).Draw(t, "requests") {
				a := u.application()
				for range rapid.IntRange(0, 3).Draw(t, "updates") {
					up := update(rapid.SampledFrom([]string{containerBookmark, "mmm_Calendar", containerArchive}).Draw(t, "container"))
					if rapid.IntRange(0, 7).Draw(t, "zero") == 0 {
						up.Entries = append(up.Entries, zero(rapid.SampledFrom([]string{"z", "y"}).Draw(t, "payload")))
					}
					for range rapid.IntRange(0, 4).Draw(t, "entries") {
						up.Entries = append(up.Entries, draw(up.Container))
					}
					if rapid.IntRange(0, 2).Draw(t, "conditional") == 0 {
						up.Index = ptr(int64(len(m.containers[up.Container])) + int64(rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(t, "off")))
						up.Digest = m.digest(up.Container)
					}
					a.Updates = append(a.Updates, up)
				}
				for range rapid.IntRange(0, 2).Draw(t, "self") {
					a.Self = append(a.Self, draw(containerInbound))
				}
				a.Atomic = rapid.SampledFrom([]*bool{nil, nil, ptr(true), ptr(false)}).Draw(t, "atomic")
				got, err := b.store.Apply(b.ctx, a)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(m.apply(a), got, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("results (-model +store):\n%s", diff)
				}
			}
			for _, name := range []string{containerBookmark, "mmm_Calendar", containerArchive, containerInbound} {
				all := u.all(name)
				var want, have []string
				for _, e := range m.containers[name] {
					want = append(want, string(e.Header)+string(e.Payload))
				}
				for _, f := range all.Entries {
					have = append(have, string(f.Header)+string(f.Payload))
				}
				if diff := cmp.Diff(want, have, cmpopts.EquateEmpty()); diff != "" {
					t.Fatalf("%s (-model +store):\n%s", name, diff)
				}
				if string(all.Digest) != string(m.digest(name)) {
					t.Fatalf("%s: digest differs", name)
				}
			}
		})
	}},
}
