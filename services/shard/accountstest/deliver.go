package accountstest

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
	"pgregory.net/rapid"
)

// arrival is a message of a sender for u, accepted.
func (u *user) arrival(sender string, e shard.Entry) shard.Arrival {
	return shard.Arrival{
		Partition: u.partition, Recipient: u.address, SenderAddress: sender + "@beta.example", SenderUDF: sender, Message: e,
		Verdict: accepted, Inputs: `{"type":"MessageText"}`,
	}
}

// arrives wants the fate of a message.
func (u *user) arrives(what string, a shard.Arrival, want shard.Result) {
	u.b.Helper()
	got, err := u.b.store.Deliver(u.b.ctx, a)
	if err != nil {
		u.b.Fatalf("%s: %v", what, err)
	}
	u.b.same(what, got, want)
}

// refusal is the arrival with another verdict.
func refusal(a shard.Arrival, code uint16) shard.Arrival {
	a.Verdict = shard.Verdict{Code: code, Rule: fmt.Sprint("rule ", code), Policy: "p1"}
	return a
}

// verdicts returns what was recorded of a message, by sender.
func (u *user) verdicts(envelope string) []shard.VerdictRecord {
	u.b.Helper()
	got, err := u.b.store.Verdicts(u.b.ctx, u.partition, u.address, envelope)
	u.b.ok(err)
	for i := range got {
		u.b.now("time of the verdict", got[i].At)
		if i > 0 && got[i].At.After(got[i-1].At) {
			u.b.Fatalf("verdict %d is newer than the one before", i)
		}
	}
	slices.SortFunc(got, func(x, y shard.VerdictRecord) int { return cmp.Compare(x.SenderUDF, y.SenderUDF) })
	return got
}

// recorded wants the verdicts on a message, by sender.
func (u *user) recorded(what, envelope string, want ...shard.VerdictRecord) {
	u.b.Helper()
	if diff := gocmp.Diff(want, u.verdicts(envelope), cmpopts.EquateEmpty(), cmpopts.IgnoreFields(shard.VerdictRecord{}, "At")); diff != "" {
		u.b.Fatalf("%s (-want +got):\n%s", what, diff)
	}
}

// record is what is recorded of an arrival.
func record(a shard.Arrival, index int64) shard.VerdictRecord {
	return shard.VerdictRecord{
		SenderAddress: a.SenderAddress, SenderUDF: a.SenderUDF, MessageType: a.Message.MessageType, Index: index, Verdict: a.Verdict, Inputs: a.Inputs,
	}
}

// named is a message with a text of its own.
func named(envelope, text string) shard.Entry {
	e := entry(text, envelope, envelope, shard.NoEvent)
	e.MessageType = "MessageText"
	return e
}

