package outbound

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mathmesh/meshd/pkg/discover/zonetest"
	"github.com/mathmesh/meshd/pkg/make1"
	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

// C-127, C-128, C-129, C-130: a message goes to the provider of its recipients at once, with the octets that the sender signed; the
// first under an exchange in Service mode, the next under its ticket.
func TestForward(t *testing.T) {
	w := newWorld(t)
	s := w.newSite("there.example")
	d := delivery("bob@there.example", "carol@there.example")
	d.Envelope = []byte(`[{"EnvelopeID":"MODD", "x":1},"e\u0041\nA",{"signatures":[]}]`)
	began := time.Now()
	if got := w.one(d); got != "delivered, delivered" {
		t.Fatalf("%s\n%s", got, w.logged())
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %s", took)
	}
	if got := w.one(delivery("bob@there.example")); got != "delivered" {
		t.Error(got)
	}
	if diff := cmp.Diff([]string{"Hello null", "Hello exchange", "Post ticket", "Post ticket"}, s.seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := append(append([]byte(`"Accounts":["bob@there.example","carol@there.example"],"Message":[`), d.Envelope...), ']')
	if !bytes.Contains(s.raw[0], want) {
		t.Errorf("forwarded %s", s.raw[0])
	}
	if log := w.logged(); log != "" {
		t.Errorf("logged: %s", log)
	}
}

// D-37, D-54, FLOWS §9: what becomes of a message by the answer.
func TestVerdicts(t *testing.T) {
	w := newWorld(t)
	silence := func(*mesh.PostRequest) ([]byte, http.Header) { return nil, nil }
	garbage := func(*mesh.PostRequest) ([]byte, http.Header) { return []byte(`{"PostResponse":[]}`), nil }
	tests := []struct {
		name   string
		answer func(*mesh.PostRequest) ([]byte, http.Header)
		want   string
		least  time.Duration // until the next try
	}{
		{"accepted", accept, "delivered, delivered", 0},
		{"one refused", func(p *mesh.PostRequest) ([]byte, http.Header) {
			return each(p, 201, func(i int) string { return []string{mesh.ResultAccept, "MeshRecipientBlockedSender"}[i] }), nil
		}, "delivered, failed 17 MeshRecipientBlockedSender", 0},
		{"moved", func(p *mesh.PostRequest) ([]byte, http.Header) {
			return each(p, 201, func(int) string { return "MeshRedirect" }), nil
		}, "failed 20 MeshRedirect, failed 20 MeshRedirect", 0},
		{"refused by a rule of theirs", func(p *mesh.PostRequest) ([]byte, http.Header) {
			return each(p, 201, func(int) string { return "because bob@there.example says so" }), nil
		}, "failed 19 refused, failed 19 refused", 0},
		{"no results", func(p *mesh.PostRequest) ([]byte, http.Header) {
			return each(p, 201, func(int) string { return "" }), nil
		}, "retry, retry", 5 * time.Second},
		{"some verdicts in time", func(p *mesh.PostRequest) ([]byte, http.Header) {
			return each(p, 503, func(i int) string { return []string{"", mesh.ResultAccept}[i] }), http.Header{"Retry-After": {"40"}}
		}, "retry, delivered", 40 * time.Second},
		{"overloaded", refuse(mesh.Overloaded, "90"), "retry, retry", 90 * time.Second},
		{"too many", refuse(mesh.RateLimited, "60"), "retry, retry", 60 * time.Second},
		{"fault of theirs", refuse(mesh.Internal, ""), "retry, retry", 5 * time.Second},
		{"not accredited", refuse(mesh.Unaccredited, ""), "failed 34 MeshServiceUnaccredited, failed 34 MeshServiceUnaccredited", 0},
		{"blocked", refuse(mesh.ServiceBlockedService, ""), "failed 16 MeshServiceBlockedService, failed 16 MeshServiceBlockedService", 0},
		{"bad request", refuse(mesh.BadRequest, ""), "failed 0 MeshRequestInvalid, failed 0 MeshRequestInvalid", 0},
		{"unknown", refuse(mesh.UnknownAccount, ""), "failed 3 MeshUnknownAccount, failed 3 MeshUnknownAccount", 0},
		{"ticket expired for ever", refuse(mesh.TicketExpired, ""), "retry, retry", 5 * time.Second},
		{"no key opens it, for ever", refuse(mesh.TicketInvalid, ""), "retry, retry", 5 * time.Second},
		{"stale for ever", refuse(mesh.RequestStale, ""), "retry, retry", 5 * time.Second},
		{"go elsewhere", refuse(mesh.Redirect, ""), "retry, retry", 5 * time.Second},
		{"no answer to a Post", garbage, "retry, retry", 5 * time.Second},
		{"silence", silence, "retry, retry", 5 * time.Second},
	}
	for i, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			domain := fmt.Sprintf("v%d.example", i)
			s := w.newSite(domain)
			s.behave(test.answer)
			began := time.Now()
			o := w.forward(delivery("bob@"+domain, "carol@"+domain))[0]
			var words []string
			for _, one := range o {
				words = append(words, word(one))
				if one.GetState() == shardpb.Settlement_STATE_RETRY {
					if d := one.GetNextAttempt().AsTime().Sub(began); d < test.least || d > test.least*3/2+7*time.Second {
						t.Errorf("again after %s, want about %s", d, test.least)
					}
				}
			}
			if got := strings.Join(words, ", "); got != test.want {
				t.Errorf("%s, want %s", got, test.want)
			}
			if took := time.Since(began); took > postTime+time.Second { // C-131, C-133
				t.Errorf("took %s", took)
			}
		})
	}
	if log := w.logged(); strings.Contains(log, "bob") || strings.Contains(log, "v1.example") || strings.Contains(log, "eA") {
		t.Errorf("the log names somebody: %s", log)
	}
}

