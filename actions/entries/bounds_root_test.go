package entries_test

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// The budget holds at every moment, not on the whole alone.
func TestRootBudget(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	const budget, deletable = 5000, 9000
	fill(t, g, timeWait(deletable, 10), tcp(20_000, lab.Established, 100_000))
	for _, beside := range []bool{false, true} {
		if beside {
			fill(t, g, timeWait(deletable, 10))
		}
		p := shortened(g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
		p.Budget, p.Beside = budget, beside
		start, looks := time.Now(), 0
		full, err := g.Count()
		if err != nil {
			t.Fatal(err)
		}
		p.Progress = func(int, int) {
			looks++
			now, err := g.Count()
			allowed := int(time.Since(start).Seconds()*budget) + 300
			if gone := full - now; err != nil || gone > allowed {
				t.Errorf("%d deleted within %v, %v", gone, time.Since(start), err)
			}
		}
		r := walk(t, p)
		if r.Deleted != deletable || looks < 20 || r.Took < (deletable-300.0)/budget || r.Took > 4*deletable/budget {
			t.Errorf("beside %t: %d looks, %+v", beside, looks, r)
		}
		if r.CPU > 0.8*r.Took {
			t.Errorf("%v s of CPU in %v s: it does not sleep", r.CPU, r.Took)
		}
	}
}

func TestRootShareOfACPU(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	for _, beside := range []bool{false, true} {
		fill(t, g, timeWait(30_000, 10))
		p := shortened(g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
		p.CPU, p.Beside = 0.2, beside
		r := walk(t, p)
		if r.Deleted != 30_000 || r.Took < 4*r.CPU || r.CPU < 0.01 {
			t.Errorf("beside %t: %+v", beside, r)
		}
	}
}

// When few enough entries are left the walk ends, and says so.
func TestRootUntil(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	fill(t, g, timeWait(30_000, 10))
	p := shortened(g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
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

func TestRootEndsWithItsContext(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	fill(t, g, timeWait(40_000, 10))
	why := errors.New("no longer wanted")
	for _, beside := range []bool{false, true} {
		p := shortened(g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
		p.Budget, p.Beside = 5000, beside
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
		before, err := g.Count()
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		r, err := entries.Walk(ctx, p)
		if !errors.Is(err, why) && !errors.Is(err, context.Canceled) || r.Done || r.Note != err.Error() {
			t.Errorf("beside %t: %+v, %v", beside, r, err)
		}
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("ended after %v", took)
		}
		// What was sent is counted, but for the one load that the end may have met.
		if after, err := g.Count(); err != nil || r.Deleted == 0 || r.Deleted > before-after || r.Deleted < before-after-300 {
			t.Errorf("beside %t: %d of %d are left, %v, deleted %d", beside, after, before, err, r.Deleted)
		}
		cancel(nil)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r, err := entries.Walk(ctx, shortened(g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40}))
	if !errors.Is(err, context.Canceled) || r.Done || r.Deleted != 0 {
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
		fill(t, g, timeWait(10_000, 30), timeWait(10_000, 110)) // 110 left are re-timed to 31
		p := shortened(g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
		done, next := 0, 0
		p.Progress = func(read, _ int) {
			if done < resizes && read >= next {
				done++
				resize(t, sizes.Buckets+done%2*4096)
			}
		}
		r, err := entries.Walk(t.Context(), p)
		if done != resizes {
			t.Fatalf("%d of %d resizes, %v", done, resizes, err)
		}
		if resizes < 4 && (err != nil || !r.Done || r.Attempts != resizes+1) {
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
	for _, beside := range []bool{false, true} {
		var mallocs [2]uint64
		for i, n := range []int{1000, 40_000} {
			fill(t, g, timeWait(n, 30), timeWait(n/4, 110), tcp(n, lab.Established, 100_000))
			p := shortened(g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 40})
			p.Beside = beside
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := walk(t, p)
			runtime.ReadMemStats(&after)
			if mallocs[i] = after.Mallocs - before.Mallocs; r.Deleted != n || r.Retimed != n/4 {
				t.Fatalf("%+v", r)
			}
			deleteAll(t, g, func(*ctnetlink.Entry) bool { return true })
		}
		t.Logf("beside %t: %d and %d allocations", beside, mallocs[0], mallocs[1])
		if mallocs[1] > mallocs[0]+500 {
			t.Errorf("beside %t: %d allocations for 2250 entries, %d for 90000", beside, mallocs[0], mallocs[1])
		}
	}
}

// On a thread beside the same is done.
func TestRootBesideIsTheSame(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	for _, beside := range []bool{false, true} {
		fill(t, g, timeWait(5000, 30), timeWait(3000, 110), udp(2000, 5), tcp(4000, lab.Established, 100_000))
		p := shortened(g, map[timeout.Class]int{timeout.TCPTimeWait: 120, timeout.UDP: 30}, map[timeout.Class]int{timeout.TCPTimeWait: 40, timeout.UDP: 10})
		p.Beside = beside
		r := walk(t, p)
		want := []entries.Count{{Class: timeout.TCPTimeWait, Deleted: 5000, Retimed: 3000}, {Class: timeout.UDP, Deleted: 2000}}
		if d := cmp.Diff(want, r.Classes); d != "" || r.Read != 14_000 || r.Kept.Other != 4000 || r.Gone != 0 || r.Refused != 0 {
			t.Errorf("beside %t: %+v\n%s", beside, r, d)
		}
		deleteAll(t, g, func(*ctnetlink.Entry) bool { return true })
	}
}
