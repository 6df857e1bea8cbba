package actions

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// Renewed is what a renewal has met besides leases that it prolonged. All are keys.
type Renewed struct {
	Restored []string // had been taken away, and are in force again
	Over     []string // are not in force, or somebody else's, or their namespace is another
	Taken    []string // are taken away again and again, and are not put back any more
	// Unfit are those whose terms the policy in force does not have. They stand in the
	// others' way: nothing is prolonged until they are ended.
	Unfit []string
}

// renewParts is into how many parts a lease is cut: it is prolonged after the first.
const renewParts = 3

// Renew prolongs the leases of a namespace in one call, which must be all that are
// to stay: none before a third of its time has passed, but all at once where one is
// due or a table was taken away. A lease whose time has run out is over, also when
// nobody was there to prolong it.
func (l *Leases) Renew(namespace string, all []Lease) (r Renewed, err error) {
	p, err := l.at(namespace)
	if errors.Is(err, ErrGone) {
		return Renewed{Over: keysOf(all)}, nil
	}
	if err != nil {
		return r, fmt.Errorf("renew leases: %w", err)
	}
	if rest, err := l.mayRest(p, all); rest || err != nil {
		return r, err
	}
	live, err := l.held(namespace)
	if err != nil {
		return r, fmt.Errorf("renew leases: %w", err)
	}
	p.forget(all)
	stay, back := l.sift(p, all, live, &r)
	none := Renewed{Over: r.Over, Taken: r.Taken, Unfit: r.Unfit}
	if len(stay) == 0 || len(r.Unfit) > 0 {
		return none, nil
	}
	if p.socket == nil {
		if err := l.open(p, namespace); err != nil {
			return none, err
		}
	}
	if _, err := l.hold(p, stay); err != nil {
		return none, fmt.Errorf("renew leases: %w", err)
	}
	p.takings.note(back, l.Now())
	clear(p.remade)
	p.bounds = l.bounds
	return r, nil
}

// mayRest reports that nothing needs to be done: no lease is due and the tables are
// there.
func (l *Leases) mayRest(p *place, all []Lease) (bool, error) {
	if p.socket == nil || len(p.remade) > 0 || p.bounds != l.bounds {
		return false, nil
	}
	now := l.Now()
	for i := range all {
		since, ok := p.held[all[i].held()]
		if !ok || now-since >= all[i].For/renewParts || l.fits(all[i]) != nil {
			return false, nil
		}
	}
	there, err := p.socket.Present()
	if err != nil {
		return false, fmt.Errorf("look for the leases: %w", err)
	}
	return there, nil
}

// sift parts the leases to be prolonged, which it returns, from the others; back is
// what was taken away and is put back with them.
func (l *Leases) sift(p *place, all []Lease, live view, r *Renewed) (stay []Lease, back map[string]bool) {
	now, gone, back := l.Now(), p.missing(all, live), map[string]bool{}
	for _, lease := range all {
		since, ours := p.held[lease.held()]
		terms := live.of(lease)
		missing := terms == NoLease
		switch {
		case p.lost[lease.held()], !missing && terms != lease.text(), missing && (!ours || now-since >= lease.For):
			r.Over = append(r.Over, lease.key())
		case l.fits(lease) != nil:
			r.Unfit = append(r.Unfit, lease.key())
		case missing && p.takings.enough(gone.of(lease), now):
			r.Taken = append(r.Taken, lease.key())
		default:
			stay = append(stay, lease)
			if missing || p.remade[lease.held()] {
				r.Restored, back[gone.of(lease)] = append(r.Restored, lease.key()), true
			}
		}
	}
	return stay, back
}

// forget lets go of what is about leases that nobody asks for any more.
func (p *place) forget(but []Lease) {
	asked := make(map[nft.Lease]bool, len(but))
	for _, lease := range but {
		asked[lease.held()] = true
	}
	maps.DeleteFunc(p.lost, func(lease nft.Lease, _ bool) bool { return !asked[lease] })
	maps.DeleteFunc(p.held, func(lease nft.Lease, _ time.Duration) bool { return !asked[lease] })
}

func keysOf(all []Lease) (keys []string) {
	for i := range all {
		keys = append(keys, all[i].key())
	}
	return keys
}
