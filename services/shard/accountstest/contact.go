package accountstest

import (
	"fmt"
	"strings"
	"time"

	"github.com/mathmesh/meshd/pkg/mesh"
	"github.com/mathmesh/meshd/services/shard"
)

// contactEntry is an entry of mmm_Contact; a nil change: one that the service cannot read.
func contactEntry(unique string, event shard.Event, c *shard.ContactChange) shard.Entry {
	e := item(unique, event)
	e.Contact = c
	return e
}

// grants makes what a contact's entry says.
func grants(rights shard.ContactRight, pin string, addresses ...string) *shard.ContactChange {
	return &shard.ContactChange{Rights: rights, ProfileUDF: pin, Addresses: addresses}
}

// contacts stores entries of mmm_Contact that must be accepted.
func (u *user) contacts(entries ...shard.Entry) {
	u.b.Helper()
	got, err := u.b.store.Apply(u.b.ctx, u.application(update(containerContact, entries...)))
	u.b.ok(err)
	for i, r := range got {
		if r.Outcome != shard.Accept {
			u.b.Fatalf("contact %d: %+v", i, r)
		}
	}
}

func (u *user) standing(address, udf string, pin ...string) *shard.Standing {
	u.b.Helper()
	got, err := u.b.store.Standing(u.b.ctx, shard.StandingQuery{
		Partition: u.partition, Recipient: u.address, SenderAddress: address, SenderUDF: udf, PIN: strings.Join(pin, ""),
	})
	u.b.ok(err)
	return got
}

// stands wants what a recipient says of a sender: of an account without messages, that a contact is nobody's.
func (u *user) stands(what, address, udf string, want shard.Standing) {
	u.b.Helper()
	want.State, want.Inbound = shard.Connected, 1
	u.b.same(what, *u.standing(address, udf), want)
}

