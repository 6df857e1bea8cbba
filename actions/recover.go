package actions

import (
	"errors"
	"fmt"
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// Recover settles every open change, newest first, by reading the kernel, and
// returns those that have come further. One that can't be settled now stays
// open and is named in the error; the others are settled all the same.
// Recovering twice is recovering once.
func (e *Executor) Recover() ([]ledger.Change, error) {
	e.begin()
	errs := []error{e.pay()}
	for _, was := range slices.Backward(slices.Clone(e.Open())) {
		c, open := e.find(was.ID)
		if !open { // lost together with one above it
			continue
		}
		cause := ""
		if c.State == ledger.Intended {
			cause = NeverWritten
		}
		if _, err := e.settle(c, cause, false); err != nil {
			errs = append(errs, fmt.Errorf("settle change %d: %w", c.ID, err))
		}
	}
	return e.end(errors.Join(errs...))
}
