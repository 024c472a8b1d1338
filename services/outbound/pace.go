package outbound

import "time"

// The draft's figures for parallel transfers (§9.1.2.1): 40 % that take more than 4 s are too many at once, 90 % below 1 s allow for
// more. They are judged over ten calls: as few as show 40 and 90 %.
const (
	paceWindow = 10
	paceSlow   = 4 * time.Second
	paceFast   = time.Second
	tooSlow    = 4 // of paceWindow
	fastEnough = 9 // of paceWindow

	// paceFirst: one call that hangs does not hold up the next message.
	paceFirst = 2
	// paceMax of 32 calls of 32 messages each, in a second: far more than the draft's 20 messages a second for a link of 10 Mb/s.
	paceMax = 32
)

// pace is how many calls one destination gets at a time.
type pace struct{ limit, calls, slow, fast int }

func newPace() pace { return pace{limit: paceFirst} }

// done counts a call that took so long, and says whether the limit went up (1), down (-1), or stayed.
func (p *pace) done(took time.Duration) int {
	p.calls++
	switch {
	case took > paceSlow:
		p.slow++
	case took < paceFast:
		p.fast++
	}
	before := p.limit
	switch {
	case p.slow >= tooSlow: // the rest of the window can change nothing
		*p = pace{limit: max(1, p.limit/2)}
	case p.calls < paceWindow:
		return 0
	case p.fast >= fastEnough:
		*p = pace{limit: min(paceMax, p.limit+1)}
	default:
		*p = pace{limit: p.limit}
	}
	switch {
	case p.limit > before:
		return 1
	case p.limit < before:
		return -1
	}
	return 0
}
