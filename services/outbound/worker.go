package outbound

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/mathmesh/meshd/pkg/client"
	"github.com/mathmesh/meshd/pkg/jbcd"
	"github.com/mathmesh/meshd/pkg/mesh"
	shardpb "github.com/mathmesh/meshd/proto/mesh/shard/v1"
	"github.com/mathmesh/meshd/services/internal/queue"
	"github.com/mathmesh/meshd/services/internal/rpc"
	"github.com/mathmesh/meshd/services/internal/telemetry"
)

const (
	// prepareTime bounds what comes before a Post to a destination that is not known yet: DNS, Hello, the exchange. Four round trips; who
	// needs more for them is tried again.
	prepareTime = 5 * time.Second
	// postTime of a transaction (draft §9.1.2.1).
	postTime = 5 * time.Second
	// queueTime is how long a letter waits in memory. With the times above it is out of our hands before its row is published again
	// (2 min).
	queueTime = 30 * time.Second
	// workingTime: the queue gives a message to somebody else when it has not heard of it for 30 s.
	workingTime = 10 * time.Second
	// againTime is when the queue brings a letter again that could not be settled, first.
	againTime = 2 * time.Second
	// handBackTime: at once it could come to us again, who have only just stopped to ask for more.
	handBackTime = 250 * time.Millisecond
	// overflowTime puts a letter off for which there was no room, and so much again at random.
	overflowTime = 15 * time.Second
	// sweepTime: destinations that nobody writes to are forgotten so often.
	sweepTime = time.Minute
)

// Config is what a worker is made of.
type Config struct {
	Queue     *queue.Conn
	Router    *rpc.Router
	Keys      []*mesh.OutboundKeys // one for each domain of the provider
	Telemetry *telemetry.Telemetry

	DNS          string           // server, host:port; empty: the system's
	Roots        *x509.CertPool   // of certificate authorities; nil: the system's
	AllowPrivate bool             // connect to loopback and private addresses too: for development
	Now          func() time.Time // nil: time.Now
}

// Worker forwards. Nothing in it is worth keeping.
type Worker struct {
	queue   *queue.Conn
	router  *rpc.Router
	keys    map[string]*mesh.OutboundKeys // by domain
	settler *settler
	client  client.Config
	log     *slog.Logger
	tracer  trace.Tracer
	metrics *metrics
	hash    func(string) slog.Attr
	now     func() time.Time

	base context.Context // of calls
	stop context.CancelFunc

	mu           sync.Mutex
	destinations map[route]*destination
	held         [classes]int            // letters
	calls        [classes]int            // under way
	waiting      [classes][]*destination // for a call, in turn
	stopping     bool
}

// NewWorker checks the configuration. It asks nobody.
func NewWorker(c Config) (*Worker, error) {
	if c.Queue == nil || c.Router == nil || c.Telemetry == nil || len(c.Keys) == 0 {
		return nil, errors.New("outbound: needs a queue, a router, telemetry and the keys of a domain")
	}
	w, err := newWorker(c)
	if err != nil {
		return nil, err
	}
	w.queue = c.Queue
	return w, nil
}

func newWorker(c Config) (*Worker, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	w := &Worker{
		router: c.Router, keys: make(map[string]*mesh.OutboundKeys), settler: newSettler(c.Router),
		client: client.Config{DNS: c.DNS, Roots: c.Roots, Public: !c.AllowPrivate, Now: c.Now},
		log:    c.Telemetry.Log, tracer: c.Telemetry.Tracer.Tracer(scope), now: c.Now,
		hash: func(domain string) slog.Attr {
			return slog.String("destination", c.Telemetry.Account(domain).Value.String()) // a domain may be a person's
		},
		destinations: make(map[route]*destination),
	}
	for _, k := range c.Keys {
		if w.keys[k.Domain] != nil {
			return nil, fmt.Errorf("outbound: domain %s stands twice", k.Domain)
		}
		w.keys[k.Domain] = k
	}
	w.base, w.stop = context.WithCancel(context.Background())
	var err error
	if w.metrics, err = newMetrics(c.Telemetry.Meter, w); err != nil {
		return nil, fmt.Errorf("outbound: %w", err)
	}
	return w, nil
}

// Run works until ctx ends, then finishes the calls that are under way; letters that wait go back to the queue. It runs once.
func (w *Worker) Run(ctx context.Context) error {
	defer w.close()
	go w.tend(ctx)
	return w.queue.Consume(ctx, queue.Outbound, inFlight, w.handle)
}

// Ready says why the worker cannot do its own part. It never asks peers.
func (w *Worker) Ready() error { return errors.Join(w.queue.Ready(), w.router.Ready()) }

