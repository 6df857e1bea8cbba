package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
)

// apartFromLimits are the flags that choose what a census is about.
var apartFromLimits = []string{"by", "source", "sample", "full", "cpu"}

// understandLimits checks what goes with --limits.
func understandLimits(cmd *cobra.Command) error {
	for _, name := range apartFromLimits {
		if cmd.Flags().Changed(name) {
			return program.Misuse("--limits and --%s exclude each other: --limits takes no census", name)
		}
	}
	return nil
}

// A limitsReader reports on the leases in force in one namespace.
type limitsReader struct {
	namespace string
	read      reading                         // the kernel
	recall    func() ([]ledger.Change, error) // those of the ledger that are in force since this boot
	same      func(namespace, as string) bool // whether two paths lead to one namespace
	clock     func() time.Duration            // since boot
	before    *limitsReport                   // nil for the first one
}

// leases are what is reported on with --limits.
func (t *top) leases() subject[limitsReport] {
	reader := limitsReader{
		namespace: t.namespace, read: t.read, same: sameNamespace, clock: boot.Now,
		recall: func() ([]ledger.Change, error) { return openChanges(t.stateDir) },
	}
	return subject[limitsReport]{
		take: func(context.Context, func(string, bool)) (limitsReport, error) {
			r, err := reader.report()
			if err != nil {
				err = t.explain(err)
			}
			return r, err
		},
		page:    func(now, _ *limitsReport, watch bool) page { return &limitsPage{now, watch} },
		patient: func(error) bool { return false },
	}
}

// report reads what is in force, and what the ledger says of it.
func (l *limitsReader) report() (limitsReport, error) {
	held, err := l.read(l.namespace)
	if err != nil {
		return limitsReport{}, err
	}
	r := newLimitsReport(l.namespace, held)
	r.Wall, r.at = time.Now(), l.clock()
	changes, err := l.recall()
	if err != nil {
		r.Unexplained = err.Error()
	}
	r.explain(changes, l.same)
	if l.before != nil {
		r.compare(l.before)
	}
	l.before = &r
	return r, nil
}

// openChanges are the changes of a state directory that are in force since this boot.
func openChanges(dir string) (open []ledger.Change, err error) {
	all, err := readLedger(dir)
	if err != nil {
		return nil, err
	}
	id, err := boot.ID()
	if err != nil {
		return nil, err
	}
	for _, c := range all {
		if c.State.Open() && c.Boot == id {
			open = append(open, c)
		}
	}
	return open, nil
}

// sameNamespace reports whether two paths lead to one network namespace; the empty one
// leads to ours.
func sameNamespace(a, b string) bool {
	if a == b {
		return true
	}
	is, err := namespaceID(a)
	other, errOther := namespaceID(b)
	return err == nil && errOther == nil && is == other
}

func namespaceID(path string) (netns.ID, error) {
	if path == "" {
		return netns.Current()
	}
	return netns.NewPath(path).ID()
}
