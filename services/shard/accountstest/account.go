package accountstest

import (
	"errors"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/internal/shardmap"
	"github.com/mathmesh/meshd/services/shard"
)

// away wants every verb refused by a partition that is not here, with the epoch that the store knows.
func (u *user) away(epoch uint64) {
	b := u.b
	b.Helper()
	refused := func(what string, err error) {
		b.Helper()
		b.kind(what, err, mesh.WrongShard)
		var stale shardmap.Stale
		if !errors.As(err, &stale) || stale.Epoch != epoch {
			b.Fatalf("%s: %v, want epoch %d", what, err, epoch)
		}
	}
	_, err := b.store.Apply(b.ctx, u.application(update(containerBookmark, item("a", shard.New))))
	refused("upload", err)
	refused("delete", u.delete())
	_, err = b.store.Create(b.ctx, u.creation())
	refused("create", err)
	refused("check", u.check(0))
	_, err = b.store.Read(b.ctx, u.query(shard.Selection{Container: containerInbound}))
	refused("read", err)
	_, err = b.store.Status(b.ctx, u.statusQuery())
	refused("status", err)
	_, err = b.store.Resolve(b.ctx, u.partition, u.address)
	refused("resolve", err)
	_, err = b.store.Where(b.ctx, u.partition, u.address)
	refused("where", err)
	_, err = b.store.Signer(b.ctx, u.partition, u.address, "x")
	refused("signer", err)
	_, err = b.store.Post(b.ctx, u.posting(u.letter("m", to(bob)...)))
	refused("post", err)
	_, err = b.store.Settle(b.ctx, u.partition, u.address, []shard.Settlement{{State: shard.Failed}})
	refused("settle", err)
	_, err = b.store.Outbox(b.ctx, shard.OutboxQuery{Partition: u.partition, Account: u.address, EnvelopeID: "m"})
	refused("outbox", err)
	_, err = b.store.Standing(b.ctx, shard.StandingQuery{Partition: u.partition, Recipient: u.address})
	refused("standing", err)
	_, err = b.store.Deliver(b.ctx, u.arrival("MBOB", message("m")))
	refused("deliver", err)
	_, err = b.store.Verdicts(b.ctx, u.partition, u.address, "m")
	refused("verdicts", err)
	_, err = b.store.Report(b.ctx, u.partition, message("m"))
	refused("report", err)
	_, err = b.store.Incidents(b.ctx, u.partition, 0, 1)
	refused("incidents", err)
}