// tend forgets what is old, and hands back what waits when ctx ends.
func (w *Worker) tend(ctx context.Context) {
	tick := time.NewTicker(sweepTime)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			w.mu.Lock()
			w.sweep()
			w.mu.Unlock()
		case <-ctx.Done():
			w.handBack()
			return
		}
	}
}

// handBack gives up the letters that wait: another worker has them sooner.
func (w *Worker) handBack() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopping = true
	for _, d := range w.destinations {
		for _, l := range d.queue {
			w.finish(l, outcome{})
		}
		d.queue = nil
	}
}

func (w *Worker) close() {
	w.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.destinations {
		d.peer.Close()
	}
	w.metrics.close()
}

// handle sees one message through: sent or put off, then settled, then acknowledged.
func (w *Worker) handle(ctx context.Context, m *queue.Message) {
	l, err := read(m.Delivery, w.now())
	if err != nil {
		w.said(ctx, m.Fail(err.Error()))
		return
	}
	o, ok := w.deliver(ctx, l, m.Working)
	switch {
	case !ok: // out of time: it comes again by itself
		return
	case o.settlements == nil:
		w.said(ctx, m.Retry(handBackTime))
		return
	}
	if err := w.settler.settle(l.GetSenderAccount(), o.settlements); err != nil {
		w.log.WarnContext(ctx, "letter not settled", slog.Int("tries", m.Tries), slog.Any("err", err))
		w.said(ctx, m.Retry(againTime))
		return
	}
	w.metrics.settled(ctx, l, o, w.now())
	w.said(ctx, m.Ack())
}

func (w *Worker) said(ctx context.Context, err error) {
	if err != nil { // the message comes again, which is harmless
		w.log.WarnContext(ctx, "queue", slog.Any("err", err))
	}
}

// deliver hands the letter to its destination and waits for what becomes of it.
func (w *Worker) deliver(ctx context.Context, l *letter, working func() error) (outcome, bool) {
	l.span = trace.SpanContextFromContext(ctx)
	w.admit(l)
	tick := time.NewTicker(workingTime)
	defer tick.Stop()
	late := time.NewTimer(queueTime)
	defer late.Stop()
	for {
		select {
		case o := <-l.result:
			return o, true
		case <-tick.C:
			w.said(ctx, working())
		case <-late.C:
			w.withdraw(l)
		case <-ctx.Done():
			return outcome{}, false
		}
	}
}

// admit takes a letter in, or puts it off.
func (w *Worker) admit(l *letter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	d := w.destination(l.route, now)
	switch {
	case w.stopping:
		l.result <- outcome{}
	case w.keys[l.route.from] == nil:
		w.log.Error("no keys for the domain of a sender: its messages wait", slog.String("domain", l.route.from))
		l.result <- putOff(l, func() *shardpb.Settlement { return new(answer).again(l, now, now) })
	case d == nil:
		l.result <- w.overflow(l, now)
	case !d.closed(now):
		l.result <- w.later(l, d, new(answer), now)
	case len(d.queue) >= d.class().room(w.held[d.class()]):
		l.result <- w.overflow(l, now)
	default:
		l.class = d.class()
		w.held[l.class]++
		d.queue = append(d.queue, l)
		d.used = now
		w.dispatch(d)
	}
}

// withdraw takes a letter out of its queue that has waited too long. One that is under way is left.
func (w *Worker) withdraw(l *letter) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.destinations[l.route]
	if d == nil {
		return
	}
	for i, other := range d.queue {
		if other == l {
			d.queue = append(d.queue[:i], d.queue[i+1:]...)
			w.finish(l, w.overflow(l, w.now()))
			return
		}
	}
}

// finish ends a letter that was taken in.
func (w *Worker) finish(l *letter, o outcome) {
	w.held[l.class]--
	l.result <- o
}

// overflow puts a letter off for which there is no room. That is no fault of its destination, and never the end of it.
func (w *Worker) overflow(l *letter, now time.Time) outcome {
	return putOff(l, func() *shardpb.Settlement { return retry(now.Add(overflowTime + spread(overflowTime))) })
}

// later puts a letter off until its destination is tried again.
func (w *Worker) later(l *letter, d *destination, a *answer, now time.Time) outcome {
	return putOff(l, func() *shardpb.Settlement { return a.again(l, now, d.until.Add(spread(minPause))) })
}

