package census

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A meter measures time and the CPU time of the calling thread since it was
// started. A dump's work in the kernel is done in the receive, so it is in there.
type meter struct {
	began time.Time
	cpu   time.Duration
}

// start starts a meter. Its goroutine must be locked to its thread.
func start() meter { return meter{time.Now(), threadTime()} }

// used is what has passed so far, in seconds.
func (m meter) used() (wall, cpu float64) {
	return time.Since(m.began).Seconds(), (threadTime() - m.cpu).Seconds()
}

// owes is how long to sleep until no more than share of a CPU was used since the
// start. A share of 0 or 1 never sleeps.
func (m meter) owes(share float64) time.Duration {
	if share <= 0 || share >= 1 {
		return 0
	}
	wall, cpu := m.used()
	return time.Duration((cpu/share - wall) * float64(time.Second))
}

func checkCPU(share float64) error {
	if !(share >= 0 && share <= 1) {
		return fmt.Errorf("%v of a CPU is not within 0 and 1", share)
	}
	return nil
}

// threadTime is the CPU time of the calling thread, in the kernel and outside.
func threadTime() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &now); err != nil {
		// Linux has had this clock since 2.6.12.
		panic("census: read CLOCK_THREAD_CPUTIME_ID: " + err.Error())
	}
	return time.Duration(now.Nano())
}

// least is the shortest sleep: shorter ones cost more than they give back.
const least = time.Millisecond

// pause sleeps unless it is hardly worth it, and no longer than ctx lasts.
func pause(ctx context.Context, d time.Duration) error {
	if d < least {
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
