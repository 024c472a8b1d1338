package make1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/dare"
	"github.com/mathmesh/meshd/pkg/mesh"
)

func entry(id byte, notBefore time.Time) RingEntry {
	e := NewRingEntry(notBefore)
	copy(e.ID, []byte{id, 0, 0, id})
	return e
}

func newRing(t testing.TB, entries ...RingEntry) *Ring {
	t.Helper()
	r, err := NewRing(entries)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Ring) ids() (ids []byte) {
	for _, e := range r.Entries() {
		ids = append(ids, e.ID[0])
	}
	return ids
}

// D-53: the newest entry that is valid seals, all open.
func TestRingSeals(t *testing.T) {
	old, current, next := entry(1, now.Add(-2*time.Hour)), entry(2, now.Add(-time.Hour)), entry(3, now.Add(time.Minute))
	r := newRing(t, next, old, current)
	if got := r.ids(); !bytes.Equal(got, []byte{1, 2, 3}) {
		t.Errorf("order %v", got)
	}
	w := newWorld(t)
	c := w.content()
	c.Secret = make([]byte, keyLen)
	for _, test := range []struct {
		at   time.Time
		want byte
	}{{now, 2}, {now.Add(-time.Hour), 2}, {now.Add(-time.Hour - time.Second), 1}, {now.Add(time.Minute), 3}, {now.Add(time.Hour), 3}} {
		ticket, err := r.SealTicket(&c, test.at)
		if err != nil {
			t.Fatal(err)
		}
		if ticket[0] != test.want {
			t.Errorf("at %s entry %d seals, want %d", test.at, ticket[0], test.want)
		}
		if _, err := r.openTicket(ticket); err != nil {
			t.Errorf("sealed at %s: %v", test.at, err)
		}
	}
	_, err := r.SealTicket(&c, now.Add(-3*time.Hour))
	wantKind(t, err, mesh.Internal)
	// A gateway that has the new file opens what one with the old file seals, and the other way round.
	before, after := newRing(t, old, current), newRing(t, current, next)
	ticket, err := before.SealTicket(&c, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.openTicket(ticket); err != nil {
		t.Error(err)
	}
	ticket, err = newRing(t, old).SealTicket(&c, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := after.openTicket(ticket); err == nil {
		t.Error("a ticket of a destroyed entry opens")
	}
}

func TestRingRefusesContent(t *testing.T) {
	r := newWorld(t).ring
	good := TicketContent{Mode: Profile, Secret: make([]byte, keyLen)}
	if _, err := r.SealTicket(&good, now); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*TicketContent){
		"no mode":         func(c *TicketContent) { c.Mode = "" },
		"short secret":    func(c *TicketContent) { c.Secret = make([]byte, keyLen-1) },
		"over the limit":  func(c *TicketContent) { c.Account = strings.Repeat("x", maxTicket) },
		"text over 64 Ki": func(c *TicketContent) { c.Account = strings.Repeat("x", 1<<16) },
	} {
		c := good
		change(&c)
		if _, err := r.SealTicket(&c, now); err == nil {
			t.Errorf("%s: sealed", name)
		}
	}
	// The longest address there is: 64 characters of four octets, a domain name of 253.
	c := good
	c.Account = strings.Repeat("𝔸", 64) + "@" + strings.Repeat("d", 253)
	c.Domain, c.ServiceKID, c.AuthKID = strings.Repeat("d", 253), strings.Repeat("M", 34), strings.Repeat("M", 34)
	c.ProfileUDF, c.DeviceUDF = strings.Repeat("M", 64), strings.Repeat("M", 64)
	ticket, err := r.SealTicket(&c, now)
	if err != nil {
		t.Fatal(err)
	}
	if len(ticket) > 1200 {
		t.Errorf("a ticket of %d octets; maxTicket says below 1.2 KiB", len(ticket))
	}
}

// AUTH §5: an entry goes when it stopped sealing longer ago than lifetime + 10 min.
func TestRingPrune(t *testing.T) {
	life := time.Hour
	r := newRing(t, entry(1, now.Add(-5*time.Hour)), entry(2, now.Add(-3*time.Hour)), entry(3, now.Add(-70*time.Minute)), entry(4, now.Add(time.Minute)))
	for _, test := range []struct {
		at   time.Time
		want []byte
	}{
		{now, []byte{2, 3, 4}},                                // 2 stopped exactly 70 min ago
		{now.Add(time.Second), []byte{3, 4}},                  // and a second longer
		{now.Add(time.Minute + 70*time.Minute), []byte{3, 4}}, // 3 stopped when 4 began
		{now.Add(71*time.Minute + time.Second), []byte{4}},    //
		{now.Add(1000 * time.Hour), []byte{4}},                // the newest always stays
		{now.Add(-3*time.Hour + 70*time.Minute), []byte{1, 2, 3, 4}},
	} {
		pruned := r.Prune(test.at, life)
		if got := pruned.ids(); !bytes.Equal(got, test.want) {
			t.Errorf("at %s: %v, want %v", test.at.Sub(now), got, test.want)
		}
	}
	if got := r.ids(); len(got) != 4 {
		t.Errorf("Prune changed the ring: %v", got)
	}
	// The last moment at which a ticket of entry 2 can be good, and the first at which its key may go.
	w := newWorld(t)
	c := w.content()
	c.Secret, c.Expires = make([]byte, keyLen), now.Add(-70*time.Minute).Add(life)
	ticket, err := r.SealTicket(&c, now.Add(-70*time.Minute-time.Second))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prune(c.Expires, life).openTicket(ticket); err != nil {
		t.Errorf("a ticket outlives its key: %v", err)
	}
}

func TestRingWith(t *testing.T) {
	r := newRing(t, entry(1, now))
	more, err := r.With(entry(2, now.Add(time.Minute)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(more.ids(), []byte{1, 2}) || !bytes.Equal(r.ids(), []byte{1}) {
		t.Errorf("%v and %v", more.ids(), r.ids())
	}
	if _, err := r.With(entry(1, now)); err == nil {
		t.Error("the same id twice")
	}
}

func TestRingFile(t *testing.T) {
	r := newRing(t, entry(2, now), entry(1, now.Add(-time.Hour)))
	file, err := r.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(file), `[{"id":"AQAAAQ","key":"`) || !strings.Contains(string(file), `"not_before":"2026-11-25T02:00:00Z"`) {
		t.Errorf("ring file %s", file)
	}
	back, err := ParseRing(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r.Entries(), back.Entries()); diff != "" {
		t.Error(diff)
	}
	key := `"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"`
	good := `{"id":"AAAAAA",` + key + `,"not_before":"2026-11-25T02:00:00Z"}`
	if _, err := ParseRing([]byte(`[` + good + `]`)); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string]string{
		"empty":             ``,
		"no array":          good,
		"no entries":        `[]`,
		"null entry":        `[null]`,
		"id of 3 octets":    `[{"id":"AAAA",` + key + `,"not_before":"2026-11-25T02:00:00Z"}]`,
		"key of 31 octets":  `[{"id":"AAAAAA","key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","not_before":"2026-11-25T02:00:00Z"}]`,
		"no not_before":     `[{"id":"AAAAAA",` + key + `}]`,
		"not a time":        `[{"id":"AAAAAA",` + key + `,"not_before":"yesterday"}]`,
		"id twice":          `[` + good + `,` + good + `]`,
		"too many":          `[` + strings.Repeat(good+`,`, maxRing) + good + `]`,
		"something after":   `[` + good + `] x`,
		"a member repeated": `[{"id":"AAAAAA","id":"AAAAAA",` + key + `,"not_before":"2026-11-25T02:00:00Z"}]`,
	} {
		_, err := ParseRing([]byte(file))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), "AAAAAAAAAAAA") {
			t.Errorf("%s: the error shows a key: %v", name, err)
		}
	}
}