// destination is the one of a route, new when there is room; nil when there is none, or none of our domains writes.
func (w *Worker) destination(r route, now time.Time) *destination {
	if d := w.destinations[r]; d != nil {
		return d
	}
	k := w.keys[r.from]
	if k == nil {
		return nil
	}
	if len(w.destinations) >= maxDestinations && !w.sweep() {
		return nil
	}
	d := &destination{route: r, peer: client.NewPeer(w.client, r.to, k), pace: newPace(), used: now}
	w.destinations[r] = d
	return d
}

// sweep forgets destinations that nobody writes to, and one of the others when there are too many.
func (w *Worker) sweep() bool {
	now := w.now()
	var oldest *destination
	for r, d := range w.destinations {
		if d.running > 0 || len(d.queue) > 0 {
			continue
		}
		if now.Sub(d.used) > forget && d.closed(now) {
			d.peer.Close()
			delete(w.destinations, r)
		} else if oldest == nil || d.used.Before(oldest.used) {
			oldest = d
		}
	}
	if len(w.destinations) >= maxDestinations && oldest != nil {
		oldest.peer.Close()
		delete(w.destinations, oldest.route)
	}
	return len(w.destinations) < maxDestinations
}

// dispatch begins calls for what waits, as many as destination and class allow.
func (w *Worker) dispatch(d *destination) {
	for !w.stopping && len(d.queue) > 0 && d.running < d.allowed() {
		c := d.class()
		if w.calls[c] >= c.calls() {
			if !d.waiting {
				d.waiting = true
				w.waiting[c] = append(w.waiting[c], d)
			}
			return
		}
		w.calls[c]++
		d.running++
		go w.call(d, c, d.batch())
	}
}

// wake gives a call that has become free to the next in turn.
func (w *Worker) wake() {
	for c := range classes {
		for len(w.waiting[c]) > 0 && w.calls[c] < c.calls() {
			d := w.waiting[c][0]
			w.waiting[c] = w.waiting[c][1:]
			d.waiting = false
			w.dispatch(d) // it may be of another class by now: then it waits there
		}
	}
}

// call makes one Post and tells the letters.
func (w *Worker) call(d *destination, c class, letters []*letter) {
	a := w.post(d, letters)
	w.metrics.posted(w.base, a)

	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	w.calls[c]--
	d.running--
	opened, changed := d.judge(a, now)
	w.metrics.paced(w.base, changed)
	w.report(d, a, opened)
	var again []*letter
	for i, o := range a.outcomes(letters, now, d.until) {
		l := letters[i]
		switch {
		case o != nil:
			w.finish(l, *o)
		case w.stopping:
			w.finish(l, outcome{})
		default:
			l.alone = true
			again = append(again, l)
		}
	}
	d.queue = append(again, d.queue...)
	w.trim(d, a, now)
	w.dispatch(d)
	w.wake()
}

// trim lets go of letters that wait where nothing goes out for now, or for more than its class allows.
func (w *Worker) trim(d *destination, a *answer, now time.Time) {
	keep := d.class().room(0)
	if !d.closed(now) {
		keep = 0
	}
	for len(d.queue) > keep {
		l := d.queue[len(d.queue)-1]
		d.queue = d.queue[:len(d.queue)-1]
		if keep == 0 {
			w.finish(l, w.later(l, d, a, now))
		} else {
			w.finish(l, w.overflow(l, now))
		}
	}
}

// post sends letters in one Post. The fault of one answer is not the end of the worker.
func (w *Worker) post(d *destination, letters []*letter) (a *answer) {
	a = new(answer)
	began := time.Now()
	defer func() {
		a.whole = time.Since(began)
		if p := recover(); p != nil {
			w.log.Error("panic", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
			a.err = errors.New("panic")
		}
	}()
	ctx := trace.ContextWithSpanContext(w.base, letters[0].span)
	var links []trace.Link
	for _, l := range letters[1:] {
		links = append(links, trace.Link{SpanContext: l.span})
	}
	ctx, span := w.tracer.Start(ctx, "forward", trace.WithSpanKind(trace.SpanKindClient), trace.WithLinks(links...))
	defer span.End()

	preparing, cancel := context.WithTimeout(ctx, prepareTime)
	defer cancel()
	if a.err = d.peer.Prepare(preparing); a.err != nil {
		return a
	}
	posting, cancel := context.WithTimeout(ctx, postTime)
	defer cancel()
	envelopes := make([]jbcd.Raw, len(letters))
	for i, l := range letters {
		envelopes[i] = l.GetEnvelope()
	}
	posted := time.Now()
	res, err := d.peer.Post(posting, letters[0].accounts, envelopes)
	a.took = time.Since(posted)
	a.entries, a.reached, a.err = res.Entries, res.Status != 0, err
	return a
}
