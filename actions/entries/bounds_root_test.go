package entries_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// walking is a walk under way.
type walking struct {
	ended chan struct{}
	entries.Result
	err error
}

func begin(ctx context.Context, p entries.Plan) *walking {
	w := &walking{ended: make(chan struct{})}
	go func() {
		defer close(w.ended)
		w.Result, w.err = entries.Walk(ctx, p)
	}()
	return w
}

// until looks at a gateway's count every now and then until it suits or the walk ends.
func (w *walking) until(t *testing.T, g *lab.Gateway, suits func(count int) bool) {
	t.Helper()
	for {
		n, err := g.Count()
		if err != nil {
			t.Fatal(err)
		}
		if suits(n) {
			return
		}
		select {
		case <-w.ended:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

// The budget holds at every moment, not on the whole alone.
func TestRootBudget(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	const deletable, full, slack = 15_000, 35_000, 300
	fill(t, g, timeWait(deletable, 10), tcp(full-deletable, lab.Established, 100_000))
	p := shortened(t, g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
	p.Budget = entries.LeastBudget
	start, looks := time.Now(), 0
	w := begin(t.Context(), p)
	w.until(t, g, func(now int) bool {
		looks++
		if allowed := int(time.Since(start).Seconds()*entries.LeastBudget) + slack; full-now > allowed {
			t.Errorf("%d deleted within %v", full-now, time.Since(start))
		}
		return false
	})
	const least = float64(deletable-slack) / entries.LeastBudget // seconds
	if w.err != nil || w.Deleted != deletable || looks < 20 || w.Took < least || w.Took > 4*least {
		t.Errorf("%d looks, %+v, %v", looks, w.Result, w.err)
	}
	if w.CPU > 0.8*w.Took {
		t.Errorf("%v s of CPU in %v s: it does not sleep", w.CPU, w.Took)
	}
}

// Once somebody else has changed a timeout, what an entry has left may be by that: one
// that looks old may be of just now.
func TestRootTaken(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	if err := g.SetTimeouts(map[string]int{"udp_timeout": 30}); err != nil {
		t.Fatal(err)
	}
	const full, flows = 20_000, 300
	fill(t, g, timeWait(full, 10))
	h := newHand(t, g)
	p := h.plan(h.shorten(map[timeout.Class]int{timeout.TCPTimeWait: 40, timeout.UDP: 10}))
	p.Budget = entries.LeastBudget
	w := begin(t.Context(), p)
	w.until(t, g, func(now int) bool { return now <= full*9/10 })
	if err := g.SetTimeouts(map[string]int{"udp_timeout": 15}); err != nil {
		t.Fatal(err)
	}
	sendUDP(t, g, 20_000, flows) // 15 s left, which is what one of 15 s ago has of 30
	<-w.ended
	if !errors.Is(w.err, entries.ErrTaken) || w.Done || w.Note != w.err.Error() || !strings.Contains(w.Note, "udp_timeout is 15, not 10") {
		t.Errorf("%+v, %v", w.Result, w.err)
	}
	if w.Deleted < full/10 || w.Deleted > full*9/10 {
		t.Errorf("%d of %d deleted before it was noticed", w.Deleted, full)
	}
	if n, least, _ := leftOf(table(t, g), between(20_000, flows)); n != flows || least < 12 {
		t.Errorf("%d of %d new flows live, %d s at least", n, flows, least)
	}

	// So it is before a walk.
	r, err := entries.Walk(t.Context(), p)
	if !errors.Is(err, entries.ErrTaken) || r.Done || r.Read != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// When few enough entries are left the walk ends, and says so.
func TestRootUntil(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	fill(t, g, timeWait(30_000, 10))
	p := shortened(t, g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
	p.Until = 20_000
	r, err := entries.Walk(t.Context(), p)
	if err != nil || r.Done || !strings.Contains(r.Note, "the pressure is gone") {
		t.Fatalf("%+v, %v", r, err)
	}
	if now, err := g.Count(); err != nil || now > 20_000 || now < 18_000 || r.Deleted != 30_000-now {
		t.Errorf("%d are left, %v, deleted %d", now, err, r.Deleted)
	}
	p.Until = 0
	if r := walk(t, p); r.Deleted != 30_000 {
		if n, _ := g.Count(); n != 0 {
			t.Errorf("%d are left after %+v", n, r)
		}
	}
}

// The end of ctx ends a walk, which says why that was.
func TestRootEndsWithItsContext(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	const full = 40_000
	fill(t, g, timeWait(full, 10))
	p := shortened(t, g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
	why := errors.New("no longer wanted")
	for _, budget := range []int{entries.LeastBudget, 0} {
		p.Budget = budget
		before, err := g.Count()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		w := begin(ctx, p)
		w.until(t, g, func(now int) bool { return now <= before-2000 })
		cancel(why)
		<-w.ended
		if !errors.Is(w.err, why) || w.Done || w.Note != w.err.Error() {
			t.Errorf("budget %d: %+v, %v", budget, w.Result, w.err)
		}
		if after, err := g.Count(); err != nil || after == 0 || w.Deleted != before-after {
			t.Errorf("budget %d: %d of %d are left, %v, deleted %d", budget, after, before, err, w.Deleted)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if r, err := entries.Walk(ctx, p); !errors.Is(err, why) || r.Done || r.Deleted != 0 {
		t.Errorf("called off before: %+v, %v", r, err)
	}
}

// resize writes from a thread of our own namespace: the key is read-only in all
// others.
func resize(t *testing.T, buckets int) {
	t.Helper()
	done := make(chan error)
	go func() { done <- sysctl.Write("net.netfilter.nf_conntrack_buckets", strconv.Itoa(buckets)) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A resize loses entries: the walk begins again, and gives up when it happens again and
// again. What it has re-timed by then it does not take for old.
func TestRootResize(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	sizes, err := lab.ReadSizes()
	if err != nil {
		t.Fatal(err)
	}
	defer resize(t, sizes.Buckets)
	for _, resizes := range []int{1, 3, 4} {
		// 110 left are re-timed to 31; 60 left an entry may not have by that.
		fill(t, g, timeWait(10_000, 60), timeWait(10_000, 110))
		p := shortened(t, g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
		p.Budget = entries.LeastBudget
		w := begin(t.Context(), p)
		done := 0
		w.until(t, g, func(now int) bool { // a fifth of the walk after the one before it
			if now <= 20_000-1000-2000*done {
				done++
				resize(t, sizes.Buckets+done%2*4096)
			}
			return done == resizes
		})
		<-w.ended
		r, err := w.Result, w.err
		if done != resizes {
			t.Fatalf("%d of %d resizes, %+v, %v", done, resizes, r, err)
		}
		if resizes < 4 && (err != nil || !r.Done || r.Attempts != resizes+1 || r.Deleted != 10_000) {
			t.Errorf("%d resizes: %+v, %v", resizes, r, err)
		}
		if resizes == 4 && (!errors.Is(err, entries.ErrResized) || r.Done || r.Attempts != 4 || !strings.Contains(r.Note, strconv.Itoa(sizes.Buckets))) {
			t.Errorf("4 resizes: %+v, %v", r, err)
		}
		if r.Deleted > 10_000 || r.Retimed > 10_000 {
			t.Errorf("%d resizes: entries that were re-timed are taken for old: %+v", resizes, r)
		}
		n, _, _ := leftOf(table(t, g), func(*ctnetlink.Entry) bool { return true })
		if n != 20_000-r.Deleted {
			t.Errorf("%d resizes: %d are left of 20000, %d deleted", resizes, n, r.Deleted)
		}
		deleteAll(t, g, func(*ctnetlink.Entry) bool { return true })
		resize(t, sizes.Buckets)
	}
}

// A walk takes no more memory for a larger table.
func TestRootWalkAllocatesNothingForAnEntry(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	var mallocs [2]uint64
	for i, n := range []int{1000, 40_000} {
		fill(t, g, timeWait(n, 30), timeWait(n/4, 110), tcp(n, lab.Established, 100_000))
		p := shortened(t, g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := walk(t, p)
		runtime.ReadMemStats(&after)
		if mallocs[i] = after.Mallocs - before.Mallocs; r.Deleted != n || r.Retimed != n/4 {
			t.Fatalf("%+v", r)
		}
		deleteAll(t, g, func(*ctnetlink.Entry) bool { return true })
	}
	if mallocs[1] > mallocs[0]+500 {
		t.Errorf("%d allocations for 2250 entries, %d for 90000", mallocs[0], mallocs[1])
	}
}
