package entries_test

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
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

// shortened is a plan for a gateway whose timeouts were shortened just now, from one to
// another, by class.
func shortened(g *lab.Gateway, from, to map[timeout.Class]int) entries.Plan {
	now := boot.Now()
	p := entries.Plan{Namespace: g.Router.Path(), Retime: true}
	for c, after := range to {
		p.Rules[c] = entries.Rule{New: after, Was: []entries.Was{{Timeout: from[c], Until: now}, {Timeout: after, Since: now}}}
	}
	return p
}

// walk walks to the end.
func walk(t testing.TB, p entries.Plan) entries.Result {
	t.Helper()
	r, err := entries.Walk(t.Context(), p)
	if err != nil || !r.Done {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
}

func timeWait(count int, left time.Duration) lab.Entries {
	return lab.Entries{Count: count, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: left}
}
