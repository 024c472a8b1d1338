package accountstest

import (
	"fmt"
	"strings"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

func at(index int64, digest []byte, u shard.ContainerUpdate) shard.ContainerUpdate {
	u.Index, u.Digest = &index, digest
	return u
}

var applyCases = []testCase{
	{"apply/index and digest C-179", func(b *bench) {
		u := b.user("alice")
		u.apply("two", accepts(1, 2), update(containerBookmark, item("a", shard.New), item("b", shard.New)))
		digest := u.all(containerBookmark).Digest
		two := func() shard.ContainerUpdate {
			return update(containerBookmark, item(fmt.Sprint("x", b.made), shard.Update), item(fmt.Sprint("y", b.made), shard.Update))
		}
		u.apply("index too low", conflicts(2), at(2, nil, two()))
		u.apply("index too high", conflicts(2), at(4, nil, two()))
		u.apply("other digest", conflicts(2), at(3, make([]byte, 64), two()))
		d := two()
		d.Digest = make([]byte, 64)
		u.apply("digest alone, other", conflicts(2), d)
		b.same("nothing stored", u.all(containerBookmark).Frames, int64(3))
		u.apply("both right", accepts(3, 4), at(3, digest, two()))
		u.apply("index right", accepts(5, 6), at(5, nil, two()))
		d.Digest = u.all(containerBookmark).Digest
		u.apply("digest right", accepts(7, 8), d)
	}},
	{"apply/index and digest of an absent container", func(b *bench) {
		u := b.user("alice")
		one := func() shard.ContainerUpdate { return update(containerBookmark, item("a", shard.Update)) }
		u.apply("index 1", conflicts(1), at(1, nil, one()))
		u.apply("a digest", conflicts(1), at(0, make([]byte, 64), one()))
		b.same("still absent", u.all(containerBookmark).Present, false)
		u.apply("index 0", results(accept(1)), at(0, nil, one()))
	}},
	{"apply/whole updates only", func(b *bench) {
		u := b.user("alice")
		bad := item("c", shard.New)
		bad.Reject = 12
		u.apply("a fault in one", results(conflicts(1)[0], reject(12), conflicts(1)[0], accept(1)),
			update(containerBookmark, item("a", shard.New), bad, item("b", shard.New)), update("mmm_Calendar", item("t", shard.New)))
		b.same("nothing of it", u.all(containerBookmark).Present, false)
		u.apply("the machine refuses one", conflicts(3), update("mmm_Contact", item("a", shard.New), item("a", shard.New), item("b", shard.New)))
		b.same("nothing of it", u.all("mmm_Contact").Present, false)
		u.apply("stale and a fault", results(conflicts(1)[0], reject(12)), at(9, nil, update(containerBookmark, item("a", shard.New), bad)))
	}},
	{"apply/atomic C-104", func(b *bench) {
		u := b.user("alice")
		u.apply("calendar", results(accept(1)), update("mmm_Calendar", item("t", shard.New)))
		good := update(containerBookmark, item("a", shard.New), item("b", shard.New))
		stale := update("mmm_Calendar", item("u", shard.New))

		u.apply("default with two Index: atomic", conflicts(3), at(0, nil, good), at(9, nil, stale))
		u.apply("also when the bad one comes first by name", conflicts(3), at(9, nil, stale), at(0, nil, good))
		b.same("nothing stored", u.all(containerBookmark).Present, false)

		a := u.application(good, at(9, nil, stale))
		a.Atomic = ptr(true)
		a.Self = []shard.Entry{message("m")}
		u.applied("asked for: Self too", a, conflicts(4)...)
		b.same("nothing stored", u.all(containerBookmark).Present, false)
		b.same("nor in the spool", u.all(containerInbound).Frames, int64(1))

		bad := message("n")
		bad.Reject = 13
		a = u.application(good)
		a.Atomic, a.Self = ptr(true), []shard.Entry{message("m"), bad}
		u.applied("a fault in Self", a, results(conflicts(3)[0], conflicts(1)[0], conflicts(1)[0], reject(13))...)
		b.same("nothing stored", u.all(containerBookmark).Present, false)

		a = u.application(at(0, nil, good), at(9, nil, stale))
		a.Atomic = ptr(false)
		u.applied("not atomic", a, accept(1), accept(2), conflicts(1)[0])
		a = u.application(at(3, nil, update(containerBookmark, item("c", shard.New))), at(2, nil, stale))
		a.Self = []shard.Entry{message("m")}
		u.applied("all fine", a, accept(3), accept(2), accept(1))
		one := u.application(at(4, nil, update(containerBookmark, item("d", shard.New))), update("mmm_Calendar", item("t", shard.New)))
		u.applied("one Index: not atomic", one, accept(4), conflicts(1)[0])
	}},
	{"apply/atomic rolls devices back", func(b *bench) {
		u := b.user("alice")
		a := u.application(update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights)), update("mmm_Network", item("a", shard.Delete)))
		a.Atomic = ptr(true)
		u.applied("refused", a, conflicts(2)...)
		b.kind("check", u.as("k2").check(0), mesh.NotAuthorized)
		key, err := b.store.Signer(b.ctx, u.partition, u.address, "k2-sign")
		b.ok(err)
		b.same("signer", key, (*shard.SignerKey)(nil))
	}},
	{"apply/results are positional", func(b *bench) {
		u := b.user("alice")
		a := u.application(update("mmm_Network", item("n1", shard.New), item("n2", shard.New)), update(containerBookmark, item("b1", shard.New)),
			update("mmm_Network", item("n3", shard.New)), update("mmm_Calendar"))
		a.Self = []shard.Entry{message("m1"), message("m2")}
		u.applied("order of the request", a, accept(1), accept(2), accept(1), accept(3), accept(1), accept(2))
		u.frames("mmm_Network", "n1 1", "n2 1", "n3 1")
		b.same("an update without entries makes nothing", u.all("mmm_Calendar").Present, false)
		u.applied("nothing at all", u.application())
	}},
	{"apply/second update of a container sees the first", func(b *bench) {
		u := b.user("alice")
		u.apply("two steps", results(accept(1), accept(2)), at(0, nil, update(containerBookmark, item("a", shard.New))), at(2, nil, update(containerBookmark, item("a", shard.Update))))
		u.apply("stale second", conflicts(2), at(3, nil, update(containerBookmark, item("b", shard.New))), at(3, nil, update(containerBookmark, item("c", shard.New))))
		b.same("frames", u.all(containerBookmark).Frames, int64(3))
	}},
	{"apply/frame 0 C-220", func(b *bench) {
		u := b.user("alice")
		u.apply("by the service", results(accept(1)), update(containerBookmark, item("a", shard.New)))
		f := u.all(containerBookmark).Entries[0]
		b.same("header", string(f.Header), shard.FrameZero)
		b.same("payload", len(f.Payload), 0)
		b.same("trailer", f.Trailer, []byte(nil))
		b.same("received", f.Received.IsZero(), true)
		b.same("digest written", f.DigestWritten, false)

		u.apply("by the client", results(accept(0), accept(1)), update("mmm_Calendar", zero("calendar"), item("a", shard.New)))
		f = u.all("mmm_Calendar").Entries[0]
		b.same("header", string(f.Header), string(zero("").Header))
		b.same("payload", string(f.Payload), "calendar")
		b.same("received", f.Received.IsZero(), false)
		u.apply("identical", results(accept(0)), update("mmm_Calendar", zero("calendar")))
		u.apply("identical, and more", results(accept(0), accept(2)), update("mmm_Calendar", zero("calendar"), item("b", shard.New)))
		u.apply("other payload", conflicts(2), update("mmm_Calendar", zero("other"), item("c", shard.New)))
		header := zero("calendar")
		header.Header = []byte("{}")
		u.apply("other header", conflicts(1), update("mmm_Calendar", header))
		trailer := zero("calendar")
		trailer.Trailer = []byte(`{"signatures":[]}`)
		u.apply("other trailer", conflicts(1), update("mmm_Calendar", trailer))
		u.apply("not the first", results(conflicts(1)[0], reject(13)), update("mmm_Calendar", item("c", shard.New), zero("calendar")))
		u.frames("mmm_Calendar", "a 1", "b 1")

		same := zero("")
		same.Header = []byte(shard.FrameZero)
		u.apply("identical to the service's", results(accept(0)), update(containerBookmark, same))
		keyed := zero("")
		keyed.UniqueID, keyed.Event = "k", shard.New
		u.apply("is no entry of the catalog", results(accept(0), accept(1)), update("mmm_Network", keyed, item("k", shard.New)))
		other := item("o", shard.New)
		other.Index = ptr(int64(77))
		u.apply("another index means nothing", results(accept(2)), update("mmm_Network", other))
	}},
	{"apply/faults of an entry", func(b *bench) {
		u := b.user("alice")
		for what, e := range map[string]shard.Entry{
			"no UniqueID":        entry("x", "e", "", shard.New),
			"no Event":           entry("x", "e", "u", shard.NoEvent),
			"unknown Event":      entry("x", "e", "u", 9),
			"NUL in UniqueID":    entry("x", "e", "a\x00b", shard.New),
			"NUL in EnvelopeID":  entry("x", "a\x00b", "u", shard.New),
			"not UTF-8":          entry("x", "e", "a\xff", shard.New),
			"too long a name":    entry("x", "e", strings.Repeat("u", shard.MaxName+1), shard.New),
			"too long an id":     entry("x", strings.Repeat("u", shard.MaxName+1), "u", shard.New),
			"too long a message": {PayloadDigest: make([]byte, 64), UniqueID: "u", Event: shard.New, MessageType: strings.Repeat("m", shard.MaxName+1)},
		} {
			u.apply(what, results(reject(13)), update(containerBookmark, e))
		}
		long := strings.Repeat("ü", shard.MaxName/2)
		u.apply("longest", results(accept(1)), update(containerBookmark, entry("x", long, long, shard.New)))
		u.apply("longest in a spool", results(accept(1)), update(containerArchive, entry("x", long, long, shard.NoEvent)))
		b.same("kept", u.all(containerBookmark).Entries[1].EnvelopeID, long)
	}},
	{"apply/what the caller of ours never sends", func(b *bench) {
		u := b.user("alice")
		u.refused("no name", mesh.Internal, update("", item("a", shard.New)))
		u.refused("a container of the service", mesh.Internal, update("mmms_Account", item("a", shard.New)))
		short := item("a", shard.New)
		short.PayloadDigest = []byte("short")
		u.refused("no digest", mesh.Internal, update(containerBookmark, short))
		a := u.application()
		a.Partition = 4096
		_, err := b.store.Apply(b.ctx, a)
		b.kind("partition", err, mesh.Internal)
	}},
	{"apply/number of containers", func(b *bench) {
		u := b.bare("alice")
		var updates []shard.ContainerUpdate
		for i := range shard.MaxContainers - 3 { // beside three spools
			updates = append(updates, update(fmt.Sprintf("app_C%d", i), item("a", shard.New)))
		}
		_, err := b.store.Apply(b.ctx, u.application(updates...))
		b.ok(err)
		u.refused("one more", mesh.QuotaExceeded, update("app_C0", item("b", shard.New)), update("app_D", item("a", shard.New)))
		u.frames("app_C0", "a 1")
		b.same("containers", len(u.status().Containers), shard.MaxContainers)
	}},
	{"apply/octets are kept C-001 C-156", func(b *bench) {
		u := b.user("alice")
		e := item("a", shard.New)
		e.Header = []byte("{ \"EnvelopeID\" :\n\"a\",  \"z\":\"\\u00e9\xc3\xa9\" }")
		e.Trailer = []byte(`{ "signatures" : [] }`)
		e.Payload = []byte{0, 1, 0xff, 0xfe, 0, '\'', '\\'}
		e.DigestWritten = true
		empty := item("b", shard.New)
		empty.Payload, empty.Trailer = nil, []byte{}
		u.apply("stored", accepts(1, 2), update(containerBookmark, e, empty))
		f := u.all(containerBookmark).Entries
		b.same("header", f[1].Header, e.Header)
		b.same("trailer", f[1].Trailer, e.Trailer)
		b.same("payload", f[1].Payload, e.Payload)
		b.same("length", f[1].PayloadLength, int64(len(e.Payload)))
		b.same("digest", f[1].PayloadDigest, e.PayloadDigest)
		b.same("digest written", f[1].DigestWritten, true)
		b.same("id", f[1].EnvelopeID, "a")
		b.same("no trailer", f[2].Trailer == nil, true)
		b.same("empty payload", f[2].PayloadLength, int64(0))
	}},
}

