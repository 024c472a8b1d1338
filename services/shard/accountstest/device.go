package accountstest

import (
	"crypto/sha512"
	"errors"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

func asError(err error, target **mesh.Error) bool { return errors.As(err, target) }

var deviceCases = []testCase{
	{"device/creator before mmm_Device", func(b *bench) {
		u := b.bare("alice")
		b.ok(u.check(shard.AllRights))
		b.kind("another device", u.as("other").check(0), mesh.NotAuthorized)
		u.apply("frame 0 alone is no entry", results(accept(0)), update(containerDevice, zero("")))
		b.ok(u.check(shard.AllRights))
		u.apply("the first entry", results(accept(1)), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.DefaultGrant|shard.Admin)))
		b.kind("the creator has no entry", u.check(0), mesh.NotAuthorized)
		b.ok(u.as("k2").check(shard.Admin))
	}},
	{"device/no key", func(b *bench) {
		u := b.stranger("alice")
		u.kid = ""
		_, err := b.store.Create(b.ctx, u.creation())
		b.ok(err)
		b.kind("an empty key is nobody's", u.check(0), mesh.NotAuthorized)
	}},
	{"device/rights", func(b *bench) {
		u := b.user("alice")
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.Bookmark)))
		d := u.as("k2")
		b.ok(d.check(0))
		b.ok(d.check(shard.Bookmark))
		b.kind("Admin", d.check(shard.Admin), mesh.NotAuthorized)
		b.kind("one of two", d.check(shard.Bookmark|shard.Calendar), mesh.NotAuthorized)
		b.ok(u.as("k2-mesh").check(shard.Bookmark)) // a ConnectionDevice is a credential too
		with := func(right shard.Right, c shard.ContainerUpdate) shard.ContainerUpdate { c.Right = right; return c }
		d.apply("allowed", results(accept(1)), with(shard.Bookmark, update(containerBookmark, item("a", shard.New))))
		d.refused("forbidden", mesh.NotAuthorized, with(shard.Calendar, update("mmm_Calendar", item("a", shard.New))))
		d.refused("one forbidden", mesh.NotAuthorized, with(shard.Bookmark, update(containerBookmark, item("b", shard.New))), with(shard.Calendar, update("mmm_Calendar", item("a", shard.New))))
		d.frames(containerBookmark, "a 1")
		a := d.application()
		a.Self = []shard.Entry{message("m")}
		_, err := b.store.Apply(b.ctx, a)
		b.kind("Self without Message", err, mesh.NotAuthorized)
		_, err = b.store.Status(b.ctx, d.statusQuery(func(q *shard.StatusQuery) { q.DeviceUDF = "dev-alice" }))
		b.kind("entry of another device", err, mesh.NotAuthorized)
		b.kind("delete", d.delete(), mesh.NotAuthorized)
	}},
	{"device/demoted and removed at once C-063", func(b *bench) {
		u := b.user("alice")
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights)))
		d := u.as("k2")
		b.ok(d.check(shard.Admin))
		u.apply("demoted", results(accept(3)), update(containerDevice, u.deviceEntry(shard.Update, "d2", "k2", shard.Bookmark)))
		b.kind("Admin", d.check(shard.Admin), mesh.NotAuthorized)
		b.ok(d.check(shard.Bookmark))
		u.apply("removed", results(accept(4)), update(containerDevice, u.deviceEntry(shard.Delete, "d2", "", 0)))
		for _, kid := range []string{"k2", "k2-mesh"} {
			d := u.as(kid)
			b.kind("check", d.check(0), mesh.NotAuthorized)
			d.refused("upload", mesh.NotAuthorized)
			_, err := b.store.Status(b.ctx, d.statusQuery())
			b.kind("status", err, mesh.NotAuthorized)
			_, err = b.store.Read(b.ctx, d.query())
			b.kind("read", err, mesh.NotAuthorized)
		}
		key, err := b.store.Signer(b.ctx, u.partition, u.address, "k2-sign")
		b.ok(err)
		b.same("signer", key, &shard.SignerKey{Curve: "Ed448", Key: []byte("key of k2"), Current: false})
		u.apply("added again under a new key", results(accept(5)), update(containerDevice, u.deviceEntry(shard.New, "d2", "k3", shard.Bookmark)))
		b.ok(u.as("k3").check(shard.Bookmark))
		b.kind("the key of before is dead", d.check(0), mesh.NotAuthorized)
	}},
	{"device/removal in one upload with other work", func(b *bench) {
		u := b.user("alice")
		u.apply("add, demote, remove", accepts(2, 4), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights),
			u.deviceEntry(shard.Update, "d2", "k2", shard.Bookmark), u.deviceEntry(shard.Delete, "d2", "", 0)))
		b.kind("check", u.as("k2").check(0), mesh.NotAuthorized)
		u.apply("add, remove, add", accepts(5, 7), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights),
			u.deviceEntry(shard.Delete, "d2", "", 0), u.deviceEntry(shard.New, "d2", "k4", shard.Bookmark)))
		b.kind("check", u.as("k2").check(0), mesh.NotAuthorized)
		b.ok(u.as("k4").check(shard.Bookmark))
		u.apply("its own removal", results(accept(8), accept(1)), update(containerDevice, u.deviceEntry(shard.Delete, "dev-alice", "", 0)),
			update(containerBookmark, item("a", shard.New)))
		b.kind("check", u.check(0), mesh.NotAuthorized)
	}},
	{"device/a refused entry changes no device", func(b *bench) {
		u := b.user("alice")
		u.apply("New of a live one", conflicts(1), update(containerDevice, u.deviceEntry(shard.New, "dev-alice", "k9", shard.Bookmark)))
		bad := u.deviceEntry(shard.New, "d2", "k2", shard.AllRights)
		bad.Reject = 13
		u.apply("rejected", results(reject(13)), update(containerDevice, bad))
		stale := update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights))
		stale.Index = ptr(int64(1))
		u.apply("stale", conflicts(1), stale)
		b.kind("check", u.as("k2").check(0), mesh.NotAuthorized)
		b.kind("check", u.as("k9").check(0), mesh.NotAuthorized)
		b.ok(u.check(shard.AllRights))
	}},
	{"device/older keys C-094", func(b *bench) {
		u := b.user("alice")
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights)))
		u.apply("new keys", results(accept(3)), update(containerDevice, u.deviceEntry(shard.Update, "d2", "k3", shard.Calendar)))
		for _, kid := range []string{"k2", "k3"} {
			b.ok(u.as(kid).check(shard.Calendar))
			b.kind("the rights are the new ones", u.as(kid).check(shard.Bookmark), mesh.NotAuthorized)
		}
		key, err := b.store.Signer(b.ctx, u.partition, u.address, "k2-sign")
		b.ok(err)
		b.same("signer", key, &shard.SignerKey{Curve: "Ed448", Key: []byte("key of k2"), Current: true})
		key, err = b.store.Signer(b.ctx, u.partition, u.address, "unknown")
		b.ok(err)
		b.same("unknown signer", key, (*shard.SignerKey)(nil))

		shown := func(kid string) func(*shard.StatusQuery) {
			digest := sha512.Sum512([]byte("connection of " + kid))
			return func(q *shard.StatusQuery) { q.ConnectionDigest = digest[:] }
		}
		entry := u.as("k2").status(shown("k2")).DeviceEntry
		if entry == nil || entry.Index != 3 || string(entry.Payload) != "device d2 3" || len(entry.TreeDigest) != 64 {
			b.Fatalf("device entry of one who shows the old connection: %+v", entry)
		}
		b.same("shows the new one", u.as("k3").status(shown("k3")).DeviceEntry, (*shard.Frame)(nil))
		b.same("shows none", u.as("k3").status().DeviceEntry, (*shard.Frame)(nil))
		own := func(q *shard.StatusQuery) { q.DeviceUDF = "d2" }
		b.same("own by name", u.as("k3").status(shown("k3"), own).DeviceEntry, (*shard.Frame)(nil))
		b.same("own by name, old", u.as("k2").status(shown("k2"), own).DeviceEntry.Index, int64(3))
		b.same("of another, by an administrator", u.status(own).DeviceEntry.Index, int64(3))
		b.same("of nobody", u.status(func(q *shard.StatusQuery) { q.DeviceUDF = "nobody" }).DeviceEntry, (*shard.Frame)(nil))
	}},
	{"device/an entry that names no keys", func(b *bench) {
		u := b.user("alice")
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights)))
		u.apply("unreadable", results(accept(3)), update(containerDevice, item("d2", shard.Update)))
		b.kind("check", u.as("k2").check(0), mesh.NotAuthorized)
	}},
	{"device/a key that moves to another device", func(b *bench) {
		u := b.user("alice")
		u.apply("two", accepts(2, 3), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.Bookmark), u.deviceEntry(shard.New, "d3", "k2", shard.Calendar)))
		b.ok(u.as("k2").check(shard.Calendar))
		b.kind("the older entry", u.as("k2").check(shard.Bookmark), mesh.NotAuthorized)
	}},
	{"device/other accounts", func(b *bench) {
		alice, bob := b.user("alice"), b.user("bob")
		bob.kid = alice.kid
		bob.refused("upload", mesh.NotAuthorized)
		_, err := b.store.Read(b.ctx, bob.query())
		b.kind("read", err, mesh.NotAuthorized)
	}},
}

