package entries_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// gateway makes a gateway that the test's end takes away. Meanwhile nobody else
// changes nf_conntrack_max and the buckets, which are the machine's.
func gateway(t testing.TB, sizes lab.Sizes) *lab.Gateway {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	h, err := lab.HoldSizes(ctx, sizes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := h.Release(); err != nil {
			t.Error(err)
		}
	})
	return unheld(t)
}

// unheld makes a gateway on a machine that is held already.
func unheld(t testing.TB) *lab.Gateway {
	t.Helper()
	g, err := lab.NewGateway(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// fill makes entries, all of them.
func fill(t testing.TB, g *lab.Gateway, mix ...lab.Entries) {
	t.Helper()
	r, err := g.Fill(t.Context(), mix...)
	if err != nil || len(r.Errors) > 0 {
		t.Fatalf("fill: %+v, %v", r, err)
	}
}

// shortened shortens timeouts of a gateway, by class, and plans a walk, which takes them
// for longer before.
func shortened(t testing.TB, g *lab.Gateway, from, to map[timeout.Class]int) entries.Plan {
	t.Helper()
	seconds := map[string]int{}
	for c, after := range to {
		seconds[c.Name()] = after
	}
	if err := g.SetTimeouts(seconds); err != nil {
		t.Fatal(err)
	}
	now := boot.Now()
	p := entries.Plan{Namespace: g.Router.Path(), Retime: true}
	for c, after := range to {
		p.Rules[c] = entries.Rule{New: after, Was: []entries.Was{{Timeout: from[c], Until: now}, {Timeout: after, Since: now}}}
	}
	return p
}

const thisBoot = "b1a7e0c4-0000-4000-8000-000000000001"

// A hand makes changes as the guardian does.
type hand struct {
	*actions.Executor
	t         testing.TB
	namespace string
}

func newHand(t testing.TB, g *lab.Gateway) *hand {
	t.Helper()
	l, err := ledger.Open(t.TempDir(), thisBoot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &hand{actions.New(l, map[string]actions.Target{"timeout": actions.KernelTimeouts()}), t, g.Router.Path()}
}

// shorten writes timeouts and returns the change.
func (h *hand) shorten(to map[timeout.Class]int) ledger.Change {
	h.t.Helper()
	c := ledger.Change{Measure: "shorten-timeouts", Namespace: h.namespace, Level: 1}
	err := netns.Do(h.namespace, func() error {
		for class := range timeout.Classes {
			after, ok := to[class]
			if !ok {
				continue
			}
			before, err := sysctl.Read(class.Key())
			if err != nil {
				return err
			}
			c.Edits = append(c.Edits, ledger.Edit{Key: actions.TimeoutKey(h.namespace, class), Before: before, After: strconv.Itoa(after)})
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
	c, err = h.Do(c)
	if err != nil || c.State != ledger.Applied {
		h.t.Fatalf("%+v, %v", c, err)
	}
	return c
}

// plan is that of a walk for a change.
func (h *hand) plan(c ledger.Change) entries.Plan {
	h.t.Helper()
	p, err := entries.PlanOf(h.Changes(), c.ID, thisBoot, boot.Now())
	if err != nil {
		h.t.Fatal(err)
	}
	p.Retime = true
	return p
}

// walk walks for a change, with the records that it has before and after.
func (h *hand) walk(c ledger.Change, with func(*entries.Plan)) entries.Result {
	h.t.Helper()
	p := h.plan(c)
	if with != nil {
		with(&p)
	}
	if _, err := h.Walking(c.ID, p.Retime); err != nil {
		h.t.Fatal(err)
	}
	r := walk(h.t, p)
	if _, err := h.Walked(c.ID, r.Ledger()); err != nil {
		h.t.Fatal(err)
	}
	return r
}

// walk walks to the end.
func walk(t testing.TB, p entries.Plan) entries.Result {
	t.Helper()
	r, err := entries.Walk(t.Context(), p)
	if err != nil || !r.Done || r.Note != "" {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
}

// table reads all entries of a gateway.
func table(t testing.TB, g *lab.Gateway) (list []ctnetlink.Entry) {
	t.Helper()
	err := netns.Do(g.Router.Path(), func() error {
		c, err := ctnetlink.Open()
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Walk(t.Context(), ctnetlink.Query{}, func(e *ctnetlink.Entry) bool {
			list = append(list, *e)
			return true
		}, nil)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// leftOf is how many seconds the entries of a source have left at least and at most, and
// how many entries there are.
func leftOf(list []ctnetlink.Entry, is func(*ctnetlink.Entry) bool) (n, least, most int) {
	least = 1 << 30
	for i := range list {
		if is(&list[i]) {
			n++
			least, most = min(least, int(list[i].Timeout)), max(most, int(list[i].Timeout))
		}
	}
	return n, least, most
}

func tcp(count int, state uint8, left int) lab.Entries {
	return lab.Entries{Count: count, Proto: unix.IPPROTO_TCP, State: state, Assured: true, Timeout: time.Duration(left) * time.Second}
}

func timeWait(count, left int) lab.Entries { return tcp(count, lab.TimeWait, left) }

func udp(count, left int) lab.Entries {
	return lab.Entries{Count: count, Proto: unix.IPPROTO_UDP, Timeout: time.Duration(left) * time.Second}
}
