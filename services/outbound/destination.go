package outbound

import (
	"time"

	"github.com/mathmesh/meshd/pkg/client"
)

// class is how much a destination may take of what all share.
type class uint8

// A destination is proven while it answers: after its first answer, until a call fails slowly or two fail.
const (
	unproven class = iota
	proven
	classes
)

// What the destinations of a class may have. Those that have not proven to answer get a quarter of the whole: however many accept
// connections and say nothing, three quarters are left to the others.
const (
	// inFlight letters in memory: 64 MiB of envelopes at the longest.
	inFlight         = 1024
	unprovenInFlight = inFlight / 4

	// Letters that wait for one destination: those of a few calls. The rest wait in rows.
	provenQueue   = 128
	unprovenQueue = 16
	// crowdedQueue is what one that has not proven to answer gets when half of their room is taken: so many have a turn.
	crowdedQueue = 1

	// Calls at once: connections and their buffers, and mostly waiting.
	provenCalls   = 192
	unprovenCalls = 64

	// maxDestinations remembered, 1 KiB each and their connections.
	maxDestinations = 4096
	// forget a destination that nobody has written to for so long.
	forget = time.Hour
)

func (c class) calls() int {
	if c == proven {
		return provenCalls
	}
	return unprovenCalls
}

// room is how many letters may wait for one destination of the class when so many are held for all of the class.
func (c class) room(held int) int {
	switch {
	case c == proven:
		return provenQueue
	case held < unprovenInFlight/2:
		return unprovenQueue
	case held < unprovenInFlight:
		return crowdedQueue
	}
	return 0
}

// The breaker. Who has answered before is given three calls to recover, who has not none.
const (
	tolerance = 3
	// maxPause: a destination that is back is found within so long, whatever it said.
	maxPause = 10 * time.Minute
	// minPause: who says 429 without a time, or a short one, is left alone at least so long.
	minPause = 5 * time.Second
)

// pauses of the breaker, each after a failed probe.
func pauses() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, maxPause}
}

// destination is where letters of one of our domains to another go. All its fields but the first two are the worker's lock's.
type destination struct {
	route route
	peer  *client.Peer

	queue    []*letter
	waiting  bool // in the worker's list of those that wait for a call
	running  int
	pace     pace
	proven   bool
	answered bool // ever
	failures int  // one after the other
	busy     int  // refusals as overloaded, one after the other
	opened   int  // how often the breaker has opened since the last answer
	until    time.Time
	used     time.Time
}

func (d *destination) class() class {
	if d.proven {
		return proven
	}
	return unproven
}

// closed says that letters are taken: the breaker has not opened, or its time is over and the next call is the probe.
func (d *destination) closed(now time.Time) bool { return !now.Before(d.until) }

// allowed is how many calls it may have at once: one, until it has answered.
func (d *destination) allowed() int {
	if !d.proven || d.opened > 0 {
		return 1
	}
	return d.pace.limit
}

// batch takes the letters of the next Post from the queue: the first, and those that may go with it. They stay in order.
func (d *destination) batch() []*letter {
	first := d.queue[0]
	var taken, left []*letter
	for _, l := range d.queue {
		if l == first || !first.alone && !l.alone && l.together == first.together && len(taken) < maxTogether {
			taken = append(taken, l)
		} else {
			left = append(left, l)
		}
	}
	d.queue = left
	return taken
}

// maxTogether messages of one Post (D-37).
const maxTogether = 32

// judge learns from an answer. It says whether the breaker has opened, and how the concurrency has changed.
func (d *destination) judge(a *answer, now time.Time) (opened bool, changed int) {
	r := a.refusal()
	if a.err == nil || r != nil && a.reached {
		changed = d.pace.done(a.took)
		d.proven, d.answered, d.failures, d.opened, d.until = true, true, 0, 0, time.Time{}
		switch {
		case r == nil || !r.Temporary():
			d.busy = 0
		case r.Code.Status == 429:
			d.pause(now, max(minPause, r.RetryAfter))
		default: // 503: for want of a verdict (D-54), so perhaps for these letters only
			if d.busy++; d.busy >= tolerance {
				d.pause(now, max(minPause, r.RetryAfter))
			}
		}
		return false, changed
	}
	if a.took > paceSlow {
		changed = d.pace.done(a.took)
	}
	d.failures++
	if a.whole > paceSlow || d.failures > 1 { // one that fails at once, once, costs nobody anything
		d.proven = false
	}
	if d.answered && d.failures < tolerance && d.opened == 0 || !d.closed(now) { // one pause for all that was under way
		return false, changed
	}
	all := pauses()
	d.pause(now, max(spread(all[min(d.opened, len(all)-1)]), a.retryAfter()))
	d.opened++
	return true, changed
}

func (d *destination) pause(now time.Time, length time.Duration) {
	d.until = now.Add(min(length, maxPause))
	d.busy = 0
}
