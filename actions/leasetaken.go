package actions

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// TakenNote is the note of a change that was given up because what it had put in force
// was taken away again and again.
const TakenNote = "somebody removes our nft table again and again"

// What is taken away is put back so often within so long: a reload of the firewall or
// two are not meant against us, and who goes on means it.
const (
	restoreMost = 3
	restoreSpan = 10 * time.Minute
)

// takings are when what somebody had taken away was put back, on the boot clock: by
// table, and by lease where the table was left. So leases that come and go with their
// table do not begin to count anew.
type takings map[string][]time.Duration

// enough reports whether something was put back as often as it may be.
func (t takings) enough(what string, now time.Duration) bool {
	n := 0
	for _, at := range t[what] {
		if now-at < restoreSpan {
			n++
		}
	}
	return n >= restoreMost
}

// note records that these were put back, and forgets what was long ago.
func (t takings) note(put map[string]bool, now time.Duration) {
	maps.DeleteFunc(t, func(_ string, at []time.Duration) bool { return now-at[len(at)-1] >= restoreSpan })
	for what := range put {
		at := append(t[what], now)
		t[what] = at[max(0, len(at)-restoreMost):]
	}
}

// missing says what of a namespace's leases was taken away: their table, or one lease.
type missing struct {
	place *place
	there map[string]bool // tables that hold one of the leases
}

func (p *place) missing(all []Lease, live view) missing {
	m := missing{place: p, there: map[string]bool{}}
	for _, lease := range all {
		if live.of(lease) != NoLease {
			m.there[tableOf(lease.held())] = true
		}
	}
	return m
}

// of is what was taken away with a lease.
func (m missing) of(lease Lease) string {
	table := tableOf(lease.held())
	if m.there[table] && !m.place.remade[lease.held()] {
		return lease.key()
	}
	return table
}

// LetGo forgets leases that are not in force and not to be put back any more: the
// socket would bring them back with their table. Should that fail, they may be, but
// for no longer than their time.
func (l *Leases) LetGo(namespace string, keys []string) error {
	p := l.places[namespace]
	if p == nil {
		return nil
	}
	var gone []nft.Lease
	for lease := range p.held {
		if of := leaseOf(namespace, lease); slices.Contains(keys, of.key()) {
			gone = append(gone, lease)
		}
	}
	return p.letGo(gone...)
}

func (p *place) letGo(gone ...nft.Lease) error {
	if p.socket == nil || len(gone) == 0 {
		return nil
	}
	if err := p.socket.End(gone...); err != nil {
		return fmt.Errorf("let go of %d leases: %w", len(gone), err)
	}
	for _, lease := range gone {
		delete(p.held, lease)
	}
	return nil
}

// giveUp yields what is taken away again and again. None of it is in force.
func (e *Executor) giveUp(of leasesOf, keys []string) error {
	var errs []error
	for _, c := range e.holding(keys) {
		ours := c.Ours()
		var lost []sight
		for _, edit := range ours {
			if slices.Contains(keys, edit.Key) {
				lost = append(lost, sight{Edit: edit, holds: holdsBefore, value: NoLease})
			}
		}
		to := c.State
		if len(lost) == len(ours) {
			to = ledger.Yielded
		}
		if _, err := e.lose(c, to, TakenNote, lost); err != nil {
			errs = append(errs, fmt.Errorf("yield change %d: %w", c.ID, err))
		}
	}
	return errors.Join(append(errs, of.target.LetGo(of.namespace, keys))...)
}
