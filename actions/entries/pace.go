package entries

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// LeastBudget is the least number of changes a second that a walk can be held to. With
// one datagram's changes it owes less than longest, so that it never has to sleep longer
// between two receives: what is received after a sleep was dumped before it.
const LeastBudget = 10_000

const (
	// shortest is the shortest sleep: shorter ones cost more than they give back.
	shortest = time.Millisecond
	// longest is the longest sleep.
	longest = 5 * time.Millisecond
)

// A pace holds a walk back by the entries that it changes.
type pace struct {
	began  time.Time
	cpu    time.Duration
	budget int       // changes a second; 0 doesn't hold back
	free   time.Time // when the changes so far are within the budget
}

// startPace starts with nothing used. The calling goroutine must be locked to its
// thread, in whose CPU time the kernel's work for a dump and for a batch is.
func startPace(budget int) pace {
	return pace{began: time.Now(), cpu: threadTime(), budget: budget}
}

// used is what has passed so far, in seconds.
func (p *pace) used() (wall, cpu float64) {
	return time.Since(p.began).Seconds(), (threadTime() - p.cpu).Seconds()
}

// spend takes changes off the budget. What is not used of it is not saved up.
func (p *pace) spend(changes int) {
	if p.budget == 0 || changes == 0 {
		return
	}
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(changes) * time.Second / time.Duration(p.budget))
}

// owes is how long to sleep, 0 if that is hardly worth it.
func (p *pace) owes() time.Duration {
	if p.budget == 0 {
		return 0
	}
	d := time.Until(p.free)
	if d < shortest {
		return 0
	}
	return min(d, longest)
}

// threadTime is the CPU time of the calling thread, in the kernel and outside.
func threadTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		// Linux has had this clock since 2.6.12.
		panic("entries: read CLOCK_THREAD_CPUTIME_ID: " + err.Error())
	}
	return time.Duration(now.Nano())
}

// pause sleeps, no longer than ctx lasts.
func pause(ctx context.Context, d time.Duration) error {
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("pause between two receives: %w", context.Cause(ctx))
	}
}
