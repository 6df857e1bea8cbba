package census

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
)

// A Search says where to look for entries.
type Search struct {
	// Namespace and CPU are those of Options.
	Namespace string
	CPU       float64
	// Queries say which entries to look at. Each is a walk of its own, and what more
	// than one asks for is seen more than once.
	Queries []ctnetlink.Query
}

// Find calls each for every entry that it finds, with an Entry that is filled anew once
// each returns, until each returns false. It allocates nothing for an entry. When the
// hash table is resized meanwhile that walk begins anew, three times at most, and Find
// gives up with ErrResized; what was found was there all the same.
func Find(ctx context.Context, s Search, each func(*ctnetlink.Entry) bool) error {
	if err := checkCPU(s.CPU); err != nil {
		return fmt.Errorf("look for entries: %w", err)
	}
	err := netns.Do(s.Namespace, func() error {
		// What this thread uses is what the search uses.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		f := finding{Search: s, each: each, meter: start()}
		return f.all(ctx)
	})
	if err != nil {
		return fmt.Errorf("look for entries: %w", err)
	}
	return nil
}

// A finding is one search of the calling thread's namespace.
type finding struct {
	Search
	each  func(*ctnetlink.Entry) bool
	meter meter
	ended bool // each wants no more
}

func (f *finding) all(ctx context.Context) error {
	for _, q := range f.Queries {
		if f.ended {
			break
		}
		err := f.walk(ctx, q)
		for again := 1; again < attempts && errors.Is(err, ErrResized); again++ {
			err = f.walk(ctx, q)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// walk looks through the table once. Where the kernel leaves most of it out there is
// little to receive, and nothing to pace by but the next walk.
func (f *finding) walk(ctx context.Context, q ctnetlink.Query) error {
	if err := pause(ctx, f.meter.owes(f.CPU)); err != nil {
		return err
	}
	size, err := watchSize()
	if err != nil {
		return err
	}
	defer size.Close()
	conn, err := ctnetlink.Open()
	if err != nil {
		return err
	}
	defer conn.Close() // only read
	receives := 0
	_, err = conn.Walk(ctx, q, func(e *ctnetlink.Entry) bool {
		f.ended = !f.each(e)
		return !f.ended
	}, func(int) error {
		if receives++; receives%checkEvery == 0 {
			if err := size.check(); err != nil {
				return err
			}
		}
		return pause(ctx, f.meter.owes(f.CPU))
	})
	if resized := size.check(); resized != nil && !f.ended {
		return resized
	}
	return err
}
