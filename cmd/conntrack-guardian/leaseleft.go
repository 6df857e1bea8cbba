package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
)

// leaseOf is the lease that a change has put in force, if it is about one.
func leaseOf(c ledger.Change) (l actions.Lease, ok bool) {
	if len(c.Edits) != 1 {
		return l, false
	}
	return actions.ParseLease(c.Edits[0])
}

// Remains are what the kernel says of a lease that the ledger has in force.
type remains struct {
	left    time.Duration // 0 if it is over, which the ledger has not learnt yet
	refused uint64        // packets
}

// reading is how the leases in force in a namespace are read.
type reading func(namespace string) ([]actions.Held, error)

// leasesLeft asks the kernel what is left of the leases that the ledger has in force
// since a boot, by the change's id. Those that it can't be asked about are missing, and
// the error says why.
func leasesLeft(changes []ledger.Change, boot string, read reading) (map[int]remains, error) {
	type answer struct {
		terms map[string]actions.Held
		err   error
	}
	asked := map[string]answer{} // by namespace
	ask := func(namespace string) answer {
		a := answer{terms: map[string]actions.Held{}}
		held, err := read(namespace)
		if !errors.Is(err, actions.ErrGone) { // with a namespace all leases go
			a.err = err
		}
		for _, h := range held {
			a.terms[h.Key] = h
		}
		return a
	}
	all := map[int]remains{}
	var errs []error
	for _, c := range changes {
		l, ok := leaseOf(c)
		if !ok || !c.State.Open() || c.Boot != boot {
			continue
		}
		a, ok := asked[l.Namespace]
		if !ok {
			a = ask(l.Namespace)
			asked[l.Namespace], errs = a, append(errs, a.err)
		}
		if a.err != nil {
			continue
		}
		all[c.ID] = remains{}
		if h, ok := a.terms[c.Edits[0].Key]; ok && h.Text == c.Edits[0].After {
			all[c.ID] = remains{h.Left, h.Refused}
		}
	}
	return all, errors.Join(errs...)
}

// kernelRemains asks the running kernel. Where it can't be asked that is said, and all
// else goes on.
func kernelRemains(changes []ledger.Change, stderr io.Writer) map[int]remains {
	id, err := boot.ID()
	var left map[int]remains
	if err == nil {
		leases := actions.KernelLeases() // of which none is made, so there is none to close
		left, err = leasesLeft(changes, id, leases.Held)
	}
	if err != nil {
		fmt.Fprintf(stderr, "What is left of leases can't be read: %v\n", err)
	}
	return left
}

// A toldChange is a change as --json prints it.
type toldChange struct {
	ledger.Change
	// Of a lease in force: the seconds that it lasts unless it is renewed, 0 if it is
	// over, and the packets that it has refused.
	Left    *float64 `json:"left,omitempty"`
	Refused *uint64  `json:"refused,omitempty"`
}

func told(c ledger.Change, left map[int]remains) toldChange {
	r, ok := left[c.ID]
	if !ok {
		return toldChange{Change: c}
	}
	seconds := r.left.Seconds()
	return toldChange{c, &seconds, &r.refused}
}

func tellAll(changes []ledger.Change, left map[int]remains) []toldChange {
	all := make([]toldChange, 0, len(changes))
	for _, c := range changes {
		all = append(all, told(c, left))
	}
	return all
}
