package accountstest

import (
	"fmt"
	"slices"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

// settle wants a number of settlements to take effect.
func (u *user) settle(want int, list ...shard.Settlement) {
	u.b.Helper()
	n, err := u.b.store.Settle(u.b.ctx, u.partition, u.address, list)
	u.b.ok(err)
	u.b.same("settled", n, want)
}

// claim returns the rows that are due.
func (b *bench) claim(limit int, lease time.Duration) []shard.OutboxRow {
	b.Helper()
	rows, err := b.store.Claim(b.ctx, limit, lease)
	b.ok(err)
	return rows
}

// claimed wants rows to be claimed, in any order.
func (b *bench) claimed(what string, lease time.Duration, want ...shard.OutboxID) {
	b.Helper()
	b.same(what, sorted(rowIDs(b.claim(1000, lease))), sorted(want))
}

func rowIDs(rows []shard.OutboxRow) []shard.OutboxID {
	var all []shard.OutboxID
	for _, r := range rows {
		all = append(all, r.ID)
	}
	return all
}

func sorted(all []shard.OutboxID) []shard.OutboxID {
	all = slices.Clone(all)
	slices.SortFunc(all, func(x, y shard.OutboxID) int { return slices.Compare(x[:], y[:]) })
	return all
}

// ago is a time of the past in whole seconds.
func ago(d time.Duration) time.Time { return time.Now().Add(-d).Truncate(time.Second).UTC() }

func retry(id shard.OutboxID, at time.Time) shard.Settlement {
	return shard.Settlement{ID: id, State: shard.Due, NextAttempt: at}
}

var accepted = shard.Verdict{Accepted: true, Rule: "contact", Policy: "p1"}

// outcome is a settlement for good, with what the sender is told.
func outcome(id shard.OutboxID, state shard.OutboxState, name string) shard.Settlement {
	s := shard.Settlement{ID: id, State: state, Verdict: accepted, Event: ptr(message("event " + name))}
	if state == shard.Failed {
		s.Verdict = shard.Verdict{Code: 17, Rule: "block", Policy: "p1"}
		s.Failure = ptr(message("failure " + name))
	}
	return s
}

const longLease = time.Hour

var outboxCases = []testCase{
	{"claim/the whole row", func(b *bench) {
		u := b.user("alice")
		row := u.sent("m", 1, carol)
		u.settle(1, retry(row[0], ago(time.Hour)))
		before := u.outbox("m")
		got := b.claim(10, longLease)
		if len(got) != 1 {
			b.Fatalf("%d rows", len(got))
		}
		if left := time.Until(got[0].NextAttempt); left < longLease-time.Minute || left > longLease+time.Second {
			b.Errorf("due again in %v", left)
		}
		before[0].State, before[0].NextAttempt = shard.Published, got[0].NextAttempt
		b.same("row", got, before)
		b.same("in the database too", u.outbox("m"), before)
	}},
	{"claim/order and limit", func(b *bench) {
		alice, zoe := b.user("alice"), b.user("zoe")
		a, z := alice.sent("m", 1, bob, carol), zoe.sent("m", 1, bob)
		fresh := zoe.sent("n", 2, dave)
		alice.settle(2, retry(a[0], ago(3*time.Hour)), retry(a[1], ago(time.Hour)))
		zoe.settle(1, retry(z[0], ago(2*time.Hour)))
		b.same("no room", len(b.claim(0, longLease)), 0)
		b.same("due the longest", rowIDs(b.claim(2, longLease)), []shard.OutboxID{a[0], z[0]})
		b.same("the next", rowIDs(b.claim(10, longLease)), []shard.OutboxID{a[1], fresh[0]})
		b.same("nothing left", len(b.claim(10, longLease)), 0)
	}},
	{"backlog", func(b *bench) {
		backlog := func(want int64) (oldest time.Time) {
			b.Helper()
			n, oldest, err := b.store.Backlog(b.ctx)
			b.ok(err)
			b.same("rows", n, want)
			b.same("none is the oldest of none", oldest.IsZero(), want == 0)
			return oldest
		}
		backlog(0)
		u := b.user("alice")
		rows := u.sent("m", 1, bob, carol, dave)
		b.same("oldest", backlog(3), u.outbox("m")[0].Created)
		b.claimed("published rows count", longLease, rows...)
		u.settle(2, retry(rows[0], time.Now().Add(time.Hour)), outcome(rows[1], shard.Failed, "c"))
		backlog(2)
		u.settle(2, outcome(rows[0], shard.Delivered, "b"), outcome(rows[2], shard.Delivered, "d"))
		backlog(0)
	}},
	{"claim/not before its time", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob, carol)
		u.settle(1, retry(rows[0], time.Now().Add(time.Hour)))
		b.claimed("the other", longLease, rows[1])
		u.settle(1, retry(rows[1], ago(time.Second)))
		b.claimed("tried again", longLease, rows[1])
	}},
	{"claim/the lease ends", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob, carol, dave)
		const lease = 2 * time.Second
		start := time.Now()
		b.claimed("first", lease, rows...)
		u.settle(1, outcome(rows[0], shard.Delivered, "b"))
		u.settle(1, retry(rows[2], ago(-time.Hour)))
		b.claimed("held", longLease)
		var again []shard.OutboxRow
		for len(again) == 0 && time.Since(start) < 20*time.Second {
			time.Sleep(50 * time.Millisecond)
			again = b.claim(10, longLease)
		}
		if held := time.Since(start); held < lease {
			b.Errorf("held for %v", held)
		}
		b.same("unless settled", rowIDs(again), []shard.OutboxID{rows[1]})
		b.same("a lease is no attempt", again[0].Attempts, 0)
		b.claimed("held again", longLease)
	}},
	{"claim/settled rows stay", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob, carol, dave)
		u.settle(2, outcome(rows[0], shard.Delivered, "b"), outcome(rows[1], shard.Failed, "c"))
		b.claimed("the open one", longLease, rows[2])
	}},
	{"claim/partitions that are not open", func(b *bench) {
		alice, zoe := b.user("alice"), b.user("zoe")
		a, z := alice.sent("m", 1, bob), zoe.sent("m", 1, bob)
		for _, state := range []shard.PartitionState{shard.PartitionFrozen, shard.PartitionMoved} {
			b.ok(b.store.SetPartitions(b.ctx, alice.partition, alice.partition, state, 2))
			b.claimed("of the open one", longLease, z...)
			zoe.settle(1, retry(z[0], ago(time.Second)))
		}
		b.ok(b.store.SetPartitions(b.ctx, alice.partition, alice.partition, shard.PartitionOpen, 2))
		b.claimed("both", longLease, a[0], z[0])
	}},
	{"claim/of a deleted account", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob)
		b.ok(u.delete())
		b.claimed("is on its way", longLease, rows...)
	}},
	{"settle/once C-146", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob, carol)
		b.claimed("claimed or not", longLease, rows...)
		failed, delivered := outcome(rows[0], shard.Failed, "b"), outcome(rows[1], shard.Delivered, "c")
		u.settle(2, failed, delivered)
		for range 2 {
			u.settle(0, failed, delivered)
			other := outcome(rows[0], shard.Delivered, "of another mind")
			u.settle(0, other, retry(rows[1], ago(time.Hour)))
		}
		u.frames(containerOutbound, "message m", "message event b", "message event c")
		u.frames(containerInbound, "message failure b")
		got := u.outbox("m")
		b.same("states", []shard.OutboxState{got[0].State, got[1].State}, []shard.OutboxState{shard.Failed, shard.Delivered})
		b.same("verdicts", []shard.Verdict{got[0].Verdict, got[1].Verdict}, []shard.Verdict{failed.Verdict, delivered.Verdict})
		for _, row := range got {
			b.now("time of the verdict", row.VerdictAt)
			b.same("attempts", row.Attempts, 0)
		}
		b.checkTree(u.all(containerOutbound))
		b.checkTree(u.all(containerInbound))
	}},
	{"settle/twice in one list", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob, carol)
		u.settle(3, retry(rows[1], ago(time.Hour)), outcome(rows[0], shard.Delivered, "first"), outcome(rows[0], shard.Failed, "second"), outcome(rows[1], shard.Failed, "c"))
		u.frames(containerOutbound, "message m", "message event first", "message event c")
		u.frames(containerInbound, "message failure c")
		b.same("attempts", u.outbox("m")[1].Attempts, 1)
	}},
	{"settle/an outcome that tells nobody", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob)
		u.settle(0)
		u.settle(1, shard.Settlement{ID: rows[0], State: shard.Delivered, Verdict: accepted})
		u.frames(containerOutbound, "message m")
		u.frames(containerInbound)
	}},
	{"settle/to be tried again", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob)
		at := ago(time.Hour)
		for n := 1; n <= 3; n++ {
			b.claimed("claimed", longLease, rows...)
			s := retry(rows[0], at)
			s.Verdict = shard.Verdict{Code: 31, Rule: "timeout"}
			u.settle(1, s)
			row := u.outbox("m")[0]
			b.same("state", []any{row.State, row.Attempts, row.NextAttempt}, []any{shard.Due, n, at})
			b.same("no verdict", []any{row.Verdict, row.VerdictAt.IsZero()}, []any{shard.Verdict{}, true})
			at = at.Add(time.Minute)
		}
		u.frames(containerOutbound, "message m")
	}},
	{"settle/a part of a second is not before its time", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob)
		at := time.Now().Add(time.Hour).Truncate(time.Second).Add(time.Millisecond)
		u.settle(1, retry(rows[0], at))
		if next := u.outbox("m")[0].NextAttempt; next.Before(at) || next.Sub(at) > time.Second {
			b.Errorf("next attempt at %v, asked for %v", next, at)
		}
	}},
	{"settle/rows of nobody and of others", func(b *bench) {
		alice := b.user("alice")
		zoe := b.neighbour(alice, "zoe")
		a, z := alice.sent("m", 1, bob), zoe.sent("m", 1, bob)
		alice.settle(1, outcome(shard.OutboxID{1}, shard.Failed, "unknown"), outcome(z[0], shard.Failed, "another's"), outcome(a[0], shard.Delivered, "own"))
		alice.frames(containerOutbound, "message m", "message event own")
		alice.frames(containerInbound)
		b.same("the other's", zoe.outbox("m")[0].State, shard.Due)
		zoe.frames(containerOutbound, "message m")
		b.stranger("nobody").settle(0, outcome(z[0], shard.Failed, "of nobody"))
	}},
	{"settle/of a deleted account", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob, carol)
		b.ok(u.delete())
		u.settle(2, outcome(rows[0], shard.Failed, "b"), retry(rows[1], ago(time.Hour)))
		got := u.outbox("m")
		b.same("states", []shard.OutboxState{got[0].State, got[1].State}, []shard.OutboxState{shard.Failed, shard.Due})
		where, err := b.store.Where(b.ctx, u.partition, u.address)
		b.ok(err)
		for _, c := range where.Containers {
			if want := map[string]int64{containerOutbound: 2, containerInbound: 1}[c.Container]; want != 0 {
				b.same(c.Container, c.Frames, want)
			}
		}
	}},
	{"settle/what the caller of ours never sends", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob)
		short := outcome(rows[0], shard.Delivered, "b")
		short.Event.PayloadDigest = nil
		for what, s := range map[string]shard.Settlement{
			"no state": {ID: rows[0]}, "published": {ID: rows[0], State: shard.Published}, "another": {ID: rows[0], State: 9}, "no digest": short,
		} {
			_, err := b.store.Settle(b.ctx, u.partition, u.address, []shard.Settlement{s})
			b.kind(what, err, mesh.Internal)
		}
		b.same("state", u.outbox("m")[0].State, shard.Due)
	}},
	{"outbox/of a message, or those named", func(b *bench) {
		alice := b.user("alice")
		zoe := b.neighbour(alice, "zoe")
		m, n, z := alice.sent("m", 1, carol, bob), alice.sent("n", 2, dave, bob), zoe.sent("m", 1, bob)
		alice.settle(1, outcome(m[1], shard.Failed, "b"))
		b.same("of a message", rowIDs(alice.outbox("m")), []shard.OutboxID{m[1], m[0]})
		b.same("those named alone, by frame", rowIDs(alice.outbox("m", n[1], m[1], shard.OutboxID{7}, z[0])), []shard.OutboxID{m[1], n[1]})
		b.same("of no message", len(alice.outbox("x")), 0)
		b.same("of no text", len(alice.outbox("a\xff\x00b")), 0)
		b.same("of another account", rowIDs(zoe.outbox("m")), z)
		b.same("of nobody", len(b.stranger("nobody").outbox("m", z...)), 0)
		b.ok(alice.delete())
		b.same("of a deleted one", len(alice.outbox("m")), 2)
	}},
}