var dedupCases = []testCase{
	{"dedup/same request", func(b *bench) {
		u := b.user("alice")
		stale := update("mmm_Calendar", item("z", shard.New))
		stale.Index = ptr(int64(5))
		a := u.application(update(containerBookmark, item("a", shard.New), item("b", shard.New)), update("mmm_Contact", entry("x", "", "", shard.New)), stale)
		a.Self = []shard.Entry{message("m")}
		want := results(accept(1), accept(2), reject(13), conflicts(1)[0], accept(1))
		for range 3 {
			u.applied("again", a, want...)
		}
		u.frames(containerBookmark, "a 1", "b 1")
		u.frames(containerInbound, "message m")
		b.same("containers", len(u.status().Containers), 5)
	}},
	{"dedup/other request", func(b *bench) {
		u := b.user("alice")
		a := u.application(update(containerBookmark, item("a", shard.New)))
		u.applied("first", a, accept(1))
		other := a
		other.Caller.RequestDigest = make([]byte, 32)
		_, err := b.store.Apply(b.ctx, other)
		b.kind("other digest", err, mesh.Conflict)
		d := u.deletion()
		d.Caller = other.Caller
		b.kind("other verb", b.store.Delete(b.ctx, d), mesh.Conflict)
		c := u.creation()
		c.Caller = other.Caller
		_, err = b.store.Create(b.ctx, c)
		b.kind("other verb", err, mesh.Conflict)
		u.frames(containerBookmark, "a 1")
		a.Updates[0].Entries[0] = item("b", shard.New)
		a.Caller.Domain = "other.example"
		u.applied("the domain is part of the key", a, accept(2))
		a.Caller.AuthKID += "-mesh"
		a.Updates[0].Entries[0] = item("c", shard.New)
		u.applied("and the authentication key", a, accept(3))
	}},
	{"dedup/conflicts are remembered", func(b *bench) {
		u := b.user("alice")
		a := u.application(update(containerBookmark, item("a", shard.Delete)))
		u.applied("nothing to delete", a, conflicts(1)...)
		u.apply("made", results(accept(1)), update(containerBookmark, item("a", shard.New)))
		u.applied("the stored outcome", a, conflicts(1)...)
	}},
	{"dedup/errors are not remembered", func(b *bench) {
		u := b.user("alice")
		a := u.application(update(containerBookmark, item("a", shard.New)))
		a.Caller.Epoch = 7
		_, err := b.store.Apply(b.ctx, a)
		b.kind("another epoch", err, mesh.TicketExpired)
		a.Caller.Epoch = 1
		u.applied("the same request with a new ticket", a, accept(1))
	}},
	{"dedup/long and missing identifiers", func(b *bench) {
		u := b.user("alice")
		a := u.application(update(containerBookmark, item("a", shard.New)))
		a.Caller.RequestID = make([]byte, 100_000)
		u.applied("first", a, accept(1))
		u.applied("again", a, accept(1))
		a.Caller.RequestID = nil
		u.applied("no identifier", a, conflicts(1)...)
		a.Updates[0].Entries[0] = item("b", shard.New)
		u.applied("no identifier", a, accept(2))
	}},
	{"dedup/create", func(b *bench) {
		u := b.stranger("alice")
		c := u.creation()
		c.Updates = []shard.ContainerUpdate{update(containerDevice, u.deviceEntry(shard.New, "d", u.kid, shard.AllRights))}
		want := &shard.Created{Created: true, State: shard.Connected, Epoch: 1, Entries: results(accept(1))}
		for range 2 {
			created, err := b.store.Create(b.ctx, c)
			b.ok(err)
			b.same("the outcome of the first", created, want)
		}
	}},
	{"dedup/delete", func(b *bench) {
		u := b.user("alice")
		d := u.deletion()
		for range 2 {
			b.ok(b.store.Delete(b.ctx, d))
		}
		resolved, err := b.store.Resolve(b.ctx, u.partition, u.address)
		b.ok(err)
		b.same("epoch", resolved.Epoch, uint64(2))
	}},
	{"dedup/a removed device has no outcome to ask for", func(b *bench) {
		u := b.user("alice")
		a := u.application(update(containerDevice, u.deviceEntry(shard.Delete, "dev-alice", "", 0)))
		u.applied("its own removal", a, accept(2))
		_, err := b.store.Apply(b.ctx, a)
		b.kind("again", err, mesh.NotAuthorized)
	}},
}