var deliverCases = []testCase{
	{"deliver/accepted", func(b *bench) {
		u := b.user("alice")
		a := u.arrival("MBOB", message("m"))
		a.Message.Header, a.Message.Trailer, a.Message.DigestWritten = []byte(`{ "a" : 1 }`), []byte(`{ "b" : 2 }`), true
		u.arrives("first", a, accept(1))
		u.arrives("another", u.arrival("MBOB", message("n")), accept(2))
		all := u.all(containerInbound)
		b.checkTree(all)
		f := all.Entries[1]
		b.same("octets", []any{string(f.Header), string(f.Payload), string(f.Trailer), f.PayloadDigest, f.DigestWritten, f.EnvelopeID},
			[]any{`{ "a" : 1 }`, "message m", `{ "b" : 2 }`, a.Message.PayloadDigest, true, "m"})
		b.received(&f)
		u.recorded("verdict", "m", record(a, 1))
		u.recorded("of no message", "x")
		u.recorded("of no text", "a\xff\x00b")
		b.neighbour(u, "zoe").recorded("of another recipient", "m")
		b.stranger("nobody").recorded("of nobody", "m")
		b.same("nothing in the other spools", []int64{u.all(containerOutbound).Frames, u.all(containerLocal).Frames}, []int64{1, 1})
	}},
	{"deliver/the same message again C-146", func(b *bench) {
		u := b.user("alice")
		a := u.arrival("MBOB", message("m"))
		u.arrives("first", a, accept(1))
		u.arrives("another", u.arrival("MBOB", message("n")), accept(2))
		u.arrives("again", a, accept(1))
		moved := a
		moved.SenderAddress, moved.Inputs, moved.Verdict.Rule = "bob@gamma.example", "{}", "other"
		u.arrives("from another address of the same account", moved, accept(1))
		u.frames(containerInbound, "message m", "message n")
		u.recorded("the first verdict", "m", record(a, 1))
	}},
	{"deliver/another text under the same EnvelopeID", func(b *bench) {
		u := b.user("alice")
		a := u.arrival("MBOB", message("m"))
		u.arrives("first", a, accept(1))
		u.arrives("other digest", u.arrival("MBOB", named("m", "another text")), reject(13))
		u.arrives("refused, other digest", refusal(u.arrival("MBOB", named("m", "another text")), 17), reject(13))
		u.arrives("second", u.arrival("MBOB", message("n")), accept(2))
		u.arrives("the text of one, the name of the other", u.arrival("MBOB", named("n", "message m")), reject(13))
		u.frames(containerInbound, "message m", "message n")
		u.recorded("as it was", "m", record(a, 1))
	}},
	{"deliver/the same text under another EnvelopeID", func(b *bench) {
		u := b.user("alice")
		u.arrives("first", u.arrival("MBOB", message("m")), accept(1))
		other := u.arrival("MBOB", named("other", "message m"))
		u.arrives("other name", other, accept(1))
		u.arrives("refused, other name", refusal(other, 17), accept(1))
		u.frames(containerInbound, "message m")
		u.recorded("nothing written", "other")
		u.arrives("the name is free", u.arrival("MBOB", message("other")), accept(2))
	}},
	{"deliver/duplicates by sender and recipient", func(b *bench) {
		// Who guesses name and text of a message to come must not keep it away.
		alice := b.user("alice")
		zoe := b.neighbour(alice, "zoe")
		alice.arrives("of one", alice.arrival("MMALLORY", message("m")), accept(1))
		alice.arrives("the same of another", alice.arrival("MBOB", message("m")), accept(2))
		alice.arrives("another text of a third", alice.arrival("MCAROL", named("m", "another text")), accept(3))
		alice.arrives("the same text of a fourth", alice.arrival("MDAVE", named("n", "message m")), accept(4))
		zoe.arrives("something before", zoe.arrival("MBOB", message("before")), accept(1))
		zoe.arrives("for another", zoe.arrival("MMALLORY", message("m")), accept(2))
		zoe.frames(containerInbound, "message before", "message m")
		alice.frames(containerInbound, "message m", "message m", "another text", "message m")
		b.checkTree(alice.all(containerInbound))
		alice.recorded("three senders", "m", record(alice.arrival("MBOB", message("m")), 2),
			record(alice.arrival("MCAROL", message("m")), 3), record(alice.arrival("MMALLORY", message("m")), 1))
		alice.arrives("again", alice.arrival("MBOB", message("m")), accept(2))
	}},
	{"deliver/frames of the account's own devices", func(b *bench) {
		u := b.user("alice")
		u.apply("uploaded", results(accept(1)), update(containerInbound, message("m")))
		u.arrives("is no duplicate of that", u.arrival("MBOB", message("m")), accept(2))
		u.arrives("but of itself", u.arrival("MBOB", message("m")), accept(2))
	}},
	{"deliver/refusals", func(b *bench) {
		u := b.user("alice")
		a := refusal(u.arrival("MBOB", message("m")), 17)
		u.arrives("refused", a, reject(17))
		u.recorded("recorded", "m", record(a, 0))
		u.frames(containerInbound)
		later := refusal(a, 19)
		later.Inputs, later.SenderAddress = `{"later":true}`, "bob@gamma.example"
		u.arrives("refused again", later, reject(19))
		u.recorded("the later one", "m", record(later, 0))
		other := refusal(u.arrival("MBOB", named("m", "another text")), 14)
		u.arrives("another text", other, reject(14))
		u.recorded("a refused name is free", "m", record(other, 0))
		other.Verdict = accepted
		u.arrives("accepted", other, accept(1))
		u.recorded("an acceptance in its place", "m", record(other, 1))
		u.arrives("never the reverse", refusal(other, 17), accept(1))
		u.arrives("never the reverse, other digest", a, reject(13))
		u.recorded("still", "m", record(other, 1))
		u.arrives("a refused text is no duplicate", refusal(u.arrival("MBOB", message("n")), 14), reject(14))
		u.arrives("under another name", u.arrival("MBOB", named("o", "message n")), accept(2))
		u.frames(containerInbound, "another text", "message n")
		b.checkTree(u.all(containerInbound))
	}},
	{"deliver/redacted messages C-225", func(b *bench) {
		u := b.user("alice")
		e := message("m")
		e.Payload = nil
		u.arrives("header and trailer alone", u.arrival("MBOB", e), accept(1))
		f := u.all(containerInbound).Entries[1]
		b.same("no payload", []any{len(f.Payload), f.PayloadDigest}, []any{0, e.PayloadDigest})
		u.arrives("its payload follows", u.arrival("MBOB", message("m")), accept(1))
	}},
	{"deliver/verdicts, newest first", func(b *bench) {
		u := b.user("alice")
		for i, sender := range []string{"MBOB", "MCAROL", "MBOB"} {
			if i > 0 {
				time.Sleep(1100 * time.Millisecond) // a store may keep whole seconds
			}
			u.arrives(sender, refusal(u.arrival(sender, message("m")), 17), reject(17))
		}
		got, err := b.store.Verdicts(b.ctx, u.partition, u.address, "m")
		b.ok(err)
		senders := []string{}
		for _, r := range got {
			senders = append(senders, r.SenderUDF)
		}
		b.same("a later refusal is newer", senders, []string{"MBOB", "MCAROL"})
	}},
	{"deliver/faults", func(b *bench) {
		u := b.user("alice")
		found := message("found")
		found.Reject = 12
		u.arrives("found before", u.arrival("MBOB", found), reject(12))
		for what, e := range map[string]shard.Entry{
			"no EnvelopeID": named("", "x"), "NUL in it": named("a\x00b", "x"), "UniqueID not UTF-8": entry("x", "e", "\xff", shard.NoEvent),
		} {
			u.arrives(what, u.arrival("MBOB", e), reject(13))
			u.arrives(what+", refused", refusal(u.arrival("MBOB", e), 17), reject(13))
		}
		u.frames(containerInbound)
		u.recorded("nothing recorded", "found")
		u.recorded("nothing recorded", "e")
		short := u.arrival("MBOB", message("m"))
		short.Message.PayloadDigest = nil
		nobody := u.arrival("", message("m"))
		nowhere := u.arrival("MBOB", message("m"))
		nowhere.Partition = 4096
		for what, a := range map[string]shard.Arrival{"no digest": short, "no sender": nobody, "partition": nowhere} {
			_, err := b.store.Deliver(b.ctx, a)
			b.kind(what, err, mesh.Internal)
		}
	}},
	{"deliver/states of the account", func(b *bench) {
		with := func(name string, change func(*shard.Creation)) *user {
			u := b.stranger(name)
			c := u.creation()
			change(&c)
			_, err := b.store.Create(b.ctx, c)
			b.ok(err)
			return u
		}
		blocked := with("blocked", func(c *shard.Creation) { c.State = shard.Blocked })
		a := blocked.arrival("MBOB", message("m"))
		blocked.arrives("blocked", a, reject(17))
		blocked.arrives("blocked, refused for another reason", refusal(blocked.arrival("MBOB", message("n")), 14), reject(17))
		a.Verdict.Accepted, a.Verdict.Code = false, 17
		blocked.recorded("recorded", "m", record(a, 0))
		blocked.frames(containerInbound)
		gone := b.user("gone")
		b.ok(gone.delete())
		for what, c := range map[string]struct {
			u    *user
			want mesh.Kind
		}{
			"unknown": {b.stranger("nobody"), mesh.UnknownAccount}, "deleted": {gone, mesh.UnknownAccount},
			"pending":  {with("pending", func(c *shard.Creation) { c.State = shard.Pending }), mesh.AccountPending},
			"redirect": {with("second", func(c *shard.Creation) { c.Redirect = "first@alpha.example" }), mesh.Redirect},
		} {
			for _, a := range []shard.Arrival{c.u.arrival("MBOB", message("m")), refusal(c.u.arrival("MBOB", message("m")), 17)} {
				_, err := b.store.Deliver(b.ctx, a)
				b.kind(what, err, c.want)
				var e *mesh.Error
				if c.want == mesh.Redirect && (!asError(err, &e) || e.Err == nil || e.Err.Error() != "first@alpha.example") {
					b.Fatalf("the text of a redirect is the address alone: %v", err)
				}
			}
			if c.want != mesh.UnknownAccount {
				c.u.recorded(what, "m")
			}
		}
	}},
	{"deliver/of a deleted account", func(b *bench) {
		u := b.user("alice")
		a := u.arrival("MBOB", message("m"))
		u.arrives("accepted", a, accept(1))
		b.ok(u.delete())
		_, err := b.store.Deliver(b.ctx, a)
		b.kind("again", err, mesh.UnknownAccount)
		u.recorded("the verdict stays", "m", record(a, 1))
	}},
	{"model/random arrivals", func(b *bench) {
		round := 0
		rapid.Check(b.T, func(t *rapid.T) {
			round++
			u := b.user(fmt.Sprint("u", round))
			type key struct{ sender, envelope string }
			records := map[key]*shard.VerdictRecord{}
			digests := map[key]string{} // of what is recorded
			var frames []string
			for range rapid.IntRange(1, 12).Draw(t, "arrivals") {
				sender := rapid.SampledFrom([]string{"MBOB", "MCAROL"}).Draw(t, "sender")
				envelope := rapid.SampledFrom([]string{"m", "n", "o"}).Draw(t, "envelope")
				text := rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "text")
				a := u.arrival(sender, named(envelope, text))
				if rapid.Bool().Draw(t, "refused") {
					a = refusal(a, 17)
				}
				k := key{sender, envelope}
				var want shard.Result
				var twin *shard.VerdictRecord // an accepted one with the same text
				for other, r := range records {
					if other.sender == sender && r.Verdict.Accepted && digests[other] == text {
						twin = r
					}
				}
				switch r := records[k]; {
				case r != nil && r.Verdict.Accepted && digests[k] == text:
					want = accept(r.Index)
				case r != nil && r.Verdict.Accepted:
					want = reject(13)
				case twin != nil:
					want = accept(twin.Index)
				case a.Verdict.Accepted:
					frames = append(frames, text)
					want = accept(int64(len(frames)))
					records[k], digests[k] = ptr(record(a, want.Index)), text
				default:
					want = reject(17)
					records[k], digests[k] = ptr(record(a, 0)), text
				}
				got, err := b.store.Deliver(b.ctx, a)
				if err != nil {
					t.Fatal(err)
				}
				if got != want {
					t.Fatalf("%s %s %s %v: %+v, want %+v", sender, envelope, text, a.Verdict.Accepted, got, want)
				}
			}
			u.frames(containerInbound, frames...)
			for _, envelope := range []string{"m", "n", "o"} {
				var want []shard.VerdictRecord
				for _, sender := range []string{"MBOB", "MCAROL"} {
					if r := records[key{sender, envelope}]; r != nil {
						want = append(want, *r)
					}
				}
				u.recorded(envelope, envelope, want...)
			}
		})
	}},
}