var spoolCases = []testCase{
	{"spool/duplicates", func(b *bench) {
		u := b.user("alice")
		u.apply("first", accepts(1, 2), update(containerArchive, message("a"), message("b")))
		u.apply("again", results(accept(2), accept(1)), update(containerArchive, message("b"), message("a")))
		other := entry("another text", "a", "a", shard.NoEvent)
		u.apply("same id, other payload", results(accept(3)), update(containerArchive, other))
		u.apply("twice in one update", results(accept(4), accept(4), accept(1), accept(5)),
			update(containerArchive, message("c"), message("c"), message("a"), message("d")))
		nameless := entry("x", "", "", shard.NoEvent)
		u.apply("without id nothing is a duplicate", accepts(6, 7), update(containerArchive, nameless, nameless))
		b.same("frames", u.all(containerArchive).Frames, int64(8))
		u.apply("another container", results(accept(1)), update("mmm_Local", message("a")))
	}},
	{"spool/Self C-215", func(b *bench) {
		u := b.user("alice")
		bad := message("bad")
		bad.Reject = 13
		a := u.application()
		a.Self = []shard.Entry{message("a"), bad, message("b"), message("a"), zero("z")}
		u.applied("each for itself", a, accept(1), reject(13), accept(2), accept(1), accept(3))
		u.frames(containerInbound, "message a", "message b", "z")
	}},
	{"spool/events mean nothing", func(b *bench) {
		u := b.user("alice")
		e := message("a")
		e.Event = shard.Delete
		u.apply("a delete", results(accept(1)), update(containerArchive, e))
		u.apply("a duplicate all the same", results(accept(1)), update(containerArchive, message("a")))
	}},
}

