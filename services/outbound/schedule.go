package outbound

import (
	"math/rand/v2"
	"time"
)

const (
	// lifetime of a message that does not get through (D-37).
	lifetime = 72 * time.Hour
	// noDomainLife and noServiceLife are shorter: the DNS says that there is nobody. As with mail, a typing error is told
	// within hours; a name that vanishes by somebody's mistake is commonly back by then, a service within a day.
	noDomainLife  = 4 * time.Hour
	noServiceLife = 24 * time.Hour
)

// waits between the tries of a message (D-37); the last is repeated.
func waits() []time.Duration {
	return []time.Duration{5 * time.Second, 30 * time.Second, 2 * time.Minute, 10 * time.Minute, time.Hour, 4 * time.Hour}
}

// wait is how long a message waits after its try. attempts were before; age is how long ago it was first seen. Of both the one that
// is less far on the schedule counts: attempts also has those that were put off for want of room, and an old message may never
// have been tried.
func wait(attempts int, age time.Duration) time.Duration {
	all := waits()
	i := 0
	for passed := time.Duration(0); i < len(all)-1 && i < attempts; i++ {
		if passed += all[i]; age < passed {
			break
		}
	}
	return spread(all[i])
}

// spread makes d up to a quarter longer, so that what failed together does not come together.
func spread(d time.Duration) time.Duration { return d + rand.N(d/4+1) }

// next is when the message comes again, not before earliest; false: its life is over. The last try is at its end.
func next(now, firstSeen, earliest time.Time, attempts int, life time.Duration) (time.Time, bool) {
	end := firstSeen.Add(life)
	if !now.Before(end) {
		return time.Time{}, false
	}
	at := now.Add(wait(attempts, now.Sub(firstSeen)))
	if at.Before(earliest) {
		at = earliest
	}
	if at.After(end) {
		at = end
	}
	return at, true
}