var deliverConcurrency = []testCase{
	{"concurrent/one message arrives many times", func(b *bench) {
		u := b.user("alice")
		for round := range 5 {
			a := u.arrival("MBOB", message(fmt.Sprint("m", round)))
			parallel(8, func(i int) {
				own := a
				if i%4 == 3 { // the same text under another name, or another text under the same
					own.Message = named(fmt.Sprint("other", round), string(a.Message.Payload))
				}
				got, err := b.store.Deliver(b.ctx, own)
				if err != nil || got != accept(int64(round+1)) {
					b.Errorf("round %d: %+v, %v", round, got, err)
				}
			})
		}
		b.same("frames", u.all(containerInbound).Frames, int64(6))
	}},
	{"concurrent/two texts of one name", func(b *bench) {
		u := b.user("alice")
		fates := make([]shard.Result, 8)
		parallel(len(fates), func(i int) {
			var err error
			if fates[i], err = b.store.Deliver(b.ctx, u.arrival("MBOB", named("m", fmt.Sprint("text ", i)))); err != nil {
				b.Error(err)
			}
		})
		slices.SortFunc(fates, func(x, y shard.Result) int { return cmp.Compare(x.Outcome, y.Outcome) })
		b.same("one wins", fates, append(results(accept(1)), slices.Repeat(results(reject(13)), 7)...))
	}},
	{"concurrent/refusals and an acceptance", func(b *bench) {
		u := b.user("alice")
		a := u.arrival("MBOB", message("m"))
		parallel(8, func(i int) {
			own := a
			if i != 4 {
				own = refusal(a, 17)
			}
			got, err := b.store.Deliver(b.ctx, own)
			if err != nil || got != accept(1) && (i == 4 || got != reject(17)) {
				b.Errorf("%+v, %v", got, err)
			}
		})
		u.recorded("the acceptance stays", "m", record(a, 1))
	}},
	{"concurrent/many messages arrive at once", func(b *bench) {
		u := b.user("alice")
		parallel(6, func(i int) {
			for n := range 8 {
				if _, err := b.store.Deliver(b.ctx, u.arrival(fmt.Sprint("M", i), message(fmt.Sprint(i, " ", n)))); err != nil {
					b.Error(err)
				}
			}
		})
		all := u.all(containerInbound)
		b.same("frames", all.Frames, int64(49))
		b.checkTree(all)
	}},
}
