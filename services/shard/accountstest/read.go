package accountstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

var treeCases = []testCase{
	{"tree/digests C-016 C-178", func(b *bench) {
		// Appended in pieces of many sizes: the digests depend on the frames alone.
		u := b.user("alice")
		n := 0
		for size := 1; n < 520; size = size%37 + 1 {
			var entries []shard.Entry
			for range size {
				entries = append(entries, item(fmt.Sprint("e", n), shard.New))
				n++
			}
			u.apply("piece", accepts(int64(n-size+1), int64(n)), update(containerBookmark, entries...))
		}
		all := u.all(containerBookmark)
		b.same("frames", all.Frames, int64(n+1))
		b.checkTree(all)
	}},
}

// checkTree compares a container read whole with the definition of D-43 and with pkg/dare.
func (b *bench) checkTree(all shard.Selected) {
	b.Helper()
	var digests [][]byte
	for _, f := range all.Entries {
		digests = append(digests, f.PayloadDigest)
	}
	tree := treeDigests(digests)
	peaks := new(dare.Peaks)
	for i, f := range all.Entries {
		if f.Index != int64(i) {
			b.Fatalf("frame %d has index %d", i, f.Index)
		}
		b.same(fmt.Sprintf("tree digest of frame %d", i), f.TreeDigest, tree[i])
		digest := peaks.Append(digests[i])
		b.same("pkg/dare", digest[:], tree[i])
	}
	if len(tree) > 0 {
		b.same("container digest", all.Digest, tree[len(tree)-1])
	}
	b.same("container frames", all.Frames, int64(len(tree)))
}

func indexes(s shard.Selected) []int64 {
	all := []int64{}
	for _, f := range s.Entries {
		all = append(all, f.Index)
	}
	return all
}

// nine makes a bookmark catalog of frame 0 and nine entries with payloads of 10 octets.
func nine(b *bench) *user {
	u := b.user("alice")
	var entries []shard.Entry
	for i := range 9 {
		entries = append(entries, entry(fmt.Sprintf("payload %02d", i+1), fmt.Sprint(i+1), fmt.Sprint(i+1), shard.New))
	}
	u.apply("nine", accepts(1, 9), update(containerBookmark, entries...))
	return u
}

