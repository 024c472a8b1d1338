package accountstest

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

const containerOutbound, containerLocal, containerContact = "mmm_Outbound", "mmm_Local", "mmm_Contact"

// to makes recipients: those of alpha.example are local.
func to(addresses ...string) []shard.Addressee {
	all := []shard.Addressee{}
	for _, address := range addresses {
		_, domain, _ := strings.Cut(address, "@")
		if domain == "alpha.example" {
			domain = ""
		}
		all = append(all, shard.Addressee{Address: address, Domain: domain})
	}
	return all
}

const bob, carol, dave = "bob@alpha.example", "carol@beta.example", "dave@gamma.example"

// letter is a message that the calling device has signed.
func (u *user) letter(id string, recipients ...shard.Addressee) shard.Letter {
	e := message(id)
	e.Trailer, e.DigestWritten = []byte(`{"signatures":["of `+id+`"]}`), true
	return shard.Letter{Entry: e, SignKID: u.kid + "-sign", Recipients: recipients}
}

func (u *user) posting(letters ...shard.Letter) shard.Posting {
	return shard.Posting{Partition: u.partition, Account: u.address, Caller: u.caller(), Letters: letters, Waiter: "waiter"}
}

// posted wants the results of a Post. Each message accepted for a recipient has a row, nothing else has.
func (u *user) posted(what string, p shard.Posting, want ...shard.Result) []shard.Posted {
	u.b.Helper()
	got, err := u.b.store.Post(u.b.ctx, p)
	if err != nil {
		u.b.Fatalf("%s: %v", what, err)
	}
	fates := []shard.Result{}
	for i, r := range got {
		fates = append(fates, r.Result)
		row := r.Outcome == shard.Accept && i < len(got)-len(p.Self)
		if row && (r.Row[6]>>4 != 4 || r.Row[8]>>6 != 2) {
			u.b.Fatalf("%s: result %d: row %x is no random UUID", what, i, r.Row)
		}
		if !row && r.Row != (shard.OutboxID{}) {
			u.b.Fatalf("%s: result %d: row %x", what, i, r.Row)
		}
	}
	u.b.same(what, fates, append([]shard.Result{}, want...))
	return got
}

// sent posts one message, and returns the rows.
func (u *user) sent(id string, index int64, recipients ...string) []shard.OutboxID {
	u.b.Helper()
	got := u.posted(id, u.posting(u.letter(id, to(recipients...)...)), slices.Repeat(results(accept(index)), len(recipients))...)
	return ids(got)
}

func ids(posted []shard.Posted) []shard.OutboxID {
	var all []shard.OutboxID
	for _, p := range posted {
		if p.Row != (shard.OutboxID{}) {
			all = append(all, p.Row)
		}
	}
	return all
}

func (u *user) notPosted(what string, want mesh.Kind, p shard.Posting) {
	u.b.Helper()
	_, err := u.b.store.Post(u.b.ctx, p)
	u.b.kind(what, err, want)
}

// outbox returns the rows of a message in the order of recipients.
func (u *user) outbox(envelope string, named ...shard.OutboxID) []shard.OutboxRow {
	u.b.Helper()
	rows, err := u.b.store.Outbox(u.b.ctx, shard.OutboxQuery{Partition: u.partition, Account: u.address, EnvelopeID: envelope, IDs: named})
	u.b.ok(err)
	slices.SortStableFunc(rows, func(x, y shard.OutboxRow) int {
		if x.Frame.Index != y.Frame.Index {
			return 0 // the store's order
		}
		return strings.Compare(x.Recipient, y.Recipient)
	})
	return rows
}

// now checks a time that the store wrote during a test.
func (b *bench) now(what string, t time.Time) {
	b.Helper()
	if past := time.Since(t); past > time.Minute || past < 0 || t.Location() != time.UTC {
		b.Fatalf("%s: %v", what, t)
	}
}

