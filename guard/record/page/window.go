package page

import "time"

// A window is the part of a record that a plot shows.
type window struct{ from, to time.Duration }

func (w window) span() time.Duration { return w.to - w.from }

// The lead shown before an episode is an eighth of it, within these.
const (
	leastLead = 5 * time.Second
	mostLead  = time.Minute
)

// whole shows all of the episode, what led to it, and how its changes were taken back.
func (r *Report) whole() window {
	lead := min(max(r.Lasted()/8, leastLead), mostLead)
	end := r.closed
	for i := range r.Changes {
		if c := &r.Changes[i]; !c.Earlier {
			end = max(end, c.since)
		}
	}
	return window{max(r.opened-lead, 0), max(min(end+lead/2, r.last), r.opened+time.Second)}
}

// trouble shows the part with trouble in it, where the whole would hide that: an
// episode ends minutes after a trouble of seconds.
func (r *Report) trouble() (w window, worthwhile bool) {
	all, bad := r.whole(), r.troubled-r.opened
	margin := max(bad/4, leastLead)
	w = window{max(r.opened-margin, 0), min(r.troubled+margin, all.to)}
	if seen := r.series.within(w.from, w.to); len(seen) > 1 { // so that lines reach both edges
		w = window{seen[0].from, seen[len(seen)-1].from}
	}
	return w, 3*w.span() < all.span()
}
