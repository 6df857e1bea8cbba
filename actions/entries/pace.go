package entries

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A pace holds a walk back: by the CPU time of its thread, in which the kernel's work
// for a dump and for a batch is, and by the entries that it changes.
type pace struct {
	began  time.Time
	cpu    time.Duration
	beside time.Duration // CPU time of a thread beside
	share  float64       // of a CPU; 0 and 1 don't hold back
	budget int           // changes a second; 0 doesn't hold back
	free   time.Time     // when the changes so far are within the budget
}

// startPace starts with nothing used. The calling goroutine must be locked to its
// thread.
func startPace(p *Plan) pace {
	return pace{began: time.Now(), cpu: threadTime(), share: p.CPU, budget: p.Budget}
}

// used is what has passed so far, in seconds.
func (p *pace) used() (wall, cpu float64) {
	return time.Since(p.began).Seconds(), (threadTime() - p.cpu + p.beside).Seconds()
}

// spend takes changes off the budget. What is not used of it is not saved up.
func (p *pace) spend(changes int) {
	if p.budget <= 0 || changes == 0 {
		return
	}
	if now := time.Now(); p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(changes) * time.Second / time.Duration(p.budget))
}

// owes is how long to sleep.
func (p *pace) owes() (d time.Duration) {
	if p.share > 0 && p.share < 1 {
		wall, cpu := p.used()
		d = time.Duration((cpu/p.share - wall) * float64(time.Second))
	}
	if p.budget > 0 {
		d = max(d, time.Until(p.free))
	}
	return d
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

// shortest is the shortest sleep: shorter ones cost more than they give back.
const shortest = time.Millisecond

// pause sleeps unless it is hardly worth it, and no longer than ctx lasts.
func pause(ctx context.Context, d time.Duration) error {
	if d < shortest {
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