var contactCases = []testCase{
	{"standing/by address and by pin", func(b *bench) {
		u := b.user("alice")
		u.stands("nobody known", bob, "MBOB", shard.Standing{})
		u.contacts(contactEntry("c1", shard.New, grants(shard.MayMessage, "", "old@alpha.example", bob)), contactEntry("c2", shard.New, grants(shard.MayTask|shard.MayGroup, "MCAROL")))
		u.stands("by an address", bob, "MBOB", shard.Standing{Contact: true, Rights: shard.MayMessage})
		u.stands("by another address", "old@alpha.example", "MOLD", shard.Standing{Contact: true, Rights: shard.MayMessage})
		u.stands("by the pin alone", carol, "MCAROL", shard.Standing{Contact: true, Rights: shard.MayTask | shard.MayGroup})
		u.stands("a stranger", dave, "MDAVE", shard.Standing{})
		u.stands("no pin is nobody's", dave, "", shard.Standing{})
		u.stands("an address of no text", "a\xff\x00", "MDAVE", shard.Standing{})
		b.neighbour(u, "zoe").stands("of another account", bob, "MCAROL", shard.Standing{})
	}},
	{"standing/a contact that may nothing", func(b *bench) {
		u := b.user("alice")
		u.contacts(contactEntry("c", shard.New, grants(0, "", bob)))
		u.stands("is one all the same", bob, "MBOB", shard.Standing{Contact: true})
	}},
	{"standing/another pin", func(b *bench) {
		u := b.user("alice")
		u.contacts(contactEntry("c", shard.New, grants(shard.MayMessage, "MBOB", bob)))
		u.stands("the pinned one", bob, "MBOB", shard.Standing{Contact: true, Rights: shard.MayMessage})
		u.stands("one who has only the address", bob, "MMALLORY", shard.Standing{Contact: true, Rights: shard.MayMessage, PinnedUDF: "MBOB"})
		u.stands("the pinned one at another address", dave, "MBOB", shard.Standing{Contact: true, Rights: shard.MayMessage})
		u.stands("no UDF", bob, "", shard.Standing{Contact: true, Rights: shard.MayMessage, PinnedUDF: "MBOB"})
		u.contacts(contactEntry("d", shard.New, grants(shard.MayTask, "", bob)))
		u.stands("beside one without pin", bob, "MMALLORY", shard.Standing{Contact: true, Rights: shard.MayMessage | shard.MayTask, PinnedUDF: "MBOB"})
	}},
	{"standing/several contacts", func(b *bench) {
		u := b.user("alice")
		u.contacts(contactEntry("c1", shard.New, grants(shard.MayContact, "", bob, bob)), contactEntry("c2", shard.New, grants(shard.MayTask, "", carol, bob)),
			contactEntry("c3", shard.New, grants(shard.MayConfirm|shard.MayTask, "MBOB")), contactEntry("c4", shard.New, grants(shard.MayGroup, "", dave)))
		u.stands("rights add up", bob, "MBOB", shard.Standing{Contact: true, Rights: shard.MayContact | shard.MayTask | shard.MayConfirm})
		u.stands("of those that count", bob, "MOTHER", shard.Standing{Contact: true, Rights: shard.MayContact | shard.MayTask})
		u.contacts(contactEntry("c5", shard.New, grants(shard.Block|shard.MayMessage, "MBOB")))
		u.stands("one Block blocks", bob, "MBOB", shard.Standing{Contact: true, Rights: shard.Block})
		u.stands("not others", bob, "MOTHER", shard.Standing{Contact: true, Rights: shard.MayContact | shard.MayTask})
	}},
	{"standing/the current entry of a contact", func(b *bench) {
		u := b.user("alice")
		u.contacts(contactEntry("c", shard.New, grants(shard.MayMessage, "MBOB", bob, carol)))
		u.contacts(contactEntry("c", shard.Update, grants(shard.MayTask, "MBETTER", carol, dave)))
		u.stands("an address that went", bob, "MX", shard.Standing{})
		u.stands("an address that stayed", carol, "MBETTER", shard.Standing{Contact: true, Rights: shard.MayTask})
		u.stands("an address that came", dave, "MBETTER", shard.Standing{Contact: true, Rights: shard.MayTask})
		u.stands("the old pin", "x@beta.example", "MBOB", shard.Standing{})
		u.stands("the new pin", "x@beta.example", "MBETTER", shard.Standing{Contact: true, Rights: shard.MayTask})
		u.contacts(contactEntry("c", shard.Update, nil))
		u.stands("an entry that says nothing", carol, "MBETTER", shard.Standing{})
		u.contacts(contactEntry("c", shard.Update, grants(shard.MayTask, "MBETTER", carol)))
		u.stands("and again", carol, "MBETTER", shard.Standing{Contact: true, Rights: shard.MayTask})
		u.contacts(contactEntry("c", shard.Delete, grants(shard.MayTask, "MBETTER", carol)))
		u.stands("removed", carol, "MBETTER", shard.Standing{})
		u.contacts(contactEntry("c", shard.New, grants(shard.MayGroup, "", carol)), contactEntry("d", shard.Update, grants(shard.MayMessage, "", carol)))
		u.stands("a new life, and an Update of none", carol, "MBETTER", shard.Standing{Contact: true, Rights: shard.MayGroup | shard.MayMessage})
		u.contacts(contactEntry("s", shard.New, grants(shard.MayTask, "", dave)), contactEntry("s", shard.Update, grants(shard.MayGroup, "", dave, bob)),
			contactEntry("s", shard.Delete, nil), contactEntry("t", shard.New, grants(shard.Block, "", bob)), contactEntry("t", shard.Update, grants(shard.MayContact, "", bob)))
		u.stands("lives in one upload", dave, "MDAVE", shard.Standing{})
		u.stands("the last of several", bob, "MB", shard.Standing{Contact: true, Rights: shard.MayContact})
	}},
	{"standing/entries that are not stored", func(b *bench) {
		u := b.user("alice")
		u.contacts(contactEntry("c", shard.New, grants(shard.MayMessage, "", bob)))
		block := func(event shard.Event) shard.ContainerUpdate {
			return update(containerContact, contactEntry("c", event, grants(shard.Block, "", bob)))
		}
		u.apply("New of a live one", conflicts(1), block(shard.New))
		a := u.application(block(shard.Update), update("mmm_Network", item("a", shard.Delete)))
		a.Atomic = ptr(true)
		u.applied("atomic, and the other fails", a, conflicts(2)...)
		u.apply("another container", results(accept(1)), update("mmm_Network", contactEntry("c", shard.Update, grants(shard.Block, "", bob))))
		for what, c := range map[string]*shard.ContactChange{
			"NUL in an address": grants(0, "", "a\x00b"), "an address that is not UTF-8": grants(0, "", bob, "\xff"),
			"too long a pin": grants(0, strings.Repeat("M", shard.MaxName+1)),
		} {
			u.apply(what, results(reject(13)), update(containerContact, contactEntry("d", shard.New, c)))
		}
		u.stands("as before", bob, "MBOB", shard.Standing{Contact: true, Rights: shard.MayMessage})
		frame := zero("z")
		frame.Contact = grants(shard.MayMessage, "", bob)
		frame.UniqueID, frame.Event = "z", shard.New
		zoe := b.user("zoe")
		zoe.contacts(frame)
		zoe.stands("frame 0 is no contact", bob, "MBOB", shard.Standing{})
	}},
	{"standing/initial contacts", func(b *bench) {
		u := b.stranger("alice")
		c := u.creation()
		c.Updates = []shard.ContainerUpdate{update(containerContact, contactEntry("c", shard.New, grants(shard.MayMessage, "", bob)))}
		_, err := b.store.Create(b.ctx, c)
		b.ok(err)
		u.stands("of the creation", bob, "MBOB", shard.Standing{Contact: true, Rights: shard.MayMessage})
	}},
	{"standing/many addresses", func(b *bench) {
		u := b.user("alice")
		var addresses []string
		for i := range shard.MaxContactAddresses + 1 {
			addresses = append(addresses, fmt.Sprintf("a%d@beta.example", i))
		}
		u.contacts(contactEntry("c", shard.New, grants(shard.MayMessage, "", addresses...)))
		u.stands("the last that counts", addresses[shard.MaxContactAddresses-1], "MX", shard.Standing{Contact: true, Rights: shard.MayMessage})
		u.stands("one more", addresses[shard.MaxContactAddresses], "MX", shard.Standing{})
	}},
	{"standing/PIN", func(b *bench) {
		u := b.user("alice")
		pin := func(payload, header string) shard.Entry {
			e := entry(payload, "pin", "pin", shard.NoEvent)
			e.Header = []byte(header)
			return e
		}
		b.same("none", u.standing(bob, "MBOB", "pin").PIN, (*shard.Frame)(nil))
		u.apply("elsewhere", results(accept(1), accept(1)), update(containerInbound, pin("x", "{}")), update(containerArchive, pin("x", "{}")))
		b.same("of mmm_Local alone", u.standing(bob, "MBOB", "pin").PIN, (*shard.Frame)(nil))
		u.apply("two of that name", accepts(1, 3), update(containerLocal, pin("older", `{"n":1}`), pin("newer", `{"n":2}`), message("other")))
		got := u.standing(bob, "MBOB", "pin").PIN
		if got == nil {
			b.Fatal("no PIN")
		}
		want := u.all(containerLocal).Entries[2]
		b.same("header", string(got.Header), `{"n":2}`)
		want.Payload = nil
		b.same("the newest, without payload", *got, want)
		b.same("none asked for", u.standing(bob, "MBOB").PIN, (*shard.Frame)(nil))
		b.same("another", u.standing(bob, "MBOB", "x").PIN, (*shard.Frame)(nil))
		b.same("no text", u.standing(bob, "MBOB", "a\xff\x00").PIN, (*shard.Frame)(nil))
		b.same("of another account", b.neighbour(u, "zoe").standing(bob, "MBOB", "pin").PIN, (*shard.Frame)(nil))
	}},
	{"standing/frames of mmm_Inbound", func(b *bench) {
		u := b.user("alice")
		u.apply("two", accepts(1, 2), update(containerInbound, message("a"), message("b")))
		b.same("inbound", u.standing(bob, "MBOB").Inbound, int64(3))
	}},
	{"standing/states of the account", func(b *bench) {
		for _, state := range []shard.AccountState{shard.Pending, shard.Blocked} {
			u := b.stranger(fmt.Sprint("state", state))
			c := u.creation()
			c.State, c.Updates = state, []shard.ContainerUpdate{update(containerContact, contactEntry("c", shard.New, grants(shard.MayMessage, "", bob)))}
			_, err := b.store.Create(b.ctx, c)
			b.ok(err)
			b.same("told", *u.standing(bob, "MBOB"), shard.Standing{State: state, Contact: true, Rights: shard.MayMessage, Inbound: 1})
		}
		u := b.stranger("second")
		c := u.creation()
		c.Redirect = "first@alpha.example"
		_, err := b.store.Create(b.ctx, c)
		b.ok(err)
		b.same("redirect", *u.standing(bob, "MBOB", "pin"), shard.Standing{State: shard.Connected, Redirect: "first@alpha.example"})
		gone := b.user("gone")
		b.ok(gone.delete())
		for what, u := range map[string]*user{"deleted": gone, "unknown": b.stranger("nobody")} {
			_, err := b.store.Standing(b.ctx, shard.StandingQuery{Partition: u.partition, Recipient: u.address, SenderAddress: bob})
			b.kind(what, err, mesh.UnknownAccount)
		}
	}},
	{"standing/at once C-140", func(b *bench) {
		// What was answered to the owner holds for the next message.
		u := b.user("alice")
		for i := range 20 {
			rights := shard.MayMessage
			if i%2 == 1 {
				rights = shard.Block
			}
			start := time.Now()
			u.contacts(contactEntry("c", shard.Update, grants(rights, "", bob)))
			if got := u.standing(bob, "MBOB").Rights; got != rights {
				b.Fatalf("rights %v %v after the change to %v", got, time.Since(start), rights)
			}
		}
	}},
}