// D-37: messages for the same recipients go together, at most 32; who is not to blame for the refusal of a whole Post is sent alone.
func TestTogether(t *testing.T) {
	w := newWorld(t)
	s := w.newSite("there.example")
	if got := w.one(delivery("zero@there.example")); got != "delivered" {
		t.Fatal(got)
	}
	hold := make(chan struct{})
	s.behave(func(p *mesh.PostRequest) ([]byte, http.Header) {
		<-hold
		return accept(p)
	})
	var list []*eventpb.Delivery
	for range 2 { // the calls that may be under way from the beginning
		list = append(list, delivery("first@there.example"))
	}
	var all sync.WaitGroup
	results := make([][]*shardpb.Settlement, 0, 80)
	var mu sync.Mutex
	send := func(d *eventpb.Delivery) {
		all.Go(func() {
			o := w.forward(d)[0]
			mu.Lock()
			defer mu.Unlock()
			results = append(results, o)
		})
	}
	for i, d := range list {
		send(d)
		eventually(t, func() bool { return len(s.received()) == i+2 })
	}
	for range 8 {
		send(delivery("bob@there.example"))
		send(delivery("bob@there.example", "carol@there.example"))
	}
	eventually(t, func() bool { return w.worker.stand().held == 18 })
	close(hold)
	all.Wait()
	sizes := map[string]int{}
	for _, p := range s.received()[3:] {
		sizes[fmt.Sprint(len(p.Accounts), " accounts, ", len(p.Message), " messages")]++
	}
	if diff := cmp.Diff(map[string]int{"1 accounts, 8 messages": 1, "2 accounts, 8 messages": 1}, sizes); diff != "" {
		t.Errorf("Posts (-want +got):\n%s", diff)
	}
	for _, r := range results {
		for _, one := range r {
			if word(one) != "delivered" {
				t.Error(word(one))
			}
		}
	}

	d := &destination{pace: newPace()}
	for range 40 {
		d.queue = append(d.queue, must(read(delivery("bob@there.example"), time.Now())))
	}
	if n := len(d.batch()); n != maxTogether || len(d.queue) != 8 {
		t.Errorf("%d together, %d left", n, len(d.queue))
	}
}

// One message that the other side refuses the whole Post for does not take the others with it.
func TestPoison(t *testing.T) {
	w := newWorld(t)
	s := w.newSite("there.example")
	hold := make(chan struct{})
	s.behave(func(p *mesh.PostRequest) ([]byte, http.Header) {
		<-hold
		for _, m := range p.Message {
			if strings.Contains(string(m.Header), "poison") {
				return refuse(mesh.MessageInvalid, "")(p)
			}
		}
		return accept(p)
	})
	var all sync.WaitGroup
	all.Go(func() { w.forward(delivery("x@there.example")) })
	eventually(t, func() bool { return len(s.received()) > 0 })
	var mu sync.Mutex
	got := map[string]int{}
	for i := range 6 {
		d := delivery("bob@there.example")
		if i == 3 {
			d.Envelope = []byte(`[{"poison":1},"eA"]`)
		}
		all.Go(func() {
			words := w.one(d)
			mu.Lock()
			defer mu.Unlock()
			got[words]++
		})
	}
	eventually(t, func() bool { return w.worker.stand().held == 7 })
	close(hold)
	all.Wait()
	if diff := cmp.Diff(map[string]int{"delivered": 5, "failed 13 MeshMessageInvalid": 1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not come to that")
		}
	}
}

