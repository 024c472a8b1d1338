package queue

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/protobuf/proto"

	eventpb "github.com/mathmesh/meshd/proto/mesh/event/v1"
)

const (
	// keepTime is how long a verdict waits for its Wait: longer than a gateway does for a verdict (3 s, D-54).
	keepTime = 5 * time.Second
	// keepMax verdicts are kept, the oldest go: a thousand a second for keepTime, some 300 octets each.
	keepMax = 5000
	// verdictOctets bounds what is read of a verdict: an id, a code, an address.
	verdictOctets = 4096
	// tokenSize in characters of base32, 130 bits: nobody guesses on which subject a gateway listens.
	tokenSize = 26
)

// SendVerdict tells a waiting gateway, best effort: nobody learns whether it arrived. waiter is Delivery.Waiter; empty: nobody waits,
// and nothing is sent.
func (c *Conn) SendVerdict(waiter string, v *eventpb.Verdict) error {
	if waiter == "" {
		return nil
	}
	if !isToken(waiter) { // it came through a stream, and becomes part of a subject
		return errors.New("queue: the waiter is no token")
	}
	data, err := proto.Marshal(v)
	if err == nil {
		err = c.nc.Publish(verdictSubject(waiter), data)
	}
	if err != nil {
		return fmt.Errorf("queue: verdict: %w", err)
	}
	return nil
}

func isToken(s string) bool {
	return len(s) == tokenSize && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") == ""
}

// Waiter receives the verdicts for one gateway process. Safe for concurrent use; one for the process is enough.
type Waiter struct {
	token string
	conn  *Conn
	now   func() time.Time

	mu    sync.Mutex
	waits map[string][]*waiting // by delivery id
	kept  map[string]*eventpb.Verdict
	order []arrival // of kept, oldest first
}

type arrival struct {
	id   string
	when time.Time
}

// waiting is one call of Wait.
type waiting struct {
	missing map[string]bool
	got     map[string]*eventpb.Verdict
	all     chan struct{} // closed when nothing is missing
}

// Waiter makes one, which receives until ctx ends or the Conn is closed: ctx is the process', not a request's.
func (c *Conn) Waiter(ctx context.Context) (*Waiter, error) {
	w := newWaiter(c)
	sub, err := c.nc.Subscribe(verdictSubject(w.token), w.receive)
	if err == nil {
		err = sub.SetPendingLimits(keepMax, keepMax*verdictOctets)
	}
	if err != nil {
		return nil, fmt.Errorf("queue: waiter: %w", err)
	}
	if c.nc.IsConnected() { // so that it hears from now on; without a connection it will from the first
		if err := c.nc.FlushTimeout(readyTime); err != nil {
			c.log.DebugContext(ctx, "queue: waiter", slog.Any("err", err))
		}
	}
	context.AfterFunc(ctx, func() {
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) && !errors.Is(err, nats.ErrBadSubscription) {
			c.log.DebugContext(ctx, "queue: waiter", slog.Any("err", err))
		}
	})
	return w, nil
}

func newWaiter(c *Conn) *Waiter {
	return &Waiter{token: rand.Text(), conn: c, now: time.Now, waits: make(map[string][]*waiting), kept: make(map[string]*eventpb.Verdict)}
}

// Token goes into Delivery.Waiter.
func (w *Waiter) Token() string { return w.token }

// Wait returns what came for the delivery ids, when all are there or ctx ends. Verdicts that come before Wait are kept for 5 s, a
// bounded number of them.
func (w *Waiter) Wait(ctx context.Context, ids []string) map[string]*eventpb.Verdict {
	mine := w.begin(ids)
	select {
	case <-mine.all:
	case <-ctx.Done():
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for id := range mine.missing {
		w.waits[id] = slices.DeleteFunc(w.waits[id], func(other *waiting) bool { return other == mine })
		if len(w.waits[id]) == 0 {
			delete(w.waits, id)
		}
	}
	return mine.got
}

func (w *Waiter) begin(ids []string) *waiting {
	mine := &waiting{missing: make(map[string]bool), got: make(map[string]*eventpb.Verdict), all: make(chan struct{})}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	for _, id := range ids {
		if v := w.kept[id]; v != nil {
			mine.got[id] = v
		} else if !mine.missing[id] {
			mine.missing[id] = true
			w.waits[id] = append(w.waits[id], mine)
		}
	}
	if len(mine.missing) == 0 {
		close(mine.all)
	}
	return mine
}

// receive takes one verdict: for those who wait, or to be kept.
func (w *Waiter) receive(msg *nats.Msg) {
	var v eventpb.Verdict
	if len(msg.Data) > verdictOctets || proto.Unmarshal(msg.Data, &v) != nil || v.GetDeliveryId() == "" {
		w.conn.counts.lost.Add(context.Background(), 1)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.expire()
	id := v.GetDeliveryId()
	for _, other := range w.waits[id] {
		other.got[id] = &v
		delete(other.missing, id)
		if len(other.missing) == 0 {
			close(other.all)
		}
	}
	if len(w.waits[id]) == 0 {
		w.keep(id, &v)
	}
	delete(w.waits, id)
}

// keep a verdict that nobody waits for yet. Of two for one delivery the first stands, as with those that are waited for.
func (w *Waiter) keep(id string, v *eventpb.Verdict) {
	if w.kept[id] != nil {
		return
	}
	if len(w.order) == keepMax {
		w.drop()
		w.conn.counts.lost.Add(context.Background(), 1)
	}
	w.kept[id] = v
	w.order = append(w.order, arrival{id, w.now()})
}

// expire forgets what was kept long enough.
func (w *Waiter) expire() {
	for len(w.order) > 0 && w.now().Sub(w.order[0].when) > keepTime {
		w.drop()
	}
}

func (w *Waiter) drop() {
	delete(w.kept, w.order[0].id)
	w.order = w.order[1:]
}
