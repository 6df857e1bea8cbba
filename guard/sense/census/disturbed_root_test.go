package census_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// A resize loses entries: the census begins anew, and gives up when it happens
// again and again. It is noticed on the way, and at the end of a table that is
// read in fewer receives than lie between two looks.
func TestRootResizeIsNoticed(t *testing.T) {
	g := gateway(t)
	sizes, err := lab.ReadSizes()
	if err != nil {
		t.Fatal(err)
	}
	for _, entries := range []int{20_000, 2500} {
		flush(t, g)
		fill(t, g, tcp(lab.Entries{Count: entries, Sources: 50}))
		for _, resizes := range []int{1, 3, 4} {
			r, done, err := disturbed(t, g, sizes.Buckets, resizes)
			if done != resizes {
				t.Fatalf("%d entries: %d of %d resizes, %v", entries, done, resizes, err)
			}
			if resizes < 4 && (err != nil || r.Read != entries || r.Table != entries) {
				t.Errorf("%d resizes: %d of %d read, %v, want %d", resizes, r.Read, r.Table, err, entries)
			}
			if resizes == 4 && (!errors.Is(err, census.ErrResized) || !strings.Contains(err.Error(), strconv.Itoa(sizes.Buckets))) {
				t.Errorf("4 resizes: %v, want ErrResized with the sizes", err)
			}
		}
	}
}

// disturbed takes a census during which the hash table is resized so often, once
// in each attempt.
func disturbed(t *testing.T, g *lab.Gateway, buckets, resizes int) (r census.Report, done int, err error) {
	t.Helper()
	sizes := [2]int{buckets, buckets + 4096}
	defer resize(t, sizes[0])
	// The call after a resize is in the next attempt.
	o := census.Options{Namespace: g.Router.Path(), Progress: func(int, int) {
		if done < resizes {
			done++
			resize(t, sizes[done%2])
		}
	}}
	r, err = census.Take(t.Context(), o)
	return r, done, err
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

// A census that may take a fifth of a CPU takes five times as long as it works.
func TestRootPacing(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 60_000, Sources: 500}))
	fast, slow := take(t, g, census.Options{}), take(t, g, census.Options{CPU: 0.2})
	t.Logf("unpaced: %.3f s of CPU in %.3f s; paced: %.3f in %.3f", fast.CPU, fast.Took, slow.CPU, slow.Took)
	if slow.Took < 4*slow.CPU || slow.CPU < 0.01 {
		t.Errorf("%v s of CPU in %v s", slow.CPU, slow.Took)
	}
	if slow.Read != 60_000 || fast.Read != 60_000 {
		t.Errorf("%d and %d entries", fast.Read, slow.Read)
	}
}

// A census ends with its context, also while it sleeps.
func TestRootEndsWithItsContext(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 60_000, Sources: 500}))
	why := errors.New("no longer wanted")
	for _, share := range []float64{0, 0.001} {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
		if share == 0 {
			cancel(why)
		}
		begun := time.Now()
		_, err := census.Take(ctx, census.Options{Namespace: g.Router.Path(), CPU: share})
		if !errors.Is(err, why) && !errors.Is(err, context.Canceled) {
			t.Errorf("share %v: %v", share, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("share %v: ended after %s", share, took)
		}
		cancel(nil)
	}
}

// Progress tells how far it is.
func TestRootProgress(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 30_000, Sources: 500}))
	last, calls := 0, 0
	take(t, g, census.Options{Progress: func(read, table int) {
		if read < last || read > table || table != 30_000 {
			t.Errorf("%d of %d, after %d", read, table, last)
		}
		last, calls = read, calls+1
	}})
	if calls < 3 || last < 20_000 {
		t.Errorf("%d calls, the last at %d", calls, last)
	}
}

// Where the kernel's keys are hidden, conntrack looks unloaded.
func TestRootSaysThatConntrackIsAbsent(t *testing.T) {
	done := make(chan error)
	go func() {
		// Never unlocked: the thread's mounts are its own from here on, and it ends
		// with the goroutine.
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", "/proc/sys/net/netfilter", "tmpfs", 0, "")
		}
		if err != nil {
			done <- err
			return
		}
		_, err = census.Take(context.Background(), census.Options{})
		if !errors.Is(err, census.ErrAbsent) || !strings.Contains(err.Error(), "conntrack is not loaded") {
			done <- fmt.Errorf("%w, want ErrAbsent", err)
			return
		}
		done <- nil
	}()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
