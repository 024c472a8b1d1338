package gateway

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Sizes of bodies (PROTOCOL §1.7).
const (
	maxBody = 8 << 20 // of any transaction

	firstBuffer = 16 << 10 // an Upload of 1 KiB is 4 KiB sealed
	trustBuffer = 64 << 10 // what a length that was only announced gets: the rest has to come first
	keepBuffer  = 1 << 20  // larger buffers are not kept: they would stay for ever
)

// pace is how fast a body has to come.
type pace struct {
	grace time.Duration // for any body
	rate  int64         // octets per second, on average, for a body that takes longer
	idle  time.Duration // between two pieces
}

// The pace of PROTOCOL §1.7.
const (
	bodyGrace = 5 * time.Second
	bodyRate  = 32 << 10
	bodyIdle  = 2 * time.Second
)

func bodyPace() pace { return pace{grace: bodyGrace, rate: bodyRate, idle: bodyIdle} }

// bodies reads request bodies within a budget of memory and keeps buffers for the next ones.
type bodies struct {
	pace   pace
	budget int64
	used   atomic.Int64
	pool   sync.Pool // of *[]byte
	pacers sync.Pool // of *pacer
	now    func() time.Time
}

// errBusy: the budget is used up.
var errBusy = errors.New("bodies in memory: budget used up")

// read reads a whole body. The octets are the caller's until it calls release.
func (b *bodies) read(w http.ResponseWriter, r *http.Request) ([]byte, *answer) {
	if r.ContentLength > maxBody {
		return nil, closing(transportRefusal(http.StatusRequestEntityTooLarge))
	}
	p := b.pacer(w, r)
	body, err := b.fill(p, r.ContentLength)
	if p.stop() {
		b.pacers.Put(p)
	}
	if err == nil {
		return body, nil
	}
	b.release(body)
	switch {
	case errors.Is(err, errBusy):
		return nil, closing(overloaded())
	case errors.Is(err, errTooLong):
		return nil, closing(transportRefusal(http.StatusRequestEntityTooLarge))
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, closing(transportRefusal(http.StatusRequestTimeout))
	}
	return nil, closing(transportRefusal(http.StatusBadRequest)) // cut off, or broken framing
}

var errTooLong = errors.New("body too long")

// fill reads to the end; length is -1 when unknown. What it returns counts against the budget with its capacity, also
// beside an error.
func (b *bodies) fill(r io.Reader, length int64) ([]byte, error) {
	buf := b.buffer(length)
	if buf == nil {
		return nil, errBusy
	}
	for {
		if len(buf) == cap(buf) {
			if len(buf) > maxBody {
				return buf, errTooLong
			}
			want := min(2*cap(buf), maxBody+1)
			if announced := int(length) + 1; announced > cap(buf) {
				want = min(16*cap(buf), announced) // in few steps, the smaller of which are kept: what is left behind is memory too
			}
			grown := b.reserve(want)
			if grown == nil {
				return buf, errBusy
			}
			grown = append(grown, buf...)
			b.release(buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		switch {
		case len(buf) > maxBody:
			return buf, errTooLong
		case err == io.EOF:
			return buf, nil
		case err != nil:
			return buf, err
		}
	}
}

// buffer returns an empty buffer for a body of this length: one octet more, to see its end without growing. A long one
// grows with what comes: else sixteen heads that announce the largest body would use up the budget, and cost nothing.
func (b *bodies) buffer(length int64) []byte {
	want := firstBuffer
	if length >= firstBuffer {
		want = int(min(length+1, trustBuffer))
	}
	if want <= keepBuffer {
		if p, ok := b.pool.Get().(*[]byte); ok {
			if cap(*p) >= want && b.charge(cap(*p)) {
				return (*p)[:0]
			}
		}
	}
	return b.reserve(want)
}

func (b *bodies) reserve(n int) []byte {
	if !b.charge(n) {
		return nil
	}
	buf := make([]byte, 0, n)
	b.used.Add(int64(cap(buf) - n)) // the allocator may round up
	return buf
}

func (b *bodies) charge(n int) bool {
	if b.used.Add(int64(n)) > b.budget {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

// release gives back what read returned.
func (b *bodies) release(buf []byte) {
	if cap(buf) == 0 {
		return
	}
	b.used.Add(-int64(cap(buf)))
	if cap(buf) <= keepBuffer {
		b.pool.Put(&buf)
	}
}

// pacer reads a body that must keep coming: every piece within idle of the one before, and the whole within grace plus
// what its length so far takes at rate. A timer cuts off what is late: a deadline for each Read would cost HTTP/2 a message
// to the goroutine of the connection, and nearly every body is there at once.
type pacer struct {
	pace
	w     http.ResponseWriter
	body  io.Reader
	start time.Time
	now   func() time.Time
	n     int64
	timer *time.Timer // nil before the first Read of all

	mu   sync.Mutex
	done bool // stop was called
	late bool // a deadline was set
}

// pacer returns one for a body; the timer of one that stop gave back is used again.
func (b *bodies) pacer(w http.ResponseWriter, r *http.Request) *pacer {
	p, ok := b.pacers.Get().(*pacer)
	if !ok {
		p = new(pacer)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pace, p.w, p.body, p.start, p.now, p.n, p.done = b.pace, w, r.Body, b.now(), b.now, 0, false
	return p
}

func (p *pacer) Read(buf []byte) (int, error) {
	now := p.now()
	end := p.start.Add(p.grace + time.Duration(p.n)*time.Second/time.Duration(p.rate))
	if idle := now.Add(p.idle); idle.Before(end) {
		end = idle
	}
	if !now.Before(end) {
		return 0, os.ErrDeadlineExceeded
	}
	if left := end.Sub(now); p.timer == nil {
		p.timer = time.AfterFunc(left, p.cut)
	} else {
		p.timer.Reset(left)
	}
	n, err := p.body.Read(buf)
	p.n += int64(n)
	return n, err
}

// cut ends a Read that waits.
func (p *pacer) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		p.late = true
		p.deadline(time.Unix(1, 0))
	}
}

// stop ends the watch, and takes a deadline away: the server watches the connection for its end while the request is
// worked on. It says whether p can be used again: not when its timer has gone off, for cut may come yet.
func (p *pacer) stop() (again bool) {
	again = p.timer != nil && p.timer.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	if p.late {
		p.deadline(time.Time{})
	}
	p.w, p.body = nil, nil // of the request
	return again
}

// deadline is SetReadDeadline; a server that knows none (a test's recorder) has no slow senders.
func (p *pacer) deadline(t time.Time) { _ = http.NewResponseController(p.w).SetReadDeadline(t) }

func closing(a *answer) *answer {
	a.closing = true
	return a
}