// D-19, RESULTS R2: page keys open for their caller, and are no tickets.
func TestPageKeys(t *testing.T) {
	r := newRing(t, entry(1, now.Add(-time.Hour)), entry(2, now))
	state := []byte("mmm_Bookmark, next 17, end 40")
	key, err := r.SealPageKey(state, "MAAA-CALLER", now)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.OpenPageKey(key, "MAAA-CALLER")
	if err != nil || !bytes.Equal(got, state) {
		t.Fatalf("%s, %v", got, err)
	}
	if again, err := r.SealPageKey(state, "MAAA-CALLER", now); err != nil || bytes.Equal(again, key) {
		t.Errorf("the same octets twice, %v", err)
	}
	_, err = r.OpenPageKey(key, "MBBB-CALLER")
	wantKind(t, err, mesh.PageKeyInvalid)
	_, err = r.openTicket(key)
	if err == nil {
		t.Error("a page key is a ticket")
	}
	w := newWorld(t)
	c := w.content()
	c.Secret = make([]byte, keyLen)
	ticket, err := r.SealTicket(&c, now)
	if err != nil {
		t.Fatal(err)
	}
	typed, err := r.seal(now, []byte{typeTicket, 1}, pageKeyAAD, "")
	if err != nil {
		t.Fatal(err)
	}
	untyped, err := r.seal(now, nil, pageKeyAAD, "")
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{"a ticket": ticket, "of the type of a ticket": typed, "without type": untyped, "empty": nil}
	for i := range key {
		b := bytes.Clone(key)
		b[i] ^= 1
		bad[fmt.Sprintf("octet %d changed", i)] = b
		bad[fmt.Sprintf("cut at %d", i)] = key[:i]
	}
	for name, b := range bad {
		for _, caller := range []string{"", "MAAA-CALLER"} {
			if state, err := r.OpenPageKey(b, caller); mesh.KindOf(err) != mesh.PageKeyInvalid || err == nil {
				t.Errorf("%s: %x, %v", name, state, err)
			}
		}
	}
	_, err = r.SealPageKey(make([]byte, maxTicket), "", now)
	wantKind(t, err, mesh.Internal)
}