var catalogCases = []testCase{
	{"catalog/state machine C-220", func(b *bench) {
		u := b.user("alice")
		next := int64(1)
		step := func(unique string, event shard.Event, ok bool) {
			b.Helper()
			want := conflicts(1)
			if ok {
				want = results(accept(next))
				next++
			}
			u.apply(fmt.Sprintf("%s %d", unique, event), want, update(containerBookmark, item(unique, event)))
		}
		step("a", shard.New, true)
		step("a", shard.New, false)
		step("a", shard.Update, true)
		step("a", shard.New, false)
		step("b", shard.Update, true)
		step("b", shard.New, false)
		step("a", shard.Delete, true)
		step("a", shard.Delete, false)
		step("never", shard.Delete, false)
		step("a", shard.New, true)
		step("a", shard.Delete, true)
		step("a", shard.Update, true)
		step("a", shard.Delete, true)
		u.apply("a life in one update", accepts(next, next+3), update(containerBookmark, item("s", shard.New), item("s", shard.Update), item("s", shard.Delete), item("s", shard.New)))
		u.apply("wrong at the end", conflicts(3), update(containerBookmark, item("t", shard.New), item("t", shard.Delete), item("t", shard.Delete)))
		u.apply("and again without", accepts(next+4, next+4), update(containerBookmark, item("t", shard.New)))
		u.apply("another container", results(accept(1)), update("mmm_Calendar", item("s", shard.New)))
	}},
	{"catalog/same envelope again is no duplicate", func(b *bench) {
		u := b.user("alice")
		u.apply("update", accepts(1, 2), update(containerBookmark, item("a", shard.Update), item("a", shard.Update)))
	}},
}