// C-127: the remote is down: the row says when to try again, and the next try delivers when it is up.
func TestDown(t *testing.T) {
	w := newWorld(t)
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	w.name("there.example", l.Addr())
	l.Close()
	if got := w.one(delivery("bob@there.example")); got != "retry" {
		t.Fatal(got)
	}
	before := w.zone.Asked("_mmm._tcp.there.example")
	began := time.Now()
	o := w.forward(delivery("bob@there.example"))[0] // left alone: no connection, and at once
	if word(o[0]) != "retry" || time.Since(began) > 100*time.Millisecond || w.zone.Asked("_mmm._tcp.there.example") != before {
		t.Errorf("%s after %s", word(o[0]), time.Since(began))
	}
	s := w.newSite("there.example")
	w.later(time.Minute)
	if got := w.one(delivery("bob@there.example")); got != "delivered" || len(s.received()) != 1 {
		t.Errorf("%s\n%s", got, w.logged())
	}
	old := delivery("bob@there.example")
	old.FirstSeen = timestamppb.New(time.Now().Add(-lifetime - time.Hour))
	s.behave(refuse(mesh.Overloaded, "1"))
	if got := w.one(old); got != "failed 31 expired" {
		t.Errorf("after 72 h: %s", got)
	}
}

// A destination that accepts connections and says nothing costs the others nothing.
func TestSilent(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for 5 s")
	}
	w := newWorld(t)
	silent := must(net.Listen("tcp", "127.0.0.1:0"))
	defer silent.Close()
	go func() {
		for {
			c, err := silent.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
		}
	}()
	gone := w.newSite("gone.example") // answers now, and then never
	if got := w.one(delivery("x@gone.example")); got != "delivered" {
		t.Fatal(got)
	}
	gone.behave(func(*mesh.PostRequest) ([]byte, http.Header) { return nil, nil })
	var sites []*site
	for i := range 20 {
		s := w.newSite(fmt.Sprintf("l%d.example", i))
		if got := w.one(delivery("bob@" + s.domain)); got != "delivered" {
			t.Fatal(got)
		}
		sites = append(sites, s)
	}
	const quiet, each = 100, 20
	var bad []*eventpb.Delivery
	for i := range quiet {
		domain := fmt.Sprintf("s%d.example", i)
		w.name(domain, silent.Addr())
		for range each {
			bad = append(bad, delivery("x@"+domain))
		}
	}
	for range each {
		bad = append(bad, delivery("x@gone.example"))
	}
	done := make(chan [][]*shardpb.Settlement, 1)
	began := time.Now()
	go func() { done <- w.forward(bad...) }()
	eventually(t, func() bool { return w.worker.stand().running >= unprovenCalls*3/4 })
	var all sync.WaitGroup
	var mu sync.Mutex
	var slowest time.Duration
	for _, s := range sites {
		for range each {
			all.Go(func() {
				start := time.Now()
				if got := w.one(delivery("bob@" + s.domain)); got != "delivered" {
					t.Errorf("%s: %s", s.domain, got)
				}
				mu.Lock()
				defer mu.Unlock()
				slowest = max(slowest, time.Since(start))
			})
		}
	}
	all.Wait()
	if slowest > postTime-time.Second {
		t.Errorf("the slowest after %s: it has waited for a silent one", slowest)
	}
	t.Logf("live messages while %d destinations are silent: the slowest after %s; all after %s", quiet, slowest, time.Since(began))
	for i, r := range <-done {
		if word(r[0]) != "retry" {
			t.Errorf("%d: %s", i, word(r[0]))
		}
	}
	if took := time.Since(began); took > 25*time.Second {
		t.Errorf("all took %s", took)
	}
}

