package entries

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

const (
	thisBoot = "this boot"
	tenant   = "/run/netns/tenant"
	now      = 100_000 * time.Second
)

func ago(seconds int) time.Duration { return now - time.Duration(seconds)*time.Second }

// changed is a change of TIME_WAIT's timeout, made and come to its state so many seconds
// ago.
func changed(id int, state ledger.State, before, after string, made, since int) ledger.Change {
	return ledger.Change{
		ID: id, State: state, Boot: thisBoot, Made: ago(made), Since: ago(since),
		Edits: []ledger.Edit{{Key: actions.TimeoutKey("", timeout.TCPTimeWait), Before: before, After: after}},
	}
}

// seen are the seconds of a Was, as times ago; 0 is always, and still.
type seen struct {
	Timeout, Since, Until int
	Retimed               bool
}

func seenOf(was []Was) (list []seen) {
	for _, w := range was {
		s := seen{Timeout: w.Timeout, Retimed: w.Retimed}
		if w.Since != 0 {
			s.Since = int((now - w.Since) / time.Second)
		}
		if w.Until != 0 {
			s.Until = int((now - w.Until) / time.Second)
		}
		list = append(list, s)
	}
	return list
}

func TestPlanOfHistory(t *testing.T) {
	retimed := func(c ledger.Change) ledger.Change {
		c.Walk = &ledger.Walk{Retimes: true}
		return c
	}
	yielded := func(c ledger.Change) ledger.Change {
		c.Yielded = []string{c.Edits[0].Key}
		return c
	}
	elsewhere := func(boot, namespace string, c ledger.Change) ledger.Change {
		c.Boot, c.Edits[0].Key = boot, actions.TimeoutKey(namespace, timeout.TCPTimeWait)
		return c
	}
	const applied, undone = ledger.Applied, ledger.Undone
	for name, tc := range map[string]struct {
		changes []ledger.Change
		id, new int
		want    []seen
	}{
		"the first": {
			[]ledger.Change{changed(1, applied, "120", "40", 3, 2)},
			1, 40,
			[]seen{{120, 0, 2, false}, {40, 3, 0, false}},
		},
		"walked before": {
			[]ledger.Change{retimed(changed(1, applied, "120", "40", 3, 2))},
			1, 40,
			[]seen{{120, 0, 2, false}, {40, 3, 0, true}},
		},
		"walked without re-timing": {
			[]ledger.Change{func() ledger.Change {
				c := changed(1, applied, "120", "40", 3, 2)
				c.Walk = &ledger.Walk{Done: true}
				return c
			}()},
			1, 40,
			[]seen{{120, 0, 2, false}, {40, 3, 0, false}},
		},
		"a level on another": {
			[]ledger.Change{retimed(changed(1, applied, "120", "90", 60, 59)), changed(2, applied, "90", "60", 3, 2)},
			2, 60,
			[]seen{{120, 0, 59, false}, {90, 60, 2, true}, {60, 3, 0, false}},
		},
		"nothing lives on the normal one any more": {
			[]ledger.Change{changed(1, applied, "120", "90", 130, 123), changed(2, applied, "90", "60", 3, 2)},
			2, 60,
			[]seen{{90, 130, 2, false}, {60, 3, 0, false}},
		},
		"on the same level": { // one that a later level has covered is the later one's
			[]ledger.Change{changed(1, applied, "120", "90", 60, 59), changed(2, applied, "90", "60", 3, 2)},
			1, 0,
			[]seen{{120, 0, 59, false}, {90, 60, 2, false}, {60, 3, 0, false}},
		},
		"after one undone": {
			[]ledger.Change{retimed(changed(1, undone, "120", "30", 60, 20)), changed(2, applied, "120", "60", 3, 2)},
			2, 60,
			[]seen{{120, 0, 2, false}, {30, 60, 20, true}, {120, 0, 2, false}, {60, 3, 0, false}},
		},
		"long after one undone": {
			[]ledger.Change{changed(1, undone, "120", "30", 60, 33), changed(2, applied, "120", "60", 3, 2)},
			2, 60,
			[]seen{{120, 0, 2, false}, {120, 0, 2, false}, {60, 3, 0, false}},
		},
		"after the upper of two was undone": {
			[]ledger.Change{
				changed(1, applied, "120", "90", 80, 79), changed(2, undone, "90", "60", 50, 20),
				changed(3, applied, "90", "50", 3, 2),
			},
			3, 50,
			[]seen{{120, 0, 79, false}, {90, 80, 2, false}, {60, 50, 20, false}, {50, 3, 0, false}},
		},
		"after two were undone": {
			[]ledger.Change{
				changed(1, undone, "120", "90", 80, 19), changed(2, undone, "90", "60", 50, 20),
				changed(3, applied, "120", "70", 3, 2),
			},
			3, 70,
			[]seen{{120, 0, 2, false}, {90, 80, 19, false}, {60, 50, 20, false}, {120, 0, 2, false}, {70, 3, 0, false}},
		},
		"after a rival": { // who has 300 now; ours of before may still be there
			[]ledger.Change{changed(1, ledger.Yielded, "120", "40", 60, 20), changed(2, applied, "300", "60", 3, 2)},
			2, 60,
			[]seen{{120, 0, 2, false}, {40, 60, 20, false}, {300, 0, 2, false}, {60, 3, 0, false}},
		},
		"after a rival took this key alone": {
			[]ledger.Change{yielded(changed(1, applied, "120", "40", 60, 20)), changed(2, applied, "300", "60", 3, 2)},
			2, 60,
			[]seen{{120, 0, 2, false}, {40, 60, 20, false}, {300, 0, 2, false}, {60, 3, 0, false}},
		},
		"a rival has taken this key": {
			[]ledger.Change{yielded(changed(1, applied, "120", "40", 60, 20))},
			1, 0,
			[]seen{{120, 0, 0, false}, {40, 60, 20, false}},
		},
		"after one that failed": { // it may have been there for a moment
			[]ledger.Change{changed(1, ledger.Failed, "120", "40", 21, 20), changed(2, applied, "120", "60", 3, 2)},
			2, 60,
			[]seen{{120, 0, 2, false}, {40, 21, 20, false}, {120, 0, 2, false}, {60, 3, 0, false}},
		},
		"under one that is being undone": {
			[]ledger.Change{changed(1, applied, "120", "90", 60, 59), changed(2, ledger.Undoing, "90", "60", 30, 2)},
			1, 0,
			[]seen{{120, 0, 59, false}, {90, 60, 0, false}, {60, 30, 0, false}},
		},
		"of another boot, void and elsewhere": {
			[]ledger.Change{
				elsewhere("another boot", "", changed(1, undone, "120", "10", 9, 8)),
				changed(2, ledger.Void, "120", "20", 9, 8),
				elsewhere(thisBoot, tenant, changed(3, applied, "120", "30", 9, 8)),
				changed(4, applied, "120", "40", 3, 2),
			},
			4, 40,
			[]seen{{120, 0, 2, false}, {40, 3, 0, false}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := PlanOf(tc.changes, tc.id, thisBoot, now)
			if err != nil {
				t.Fatal(err)
			}
			rule := p.Rules[timeout.TCPTimeWait]
			if d := cmp.Diff(tc.want, seenOf(rule.Was)); d != "" || rule.New != tc.new {
				t.Errorf("new %d, want %d; was (-want +got):\n%s", rule.New, tc.new, d)
			}
			for c, r := range p.Rules {
				if timeout.Class(c) != timeout.TCPTimeWait && (r.New != 0 || r.Was != nil) {
					t.Errorf("%s has a rule: %+v", timeout.Class(c).Name(), r)
				}
			}
			if p.Namespace != "" || p.Retime || p.Established || p.Budget != 0 {
				t.Errorf("planned %+v", p)
			}
		})
	}
}

