package lab

import "time"

// A pacer spreads events over time at a rate. It is open-loop: what is late does
// not slow down what follows. After a stall it forgoes what it missed beyond
// maxArrears rather than sending a burst.
type pacer struct {
	rate  float64 // events per second; 0 is without limit
	start time.Time
	given int
}

const maxArrears = 50 * time.Millisecond

// due says how many events are to happen by now, at most limit, and counts them
// as done.
func (p *pacer) due(now time.Time, limit int) int {
	if p.rate == 0 {
		return limit
	}
	n := int(p.rate*now.Sub(p.start).Seconds()) - p.given
	if most := max(limit, int(p.rate*maxArrears.Seconds())); n > most {
		p.given += n - most
		n = most
	}
	n = max(0, min(n, limit))
	p.given += n
	return n
}
