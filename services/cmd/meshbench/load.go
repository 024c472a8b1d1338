package main

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// load is one measurement.
type load struct {
	transaction transaction
	clients     int
	duration    time.Duration
	rate        float64 // per second over all clients, open loop; 0: closed loop
	size        int     // of an entry before it is sealed, octets
	expect      float64 // per second, a guess that says how many requests to seal; 0: none
}

const (
	// sealedLife is how old a sealed request may be when it goes out: the window is 120 s either way (AUTH §4).
	sealedLife = 100 * time.Second
	// reserve is by how much more is sealed than expected: who runs out ends the measurement for all.
	reserve = 1.6
	// blindRate is expected of a service that nobody has measured yet.
	blindRate = 2500
	// maxSealed bounds the memory of sealed requests, about 6 KiB each.
	maxSealed = 100_000
)

// sealFor seals what l will need, on all processors. The accounts' first request is their next one.
func (l *load) sealFor(ctx context.Context, accounts []*account) ([][]*sealed, error) {
	total := l.rate * l.duration.Seconds()
	if l.rate == 0 {
		expect := l.expect
		if expect == 0 {
			expect = blindRate
		}
		total = expect * l.duration.Seconds() * reserve
	}
	each := max(4, int(min(total, maxSealed))/l.clients+1)
	batches := make([][]*sealed, l.clients)
	errs := make([]error, l.clients)
	var next atomic.Int64
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := next.Add(1) - 1; i < int64(l.clients) && ctx.Err() == nil; i = next.Add(1) - 1 {
				batches[i], errs[i] = accounts[i].seal(l.transaction, each, l.size)
			}
		})
	}
	wait.Wait()
	return batches, errors.Join(append(errs, ctx.Err())...)
}

// sample is what one measurement gave.
type sample struct {
	load
	seconds  float64
	requests int64 // answered and right, within the time
	failures int64
	failure  error // the first
	short    bool  // the sealed requests ran out
	latency  *hdrhistogram.Histogram
}

func (s *sample) perSecond() float64 { return float64(s.requests) / s.seconds }

// newHistogram holds 1 µs to 60 s, the client's patience, to three digits.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) }

// run seals, then sends. around is called with the part that is measured, and runs it: it may read counters before and
// after. Accounts whose request failed are of no further use: what the service made of it is not known.
func (l *load) run(ctx context.Context, accounts []*account, around func(measure func())) (*sample, error) {
	if len(accounts) < l.clients {
		return nil, errors.New("fewer accounts than clients")
	}
	sealedAt := time.Now()
	batches, err := l.sealFor(ctx, accounts)
	if err != nil {
		return nil, err
	}
	if age := time.Since(sealedAt) + l.duration; age > sealedLife {
		return nil, usageError{errors.New("sealing takes so long that the last requests would be stale: ask for less time, or fewer per second")}
	}
	runtime.GC() // what sealing left must not be collected in the time that is measured
	s := &sample{load: *l, latency: newHistogram()}
	around(func() { l.measure(ctx, s, accounts, batches) })
	return s, ctx.Err()
}

func (l *load) measure(ctx context.Context, s *sample, accounts []*account, batches [][]*sealed) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var stop atomic.Bool
	var mu sync.Mutex // guards s
	var wait sync.WaitGroup
	begin := time.Now()
	end := func(short bool) { // once
		if stop.CompareAndSwap(false, true) {
			mu.Lock()
			s.seconds, s.short = time.Since(begin).Seconds(), short
			mu.Unlock()
		}
	}
	timer := time.AfterFunc(l.duration, func() { end(false) })
	defer timer.Stop()
	for i := range l.clients {
		wait.Go(func() {
			c := sender{load: l, account: accounts[i], begin: begin, stop: &stop, latency: newHistogram()}
			failure := c.run(ctx, i, batches[i])
			if failure == nil && !stop.Load() {
				end(true)
			}
			mu.Lock()
			defer mu.Unlock()
			s.latency.Merge(c.latency)
			if failure != nil {
				s.failures++
				if s.failure == nil {
					s.failure = failure
				}
			}
		})
	}
	wait.Wait()
	end(false) // all failed
	s.requests = s.latency.TotalCount()
}

// sender sends the requests of one account, one after the other.
type sender struct {
	*load
	account *account
	begin   time.Time
	stop    *atomic.Bool
	latency *hdrhistogram.Histogram
}

// run is over when the time is, when the batch is empty or when a request failed. What was on its way when the time was
// over is waited for, and not counted.
func (c *sender) run(ctx context.Context, number int, batch []*sealed) error {
	for i, s := range batch {
		due := time.Now()
		if c.rate > 0 {
			// Open loop: the clients take turns. Who is late is measured from when it was its turn, so that a service
			// that stalls cannot hide it (coordinated omission).
			due = c.begin.Add(time.Duration(float64(i*c.clients+number) / c.rate * float64(time.Second)))
			if d := time.Until(due); d > 0 {
				time.Sleep(d)
			}
		}
		if c.stop.Load() || ctx.Err() != nil {
			return nil
		}
		if err := s.send(ctx, c.account); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		c.account.acknowledged = *s.after
		if c.stop.Load() {
			return nil
		}
		_ = c.latency.RecordValue(max(1, time.Since(due).Microseconds())) // over a minute: the client gave up before
	}
	if c.rate > 0 { // the schedule is over, not the requests
		for !c.stop.Load() && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}
