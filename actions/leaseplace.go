package actions

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// A place is a network namespace as this process has met it.
type place struct {
	moved  func() error // from Follow, nil before
	socket LeaseSocket  // nil until the first lease is made here
	bounds int          // by which all leases were prolonged last
	// remade are leases that had been taken away with their table, and came back when
	// it was made anew for another.
	remade map[nft.Lease]bool
	// held are the leases that this process has put in force, and when it began to do so
	// last.
	held map[nft.Lease]time.Duration
	lost map[nft.Lease]bool // were held in the namespace that the path named before
	takings
}

// at is the place that a path names. What was held where it led before is ended, as
// far as that can be, and lost.
func (l *Leases) at(namespace string) (*place, error) {
	p := l.places[namespace]
	if p == nil {
		p = &place{held: map[nft.Lease]time.Duration{}, lost: map[nft.Lease]bool{}, remade: map[nft.Lease]bool{}, takings: takings{}}
		if l.places == nil {
			l.places = map[string]*place{}
		}
		l.places[namespace] = p
	}
	if p.moved != nil {
		err := p.moved()
		if !errors.Is(err, ErrGone) {
			return p, err
		}
		p.leave()
	}
	moved, err := l.Follow(namespace)
	if err != nil {
		if namespace != "" && l.Gone(namespace) {
			err = fmt.Errorf("%w: %w", ErrGone, err)
		}
		return nil, err
	}
	p.moved = moved
	return p, nil
}

// leave gives up the namespace that the path named.
func (p *place) leave() {
	if p.socket != nil {
		_ = p.socket.Close() // what is left there lapses
	}
	for lease := range p.held {
		p.lost[lease] = true
	}
	clear(p.held)
	clear(p.remade)
	clear(p.takings)
	p.moved, p.socket = nil, nil
}

// held is all that is in force in a namespace.
func (l *Leases) held(namespace string) (view, error) {
	p, err := l.at(namespace)
	if err != nil {
		return nil, err
	}
	if p.socket != nil {
		return p.socket.Read()
	}
	return l.Left(namespace)
}

// A view is what is in force in a namespace.
type view []nft.Held

// of are the terms of a lease in force, or NoLease. An element whose comment does not
// say what it is about is found by its address.
func (v view) of(lease Lease) string {
	for i := range v {
		h := &v[i]
		switch {
		case h.Lease == lease.held():
			if _, ours := parseHeld(lease.Namespace, h); ours {
				return h.Text
			}
			return foreign(h.Text)
		case h.Kind == lease.Kind && h.Kind != nft.Bypass && h.Source.Addr() == lease.Source.Addr():
			return foreign(h.Text)
		}
	}
	return NoLease
}

// parseHeld is what was found, if it is one of ours.
func parseHeld(namespace string, h *nft.Held) (Lease, bool) {
	of := leaseOf(namespace, h.Lease)
	return ParseLease(ledger.Edit{Key: of.key(), Before: NoLease, After: h.Text})
}

// read is the terms of a lease in force, or NoLease.
func (l *Leases) read(lease Lease) (string, error) {
	p, err := l.at(lease.Namespace)
	if err != nil {
		return "", err
	}
	if p.lost[lease.held()] {
		delete(p.lost, lease.held()) // once: what is made here from now on is another
		return "", fmt.Errorf("%w: another has its name", ErrGone)
	}
	live, err := l.held(lease.Namespace)
	if err != nil {
		return "", err
	}
	terms := live.of(lease)
	if _, held := p.held[lease.held()]; held && terms == NoLease {
		// What is told to be out of force must stay so, and the socket would bring it
		// back with its table. Should it not let go, that is until the lease's time.
		_ = p.letGo(lease.held())
	}
	return terms, nil
}

// put puts a lease in force.
func (l *Leases) put(lease Lease) error {
	p, err := l.at(lease.Namespace)
	if err != nil {
		return err
	}
	all := []Lease{lease}
	if p.socket == nil {
		left, err := l.left(lease)
		if err != nil {
			return err
		}
		all = append(all, left...)
		if err := l.open(p, lease.Namespace); err != nil {
			return err
		}
	}
	remade, err := l.hold(p, all)
	p.noteRemade(remade, lease.held())
	return err
}