var readCases = []testCase{
	{"read/index range C-160 C-161", func(b *bench) {
		u := nine(b)
		for _, c := range []struct {
			min, max int64 // -1: none
			want     []int64
		}{
			{-1, -1, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
			{5, -1, []int64{5, 6, 7, 8, 9}},
			{-1, 2, []int64{0, 1, 2}},
			{5, 7, []int64{5, 6, 7}},
			{4, 4, []int64{4}},
			{10, -1, nil},
			{1 << 52, -1, nil},
			{7, 5, nil},
			{0, 1 << 52, []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
		} {
			sel := shard.Selection{Container: containerBookmark}
			if c.min >= 0 {
				sel.Min = &c.min
			}
			if c.max >= 0 {
				sel.Max = &c.max
			}
			got := u.read(u.query(sel))[0]
			b.same(fmt.Sprint(c), indexes(got), c.want)
			b.same("state", []any{got.Container, got.Present, got.Frames, len(got.Digest), got.More}, []any{containerBookmark, true, int64(10), 64, false})
		}
		b.same("no selection", len(u.read(u.query())), 0)
	}},
	{"read/several, unknown, forbidden C-095 C-212", func(b *bench) {
		u := nine(b)
		u.apply("a device", results(accept(2)), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.Bookmark)))
		d := u.as("k2")
		got := d.read(d.query(
			shard.Selection{Container: containerInbound}, shard.Selection{Container: "mmm_Network"},
			shard.Selection{Container: containerDevice, Right: shard.Admin}, shard.Selection{Container: "mmm_Credential", Right: shard.Credential},
			shard.Selection{Container: containerBookmark, Right: shard.Bookmark, Min: ptr(int64(9))}))
		b.same("spool", indexes(got[0]), []int64{0})
		b.same("unknown", got[1], shard.Selected{Container: "mmm_Network"})
		b.same("forbidden", got[2], shard.Selected{Container: containerDevice, Forbidden: true})
		b.same("forbidden and unknown", got[3], shard.Selected{Container: "mmm_Credential", Forbidden: true})
		b.same("allowed", indexes(got[4]), []int64{9})

		rights := func(name string) shard.Right {
			if name == containerDevice {
				return shard.Admin
			}
			return 0
		}
		st := d.status(func(q *shard.StatusQuery) { q.RightOf = rights })
		b.same("status of all leaves the forbidden out", names(st), []string{containerBookmark, containerInbound, "mmm_Local", "mmm_Outbound"})
		st = d.status(func(q *shard.StatusQuery) {
			q.Containers = []shard.ContainerRight{{Container: "mmm_Outbound"}, {Container: "mmm_Network"}, {Container: containerDevice, Right: shard.Admin}, {Container: containerBookmark, Right: shard.Bookmark}}
		})
		b.same("status of some", names(st), []string{containerBookmark, "mmm_Outbound"})
		b.same("digest", st.Containers[0].Digest, got[4].Digest)
		b.same("nothing was made", len(u.status().Containers), 5)
	}},
	{"read/limits C-097 C-164", func(b *bench) {
		u := nine(b)
		u.apply("calendar", accepts(1, 2), update("mmm_Calendar", item("a", shard.New), item("b", shard.New)))
		read := func(entries, octets int64, payload bool, sel ...shard.Selection) []shard.Selected {
			q := u.query(sel...)
			q.MaxEntries, q.MaxBytes, q.Payload = entries, octets, payload
			return u.read(q)
		}
		book, calendar := shard.Selection{Container: containerBookmark}, shard.Selection{Container: "mmm_Calendar"}
		cut := func(s shard.Selected) []any { return []any{indexes(s), s.More, s.Next} }
		all10 := []int64{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}

		got := read(3, 1<<20, true, book)
		b.same("entries", cut(got[0]), []any{[]int64{0, 1, 2}, true, int64(3)})
		got = read(10, 1<<20, true, book)
		b.same("exactly all", cut(got[0]), []any{all10, false, int64(0)})
		got = read(11, 1<<20, true, book, calendar)
		b.same("over two", [][]any{cut(got[0]), cut(got[1])}, [][]any{{all10, false, int64(0)}, {[]int64{0}, true, int64(1)}})
		got = read(10, 1<<20, true, book, calendar)
		b.same("nothing left for the second", cut(got[1]), []any{[]int64{}, true, int64(0)})
		b.same("but its state", got[1].Frames, int64(3))
		got = read(100, 35, true, book)
		b.same("octets", cut(got[0]), []any{[]int64{0, 1, 2, 3}, true, int64(4)})
		got = read(100, 90, true, book)
		b.same("octets, exactly", cut(got[0]), []any{all10, false, int64(0)})
		got = read(100, 93, true, book, calendar)
		b.same("octets over two", [][]any{cut(got[0]), cut(got[1])}, [][]any{{all10, false, int64(0)}, {[]int64{0, 1}, true, int64(2)}})
		got = read(100, 25, true, book, calendar)
		b.same("what would fit later stays out", cut(got[1]), []any{[]int64{}, true, int64(0)})
		got = read(100, 5, false, book)
		b.same("no payloads wanted", cut(got[0]), []any{all10, false, int64(0)})
		for _, f := range got[0].Entries {
			if len(f.Payload) > 0 || f.Index > 0 && (f.PayloadLength != 10 || len(f.PayloadDigest) != 64) {
				b.Fatalf("frame %d: payload %q of %d", f.Index, f.Payload, f.PayloadLength)
			}
		}

		one := shard.Selection{Container: containerBookmark, Min: ptr(int64(3))}
		got = read(100, 4, true, one, calendar)
		b.same("first frame cut", cut(got[0]), []any{[]int64{3}, true, int64(4)})
		b.same("its part", []any{string(got[0].Entries[0].Payload), got[0].Entries[0].PayloadLength}, []any{"payl", int64(10)})
		b.same("it comes alone", cut(got[1]), []any{[]int64{}, true, int64(0)})
	}},
	{"read/long headers", func(b *bench) {
		u := b.user("alice")
		var entries []shard.Entry
		for i := range 100 {
			e := entry("p", fmt.Sprint(i), fmt.Sprint(i), shard.New)
			e.Header = []byte(`{"x":"` + strings.Repeat("x", 60_000) + `"}`)
			e.Trailer = []byte(`{"y":"` + strings.Repeat("y", 60_000) + `"}`)
			entries = append(entries, e)
		}
		u.apply("long", accepts(1, 50), update(containerBookmark, entries[:50]...))
		u.apply("long", accepts(51, 100), update(containerBookmark, entries[50:]...))
		got := u.read(u.query(shard.Selection{Container: containerBookmark}, shard.Selection{Container: "mmm_Inbound"}))
		octets := 0
		for _, f := range got[0].Entries {
			octets += len(f.Header) + len(f.Trailer)
		}
		n := int64(len(got[0].Entries))
		b.same("within the limit", octets <= shard.MaxHeads && octets > shard.MaxHeads-200_000, true)
		b.same("cut", []any{got[0].More, got[0].Next, len(got[1].Entries)}, []any{true, n, 0})
		rest := u.read(u.query(shard.Selection{Container: containerBookmark, Min: &n}))
		b.same("the rest", []any{int64(len(rest[0].Entries)), rest[0].More}, []any{101 - n, false})
	}},
	{"read/byte range C-166 C-167", func(b *bench) {
		u := nine(b)
		part := func(offset, octets int64, sel shard.Selection) ([]shard.Selected, error) {
			q := u.query(sel)
			q.Offset, q.MaxBytes = &offset, octets
			return b.store.Read(b.ctx, q)
		}
		three := shard.Selection{Container: containerBookmark, Min: ptr(int64(3)), Max: ptr(int64(3))}
		for _, c := range []struct {
			offset, octets int64
			want           string
		}{{0, 4, "payl"}, {4, 4, "oad "}, {8, 4, "03"}, {8, 1 << 20, "03"}, {0, 1 << 20, "payload 03"}, {10, 4, ""}, {1 << 50, 4, ""}} {
			got, err := part(c.offset, c.octets, three)
			b.ok(err)
			b.same(fmt.Sprint(c), string(got[0].Entries[0].Payload), c.want)
			b.same("length", got[0].Entries[0].PayloadLength, int64(10))
		}
		_, err := part(0, 4, shard.Selection{Container: containerBookmark})
		b.kind("several frames", err, mesh.ProfileInvalid)
		_, err = part(0, 4, shard.Selection{Container: containerBookmark, Min: ptr(int64(99))})
		b.kind("no frame", err, mesh.ProfileInvalid)
		_, err = part(0, 4, shard.Selection{Container: "mmm_Network"})
		b.kind("no container", err, mesh.ProfileInvalid)
		q := u.query(three, three)
		q.Offset = new(int64)
		_, err = b.store.Read(b.ctx, q)
		b.kind("two selections", err, mesh.ProfileInvalid)
	}},
	{"read/time windows C-162 C-163", func(b *bench) {
		u := b.user("alice")
		u.apply("early", accepts(1, 2), update(containerBookmark, item("a", shard.New), item("b", shard.New)))
		time.Sleep(2100 * time.Millisecond) // arrival times are the store's own, in whole seconds
		u.apply("late", results(accept(3)), update(containerBookmark, item("c", shard.New)))
		all := u.all(containerBookmark)
		late := all.Entries[3].Received
		if _, offset := late.Zone(); offset != 0 || late.Nanosecond() != 0 || time.Since(late).Abs() > time.Minute {
			b.Fatalf("received %v", late)
		}
		window := func(notBefore, before time.Time) []int64 {
			return indexes(u.read(u.query(shard.Selection{Container: containerBookmark, NotBefore: notBefore, Before: before}))[0])
		}
		b.same("not before", window(late, time.Time{}), []int64{3})
		b.same("before", window(time.Time{}, late), []int64{0, 1, 2})
		b.same("a second later", window(late.Add(time.Second), time.Time{}), []int64{})
		b.same("a moment later", window(late.Add(time.Millisecond), time.Time{}), []int64{})
		b.same("before a moment later", window(time.Time{}, late.Add(time.Millisecond)), []int64{0, 1, 2, 3})
		b.same("both", window(all.Entries[1].Received, late), []int64{0, 1, 2})
		b.same("empty", window(late, late), []int64{})
		b.same("another zone", window(late.In(time.FixedZone("", 7200)), time.Time{}), []int64{3})
		b.same("with an index", indexes(u.read(u.query(shard.Selection{Container: containerBookmark, Before: late, Min: ptr(int64(2))}))[0]), []int64{2})
	}},
	{"read/names of nothing", func(b *bench) {
		u := nine(b)
		for _, name := range []string{"a\x00b", "\xff", strings.Repeat("x", 5000), ""} {
			got := u.status(func(q *shard.StatusQuery) {
				q.DeviceUDF, q.Containers = name, []shard.ContainerRight{{Container: name}}
			})
			b.same("status", []any{len(got.Containers), got.DeviceEntry}, []any{0, (*shard.Frame)(nil)})
			b.same("read", u.read(u.query(shard.Selection{Container: name}))[0], shard.Selected{Container: name})
			key, err := b.store.Signer(b.ctx, u.partition, u.address, name)
			b.ok(err)
			b.same("signer", key, (*shard.SignerKey)(nil))
			_, err = b.store.Resolve(b.ctx, u.partition, name)
			b.kind("resolve", err, mesh.UnknownAccount)
			b.kind("check", u.as(name).check(0), mesh.NotAuthorized)
			u.as(name).refused("upload", mesh.NotAuthorized)
		}
	}},
	{"read/large", func(b *bench) {
		u := b.user("alice")
		var entries []shard.Entry
		big := strings.Repeat("0123456789abcdef", 256) // 1,000 of these are 4 MiB
		for i := range 1000 {
			entries = append(entries, entry(fmt.Sprintf("%04d%s", i, big), fmt.Sprint(i), fmt.Sprint(i), shard.New))
		}
		u.apply("a thousand entries", accepts(1, 1000), update(containerBookmark, entries...))
		all := u.all(containerBookmark)
		b.checkTree(all)
		for i, f := range all.Entries[1:] {
			if string(f.Payload) != string(entries[i].Payload) {
				b.Fatalf("payload of frame %d differs", f.Index)
			}
		}
		entries = nil
		for i := range 1000 {
			entries = append(entries, message(fmt.Sprint(i%500)))
		}
		want := slices.Concat(accepts(1, 500), accepts(1, 500))
		u.apply("a thousand messages, half of them twice", want, update(containerArchive, entries...))
		u.apply("and again", want, update(containerArchive, entries...))
		var updates []shard.ContainerUpdate
		for i := range 300 {
			updates = append(updates, update("mmm_Calendar", item(fmt.Sprint(i), shard.New)))
		}
		u.apply("many updates of one container", accepts(1, 300), updates...)
	}},
}

func names(s *shard.StatusResult) []string {
	all := []string{}
	for _, c := range s.Containers {
		all = append(all, c.Container)
	}
	return all
}
