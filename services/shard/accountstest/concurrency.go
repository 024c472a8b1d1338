package accountstest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

// parallel runs f n times at once.
func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			f(i)
		})
	}
	close(start)
	wg.Wait()
}

var concurrencyCases = []testCase{
	{"concurrent/one creator wins", func(b *bench) {
		const n = 8
		var won, registered atomic.Int64
		parallel(n, func(i int) {
			u := b.stranger("alice")
			c := u.creation()
			c.ProfileUDF = fmt.Sprint("M", i)
			created, err := b.store.Create(b.ctx, c)
			switch {
			case err == nil && created.Created:
				won.Add(1)
			case mesh.KindOf(err) == mesh.AccountRegistered:
				registered.Add(1)
			default:
				b.Errorf("creator %d: %+v, %v", i, created, err)
			}
		})
		b.same("winners and losers", []int64{won.Load(), registered.Load()}, []int64{1, n - 1})
	}},
	{"concurrent/same creation once", func(b *bench) {
		u := b.stranger("alice")
		c := u.creation()
		var won atomic.Int64
		parallel(8, func(int) {
			own := c
			own.Caller = u.caller() // not the same request: the same wish
			created, err := b.store.Create(b.ctx, own)
			if err != nil {
				b.Error(err)
			} else if created.Created {
				won.Add(1)
			}
		})
		b.same("created", won.Load(), int64(1))
	}},
	{"concurrent/many creators of one partition", func(b *bench) {
		parallel(12, func(i int) {
			u := b.stranger(fmt.Sprint("u", i))
			u.partition = 9
			if _, err := b.store.Create(b.ctx, u.creation()); err != nil {
				b.Error(err)
			}
		})
		all, err := b.store.Partitions(b.ctx)
		b.ok(err)
		b.same("accounts", all[9].Accounts, int64(12))
	}},
	{"concurrent/creators and deleters of one partition", func(b *bench) {
		const n = 4
		users := make([]*user, 2*n)
		for i := range users {
			users[i] = b.stranger(fmt.Sprint("u", i))
			users[i].partition = 9
			if i < n {
				_, err := b.store.Create(b.ctx, users[i].creation())
				b.ok(err)
			}
		}
		parallel(3*n, func(i int) { // each of the first is deleted twice
			if i < 2*n {
				if err := users[i%n].delete(); err != nil {
					b.Error(err)
				}
			} else if _, err := b.store.Create(b.ctx, users[i-n].creation()); err != nil {
				b.Error(err)
			}
		})
		var seen []string
		for _, line := range b.accounts(9) {
			seen = append(seen, strings.Join(strings.Fields(line)[:2], " "))
		}
		var want []string
		for i, u := range users {
			want = append(want, "1 "+u.address)
			if i < n {
				want = append(want, "3 "+u.address)
			}
		}
		slices.Sort(seen)
		slices.Sort(want)
		b.same("mmms_Account", seen, want)
	}},
	{"concurrent/duplicate requests have one effect", func(b *bench) {
		u := b.user("alice")
		for round := range 5 {
			a := u.application(update(containerArchive, entry("same", "", "", shard.NoEvent)))
			parallel(6, func(int) {
				got, err := b.store.Apply(b.ctx, a)
				if err != nil || len(got) != 1 || got[0] != accept(int64(round+1)) {
					b.Errorf("round %d: %+v, %v", round, got, err)
				}
			})
		}
		b.same("frames", u.all(containerArchive).Frames, int64(6))
	}},
	{"concurrent/one writer at a state wins", func(b *bench) {
		u := b.user("alice")
		u.apply("made", results(accept(1)), update(containerBookmark, item("a", shard.New)))
		var won atomic.Int64
		parallel(8, func(i int) {
			got, err := b.store.Apply(b.ctx, u.application(at(2, nil, update(containerBookmark, item(fmt.Sprint(i), shard.New)))))
			if err != nil {
				b.Error(err)
			} else if got[0].Outcome == shard.Accept {
				won.Add(1)
			}
		})
		b.same("winners", won.Load(), int64(1))
	}},
	{"concurrent/appends in opposite orders", func(b *bench) {
		// Two containers from both ends, both absent at first: no deadlock, no lost frame, one chain each.
		u := b.user("alice")
		const writers, rounds = 6, 10
		parallel(writers, func(i int) {
			for r := range rounds {
				x, y := update("mmm_Network", item(fmt.Sprint(i, r), shard.New)), update("mmm_Calendar", item(fmt.Sprint(i, r), shard.New))
				if i%2 == 0 {
					x, y = y, x
				}
				a := u.application(x, y)
				a.Self = []shard.Entry{message(fmt.Sprint(i, r))}
				if _, err := b.store.Apply(b.ctx, a); err != nil {
					b.Error(err)
				}
			}
		})
		for _, c := range []string{"mmm_Network", "mmm_Calendar", containerInbound} {
			all := u.all(c)
			b.same(c, all.Frames, int64(writers*rounds+1))
			b.checkTree(all)
		}
	}},
	{"concurrent/snapshots", func(b *bench) {
		// Every application appends to both containers: a reader never sees one without the other, nor a digest of another state.
		u := b.user("alice")
		u.apply("made", results(accept(1), accept(1)), update("mmm_Network", item("x", shard.New)), update("mmm_Calendar", item("x", shard.New)))
		var done atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() {
			defer done.Store(true)
			for i := range 60 {
				a := u.application(update("mmm_Network", item(fmt.Sprint(i), shard.New)), update("mmm_Calendar", item(fmt.Sprint(i), shard.New)))
				if _, err := b.store.Apply(b.ctx, a); err != nil {
					b.Error(err)
				}
			}
		})
		for range 2 {
			wg.Go(func() {
				for !done.Load() {
					got, err := b.store.Read(b.ctx, u.query(shard.Selection{Container: "mmm_Network"}, shard.Selection{Container: "mmm_Calendar"}))
					if err != nil {
						b.Error(err)
						return
					}
					st, err := b.store.Status(b.ctx, u.statusQuery())
					if err != nil {
						b.Error(err)
						return
					}
					for _, s := range got {
						last := s.Entries[len(s.Entries)-1]
						if int64(len(s.Entries)) != s.Frames || s.Frames != got[0].Frames || string(last.TreeDigest) != string(s.Digest) {
							b.Errorf("%s: %d frames of %d, the other has %d", s.Container, len(s.Entries), s.Frames, got[0].Frames)
						}
					}
					if st.Containers[0].Container != "mmm_Calendar" || st.Containers[0].Frames != st.Containers[4].Frames {
						b.Errorf("status: %v", st.Containers)
					}
				}
			})
		}
		wg.Wait()
	}},
	{"concurrent/removal and writing", func(b *bench) {
		// What the device wrote and was told of lies before its removal; after that it writes nothing.
		u := b.user("alice")
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights)))
		var accepted atomic.Int64
		var out atomic.Bool
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				for n := 0; ; n++ {
					removed := out.Load()
					_, err := b.store.Apply(b.ctx, u.as("k2").application(update(containerBookmark, item(fmt.Sprint(i, n), shard.New))))
					switch {
					case mesh.KindOf(err) == mesh.NotAuthorized && err != nil:
						return
					case err != nil:
						b.Error(err)
						return
					case removed:
						b.Error("wrote after its removal was answered")
						return
					}
					accepted.Add(1)
				}
			})
		}
		time.Sleep(30 * time.Millisecond)
		u.apply("removed", results(accept(3)), update(containerDevice, u.deviceEntry(shard.Delete, "d2", "", 0)))
		out.Store(true)
		wg.Wait()
		if all := u.all(containerBookmark); all.Present {
			b.same("frames", all.Frames, accepted.Load()+1)
		}
	}},
	{"concurrent/freeze", func(b *bench) {
		// The fence: when SetPartitions has returned nothing more is stored.
		u := b.user("alice")
		var accepted atomic.Int64
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := 0; ; n++ {
					_, err := b.store.Apply(b.ctx, u.application(update(containerArchive, message(fmt.Sprint(i, n)))))
					if err != nil {
						if mesh.KindOf(err) != mesh.Overloaded {
							b.Error(err)
						}
						return
					}
					accepted.Add(1)
				}
			})
		}
		time.Sleep(50 * time.Millisecond)
		b.ok(b.store.SetPartitions(b.ctx, u.partition, u.partition, shard.PartitionFrozen, 2))
		frozen := u.all(containerArchive).Frames
		wg.Wait()
		b.same("frames since the freeze", u.all(containerArchive).Frames, frozen)
		b.same("answered", accepted.Load()+1, frozen)
	}},
	{"concurrent/cancelled", func(b *bench) {
		u := b.user("alice")
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := range 15 {
					ctx, cancel := contextFor(b, time.Duration(n*n)*40*time.Microsecond)
					_, err := b.store.Apply(ctx, u.application(update(containerArchive, message(fmt.Sprint(i, n)))))
					cancel()
					if err != nil && mesh.KindOf(err) != mesh.Overloaded {
						b.Errorf("out of time: %v", err)
					}
				}
			})
		}
		wg.Wait()
		// A request that was given up may still be on its way: the index of the next one is not known.
		got, err := b.store.Apply(b.ctx, u.application(update(containerArchive, message("last"))))
		b.ok(err)
		b.same("the store is well", got[0].Outcome, shard.Accept)
		b.checkTree(u.all(containerArchive))
	}},
}

func contextFor(b *bench, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(b.ctx, d)
}
