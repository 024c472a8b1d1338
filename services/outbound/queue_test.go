package outbound

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mathmesh/meshd/pkg/mesh"
	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/queue/embedded"
	"github.com/mathmesh/meshd/services/internal/rpc"
)

// line is a real queue with its streams, and a worker that runs.
type line struct {
	*world
	url   string
	shard *queue.Conn // of a shard, which publishes
	stop  func()      // ends the worker
}

func (l *line) dial(role rpc.Role) *queue.Conn {
	l.t.Helper()
	c := must(queue.Dial(l.t.Context(), queue.Options{
		Servers: []string{l.url}, TLS: must(l.ca.Identity(role, time.Now())).QueueClient(), Role: string(role), Log: l.config.Telemetry.Log,
	}))
	l.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := c.Close(ctx); err != nil {
			l.t.Error(err)
		}
	})
	return c
}

func newLine(t *testing.T) *line {
	t.Helper()
	l := &line{world: newWorld(t)}
	server := must(embedded.Start(t.Context(), embedded.Options{Dir: t.TempDir(), Addr: "127.0.0.1:0", TLS: must(l.ca.QueueServer(time.Now()))}))
	t.Cleanup(server.Close)
	l.url = server.URL()
	if _, err := l.dial(rpc.Meshctl).Apply(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	l.shard = l.dial(rpc.Shard)
	l.config.Queue = l.dial(rpc.Outbound)
	l.run()
	return l
}

// run starts a worker, which stop ends.
func (l *line) run() {
	l.t.Helper()
	l.worker = must(NewWorker(l.config))
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	worker := l.worker
	go func() { ended <- worker.Run(ctx) }()
	done := false
	l.stop = func() {
		if done {
			return
		}
		done = true
		cancel()
		if err := <-ended; err != nil {
			l.t.Error(err)
		}
	}
	l.t.Cleanup(func() { l.stop() })
}

func (l *line) publish(list ...*eventpb.Delivery) {
	l.t.Helper()
	var items []queue.Item
	for _, d := range list {
		items = append(items, queue.Item{ID: d.GetTo()[0].GetDeliveryId(), Delivery: d})
	}
	for _, err := range l.shard.Publish(l.t.Context(), queue.Outbound, items...) {
		if err != nil {
			l.t.Fatal(err)
		}
	}
}

// outcomes are the settlements that the shard has recorded, by delivery.
func (l *line) outcomes() map[string][]string {
	all := map[string][]string{}
	for _, c := range l.world.shard.settled() {
		for _, s := range c.GetSettlements() {
			all[s.GetId()] = append(all[s.GetId()], word(s))
		}
	}
	return all
}

// C-127, C-128: out of the queue, to the other provider, settled; within a second.
func TestRun(t *testing.T) {
	l := newLine(t)
	s := l.newSite("there.example")
	if err := l.worker.Ready(); err != nil {
		t.Error(err)
	}
	l.publish(delivery("warm@there.example"))
	eventually(t, func() bool { return len(l.outcomes()) == 1 })
	want := map[string][]string{}
	var list []*eventpb.Delivery
	for range 100 {
		d := delivery("bob@there.example")
		list = append(list, d)
		want[d.GetTo()[0].GetDeliveryId()] = []string{"delivered"}
	}
	began := time.Now()
	l.publish(list...)
	eventually(t, func() bool { return len(l.outcomes()) == 101 })
	t.Logf("100 messages in %d Posts and %d settlements after %s", len(s.received())-1, len(l.world.shard.settled())-1, time.Since(began))
	got := l.outcomes()
	for id := range got {
		if want[id] == nil {
			delete(got, id)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A message is not acknowledged before its rows are settled: it is sent again, and what the other side says then is settled.
func TestSettledBeforeAcknowledged(t *testing.T) {
	l := newLine(t)
	s := l.newSite("there.example")
	l.world.shard.mu.Lock()
	l.world.shard.refuse = 2
	l.world.shard.mu.Unlock()
	d := delivery("bob@there.example")
	l.publish(d)
	eventually(t, func() bool { return len(l.outcomes()) == 1 })
	if got := l.outcomes()[d.GetTo()[0].GetDeliveryId()]; len(got) != 1 || got[0] != "delivered" {
		t.Errorf("settled as %v", got)
	}
	if n := len(s.received()); n != 3 {
		t.Errorf("posted %d times, want once for each try", n)
	}
	// Nothing comes after it was acknowledged.
	time.Sleep(300 * time.Millisecond)
	if n := len(s.received()); n != 3 {
		t.Errorf("posted %d times", n)
	}
}

// A worker that is to end finishes what is under way and hands back what waits: the next has it at once.
func TestHandBack(t *testing.T) {
	l := newLine(t)
	s := l.newSite("there.example")
	entered, hold := make(chan struct{}, 64), make(chan struct{})
	s.behave(func(p *mesh.PostRequest) ([]byte, http.Header) {
		entered <- struct{}{}
		<-hold
		return accept(p)
	})
	l.publish(delivery("first@there.example"))
	<-entered
	var list []*eventpb.Delivery
	for _, who := range []string{"a@", "b@", "c@"} {
		list = append(list, delivery(who+"there.example"))
	}
	l.publish(list...)
	eventually(t, func() bool { return l.worker.stand().held == 4 })
	old := l.worker
	stopped := make(chan struct{})
	go func() { l.stop(); close(stopped) }()
	eventually(t, func() bool { return old.stand().held == 1 })
	close(hold)
	<-stopped
	if got := l.outcomes(); len(got) != 1 {
		t.Errorf("%v, want only what was under way", got)
	}
	s.behave(accept)
	began := time.Now()
	l.run()
	eventually(t, func() bool { return len(l.outcomes()) == 4 })
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("handed back after %s", took)
	}
}

// What makes no sense goes to the dead letters, and holds up nobody.
func TestDead(t *testing.T) {
	l := newLine(t)
	l.newSite("there.example")
	bad := delivery("bob@there.example", "bob@elsewhere.example")
	good := delivery("bob@there.example")
	l.publish(bad, good)
	eventually(t, func() bool { return len(l.outcomes()) == 1 })
	if got := l.outcomes()[good.GetTo()[0].GetDeliveryId()]; len(got) != 1 {
		t.Errorf("%v", l.outcomes())
	}
	eventually(t, func() bool { return strings.Contains(l.logged(), "message given up") })
	if log := l.logged(); !strings.Contains(log, errRecipients.Error()) || strings.Contains(log, "bob") {
		t.Errorf("log: %s", log)
	}
}
