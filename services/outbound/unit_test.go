package outbound

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
)

// C-134; draft §9.1.2.1: halved when 40 % take more than 4 s, raised when 90 % take less than 1 s.
func TestPace(t *testing.T) {
	const fast, middle, slow = 200 * time.Millisecond, 2 * time.Second, 4100 * time.Millisecond
	calls := func(n int, d time.Duration) (list []time.Duration) {
		for range n {
			list = append(list, d)
		}
		return list
	}
	for _, test := range []struct {
		name  string
		limit int
		calls []time.Duration
		want  int
	}{
		{"nine of ten fast", 8, append(calls(9, fast), middle), 9},
		{"nine of ten fast, one slow", 8, append(calls(9, fast), slow), 9},
		{"eight of ten fast", 8, append(calls(8, fast), calls(2, middle)...), 8},
		{"four of ten slow", 8, append(calls(6, fast), calls(4, slow)...), 4},
		{"three of ten slow", 8, append(calls(7, fast), calls(3, slow)...), 8},
		{"four slow at once", 8, calls(4, slow), 4},
		{"eight slow", 8, calls(8, slow), 2},
		{"never none", 1, calls(40, slow), 1},
		{"never more than most", paceMax, calls(40, fast), paceMax},
		{"just a second is not fast, just four not slow", 8, append(calls(5, time.Second), calls(5, 4*time.Second)...), 8},
		{"up to the most", paceFirst, calls(10*(paceMax-paceFirst), fast), paceMax},
	} {
		p := pace{limit: test.limit}
		for _, c := range test.calls {
			p.done(c)
		}
		if p.limit != test.want {
			t.Errorf("%s: %d at once, want %d", test.name, p.limit, test.want)
		}
	}
}

// D-37: 5 s, 30 s, 2 min, 10 min, 1 h, 4 h …, up to 72 h.
func TestSchedule(t *testing.T) {
	base := time.Date(2026, 11, 25, 3, 0, 0, 0, time.UTC)
	want := append(waits(), waits()[5], waits()[5])
	now, attempts := base, 0
	for ; ; attempts++ {
		at, ok := next(now, base, time.Time{}, attempts, lifetime)
		if !ok {
			break
		}
		if attempts < len(want) {
			if d := at.Sub(now); d < want[attempts] || d > want[attempts]*5/4 {
				t.Errorf("try %d: again after %s, want %s and up to a quarter more", attempts, d, want[attempts])
			}
		}
		now = at
	}
	if now != base.Add(lifetime) || attempts < 18 || attempts > 25 {
		t.Errorf("%d tries, the last %s after the first; want the last at %s", attempts, now.Sub(base), lifetime)
	}
	for _, test := range []struct {
		attempts int
		age      time.Duration
		want     time.Duration
	}{
		{9, 0, 5 * time.Second},                       // put off nine times for want of room, and young: near the beginning
		{9, 10 * time.Minute, 10 * time.Minute},       // likewise
		{0, 40 * time.Hour, 5 * time.Second},          // waited for us, not for the destination
		{2, 40 * time.Hour, 2 * time.Minute},          // likewise
		{100, 40 * time.Hour, 4 * time.Hour},          // the end of the schedule is repeated
		{1 << 30, 71 * time.Hour, 4 * time.Hour},      // whatever stands in the row
		{6, 2 * time.Hour, 4 * time.Hour},             //
		{6, time.Hour, time.Hour},                     //
		{1, 4 * time.Second, 5 * time.Second},         //
		{-1, 4 * time.Second, 5 * time.Second},        //
		{3, 35 * time.Second, 2 * time.Minute},        //
		{3, 34*time.Second + 999e6, 30 * time.Second}, //
	} {
		if d := wait(test.attempts, test.age); d < test.want || d > test.want*5/4 {
			t.Errorf("after %d tries, %s old: %s, want %s", test.attempts, test.age, d, test.want)
		}
	}
	if at, ok := next(base, base, base.Add(7*time.Minute), 0, lifetime); !ok || at != base.Add(7*time.Minute) {
		t.Errorf("Retry-After is not respected: %s", at.Sub(base))
	}
}

// Whatever the numbers: a letter comes again later than now and not after its life.
func TestScheduleBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		base := time.Unix(1e9, 0)
		now := base.Add(time.Duration(rapid.Int64Range(0, int64(lifetime)-1).Draw(t, "age")))
		earliest := now.Add(time.Duration(rapid.Int64Range(-int64(lifetime), int64(lifetime)).Draw(t, "earliest")))
		at, ok := next(now, base, earliest, rapid.Int().Draw(t, "attempts"), lifetime)
		if !ok || !at.After(now) || at.After(base.Add(lifetime)) {
			t.Fatalf("%s after %s, %v", at.Sub(now), now.Sub(base), ok)
		}
	})
}

