package actions

import (
	"fmt"
	"math"
	"strconv"
)

// The names of the sysctls that a change may edit; no other is ever written.
const (
	MaxName     = "net.netfilter.nf_conntrack_max"
	BucketsName = "net.netfilter.nf_conntrack_buckets"
)

// The keys of a ledger edit on them.
const (
	MaxKey     = "sysctl:" + MaxName
	BucketsKey = "sysctl:" + BucketsName
)

// margin is the room kept above the count when max is lowered, as a share of the
// count.
const margin = 0.25

// maxSysctl is the largest int that proc_dointvec takes.
const maxSysctl = math.MaxInt32

// Sysctl is the target of kind "sysctl": the size of the conntrack table and
// of its hash. Its fields are the way to the kernel.
type Sysctl struct {
	ReadKey  func(name string) (string, error)
	WriteKey func(name, value string) error
	// Count returns the entries in the table of a namespace, empty for our own.
	Count func(namespace string) (int, error)
}

// Read implements Target.
func (s *Sysctl) Read(name string) (string, error) {
	if err := known(name); err != nil {
		return "", err
	}
	return s.ReadKey(name)
}

// Write implements Target.
func (s *Sysctl) Write(name, value string) error {
	if err := known(name); err != nil {
		return err
	}
	if _, err := parse(name, value); err != nil {
		return err
	}
	return s.WriteKey(name, value)
}

// Allow implements Target. Raising is always safe; lowering is where the table
// fits what it is lowered to.
func (s *Sysctl) Allow(namespace, name, from, to string) error {
	if err := known(name); err != nil {
		return err
	}
	newer, err := parse(name, to)
	if err != nil {
		return err
	}
	older, err := parse(name, from)
	if err != nil || newer >= older {
		return err
	}
	count, err := s.Count(namespace)
	if err != nil {
		err = fmt.Errorf("count the entries: %w", err)
	} else {
		err = fits(name, count, newer)
	}
	if err != nil {
		return fmt.Errorf("lower %s to %d: %w: %w", name, newer, ErrUnsafe, err)
	}
	return nil
}

// fits says why a table with that many entries does not fit a smaller size.
// Under max and its margin nf_conntrack_alloc would evict half-open entries or
// refuse new connections at once. Under a bucket an entry the mean chain is
// above two, since each entry stands in two chains: more than the kernel's own
// sizing aims at.
func fits(name string, count, size int) error {
	if name == BucketsName {
		if count > size {
			return fmt.Errorf("the table holds %d entries, a mean chain of %.1f in so few buckets, every packet would be delayed; wait, or use --force",
				count, 2*float64(count)/float64(size))
		}
		return nil
	}
	if need := float64(count) * (1 + margin); need > float64(size) {
		return fmt.Errorf("the table holds %d entries and needs room for %.0f, new connections would be refused; wait, or use --force",
			count, math.Ceil(need))
	}
	return nil
}

func known(name string) error {
	if name != MaxName && name != BucketsName {
		return fmt.Errorf("sysctl %s is none of ours and is not touched", name)
	}
	return nil
}

// parse takes a number only in the form in which the kernel prints it, since
// values are compared as text. 0 is refused: it means no limit for max and
// nothing for buckets.
func parse(name, value string) (int, error) {
	n, err := strconv.Atoi(value)
	if err != nil || n < 1 || n > maxSysctl || strconv.Itoa(n) != value {
		return 0, fmt.Errorf("%s: %q is not a plain number from 1 to %d", name, value, maxSysctl)
	}
	return n, nil
}
