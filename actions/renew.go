package actions

import (
	"errors"
	"slices"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// The notes of leases that are over without having been taken back.
const (
	// LapsedNote is the note of a change whose lease the kernel has ended.
	LapsedNote = "its lease had ended"
	unfitNote  = "the policy in force has no such terms"
)

// leasesOf are the leases of open changes on one target and in one namespace, which
// are prolonged together.
type leasesOf struct {
	target    *Leases
	namespace string
	all       []Lease
}

// Renew prolongs what open changes hold by leases, in one call for each namespace.
// It returns the changes whose leases somebody had taken out of force and that are
// again, and those that were found to be over: lapsed, lost to somebody else, taken
// away again and again (TakenNote), or of terms that the policy in force does not have. Call it once a tick and after the
// bounds have changed; while nothing is due it costs next to nothing.
func (e *Executor) Renew() (restored, ended []ledger.Change, err error) {
	e.begin()
	var errs []error
	for _, of := range e.leases() {
		back, err := e.renew(of)
		restored, errs = append(restored, back...), append(errs, err)
	}
	ended, err = e.end(errors.Join(errs...))
	return restored, ended, err
}

// renew prolongs leases that belong together, once those are ended that stand in the
// others' way.
func (e *Executor) renew(of leasesOf) (restored []ledger.Change, err error) {
	r, err := of.target.Renew(of.namespace, of.all)
	errs := []error{err, e.giveUp(of, r.Taken)}
	for _, c := range e.holding(r.Over) {
		_, err := e.settle(c, "", false)
		errs = append(errs, err)
	}
	if len(r.Unfit) == 0 {
		return e.holding(r.Restored), errors.Join(errs...)
	}
	for _, c := range e.holding(r.Unfit) {
		errs = append(errs, e.undoOne(c.ID, unfitNote, false))
	}
	for _, rest := range e.leases() {
		if rest.target == of.target && rest.namespace == of.namespace {
			r, err := of.target.Renew(rest.namespace, rest.all)
			restored, errs = e.holding(r.Restored), append(errs, err, e.giveUp(of, r.Taken))
		}
	}
	return restored, errors.Join(errs...)
}

// leases are those to be prolonged: of changes that are known to be in force. It is
// only worked out when a change has moved.
func (e *Executor) leases() []leasesOf {
	if e.leasesGen == e.Generation() {
		return e.leased
	}
	e.leased, e.leasesGen = nil, e.Generation()
	for _, c := range e.Open() {
		if c.State != ledger.Applied || c.Boot != e.ledger.Boot() {
			continue
		}
		for _, edit := range c.Ours() {
			if t, ok := e.leaseTarget(edit.Key); ok {
				if lease, ok := ParseLease(edit); ok {
					e.addLease(t, lease)
				}
			}
		}
	}
	return e.leased
}

func (e *Executor) addLease(t *Leases, lease Lease) {
	i := slices.IndexFunc(e.leased, func(of leasesOf) bool { return of.target == t && of.namespace == lease.Namespace })
	if i < 0 {
		i, e.leased = len(e.leased), append(e.leased, leasesOf{target: t, namespace: lease.Namespace})
	}
	e.leased[i].all = append(e.leased[i].all, lease)
}

// leaseTarget is the target of a key if what it holds are leases.
func (e *Executor) leaseTarget(key string) (*Leases, bool) {
	kind, _, _ := strings.Cut(key, ":")
	t, ok := e.targets[kind].(leaseTarget)
	return t.Leases, ok
}

// holding are the open changes with one of these keys.
func (e *Executor) holding(keys []string) (some []ledger.Change) {
	if len(keys) == 0 {
		return nil
	}
	for _, c := range e.Open() {
		if c.State == ledger.Applied && slices.ContainsFunc(c.Edits, func(x ledger.Edit) bool { return slices.Contains(keys, x.Key) }) {
			some = append(some, c)
		}
	}
	return some
}