var fenceCases = []testCase{
	{"fence/moved partition", func(b *bench) {
		u := b.user("alice")
		b.ok(b.store.SetPartitions(b.ctx, u.partition, u.partition, shard.PartitionMoved, 2))
		b.ok(b.store.SetPartitions(b.ctx, u.partition^1, u.partition^1, shard.PartitionOpen, 3))
		u.away(2)
		other := b.stranger("of another partition")
		b.ok(b.store.SetPartitions(b.ctx, u.partition, u.partition, shard.PartitionOpen, 3))
		u.apply("open again", results(accept(1)), update(containerBookmark, item("a", shard.New)))
		_, err := b.store.Create(b.ctx, other.creation())
		b.ok(err)
	}},
	{"fence/unknown partition", func(b *bench) {
		u := b.stranger("alice")
		b.store, b.walk = b.open(b.T)
		u.away(0)
		b.ok(b.store.SetPartitions(b.ctx, u.partition^1, u.partition^1, shard.PartitionOpen, 4))
		u.away(4)
	}},
	{"fence/frozen partition", func(b *bench) {
		u := b.user("alice")
		b.ok(b.store.SetPartitions(b.ctx, u.partition, u.partition, shard.PartitionFrozen, 2))
		u.refused("upload", mesh.Overloaded, update(containerBookmark, item("a", shard.New)))
		b.kind("delete", u.delete(), mesh.Overloaded)
		_, err := b.store.Create(b.ctx, u.creation())
		b.kind("create", err, mesh.Overloaded)
		u.notPosted("post", mesh.Overloaded, u.posting(u.letter("m", to(bob)...)))
		_, err = b.store.Settle(b.ctx, u.partition, u.address, []shard.Settlement{{State: shard.Failed}})
		b.kind("settle", err, mesh.Overloaded)
		_, err = b.store.Deliver(b.ctx, u.arrival("MBOB", message("m")))
		b.kind("deliver", err, mesh.Overloaded)
		_, err = b.store.Report(b.ctx, u.partition, message("m"))
		b.kind("report", err, mesh.Overloaded)
		u.outbox("m")
		u.standing(bob, "MBOB")
		u.verdicts("m")
		b.incidents(u.partition, 0, 1)
		u.status()
		u.all(containerDevice)
		b.ok(u.check(shard.Admin))
		b.ok(b.store.SetPartitions(b.ctx, u.partition, u.partition, shard.PartitionOpen, 3))
		u.apply("thawed", results(accept(1)), update(containerBookmark, item("a", shard.New)))
	}},
	{"fence/list", func(b *bench) {
		u := b.user("alice")
		gone := b.user("gone")
		b.ok(gone.delete())
		b.ok(b.store.SetPartitions(b.ctx, 7, 9, shard.PartitionFrozen, 5))
		all, err := b.store.Partitions(b.ctx)
		b.ok(err)
		b.same("partitions", len(all), shardmap.Partitions)
		for i, p := range all {
			want := shard.Partition{Number: uint16(i), State: shard.PartitionOpen, Epoch: 1}
			if i >= 7 && i <= 9 {
				want.State, want.Epoch = shard.PartitionFrozen, 5
			}
			if p.Number == u.partition {
				want.Accounts++
			}
			b.same("partition", p, want)
		}
		epoch, err := b.store.Epoch(b.ctx)
		b.ok(err)
		b.same("epoch", epoch, uint64(5))
		b.kind("an older map", b.store.SetPartitions(b.ctx, 8, 8, shard.PartitionOpen, 4), mesh.Conflict)
		all, err = b.store.Partitions(b.ctx)
		b.ok(err)
		b.same("after an older map", all[8], shard.Partition{Number: 8, State: shard.PartitionFrozen, Epoch: 5})
		b.kind("ends exchanged", b.store.SetPartitions(b.ctx, 9, 7, shard.PartitionOpen, 6), mesh.Internal)
		b.kind("beyond the end", b.store.SetPartitions(b.ctx, 0, shardmap.Partitions, shard.PartitionOpen, 6), mesh.Internal)
	}},
}