// A GRE entry keeps the timeout that was in force when it came into being.
func TestPlanOfGRE(t *testing.T) {
	c := []ledger.Change{changed(1, ledger.Undone, "180", "90", 9000, 8000), changed(2, ledger.Applied, "180", "60", 3, 2)}
	for i := range c {
		c[i].Edits[0].Key = actions.TimeoutKey(tenant, timeout.GREStream)
	}
	p, err := PlanOf(c, 2, thisBoot, now)
	if err != nil || p.Namespace != tenant {
		t.Fatal(p.Namespace, err)
	}
	want := []seen{{180, 0, 0, false}, {90, 9000, 0, false}, {180, 0, 0, false}, {60, 3, 0, false}}
	if d := cmp.Diff(want, seenOf(p.Rules[timeout.GREStream].Was)); d != "" {
		t.Error(d)
	}
}

func TestPlanOfRefuses(t *testing.T) {
	good := changed(1, ledger.Applied, "120", "40", 3, 2)
	with := func(edit func(c *ledger.Change)) ledger.Change {
		c := good
		c.Edits = append([]ledger.Edit(nil), good.Edits...)
		edit(&c)
		return c
	}
	for name, tc := range map[string]struct {
		change ledger.Change
		says   string
	}{
		"no such change": {with(func(c *ledger.Change) { c.ID = 2 }), "no open change"},
		"undone":         {with(func(c *ledger.Change) { c.State = ledger.Undone }), "undone"},
		"undoing":        {with(func(c *ledger.Change) { c.State = ledger.Undoing }), "undoing"},
		"intended":       {with(func(c *ledger.Change) { c.State = ledger.Intended }), "intended"},
		"another boot":   {with(func(c *ledger.Change) { c.Boot = "another" }), "not in force"},
		"not of timeouts": {with(func(c *ledger.Change) {
			c.Edits = append(c.Edits, ledger.Edit{Key: actions.MaxKey, Before: "1", After: "2"})
		}), "no timeout"},
		"two namespaces": {with(func(c *ledger.Change) {
			c.Edits = append(c.Edits, ledger.Edit{Key: actions.TimeoutKey(tenant, timeout.UDP), Before: "30", After: "20"})
		}), "more than one namespace"},
		"no number":       {with(func(c *ledger.Change) { c.Edits[0].Before = "long" }), "before"},
		"no number after": {with(func(c *ledger.Change) { c.Edits[0].After = "-1" }), "after"},
	} {
		_, err := PlanOf([]ledger.Change{tc.change}, 1, thisBoot, now)
		if err == nil || !strings.Contains(err.Error(), tc.says) || !strings.Contains(err.Error(), "change 1") {
			t.Errorf("%s: %v", name, err)
		}
		if errors.Is(err, actions.ErrNotOpen) != (name == "no such change") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What TCP entries may live on besides counts where it is shorter than the class's own,
// as it is and as it was.
func TestOtherTimeoutsOfTCP(t *testing.T) {
	table := timeout.Table{MaxRetrans: 300}
	table.Of[timeout.Unacknowledged], table.Of[timeout.TCPClose], table.Of[timeout.TCPFinWait] = 250, 5, 60
	var rules [timeout.Classes]Rule
	rules[timeout.TCPEstablished] = Rule{New: 7440, Was: []Was{{Timeout: 432_000}, {Timeout: 7440, Since: ago(1)}}}
	rules[timeout.TCPFinWait] = Rule{New: 60, Was: []Was{{Timeout: 280}, {Timeout: 60, Since: ago(1)}}}
	rules[timeout.TCPTimeWait] = Rule{Was: []Was{{Timeout: 1200}}} // not in the change
	rules[timeout.TCPClose] = Rule{New: 5, Was: []Was{{Timeout: 10, Until: ago(1)}, {Timeout: 5, Since: ago(1)}}}
	rules[timeout.UDP] = Rule{New: 10, Was: []Was{{Timeout: 1000}, {Timeout: 10, Since: ago(1)}}}
	got := with(rules, &table)
	for c, want := range map[timeout.Class][]seen{
		timeout.TCPEstablished: {{432_000, 0, 0, false}, {7440, 1, 0, false}, {5, 0, 0, false}, {250, 0, 0, false}, {300, 0, 0, false}, {10, 0, 1, false}, {5, 1, 0, false}},
		timeout.TCPFinWait:     {{280, 0, 0, false}, {60, 1, 0, false}, {250, 0, 0, false}},
		timeout.TCPTimeWait:    {{1200, 0, 0, false}},
		timeout.TCPClose:       {{10, 0, 1, false}, {5, 1, 0, false}},
		timeout.UDP:            {{1000, 0, 0, false}, {10, 1, 0, false}},
	} {
		if d := cmp.Diff(want, seenOf(got[c].Was)); d != "" || got[c].New != rules[c].New {
			t.Errorf("%s (-want +got):\n%s", c.Name(), d)
		}
	}
}