// received checks the time of arrival of a frame: whole seconds.
func (b *bench) received(f *shard.Frame) {
	b.Helper()
	b.now("received", f.Received)
	if f.Received.Nanosecond() != 0 {
		b.Fatalf("received: %v", f.Received)
	}
}

// rowTimes are compared by themselves.
var rowTimes = cmpopts.IgnoreFields(shard.OutboxRow{}, "ID", "Created", "NextAttempt")

var postCases = []testCase{
	{"post/frames, rows and results C-224 C-228", func(b *bench) {
		u := b.user("alice")
		recipients := to(bob, carol, "nobody@alpha.example", dave)
		recipients[2].Reject = 3
		p := u.posting(u.letter("m", recipients...), u.letter("n", recipients[1:3]...))
		p.Self = []shard.Entry{message("s"), message("t")}
		got := u.posted("message by message, then Self", p, accept(1), accept(1), reject(3), accept(1), accept(2), reject(3), accept(1), accept(2))
		for i, r := range got {
			b.same(fmt.Sprint("result ", i, " has no verdict"), []any{r.Settled, r.Verdict}, []any{false, shard.Verdict{}})
		}
		u.frames(containerOutbound, "message m", "message n")
		u.frames(containerLocal, "message s", "message t")
		u.frames(containerInbound)
		frames := u.all(containerOutbound)
		b.checkTree(frames)
		b.checkTree(u.all(containerLocal))
		b.received(&frames.Entries[1])

		rows := u.outbox("m")
		want := shard.OutboxRow{
			Partition: u.partition, Account: u.address, SenderUDF: u.profile, Frame: frames.Entries[1], MessageID: "m", MessageType: "MessageText",
			Recipient: bob, State: shard.Due, Waiter: "waiter",
		}
		second, third, fourth := want, want, want
		second.Recipient, second.Domain = carol, "beta.example"
		third.Recipient, third.Domain = dave, "gamma.example"
		fourth.Frame, fourth.MessageID, fourth.Recipient, fourth.Domain = frames.Entries[2], "n", carol, "beta.example"
		if diff := cmp.Diff([]shard.OutboxRow{want, second, third}, rows, rowTimes); diff != "" {
			b.Fatalf("rows (-want +got):\n%s", diff)
		}
		b.same("their identifiers", ids(got)[:3], []shard.OutboxID{rows[0].ID, rows[1].ID, rows[2].ID})
		for _, r := range rows {
			b.now("created", r.Created)
			b.now("due", r.NextAttempt)
		}
		if diff := cmp.Diff([]shard.OutboxRow{fourth}, u.outbox("n"), rowTimes); diff != "" {
			b.Fatalf("rows (-want +got):\n%s", diff)
		}
	}},
	{"post/no recipient left C-224", func(b *bench) {
		u := b.user("alice")
		gone := to(bob, carol)
		gone[0].Reject, gone[1].Reject = 3, 20
		u.posted("nothing", u.posting())
		u.posted("no recipients", u.posting(u.letter("m")))
		u.posted("all refused", u.posting(u.letter("m", gone...)), reject(3), reject(20))
		unsigned := u.letter("m", gone...)
		unsigned.SignKID = ""
		u.posted("a fault of the message comes first", u.posting(unsigned), reject(13), reject(13))
		u.frames(containerOutbound)
		b.same("rows", len(u.outbox("m")), 0)
	}},
	{"post/octets and redacted messages C-225", func(b *bench) {
		u := b.user("alice")
		l := u.letter("m", to(bob)...)
		l.Entry.Header, l.Entry.Payload, l.Entry.Trailer = []byte("{ \"a\" :\n1 }"), []byte{0, 1, 0xff, '\'', '\\'}, []byte(`{ "b" : 2 }`)
		r := u.letter("r", to(bob)...)
		r.Entry.Payload = nil // header and trailer alone, with the digest of what was left out
		u.posted("both", u.posting(l, r), accept(1), accept(2))
		row := u.outbox("m")[0]
		b.same("header", row.Frame.Header, l.Entry.Header)
		b.same("payload", row.Frame.Payload, l.Entry.Payload)
		b.same("trailer", row.Frame.Trailer, l.Entry.Trailer)
		b.same("digest", row.Frame.PayloadDigest, l.Entry.PayloadDigest)
		row = u.outbox("r")[0]
		b.same("no payload", []any{len(row.Frame.Payload), row.Frame.PayloadLength}, []any{0, int64(0)})
		b.same("its digest", row.Frame.PayloadDigest, r.Entry.PayloadDigest)
	}},
	{"post/Self C-227", func(b *bench) {
		u := b.user("alice")
		bad := message("bad")
		bad.Reject = 12
		p := u.posting()
		p.Self = []shard.Entry{message("a"), bad, message("b"), message("a"), message("a\x00b")}
		u.posted("each for itself", p, accept(1), reject(12), accept(2), accept(1), reject(13))
		u.frames(containerLocal, "message a", "message b")
		p = u.posting(u.letter("a", to(bob)...))
		p.Self = []shard.Entry{message("b")}
		u.posted("again, beside a message of that name", p, accept(1), accept(2))
		u.frames(containerOutbound, "message a")
	}},
	{"post/refused messages", func(b *bench) {
		u := b.user("alice")
		other := b.neighbour(u, "bob")
		u.apply("devices", accepts(2, 4), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.DefaultGrant),
			u.deviceEntry(shard.New, "gone", "gone", shard.DefaultGrant), u.deviceEntry(shard.New, "d3", "k3", shard.Bookmark)))
		u.apply("removed, and a new key", accepts(5, 6), update(containerDevice, u.deviceEntry(shard.Delete, "gone", "", 0), u.deviceEntry(shard.Update, "d2", "k4", shard.DefaultGrant)))
		recipients := to(bob, carol)
		recipients[1].Reject = 3
		for what, kid := range map[string]string{
			"unsigned": "", "signed by a stranger": "MSTRANGER", "by a device of another account": other.kid + "-sign", "by an authentication key": u.kid,
			"by a removed device": "gone-sign", "by what is no text": "\xff", "by what is none either": "a\x00b",
		} {
			l := u.letter(what, recipients...)
			l.SignKID = kid
			u.posted(what, u.posting(l), reject(13), reject(13))
		}
		u.frames(containerOutbound)
		b.same("rows", len(u.outbox("unsigned")), 0)
		for i, kid := range []string{"k2-sign", "k4-sign", "k3-sign"} { // any current device, by any of its keys
			l := u.letter(kid, recipients...)
			l.SignKID = kid
			u.posted(kid, u.posting(l), accept(int64(i+1)), reject(3))
		}
		found := u.letter("found", recipients...)
		found.Entry.Reject = 12
		u.posted("a fault found before, beside a good message", u.posting(found, u.letter("good", recipients...)), reject(12), reject(12), accept(4), reject(3))
		for what, e := range map[string]shard.Entry{
			"NUL in EnvelopeID": entry("x", "a\x00b", "u", shard.NoEvent), "not UTF-8": entry("x", "e", "a\xff", shard.NoEvent),
			"too long": entry("x", strings.Repeat("u", shard.MaxName+1), "u", shard.NoEvent),
		} {
			l := u.letter("x", recipients...)
			l.Entry = e
			u.posted(what, u.posting(l), reject(13), reject(13))
		}
		u.frames(containerOutbound, "message k2-sign", "message k4-sign", "message k3-sign", "message good")
	}},
	{"post/another text under the same EnvelopeID", func(b *bench) {
		u := b.user("alice")
		u.sent("m", 1, bob)
		l := u.letter("m", to(bob, carol)...)
		l.Entry = entry("another text", "m", "m", shard.NoEvent)
		n := u.letter("n", to(bob)...)
		second := n
		second.Entry = entry("another text", "n", "n", shard.NoEvent)
		u.posted("stored, and within one request", u.posting(l, n, second), reject(13), reject(13), accept(2), reject(13))
		u.apply("by an upload", results(accept(3)), update(containerOutbound, message("o")))
		l = u.letter("o", to(bob)...)
		l.Entry = entry("another text", "o", "o", shard.NoEvent)
		u.posted("uploaded", u.posting(l), reject(13))
		u.frames(containerOutbound, "message m", "message n", "message o")
	}},
	{"post/the same message by another request", func(b *bench) {
		u := b.user("alice")
		first := u.sent("m", 1, bob, carol)
		verdict := shard.Verdict{Code: 17, Rule: "block", Policy: "p1"}
		u.settle(1, shard.Settlement{ID: first[0], State: shard.Failed, Verdict: verdict})
		got := u.posted("one recipient more, one twice", u.posting(u.letter("m", to(dave, bob, carol, dave)...)), accept(1), accept(1), accept(1), accept(1))
		b.same("rows", []shard.OutboxID{got[1].Row, got[2].Row, got[3].Row}, []shard.OutboxID{first[0], first[1], got[0].Row})
		b.same("verdicts", []shard.Posted{got[0], got[1], got[2]}, []shard.Posted{
			{Result: accept(1), Row: got[0].Row}, {Result: accept(1), Row: first[0], Settled: true, Verdict: verdict}, {Result: accept(1), Row: first[1]},
		})
		u.frames(containerOutbound, "message m")
		b.same("rows", len(u.outbox("m")), 3)
		got = u.posted("twice in one request", u.posting(u.letter("n", to(bob)...), u.letter("n", to(bob, carol)...)), accept(2), accept(2), accept(2))
		b.same("one row", got[0].Row, got[1].Row)
		b.same("two recipients", len(u.outbox("n")), 2)
		u.apply("by an upload", results(accept(3)), update(containerOutbound, message("o")))
		u.posted("then posted", u.posting(u.letter("o", to(bob)...)), accept(3))
		b.same("frames", u.all(containerOutbound).Frames, int64(4))
		b.same("no sharing with another account", b.neighbour(u, "zoe").sent("m", 1, bob)[0] == first[0], false)
	}},
	{"post/the same request C-146", func(b *bench) {
		u := b.user("alice")
		recipients := to(bob, carol, "x@alpha.example")
		recipients[2].Reject = 3
		p := u.posting(u.letter("m", recipients...), u.letter("n", to(carol)...))
		p.Letters[1].SignKID = ""
		p.Self = []shard.Entry{message("s")}
		want := results(accept(1), accept(1), reject(3), reject(13), accept(1))
		first := u.posted("first", p, want...)
		b.same("again", u.posted("again", p, want...), first)
		verdict := shard.Verdict{Accepted: true, Rule: "contact", Policy: "p1"}
		u.settle(1, shard.Settlement{ID: first[1].Row, State: shard.Delivered, Verdict: verdict})
		first[1].Settled, first[1].Verdict = true, verdict
		b.same("rows as they are now", u.posted("again", p, want...), first)
		u.frames(containerOutbound, "message m")
		u.frames(containerLocal, "message s")
		b.same("rows", len(u.outbox("m")), 2)
		other := p
		other.Caller.RequestDigest = make([]byte, 32)
		u.notPosted("other digest", mesh.Conflict, other)
		a := u.application(update(containerBookmark, item("a", shard.New)))
		a.Caller = other.Caller
		_, err := b.store.Apply(b.ctx, a)
		b.kind("other verb", err, mesh.Conflict)
		p = u.posting(u.letter("o", to(bob)...))
		p.Caller.Epoch = 7
		u.notPosted("an error", mesh.TicketExpired, p)
		p.Caller.Epoch = 1
		u.posted("is not remembered", p, accept(2))
		p.Caller.RequestID = nil
		u.posted("no identifier", p, accept(2))
	}},
	{"post/a long request repeated", func(b *bench) {
		u := b.user("alice")
		var recipients []shard.Addressee
		for i := range 100 {
			recipients = append(recipients, to(fmt.Sprintf("r%d@beta.example", i))...)
			if i%7 == 3 {
				recipients[i].Reject = 3
			}
		}
		p := u.posting()
		var want []shard.Result
		for m := range 8 {
			p.Letters = append(p.Letters, u.letter(fmt.Sprint("m", m), recipients...))
			for i := range recipients {
				want = append(want, accept(int64(m+1)))
				if recipients[i].Reject != 0 {
					want[len(want)-1] = reject(3)
				}
			}
		}
		first := u.posted("first", p, want...)
		b.same("again", u.posted("again", p, want...), first)
		distinct := map[shard.OutboxID]bool{}
		for _, id := range ids(first) {
			distinct[id] = true
		}
		b.same("rows", len(distinct), 8*86)
		b.checkTree(u.all(containerOutbound))
	}},
	{"post/rights", func(b *bench) {
		u := b.user("alice")
		u.apply("devices", accepts(2, 3), update(containerDevice, u.deviceEntry(shard.New, "d2", "k2", shard.AllRights&^shard.Message), u.deviceEntry(shard.New, "d3", "k3", shard.Message)))
		self := func(u *user) shard.Posting {
			p := u.posting()
			p.Self = []shard.Entry{message("s")}
			return p
		}
		u.as("k2").notPosted("a message without Message", mesh.NotAuthorized, u.as("k2").posting(u.as("k2").letter("m", to(bob)...)))
		u.as("k2").notPosted("Self without Message", mesh.NotAuthorized, self(u.as("k2")))
		u.notPosted("no device", mesh.NotAuthorized, self(u.as("stranger")))
		u.as("k3").sent("m", 1, bob)
		other := u.posting()
		other.Caller.ProfileUDF = "MMALLORY"
		u.notPosted("another profile", mesh.NotAuthorized, other)
		other = u.posting()
		other.Caller.Epoch = 2
		u.notPosted("another epoch", mesh.TicketExpired, other)
		u.apply("removed", results(accept(4)), update(containerDevice, u.deviceEntry(shard.Delete, "d3", "", 0)))
		u.notPosted("removed", mesh.NotAuthorized, self(u.as("k3")))
		bare := b.bare("bare")
		bare.posted("the creating device has every right", self(bare), accept(1))
		bare.posted("but no signature key that is known", bare.posting(bare.letter("m", to(bob)...)), reject(13))
	}},
	{"post/states of the account", func(b *bench) {
		for state, want := range map[shard.AccountState]mesh.Kind{shard.Pending: mesh.AccountPending, shard.Blocked: mesh.NotAuthorized} {
			u := b.stranger(fmt.Sprint("state", state))
			c := u.creation()
			c.State = state
			_, err := b.store.Create(b.ctx, c)
			b.ok(err)
			u.notPosted(fmt.Sprint("state ", state), want, u.posting(u.letter("m", to(bob)...)))
		}
		u := b.stranger("second")
		c := u.creation()
		c.Redirect = bob
		_, err := b.store.Create(b.ctx, c)
		b.ok(err)
		u.notPosted("redirect record", mesh.Redirect, u.posting())
		u = b.stranger("nobody")
		u.notPosted("unknown", mesh.UnknownAccount, u.posting())
		u = b.user("gone")
		b.ok(u.delete())
		u.notPosted("deleted", mesh.UnknownAccount, u.posting())
	}},
	{"post/what the caller of ours never sends", func(b *bench) {
		u := b.user("alice")
		l := u.letter("m", to(bob)...)
		l.Entry.PayloadDigest = []byte("short")
		u.notPosted("no digest", mesh.Internal, u.posting(l))
		u.notPosted("no address", mesh.Internal, u.posting(u.letter("m", shard.Addressee{})))
		u.notPosted("an address of no text", mesh.Internal, u.posting(u.letter("m", to("a\x00b")...)))
		p := u.posting()
		p.Partition = 4096
		u.notPosted("partition", mesh.Internal, p)
	}},
}