var accountCases = []testCase{
	{"account/create C-085 C-086", func(b *bench) {
		u := b.user("alice")
		got := u.status()
		b.same("account", got.Account, shard.Account{
			Number: 1, State: shard.Connected, Epoch: 1, ProfileUDF: u.profile, MeshUDF: u.mesh, ProfileUpdated: time.Unix(1_700_000_000, 0).UTC(),
			ProfileMesh: u.creation().ProfileMesh, ProfileAccount: u.creation().ProfileAccount,
		})
		names, frames := []string{}, []int64{}
		for _, c := range got.Containers {
			names, frames = append(names, c.Container), append(frames, c.Frames)
		}
		b.same("containers", names, []string{containerDevice, containerInbound, "mmm_Local", "mmm_Outbound"})
		b.same("frames", frames, []int64{2, 1, 1, 1})
		resolved, err := b.store.Resolve(b.ctx, u.partition, u.address)
		b.ok(err)
		b.same("resolved", *resolved, got.Account)
		where, err := b.store.Where(b.ctx, u.partition, u.address)
		b.ok(err)
		b.same("where", where, &shard.Location{Number: 1, State: shard.Connected, Epoch: 1, Containers: got.Containers})
		none := b.stranger("nobody")
		_, err = b.store.Resolve(b.ctx, none.partition, none.address)
		b.kind("resolve", err, mesh.UnknownAccount)
		_, err = b.store.Where(b.ctx, none.partition, none.address)
		b.kind("where", err, mesh.UnknownAccount)
		none.refused("upload", mesh.UnknownAccount)
		b.kind("delete", none.delete(), mesh.UnknownAccount)
	}},
	{"account/create again", func(b *bench) {
		u := b.user("alice")
		created, err := b.store.Create(b.ctx, u.creation())
		b.ok(err)
		b.same("same profiles", created, &shard.Created{State: shard.Connected, Epoch: 1})
		c := u.creation()
		c.OnlyExisting = true
		_, err = b.store.Create(b.ctx, c)
		b.ok(err)
		c = u.creation()
		c.ProfileUDF = "MOTHER"
		_, err = b.store.Create(b.ctx, c)
		b.kind("another account", err, mesh.AccountRegistered)
		c = u.creation()
		c.MeshUDF = "MOTHER"
		_, err = b.store.Create(b.ctx, c)
		b.kind("another mesh", err, mesh.ProfileInvalid)
		c = b.stranger("new").creation()
		c.OnlyExisting = true
		_, err = b.store.Create(b.ctx, c)
		b.kind("closed", err, mesh.NotAuthorized)
		_, err = b.store.Resolve(b.ctx, c.Partition, c.Address)
		b.kind("nothing was made", err, mesh.UnknownAccount)
	}},
	{"account/replace", func(b *bench) {
		u := b.user("alice")
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "plain", "plain", shard.DefaultGrant)))
		newer := func(u *user, fresh bool) shard.Creation {
			c := u.creation()
			c.ProfileUpdated, c.ProfileAccount, c.Fresh = c.ProfileUpdated.Add(time.Second), []byte(`["newer"]`), fresh
			c.AccountFrame = entry("newer", "", u.address, shard.Update)
			return c
		}
		_, err := b.store.Create(b.ctx, newer(u, false))
		b.kind("ticket not fresh", err, mesh.TicketExpired)
		_, err = b.store.Create(b.ctx, newer(u.as("plain"), true))
		b.kind("not an administrator", err, mesh.NotAuthorized)
		_, err = b.store.Create(b.ctx, newer(u.as("nobody"), true))
		b.kind("no device", err, mesh.NotAuthorized)
		stale := newer(u, true)
		stale.Caller.Epoch = 9
		_, err = b.store.Create(b.ctx, stale)
		b.kind("another epoch", err, mesh.TicketExpired)
		created, err := b.store.Create(b.ctx, newer(u, true))
		b.ok(err)
		b.same("replaced", created, &shard.Created{State: shard.Connected, Epoch: 1})
		b.same("profile", string(u.status().Account.ProfileAccount), `["newer"]`)
		_, err = b.store.Create(b.ctx, u.creation())
		b.ok(err)
		b.same("an older one changes nothing", string(u.status().Account.ProfileAccount), `["newer"]`)
	}},
	{"account/initial updates are needed whole", func(b *bench) {
		u := b.stranger("alice")
		c := u.creation()
		bad := u.deviceEntry(shard.New, "d", u.kid, shard.AllRights)
		bad.Reject = 13
		c.Updates = []shard.ContainerUpdate{update("mmm_Contact", item("a", shard.New)), update(containerDevice, bad)}
		_, err := b.store.Create(b.ctx, c)
		b.kind("a rejected entry", err, mesh.MessageInvalid)
		c.Updates = []shard.ContainerUpdate{update("mmm_Contact", item("a", shard.New), item("a", shard.New))}
		_, err = b.store.Create(b.ctx, c)
		b.kind("a conflict", err, mesh.Conflict)
		_, err = b.store.Resolve(b.ctx, u.partition, u.address)
		b.kind("nothing was made", err, mesh.UnknownAccount)
		c.Caller = u.caller()
		c.Updates = []shard.ContainerUpdate{update("mmm_Contact", zero("z"), item("a", shard.New)), update(containerDevice, u.deviceEntry(shard.New, "d", u.kid, shard.AllRights))}
		created, err := b.store.Create(b.ctx, c)
		b.ok(err)
		b.same("entries", created.Entries, results(accept(0), accept(1), accept(1)))
		b.same("number", u.status().Account.Number, int64(1))
	}},
	{"account/pending", func(b *bench) {
		u := b.stranger("alice")
		c := u.creation()
		c.State = shard.Pending
		created, err := b.store.Create(b.ctx, c)
		b.ok(err)
		b.same("created", created, &shard.Created{Created: true, State: shard.Pending, Epoch: 1, Entries: []shard.Result{}})
		created, err = b.store.Create(b.ctx, u.creation())
		b.ok(err)
		b.same("asked again", created, &shard.Created{State: shard.Pending, Epoch: 1})
		u.refused("upload", mesh.AccountPending)
		b.kind("delete", u.delete(), mesh.AccountPending)
		b.kind("check", u.check(0), mesh.AccountPending)
		_, err = b.store.Status(b.ctx, u.statusQuery())
		b.kind("status", err, mesh.AccountPending)
		_, err = b.store.Read(b.ctx, u.query())
		b.kind("read", err, mesh.AccountPending)
		resolved, err := b.store.Resolve(b.ctx, u.partition, u.address)
		b.ok(err)
		b.same("state", resolved.State, shard.Pending)
	}},
	{"account/blocked", func(b *bench) {
		u := b.stranger("alice")
		c := u.creation()
		c.State = shard.Blocked
		_, err := b.store.Create(b.ctx, c)
		b.ok(err)
		u.refused("upload", mesh.NotAuthorized)
		b.kind("delete", u.delete(), mesh.NotAuthorized)
		b.kind("check", u.check(0), mesh.NotAuthorized)
		b.same("status", u.status().Account.State, shard.Blocked)
		b.same("read", u.all(containerInbound).Frames, int64(1))
	}},
	{"account/redirect", func(b *bench) {
		u := b.stranger("second")
		c := u.creation()
		c.Redirect = "first@alpha.example"
		created, err := b.store.Create(b.ctx, c)
		b.ok(err)
		b.same("created", created.Created, true)
		resolved, err := b.store.Resolve(b.ctx, u.partition, u.address)
		b.ok(err)
		b.same("redirect", resolved.Redirect, "first@alpha.example")
		b.same("profile", resolved.ProfileAccount, c.ProfileAccount)
		_, err = b.store.Apply(b.ctx, u.application())
		b.kind("upload", err, mesh.Redirect)
		var e *mesh.Error
		if !asError(err, &e) || e.Err == nil || e.Err.Error() != "first@alpha.example" {
			b.Fatalf("the text of a redirect is the address alone: %v", e.Err)
		}
		_, err = b.store.Status(b.ctx, u.statusQuery())
		b.kind("status", err, mesh.Redirect)
		b.kind("delete", u.delete(), mesh.Redirect)
		where, err := b.store.Where(b.ctx, u.partition, u.address)
		b.ok(err)
		b.same("containers", len(where.Containers), 0)
		created, err = b.store.Create(b.ctx, u.creation())
		b.ok(err)
		b.same("again", created, &shard.Created{State: shard.Connected, Epoch: 1})
	}},
	{"account/delete C-088 C-195", func(b *bench) {
		u := b.user("alice")
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "plain", "plain", shard.DefaultGrant)))
		b.kind("without Admin", u.as("plain").delete(), mesh.NotAuthorized)
		u.epoch = 1
		b.ok(u.delete())
		b.ok(u.delete()) // the epoch of the ticket does not count now
		b.kind("repeated without Admin", u.as("plain").delete(), mesh.NotAuthorized)
		b.kind("repeated by a stranger", u.as("stranger").delete(), mesh.NotAuthorized)
		resolved, err := b.store.Resolve(b.ctx, u.partition, u.address)
		b.ok(err)
		b.same("tombstone", resolved.State, shard.Deleted)
		b.same("epoch", resolved.Epoch, uint64(2))
		b.same("the tombstone keeps the profiles", resolved.ProfileAccount, u.creation().ProfileAccount)
		u.refused("upload", mesh.UnknownAccount)
		_, err = b.store.Status(b.ctx, u.statusQuery())
		b.kind("status", err, mesh.UnknownAccount)
		_, err = b.store.Read(b.ctx, u.query())
		b.kind("read", err, mesh.UnknownAccount)
		b.kind("check", u.check(0), mesh.UnknownAccount)
		_, err = b.store.Create(b.ctx, u.creation())
		b.kind("created again", err, mesh.AccountRegistered)
		c := u.creation()
		c.ProfileUDF = "MOTHER"
		_, err = b.store.Create(b.ctx, c)
		b.kind("taken by another", err, mesh.AccountRegistered)
		key, err := b.store.Signer(b.ctx, u.partition, u.address, u.kid+"-sign")
		b.ok(err)
		b.same("signer of a tombstone", key != nil, true)
	}},
	{"account/catalog of the partition", func(b *bench) {
		u := b.user("alice")
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "plain", "plain", shard.DefaultGrant)))
		c := u.creation()
		c.ProfileUpdated, c.Fresh, c.AccountFrame = c.ProfileUpdated.Add(time.Second), true, entry("newer", "", u.address, shard.Update)
		_, err := b.store.Create(b.ctx, c)
		b.ok(err)
		b.kind("without Admin", u.as("plain").delete(), mesh.NotAuthorized)
		want := []string{"1 " + u.address + " account of " + u.address, "2 " + u.address + " newer"}
		b.catalog("before", u.partition, want...)
		d := u.deletion()
		b.ok(b.store.Delete(b.ctx, d))
		want = append(want, "3 "+u.address+" end of "+u.address)
		b.catalog("deleted", u.partition, want...)
		b.ok(b.store.Delete(b.ctx, d))
		b.ok(u.delete())
		b.catalog("once", u.partition, want...)
		d.AccountFrame.PayloadDigest = nil
		b.kind("no frame", b.store.Delete(b.ctx, d), mesh.Internal)
	}},
	{"account/epoch", func(b *bench) {
		u := b.user("alice")
		u.epoch = 1
		u.apply("current", results(accept(1)), update(containerBookmark, item("a", shard.New)))
		u.epoch = 2
		u.refused("another", mesh.TicketExpired, update(containerBookmark, item("b", shard.New)))
		b.kind("check", u.check(0), mesh.TicketExpired)
		b.kind("delete", u.delete(), mesh.TicketExpired)
		_, err := b.store.Status(b.ctx, u.statusQuery())
		b.kind("status", err, mesh.TicketExpired)
		_, err = b.store.Read(b.ctx, u.query())
		b.kind("read", err, mesh.TicketExpired)
	}},
	{"account/another profile", func(b *bench) {
		u := b.user("alice")
		u.profile = "MMALLORY"
		u.refused("upload", mesh.NotAuthorized)
		u.profile = ""
		u.apply("not said", []shard.Result{})
	}},
	{"account/numbers", func(b *bench) {
		// Accounts of one partition count up; a refused creation uses no number up.
		var last *user
		for i, n := 0, int64(0); n < 3; i++ {
			u := b.stranger("u" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)))
			u.partition = 5 // the store does not know the hash
			_, err := b.store.Create(b.ctx, u.creation())
			b.ok(err)
			n++
			if got := u.status().Account.Number; got != n {
				b.Fatalf("account number %d, want %d", got, n)
			}
			last = u
		}
		_, err := b.store.Resolve(b.ctx, 6, last.address)
		b.kind("the partition is part of the key", err, mesh.UnknownAccount)
	}},
}
