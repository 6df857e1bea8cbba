package entries

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A step is what one change has done to a timeout.
type step struct {
	change        *ledger.Change
	before, after int
	ours          bool // the value, or one that a later change put on it, is in force
}

// A history is the steps of one timeout, oldest first.
type history []step

// historyOf finds the steps of a key in a boot. What a change of another boot did is
// gone with the entries of that boot.
func historyOf(changes []ledger.Change, key, boot string) (history, error) {
	var h history
	for i := range changes {
		c := &changes[i]
		at := slices.IndexFunc(c.Edits, func(e ledger.Edit) bool { return e.Key == key })
		if at < 0 || c.Boot != boot || c.State == ledger.Void {
			continue
		}
		before, err := seconds(c.Edits[at].Before)
		if err != nil {
			return nil, fmt.Errorf("change %d, %s before: %w", c.ID, key, err)
		}
		after, err := seconds(c.Edits[at].After)
		if err != nil {
			return nil, fmt.Errorf("change %d, %s after: %w", c.ID, key, err)
		}
		h = append(h, step{c, before, after, c.State.Open() && !slices.Contains(c.Yielded, key)})
	}
	return h, nil
}

// seconds parses a timeout. One of 0 is taken: somebody may have set it.
func seconds(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 31)
	return int(n), err
}

// was lists the timeouts that can have given an entry its time. keeps is that an
// entry keeps the timeout that it began with, whatever is in force later.
func (h history) was(now time.Duration, keeps bool) []Was {
	var list []Was
	for i, s := range h {
		// What a change finds is what one below it has left, or else has been there for
		// nobody knows how long.
		if !slices.ContainsFunc(h[:i], func(below step) bool { return below.standsUnder(s) }) {
			list = append(list, Was{Timeout: s.before, Until: h.replaced(i)})
		}
		w := s.change.Walk
		list = append(list, Was{Timeout: s.after, Since: s.change.Made, Until: h.ended(i), Retimed: w != nil && w.Retimes})
	}
	if keeps {
		for i := range list {
			list[i].Until = 0
		}
		return list
	}
	return slices.DeleteFunc(list, func(w Was) bool { return w.over(now) })
}

// standsUnder reports whether the value of s was in force when the later change was
// made, so that the latter has found it.
func (s step) standsUnder(above step) bool {
	return s.after == above.before && (s.ours || s.change.Since > above.change.Made)
}

// replaced is when what change i found was last in force; 0 is now. It comes back
// when the change is undone, and is gone for good only under one that is applied:
// whose newest state was reached after the write.
func (h history) replaced(i int) time.Duration {
	for _, s := range h[i:] {
		if s.ours && s.change.State == ledger.Applied {
			return s.change.Since
		}
	}
	return 0
}

// ended is when the value of change i was last in force; 0 is now.
func (h history) ended(i int) time.Duration {
	if !h[i].ours {
		return h[i].change.Since
	}
	return h.replaced(i + 1)
}

// over reports whether no entry can still live on that timeout.
func (w Was) over(now time.Duration) bool {
	return w.Until != 0 && now-w.Until > time.Duration(w.Timeout)*time.Second+2*slack
}

// keeps reports whether the entries of a class keep the timeout that was in force when
// they came into being: nf_conntrack_gre_packet stores it in the entry.
func keeps(c timeout.Class) bool { return c == timeout.GRE || c == timeout.GREStream }

// rules finds the rule of each class in a namespace, none of them with a New.
func rules(changes []ledger.Change, namespace, boot string, now time.Duration) (all [timeout.Classes]Rule, h [timeout.Classes]history, err error) {
	for c := timeout.None + 1; c < timeout.Classes; c++ {
		if h[c], err = historyOf(changes, actions.TimeoutKey(namespace, c), boot); err != nil {
			return all, h, err
		}
		all[c].Was = h[c].was(now, keeps(c))
	}
	return all, h, nil
}
