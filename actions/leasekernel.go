package actions

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// KernelLeases are the leases of the running kernel. Close them.
func KernelLeases() *Leases {
	return &Leases{
		Open: func(namespace string) (s LeaseSocket, err error) {
			err = netns.Do(namespace, func() error {
				opened, err := nft.OpenLeases()
				if err == nil {
					s = opened
				}
				return err
			})
			return s, err
		},
		Left: func(namespace string) (all []nft.Held, err error) {
			err = netns.Do(namespace, func() error {
				all, err = nft.ReadLeases()
				return err
			})
			return all, err
		},
		EndLeft: func(namespace string, of ...nft.Lease) error {
			return netns.Do(namespace, func() error { return nft.EndLeft(of...) })
		},
		Follow: follow,
		Gone: func(namespace string) bool {
			_, err := os.Stat(namespace)
			return errors.Is(err, fs.ErrNotExist)
		},
		Now: sinceBoot,
	}
}

// follow is for Leases.Follow. A name that leads nowhere for a moment, before a
// namespace is mounted on it, is no other namespace.
func follow(namespace string) (func() error, error) {
	if namespace == "" {
		return func() error { return nil }, nil
	}
	path := netns.NewPath(namespace)
	was, err := path.ID()
	if err != nil {
		return nil, fmt.Errorf("look at network namespace %s: %w", namespace, err)
	}
	return func() error {
		now, err := path.ID()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%w: %s", ErrGone, namespace)
		case err != nil:
			return fmt.Errorf("look at network namespace %s: %w", namespace, err)
		case now.Another(was):
			return fmt.Errorf("%w: %s is the name of another", ErrGone, namespace)
		}
		return nil
	}, nil
}

// sinceBoot reads CLOCK_BOOTTIME, which can't fail.
func sinceBoot() time.Duration {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Duration(ts.Nano())
}
