package entries

import (
	"fmt"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A Plan says what a walk is to do.
type Plan struct {
	Namespace   string // path of the network namespace, empty for our own
	Rules       [timeout.Classes]Rule
	Established bool // the operator's opt-in: established, assured connections, too
	Retime      bool // give entries the time that the new timeout would have left them
	// Budget is how many entries a second may be deleted or re-timed, LeastBudget at
	// least; 0 is no limit.
	Budget int
	// Until is the count of entries at or below which the walk ends, since the
	// pressure is gone; 0 is none.
	Until int
}

// PlanOf is the plan of a walk for a change that is applied: the rules for the timeouts
// that are in force by it, as the ledger's changes tell them. Timeouts that a later
// change has replaced are that one's. The rest of the plan is up to the caller.
//
// now is on the boot clock; the walk is to follow at once, before any other change.
func PlanOf(changes []ledger.Change, id int, boot string, now time.Duration) (Plan, error) {
	at := slices.IndexFunc(changes, func(c ledger.Change) bool { return c.ID == id })
	switch {
	case at < 0:
		return Plan{}, fmt.Errorf("plan a walk for change %d: %w", id, actions.ErrNotOpen)
	case changes[at].State != ledger.Applied || changes[at].Boot != boot:
		return Plan{}, fmt.Errorf("plan a walk for change %d, which is %s: it is not in force", id, changes[at].State)
	}
	p, err := planOf(changes, &changes[at], boot, now)
	if err != nil {
		return Plan{}, fmt.Errorf("plan a walk for change %d: %w", id, err)
	}
	return p, nil
}

func planOf(changes []ledger.Change, c *ledger.Change, boot string, now time.Duration) (p Plan, err error) {
	classes, namespace, err := classesOf(c)
	if err != nil {
		return p, err
	}
	p.Namespace = namespace
	all, histories, err := rules(changes, namespace, boot, now)
	if err != nil {
		return p, err
	}
	for _, class := range classes {
		h := histories[class]
		i := slices.IndexFunc(h, func(s step) bool { return s.change.ID == c.ID })
		covered := slices.ContainsFunc(h[i+1:], func(s step) bool { return s.ours })
		if h[i].ours && !covered {
			all[class].New = h[i].after
		}
	}
	p.Rules = all
	return p, nil
}

// classesOf are the classes whose timeouts a change edits, all of one namespace.
func classesOf(c *ledger.Change) (classes []timeout.Class, namespace string, err error) {
	for _, e := range c.Edits {
		in, class, ok := actions.ParseTimeoutKey(e.Key)
		switch {
		case !ok:
			return nil, "", fmt.Errorf("it edits %s, which is no timeout", e.Key)
		case len(classes) > 0 && in != namespace:
			return nil, "", fmt.Errorf("it edits timeouts of more than one namespace, %q and %q", namespace, in)
		}
		classes, namespace = append(classes, class), in
	}
	return classes, namespace, nil
}

// with returns the rules completed by the timeouts that entries of TCP may live on
// instead of their class's (nf_conntrack_tcp_packet): those that the kernel has now,
// and what they were before. Only those shorter than the class's count: with more
// left than any timeout of its class an entry is somebody else's.
func with(rules [timeout.Classes]Rule, t *timeout.Table) [timeout.Classes]Rule {
	out := rules
	for c := range timeout.Classes {
		if rules[c].New == 0 || !c.TCP() {
			continue
		}
		longest := 0
		for _, w := range rules[c].Was {
			longest = max(longest, w.Timeout)
		}
		was := slices.Clone(rules[c].Was)
		mine := *t
		mine.Of[c] = longest
		for _, other := range mine.Others(c) {
			was = append(was, Was{Timeout: other})
		}
		for _, w := range formerOthers(&rules, c) {
			if w.Timeout < longest {
				was = append(was, w)
			}
		}
		out[c].Was = was
	}
	return out
}

// formerOthers are what the timeouts which a class of TCP may live on instead of its
// own were lately.
func formerOthers(rules *[timeout.Classes]Rule, c timeout.Class) []Was {
	var list []Was
	if c != timeout.Unacknowledged {
		list = append(list, rules[timeout.Unacknowledged].Was...)
	}
	if c == timeout.TCPEstablished {
		list = append(list, rules[timeout.TCPClose].Was...)
	}
	return list
}