var outboxConcurrency = []testCase{
	{"concurrent/claimers get different rows", func(b *bench) {
		var all []shard.OutboxID
		for i := range 4 {
			u := b.user(fmt.Sprint("u", i))
			for m := range 5 {
				all = append(all, u.sent(fmt.Sprint("m", m), int64(m+1), bob, carol, dave)...)
			}
		}
		got := make([][]shard.OutboxID, 6)
		parallel(len(got), func(i int) {
			for { // in small bites, so that they meet
				rows, err := b.store.Claim(b.ctx, 3, longLease)
				if err != nil {
					b.Error(err)
				}
				if len(rows) == 0 {
					return
				}
				got[i] = append(got[i], rowIDs(rows)...)
			}
		})
		have := slices.Concat(got...)
		have = append(have, rowIDs(b.claim(1000, longLease))...) // whoever saw only rows that others held went away
		b.same("each row once", sorted(have), sorted(all))
	}},
	{"concurrent/the same message posted at once", func(b *bench) {
		u := b.user("alice")
		for round := range 4 {
			id := fmt.Sprint("m", round)
			got := make([][]shard.OutboxID, 6)
			parallel(len(got), func(i int) {
				posted, err := b.store.Post(b.ctx, u.posting(u.letter(id, to(bob, carol)...)))
				if err != nil || len(posted) != 2 || posted[0].Result != accept(int64(round+1)) {
					b.Errorf("%+v, %v", posted, err)
				}
				got[i] = ids(posted)
			})
			for _, rows := range got {
				b.same("the same rows", rows, got[0])
			}
		}
		b.same("frames", u.all(containerOutbound).Frames, int64(5))
	}},
	{"concurrent/the same request posted at once", func(b *bench) {
		u := b.user("alice")
		p := u.posting(u.letter("m", to(bob, carol)...))
		p.Letters[0].Entry.EnvelopeID = "" // nothing but the request tells that it is the same
		got := make([][]shard.OutboxID, 6)
		parallel(len(got), func(i int) {
			posted, err := b.store.Post(b.ctx, p)
			if err != nil {
				b.Error(err)
			}
			got[i] = ids(posted)
		})
		for _, rows := range got {
			b.same("the same rows", rows, got[0])
		}
		b.same("frames", u.all(containerOutbound).Frames, int64(2))
	}},
	{"concurrent/settlers have one effect", func(b *bench) {
		u := b.user("alice")
		rows := u.sent("m", 1, bob, carol)
		effects := make([]int, 6)
		parallel(len(effects), func(i int) {
			n, err := b.store.Settle(b.ctx, u.partition, u.address, []shard.Settlement{outcome(rows[i%2], shard.Failed, fmt.Sprint(i)), outcome(rows[1-i%2], shard.Failed, fmt.Sprint("x", i))})
			if err != nil {
				b.Error(err)
			}
			effects[i] = n
		})
		sum := 0
		for _, n := range effects {
			sum += n
		}
		b.same("effects", sum, 2)
		b.same("events", u.all(containerOutbound).Frames, int64(4))
		b.same("failures", u.all(containerInbound).Frames, int64(3))
	}},
	{"concurrent/posting, claiming, settling and arrivals", func(b *bench) {
		// All that writes to the spools of one account at once: no deadlock, nothing lost, one chain each.
		u := b.user("alice")
		const writers, rounds = 3, 8
		settled := make([]int, writers)
		parallel(4*writers, func(i int) {
			for n := range rounds {
				id := fmt.Sprint(i, " ", n)
				switch i % 4 {
				case 0:
					p := u.posting(u.letter(id, to(bob)...))
					p.Self = []shard.Entry{message("self " + id)}
					if _, err := b.store.Post(b.ctx, p); err != nil {
						b.Error(err)
					}
				case 1:
					rows, err := b.store.Claim(b.ctx, 2, longLease)
					if err != nil {
						b.Error(err)
					}
					for _, row := range rows {
						n, err := b.store.Settle(b.ctx, u.partition, u.address, []shard.Settlement{outcome(row.ID, shard.Failed, row.MessageID)})
						if err != nil {
							b.Error(err)
						}
						settled[i/4] += n
					}
				case 2:
					if _, err := b.store.Deliver(b.ctx, u.arrival("MSENDER", message("arrival "+id))); err != nil {
						b.Error(err)
					}
				case 3:
					a := u.application(update(containerLocal, message("local "+id)), update(containerContact, contactEntry(id, shard.New, nil)))
					a.Self = []shard.Entry{message("inbound " + id)}
					if _, err := b.store.Apply(b.ctx, a); err != nil {
						b.Error(err)
					}
				}
			}
		})
		done := int64(settled[0] + settled[1] + settled[2])
		for container, want := range map[string]int64{containerOutbound: writers*rounds + done, containerInbound: 2*writers*rounds + done, containerLocal: 2 * writers * rounds, containerContact: writers * rounds} {
			all := u.all(container)
			b.same(container, all.Frames, want+1)
			b.checkTree(all)
		}
		b.same("rows left", len(b.claim(1000, longLease)), writers*rounds-int(done))
	}},
}