// What the DNS says, and what it does not.
func TestDNS(t *testing.T) {
	w := newWorld(t)
	w.zone.Change(func() {
		w.zone.Fault["_mmm._tcp.fail.example"] = zonetest.ServFail
		w.zone.NS["domain.example"] = "ns.example"
	})
	aged := func(domain string, age time.Duration) string {
		d := delivery("bob@" + domain)
		d.FirstSeen = timestamppb.New(time.Now().Add(-age))
		w.later(time.Hour) // past every pause
		d.FirstSeen = timestamppb.New(w.now().Add(-age))
		return w.one(d)
	}
	for _, test := range []struct {
		domain string
		age    time.Duration
		want   string
	}{
		{"nowhere.example", 0, "retry"},
		{"nowhere.example", noDomainLife - time.Minute, "retry"},
		{"nowhere.example", noDomainLife + time.Minute, "failed 3 no-such-domain"},
		{"domain.example", noDomainLife + time.Minute, "retry"},
		{"domain.example", noServiceLife + time.Minute, "failed 3 no-service"},
		{"fail.example", noServiceLife + time.Minute, "retry"},
		{"fail.example", lifetime + time.Minute, "failed 31 expired"},
	} {
		if got := aged(test.domain, test.age); got != test.want {
			t.Errorf("%s after %s: %s, want %s", test.domain, test.age, got, test.want)
		}
	}
	if log := w.logged(); !strings.Contains(log, "dns: no such domain") || strings.Contains(log, "nowhere.example") {
		t.Errorf("log: %s", log)
	}
}

// A name that leads into our own network is not followed.
func TestPrivate(t *testing.T) {
	w := newWorld(t)
	w.config.AllowPrivate = false
	w.start()
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	w.name("inside.example", l.Addr())
	if got := w.one(delivery("bob@inside.example")); got != "retry" {
		t.Error(got)
	}
	if !strings.Contains(w.logged(), "address not public") {
		t.Errorf("log: %s", w.logged())
	}
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond))
	if c, err := l.Accept(); err == nil {
		c.Close()
		t.Error("it was connected to")
	}
}

