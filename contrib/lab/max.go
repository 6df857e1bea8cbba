package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// MaxLock is locked (flock, exclusive) by whoever changes nf_conntrack_max or
// nf_conntrack_buckets of the machine for a test or a demonstration.
const MaxLock = "/run/lock/conntrack-guardian-max.lock"

const (
	keyMax     = "net.netfilter.nf_conntrack_max"
	keyBuckets = "net.netfilter.nf_conntrack_buckets"
	keyCount   = "net.netfilter.nf_conntrack_count"
)

// A MaxHold owns the machine's nf_conntrack_max and nf_conntrack_buckets until
// it is released.
type MaxHold struct {
	Before Sizes // what Release puts back

	lock    *os.File
	claim   *claim
	release sync.Once
	after   Release
	err     error
}

// A Release says what was found and what was left when a hold ended.
type Release struct {
	Found Sizes `json:"found"`
	Now   Sizes `json:"now"`
}

// Lower is HoldSizes of a max alone.
func Lower(ctx context.Context, max int) (*MaxHold, error) {
	if max < 1 {
		return nil, fmt.Errorf("lower nf_conntrack_max to %d: it would mean no limit", max)
	}
	return HoldSizes(ctx, Sizes{Max: max})
}

// HoldSizes waits for the lock, writes down the machine's values and sets those
// that are not 0, up or down. If a lab died while it held the values, those from
// before that lab are put back first. The caller must Release.
//
// The kernel makes buckets a multiple of 512, and a resize stalls all packets of
// the machine for about half a second per million entries.
func HoldSizes(ctx context.Context, want Sizes) (*MaxHold, error) {
	lock, err := lockMax(ctx)
	if err != nil {
		return nil, err
	}
	h := &MaxHold{lock: lock}
	if err := h.take(want); err != nil {
		_, undo := h.Release()
		return nil, errors.Join(err, undo)
	}
	return h, nil
}

// take records the values, then changes them. The claim is kept only from the
// point where it is on disk; until then there is nothing to put back.
func (h *MaxHold) take(want Sizes) error {
	if err := settleSizes(); err != nil {
		return err
	}
	before, err := ReadSizes()
	if err != nil {
		return err
	}
	c, err := newClaim()
	if err != nil {
		return err
	}
	c.Before = &before
	if err := c.write(); err != nil {
		return err
	}
	h.claim, h.Before = c, before
	// From here a crash is harmless: the claim says what to put back.
	return want.write(before)
}

// write sets what is not 0 and differs from what there is: a resize of the buckets
// stalls all packets while the table is rehashed.
func (s Sizes) write(now Sizes) (err error) {
	if s.Max != 0 && s.Max != now.Max {
		err = sysctl.Write(keyMax, strconv.Itoa(s.Max))
	}
	if s.Buckets != 0 && s.Buckets != now.Buckets {
		err = errors.Join(err, sysctl.Write(keyBuckets, strconv.Itoa(s.Buckets)))
	}
	return err
}

// Set changes nf_conntrack_max again while it is held.
func (h *MaxHold) Set(max int) error { return sysctl.Write(keyMax, strconv.Itoa(max)) }

// Release puts the machine's values back, whatever they are now, and says what
// it found. Calling it again does nothing and returns the same.
func (h *MaxHold) Release() (Release, error) {
	h.release.Do(func() {
		if h.claim != nil {
			h.after, h.err = putBack(h.Before)
		}
		if h.claim != nil && h.err == nil {
			h.err = h.claim.drop()
		}
		h.err = errors.Join(h.err, h.lock.Close())
	})
	return h.after, h.err
}

// putBack writes the sizes and reads them back.
func putBack(want Sizes) (r Release, err error) {
	if r.Found, err = ReadSizes(); err != nil {
		return r, err
	}
	if err := want.write(r.Found); err != nil {
		return r, err
	}
	if r.Now, err = ReadSizes(); err == nil && r.Now != want {
		err = fmt.Errorf("put back %+v: the kernel has %+v", want, r.Now)
	}
	return r, err
}

// ReadSizes reads the machine's values.
func ReadSizes() (s Sizes, err error) {
	if s.Max, err = sysctl.ReadInt(keyMax); err != nil {
		return s, err
	}
	s.Buckets, err = sysctl.ReadInt(keyBuckets)
	return s, err
}

// ShareMax keeps others from changing the machine's max and buckets until release, without
// doing so itself; many may share. Unlike HoldSizes it waits in the kernel's queue, for
// however long it takes, since those who hold them come one after another.
func ShareMax() (release func() error, err error) {
	f, err := openLock()
	if err != nil {
		return nil, err
	}
	for err = unix.EINTR; errors.Is(err, unix.EINTR); {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("share %s: %w", MaxLock, err), f.Close())
	}
	return f.Close, nil
}

func openLock() (*os.File, error) {
	f, err := os.OpenFile(MaxLock, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	return f, nil
}

// lockMax waits for MaxLock. The file is never removed: removing a lock file
// while somebody waits for it would give two owners.
func lockMax(ctx context.Context) (*os.File, error) {
	f, err := openLock()
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", MaxLock, err), f.Close())
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return nil, errors.Join(fmt.Errorf("wait for %s: %w", MaxLock, ctx.Err()), f.Close())
		}
	}
}

// sleep reports whether it slept to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