// left are leases beside the one given that a guardian before us has left in plain
// tables. They are lost when our tables replace those, so they are taken along; one
// that nobody remembers lapses all the same, having been prolonged once.
func (l *Leases) left(beside Lease) (left []Lease, err error) {
	live, err := l.held(beside.Namespace)
	for i := range live {
		lease, ours := parseHeld(beside.Namespace, &live[i])
		if ours && lease.held() != beside.held() && l.fits(lease) == nil {
			left = append(left, lease)
		}
	}
	return left, err
}

// open opens the socket of a place. Should the path name another namespace by now, the
// next to ask for the place leaves it.
func (l *Leases) open(p *place, namespace string) error {
	socket, err := l.Open(namespace)
	if err != nil {
		return fmt.Errorf("hold leases: %w", err)
	}
	p.socket = socket
	return nil
}

// end takes a lease away. What our socket has not made is another's: of a guardian
// before us, or of nobody.
func (l *Leases) end(lease Lease) error {
	p, err := l.at(lease.Namespace)
	if err != nil {
		return err
	}
	if p.socket != nil {
		if err := p.socket.End(lease.held()); err != nil {
			return err
		}
		delete(p.held, lease.held())
		live, err := l.held(lease.Namespace)
		if err != nil || live.of(lease) == NoLease {
			return err
		}
	}
	return l.EndLeft(lease.Namespace, lease.held())
}

// shared are what leases must share to be put in force in one step.
type shared struct {
	rate, burst int
	length      time.Duration
}

// hold puts leases in force, or prolongs them, in one step for all of the same terms.
// It returns the tables that had been taken away.
func (l *Leases) hold(p *place, all []Lease) (remade []string, err error) {
	flows := make([]nft.Flow, 0, len(l.flows))
	for _, f := range l.flows {
		flows = append(flows, f.Flow)
	}
	for of, requests := range l.byTerms(all) {
		terms := nft.Terms{Rate: uint32(of.rate), Burst: uint32(of.burst), IPv4Bits: l.bits4, IPv6Bits: l.bits6, Flows: flows}
		now := l.Now() // not after the kernel's clocks begin to run
		tables, err := p.socket.Hold(terms, of.length, requests...)
		if err != nil {
			return remade, fmt.Errorf("hold %d leases: %w", len(requests), err)
		}
		for _, r := range requests {
			p.held[r.Lease] = now
		}
		remade = append(remade, tables...)
	}
	return remade, nil
}

// byTerms parts leases by what they must share. The rate is that of limits; other
// leases go with one that there is.
func (l *Leases) byTerms(all []Lease) map[shared][]nft.Request {
	var some Lease
	for _, lease := range all {
		if lease.Kind == nft.Limit {
			some = lease
		}
	}
	parts := map[shared][]nft.Request{}
	for _, lease := range all {
		of := shared{some.Rate, some.Burst, lease.For}
		if lease.Kind == nft.Limit {
			of = shared{lease.Rate, lease.Burst, lease.For}
		}
		parts[of] = append(parts[of], nft.Request{Lease: lease.held(), Text: lease.text()})
	}
	return parts
}

// noteRemade keeps which leases came back with their tables, all but the new one.
func (p *place) noteRemade(tables []string, but nft.Lease) {
	for lease := range p.held {
		if lease != but && slices.Contains(tables, tableOf(lease)) {
			p.remade[lease] = true
		}
	}
}

// tableOf is the table that a lease is in, as nft.Leases names it.
func tableOf(lease nft.Lease) string {
	switch {
	case lease.Kind != nft.Limit:
		return "inet " + nft.RawName
	case lease.Source.Addr().Is4():
		return "ip " + nft.LimitsName
	}
	return "ip6 " + nft.LimitsName
}
