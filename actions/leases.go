package actions

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// A LeaseSocket puts leases in force in one network namespace and ends them: a
// nft.Leases.
type LeaseSocket interface {
	Hold(terms nft.Terms, lease time.Duration, of ...nft.Request) (remade []string, err error)
	End(of ...nft.Lease) error
	Present() (bool, error)
	Read() ([]nft.Held, error)
	Close() error
}

// A Flow is one that may bypass tracking, and what tells its terms from others of
// its name.
type Flow struct {
	nft.Flow
	Mark string
}

// Held is a lease in force, with its key in the ledger.
type Held struct {
	Key string
	nft.Held
}

// Leases are restrictions that the kernel ends by itself: the targets of the kinds
// limit, drop and bypass. The fields are the way to the kernel; an empty namespace
// is our own. What a process has put in force ends with Close, as it does with the
// process; one that has put nothing in force only reads, and ends what another left.
// It is for one goroutine.
type Leases struct {
	Open func(namespace string) (LeaseSocket, error)
	// Left reads, and EndLeft ends, what any process has put in force.
	Left    func(namespace string) ([]nft.Held, error)
	EndLeft func(namespace string, of ...nft.Lease) error
	// Follow returns what fails with ErrGone once the path names another namespace
	// than now, or none.
	Follow func(namespace string) (func() error, error)
	// Gone reports whether there is no such namespace any more.
	Gone func(namespace string) bool
	Now  func() time.Duration // CLOCK_BOOTTIME

	bits4, bits6 int
	flows        []Flow
	bounds       int               // how often they have changed
	places       map[string]*place // by namespace
}

// Bounds says what the policy in force allows: how much of an address is one source,
// and which flows may bypass. Nothing is allowed before. The next Renew ends leases
// that it does not allow any more and brings the others under its terms; until then
// new ones may fail.
func (l *Leases) Bounds(bits4, bits6 int, flows []Flow) {
	l.bits4, l.bits6, l.flows = bits4, bits6, slices.Clone(flows)
	l.bounds++
}

// Targets are the targets by kind, for New.
func (l *Leases) Targets() map[string]Target {
	all := map[string]Target{}
	for kind, name := range kindNames {
		all[name] = leaseTarget{kind, l}
	}
	return all
}

// Held returns what is in force in a namespace, whoever put it there.
func (l *Leases) Held(namespace string) ([]Held, error) {
	live, err := l.held(namespace)
	all := make([]Held, 0, len(live))
	for _, h := range live {
		of := leaseOf(namespace, h.Lease)
		all = append(all, Held{Key: of.key(), Held: h})
	}
	return all, err
}

// Close ends what this process has put in force.
func (l *Leases) Close() error {
	var errs []error
	for _, p := range l.places {
		if p.socket != nil {
			errs = append(errs, p.socket.Close())
		}
	}
	l.places = nil
	return errors.Join(errs...)
}

// A leaseTarget is the target of one kind of lease.
type leaseTarget struct {
	kind nft.Kind
	*Leases
}

// Read implements Target: the terms of the lease in force, or NoLease.
func (t leaseTarget) Read(name string) (string, error) {
	lease, err := t.known(name)
	if err != nil {
		return "", err
	}
	return t.read(lease)
}

// Write implements Target: it makes a lease, or ends it.
func (t leaseTarget) Write(name, value string) error {
	lease, err := t.known(name)
	if err != nil {
		return err
	}
	if value == NoLease {
		return t.end(lease)
	}
	if lease, err = t.allowed(lease, value); err != nil {
		return err
	}
	return t.put(lease)
}

// Allow implements Target. A lease may always be ended, and made where the policy in
// force knows its terms.
func (t leaseTarget) Allow(_, name, _, to string) error {
	lease, err := t.known(name)
	if err == nil && to != NoLease {
		_, err = t.allowed(lease, to)
	}
	return err
}

func (t leaseTarget) known(name string) (Lease, error) {
	lease, ok := parseSubject(kindNames[t.kind], name)
	if !ok {
		return Lease{}, fmt.Errorf("%q is no lease of ours and is not touched", name)
	}
	return lease, nil
}

// allowed is the lease with its terms, if the policy in force has such.
func (l *Leases) allowed(lease Lease, terms string) (Lease, error) {
	whole, ok := ParseLease(ledger.Edit{Key: lease.key(), Before: NoLease, After: terms})
	if !ok {
		return lease, fmt.Errorf("%s: %q are no terms of a lease", lease.key(), terms)
	}
	return whole, l.fits(whole)
}

// fits says why the policy in force has no such lease. A prefix that is not one
// source would not match in the kernel, which looks up the masked address.
func (l *Leases) fits(lease Lease) error {
	if lease.Kind == nft.Bypass {
		for _, f := range l.flows {
			if f.Name == lease.Flow && f.Mark == lease.Mark {
				return nil
			}
		}
		return fmt.Errorf("the policy in force has no flow %s with the terms %s", lease.Flow, lease.Mark)
	}
	bits := l.bits6
	if lease.Source.Addr().Is4() {
		bits = l.bits4
	}
	if lease.Source.Bits() != bits {
		return fmt.Errorf("%s is not one source: by the policy in force that is a /%d", lease.Source, bits)
	}
	return nil
}

// foreign is what is read of an element whose comment is no lease of ours.
func foreign(comment string) string { return "an element with the comment " + strconv.Quote(comment) }