// The layout of a ticket does not change: this one was written by the first version.
func TestTicketLayout(t *testing.T) {
	c := &TicketContent{
		ServiceKID: "MBPK-TCEC", Domain: "example.com", Secret: bytes.Repeat([]byte{0x5a}, keyLen), Account: "alice@example.com",
		ProfileUDF: "MACC", DeviceUDF: "MDEV", AuthKID: "MCKS", Mode: Service, Epoch: 0x0102030405060708,
		Issued: time.UnixMilli(1595862394050), Expires: time.UnixMilli(1595865994050),
	}
	want := "\x01\x01\x01\x03" + "\x01\x02\x03\x04\x05\x06\x07\x08" + "\x00\x00\x01\x73\x90\xcf\xa4\xc2" + "\x00\x00\x01\x73\x91\x06\x93\x42" +
		strings.Repeat("\x5a", 32) + "\x00\x09MBPK-TCEC" + "\x00\x0bexample.com" + "\x00\x11alice@example.com" + "\x00\x04MACC" + "\x00\x04MDEV" + "\x00\x04MCKS"
	got, err := c.encode()
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("layout\n%x\nwant\n%x", got, want)
	}
	back, err := decodeTicket([]byte(want))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(c, back); diff != "" {
		t.Error(diff)
	}
	for i := range want {
		if _, err := decodeTicket([]byte(want[:i])); err == nil {
			t.Errorf("cut at %d: decoded", i)
		}
	}
}

// A ticket that was opened before is known again: to the octet, with the same keys, and only to the ring that opened it.
func TestRingRemembers(t *testing.T) {
	w := newWorld(t)
	ticket := w.ticket(w.content())
	ask := func(r *Ring, what string, remembered, opens bool, change func(*dare.Envelope)) {
		t.Helper()
		e, p, err := ticket.Seal([]byte(what), now)
		if err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(e)
		}
		q, err := OpenTicket(e, domain, knownU(w.service), r, now)
		if !opens {
			if err == nil {
				t.Errorf("%s: opened", what)
			}
			return
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if q.Remembered != remembered || string(q.Payload) != what {
			t.Errorf("%s: Remembered %t, payload %q", what, q.Remembered, q.Payload)
		}
		answer, err := q.Answer([]byte(`{"MeshResponse":{"Status":201}}`), now, false)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Open(answer); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	flip := func(e *dare.Envelope) { e.Payload[0] ^= 1 }
	ask(w.ring, "a request that does not open", false, false, flip)
	ask(w.ring, "the first that opens", false, true, nil)
	ask(w.ring, "the second", true, true, nil)
	ask(w.ring, "known, but it does not open", true, false, flip)
	again, err := NewRing(w.ring.Entries())
	if err != nil {
		t.Fatal(err)
	}
	ask(again, "a ring that was read again", false, true, nil)
	destroyed, err := NewRing([]RingEntry{NewRingEntry(now.Add(-time.Hour))})
	if err != nil {
		t.Fatal(err)
	}
	ask(destroyed, "a ring without the entry", false, false, nil)
	for i := range 3 * maxOpened {
		w.ring.memory.put([]byte(fmt.Sprint(i)), new(opened))
	}
	if n := len(w.ring.memory.young) + len(w.ring.memory.old); n > 2*maxOpened {
		t.Errorf("%d tickets are remembered, want at most %d", n, 2*maxOpened)
	}
	ask(w.ring, "forgotten by now", false, true, nil)
}