// AUTH §6: the other's clock is ten minutes off: sealed 401/11, once more with its time.
func TestClock(t *testing.T) {
	w := newWorld(t)
	s := w.newSite("there.example")
	s.now = func() time.Time { return time.Now().Add(10 * time.Minute) }
	if got := w.one(delivery("bob@there.example")); got != "delivered" {
		t.Error(got)
	}
	want := []string{"Hello null", "refused exchange", "Hello exchange", "refused ticket", "Post ticket"}
	if diff := cmp.Diff(want, s.seen); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// AUTH §5: a ring that was lost: the hint, Hello, one exchange; no message waits for it.
func TestRingLost(t *testing.T) {
	w := newWorld(t)
	s := w.newSite("there.example")
	if got := w.one(delivery("bob@there.example")); got != "delivered" {
		t.Fatal(got)
	}
	s.ring = must(make1.NewRing([]make1.RingEntry{make1.NewRingEntry(time.Now().Add(-time.Hour))}))
	if got := w.one(delivery("bob@there.example")); got != "delivered" {
		t.Error(got)
	}
	if n := len(s.seen); !slices.Equal(s.seen[n-4:], []string{"hint", "Hello null", "Hello exchange", "Post ticket"}) {
		t.Errorf("%v", s.seen)
	}
}

// C-134: calls to one destination adapt, and the metrics show it.
func TestAdapts(t *testing.T) {
	w := newWorld(t)
	s := w.newSite("there.example")
	s.behave(func(p *mesh.PostRequest) ([]byte, http.Header) {
		time.Sleep(5 * time.Millisecond)
		return accept(p)
	})
	if got := w.one(delivery("x@there.example")); got != "delivered" {
		t.Fatal(got)
	}
	for i := range 6 {
		var list []*eventpb.Delivery
		for n := range 30 {
			list = append(list, delivery(fmt.Sprintf("bob%d.%d@there.example", i, n)))
		}
		w.forward(list...)
	}
	if got := w.worker.stand(); got.allowed < paceFirst+10 || got.running != 0 || got.held != 0 || got.destinations["answers"] != 1 {
		t.Errorf("%+v", got)
	}
	if s.most <= paceFirst || s.most > paceMax {
		t.Errorf("%d at once", s.most)
	}
	rec := httptest.NewRecorder()
	w.config.Telemetry.AdminHandler(new(telemetry.Readiness)).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{
		`mesh_outbound_concurrency{state="allowed"} ` + fmt.Sprint(w.worker.stand().allowed),
		`mesh_outbound_concurrency_changes_total{direction="raised"} ` + fmt.Sprint(w.worker.stand().allowed-paceFirst),
		`mesh_outbound_destinations{state="answers"} 1`,
		`mesh_outbound_post_duration_seconds_count{fault="none"} `,
	} {
		if !strings.Contains(rec.Body.String(), want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}

// What waits for no room comes again soon, whatever its attempts, and is not the end of a message.
func TestOverflow(t *testing.T) {
	w := newWorld(t)
	s := w.newSite("there.example")
	hold := make(chan struct{})
	s.behave(func(p *mesh.PostRequest) ([]byte, http.Header) {
		<-hold
		return accept(p)
	})
	var list []*eventpb.Delivery
	for n := range 60 {
		d := delivery(fmt.Sprintf("bob%d@there.example", n))
		d.FirstSeen, d.Attempts = timestamppb.New(time.Now().Add(-100*time.Hour)), 40
		list = append(list, d)
	}
	done := make(chan [][]*shardpb.Settlement, 1)
	go func() { done <- w.forward(list...) }()
	eventually(t, func() bool { return w.worker.stand().held == unprovenQueue+1 })
	close(hold)
	count := map[string]int{}
	for _, r := range <-done {
		count[word(r[0])]++
		if r[0].GetState() == shardpb.Settlement_STATE_RETRY {
			if d := time.Until(r[0].GetNextAttempt().AsTime()); d < 10*time.Second || d > 40*time.Second {
				t.Errorf("again after %s", d)
			}
		}
	}
	if count["delivered"] != unprovenQueue+1 || count["retry"] != 60-unprovenQueue-1 {
		t.Errorf("%v", count)
	}
}

// However many domains are written to, so many are remembered; those with work to do are not forgotten.
func TestManyDestinations(t *testing.T) {
	w := newWorld(t)
	w.worker.mu.Lock()
	defer w.worker.mu.Unlock()
	now := w.now()
	name := func(i int) route { return route{home, fmt.Sprintf("d%d.example", i)} }
	busy := w.worker.destination(name(0), now.Add(-2*time.Hour))
	busy.running = 1
	for i := 1; i <= maxDestinations+10; i++ {
		if w.worker.destination(name(i), now.Add(time.Duration(i))) == nil {
			t.Fatalf("no room for destination %d", i)
		}
	}
	all := w.worker.destinations
	if len(all) != maxDestinations || all[name(0)] == nil || all[name(1)] != nil || all[name(maxDestinations)] == nil {
		t.Errorf("%d remembered", len(all))
	}
	w.clock += 2 * time.Hour // Change would wait for the worker
	if w.worker.sweep(); len(all) != 1 || all[name(0)] == nil {
		t.Errorf("%d remembered after two hours, want the one with work", len(all))
	}
	for _, d := range all {
		d.running = 1
	}
	for i := range maxDestinations {
		if d := w.worker.destination(name(i), now); d != nil {
			d.running = 1
		}
	}
	if d := w.worker.destination(name(1<<20), now); d != nil {
		t.Error("one more than there is room for")
	}
	if d := w.worker.destination(route{"stranger.example", "there.example"}, now); d != nil {
		t.Error("a destination of a domain without keys")
	}
}

// Settlements of one account go together, one call at a time.
func TestSettlesTogether(t *testing.T) {
	w := newWorld(t)
	w.shard.perHand = 20 * time.Millisecond
	var all sync.WaitGroup
	for i := range 200 {
		account := []string{"alice@", "bob@"}[i%2] + home
		all.Go(func() {
			if err := w.worker.settler.settle(account, []*shardpb.Settlement{{Id: fmt.Sprint(i)}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, c := range w.shard.settled() {
		for _, s := range c.GetSettlements() {
			var i int
			fmt.Sscan(s.GetId(), &i)
			if seen[s.GetId()] || c.GetSenderAccount() != []string{"alice@", "bob@"}[i%2]+home {
				t.Errorf("settlement %s of %s", s.GetId(), c.GetSenderAccount())
			}
			seen[s.GetId()] = true
		}
	}
	if calls := len(w.shard.settled()); len(seen) != 200 || calls > 12 {
		t.Errorf("%d settlements in %d calls", len(seen), calls)
	}
	w.shard.refuse = 1
	if err := w.worker.settler.settle("alice@"+home, []*shardpb.Settlement{{Id: "x"}}); err == nil {
		t.Error("a settlement that failed is taken for one that did not")
	}
}