// The breaker: none is forgiven who never answered, three calls who did; then pauses that grow, and one call to find out.
func TestBreaker(t *testing.T) {
	now := time.Unix(1e9, 0)
	bad, good := &answer{err: errConst("silent"), whole: 5 * time.Second}, new(answer)
	d := &destination{pace: newPace()}
	if opened, _ := d.judge(bad, now); !opened || d.closed(now) || d.class() != unproven {
		t.Error("a destination that never answered is given a second call")
	}
	for i, least := range []time.Duration{30 * time.Second, 2 * time.Minute, maxPause, maxPause} {
		now = d.until
		if !d.closed(now) || d.allowed() != 1 {
			t.Fatalf("pause %d: want one call, the probe", i)
		}
		d.judge(bad, now)
		if got := d.until.Sub(now); got < least || got > min(maxPause, least*5/4) {
			t.Errorf("pause %d is %s, want %s", i, got, least)
		}
	}
	now = d.until
	if d.judge(good, now); d.class() != proven || !d.closed(now) || d.allowed() != paceFirst {
		t.Error("it has answered, and is not proven")
	}
	for i := 1; i <= tolerance; i++ {
		if opened, _ := d.judge(bad, now); opened != (i == tolerance) || d.class() != unproven {
			t.Errorf("failure %d: opened %v", i, opened)
		}
	}
	until := d.until
	if opened, _ := d.judge(bad, now); opened || d.until != until {
		t.Error("what was under way with the others counts again")
	}
	quick := &destination{pace: newPace(), proven: true, answered: true}
	if quick.judge(&answer{err: errConst("reset")}, now); quick.class() != proven {
		t.Error("one connection reset costs the class")
	}
}

type errConst string

func (e errConst) Error() string { return string(e) }

// What the worker is handed is checked once more: a delivery that makes no sense is nobody's to try again.
func TestRead(t *testing.T) {
	ok := func() *eventpb.Delivery { return delivery("bob@there.example", "carol@there.example") }
	if l, err := read(ok(), time.Now()); err != nil || l.route != (route{home, "there.example"}) || len(l.accounts) != 2 {
		t.Fatal(err, l)
	}
	for name, edit := range map[string]func(*eventpb.Delivery){
		"no recipients":   func(d *eventpb.Delivery) { d.To = nil },
		"two domains":     func(d *eventpb.Delivery) { d.To[1].Address = "bob@elsewhere.example" },
		"no address":      func(d *eventpb.Delivery) { d.To[0].Address = "bob" },
		"no sender":       func(d *eventpb.Delivery) { d.SenderAccount = "" },
		"no envelope":     func(d *eventpb.Delivery) { d.Envelope = nil },
		"two values":      func(d *eventpb.Delivery) { d.Envelope = []byte(`[{},""],[{},""]`) },
		"not an envelope": func(d *eventpb.Delivery) { d.Envelope = []byte(`{}`) },
		"too long":        func(d *eventpb.Delivery) { d.Envelope = make([]byte, mesh.MaxMessage+1) },
		"too many": func(d *eventpb.Delivery) {
			for range maxRecipients {
				d.To = append(d.To, d.To[0])
			}
		},
	} {
		d := ok()
		edit(d)
		if _, err := read(d, time.Now()); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// FuzzOutcomes: whatever entries another provider answers, each recipient of each letter gets one settlement, and none is taken for
// delivered that has no Accept.
func FuzzOutcomes(f *testing.F) {
	f.Add([]byte(`{"PostResponse":{"Status":201,"Entries":[{"IndexRequest":0,"Result":"Accept"},{"IndexRequest":1,"Result":"Reject","Reason":"MeshRedirect"}]}}`))
	f.Add([]byte(`{"PostResponse":{"Status":201,"Entries":[{"IndexRequest":-1,"Result":"Accept"},{"IndexRequest":9223372036854775807,"Result":"Conflict"}]}}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		var res mesh.PostResponse
		if _, err := mesh.DecodeResponse(payload, &res); err != nil {
			return
		}
		now := time.Now()
		var letters []*letter
		for range 3 {
			letters = append(letters, must(read(delivery("a@b.example", "c@b.example"), now)))
		}
		accepts := 0
		for _, e := range res.Entries {
			if e.Result == mesh.ResultAccept {
				accepts++
			}
		}
		a := &answer{entries: res.Entries, reached: true}
		for i, o := range a.outcomes(letters, now, time.Time{}) {
			if o == nil || len(o.settlements) != 2 {
				t.Fatalf("letter %d: %v", i, o)
			}
			for r, s := range o.settlements {
				if s.GetId() != letters[i].GetTo()[r].GetDeliveryId() || s.GetState() == shardpb.Settlement_STATE_UNSPECIFIED {
					t.Errorf("letter %d: %v", i, s)
				}
				if s.GetState() == shardpb.Settlement_STATE_DELIVERED {
					accepts--
				}
			}
		}
		if accepts < 0 {
			t.Error("more were delivered than accepted")
		}
	})
}

// AUTH §3.5: anybody may have written a hint. It fails nothing, whatever it says; the same code sealed does.
func TestHint(t *testing.T) {
	now := time.Now()
	list := []*letter{must(read(delivery("bob@there.example"), now))}
	for _, k := range []mesh.Kind{mesh.MessageInvalid, mesh.UnknownAccount, mesh.ServiceBlockedService, mesh.Unaccredited} {
		for _, hint := range []bool{true, false} {
			a := &answer{err: &client.ServiceError{Code: k.Code(), Kind: k, Hint: hint}, reached: !hint}
			got := a.outcomes(list, now, now)[0].settlements[0].GetState()
			if failed := got == shardpb.Settlement_STATE_FAILED; failed == hint {
				t.Errorf("%s, hint %v: %s", k, hint, got)
			}
		}
	}
	// A refusal of Hello is not one of the message, but when it says that we are not wanted.
	for k, want := range map[mesh.Kind]bool{mesh.NotAuthenticated: false, mesh.BadRequest: false, mesh.ServiceBlockedService: true, mesh.Unaccredited: true} {
		a := &answer{err: &client.ServiceError{Code: k.Code(), Kind: k}}
		if got := a.outcomes(list, now, now)[0].settlements[0].GetState(); (got == shardpb.Settlement_STATE_FAILED) != want {
			t.Errorf("%s instead of a ticket: %s", k, got)
		}
	}
}
