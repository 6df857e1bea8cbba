package timeout

import (
	"errors"
	"io/fs"
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// A Table is the timeouts of a network namespace in seconds, 0 for one that its
// kernel has no key for.
type Table struct {
	Of [Classes]int
	// MaxRetrans is what a TCP entry has in any state, if that is less, whose
	// segments stay unanswered.
	MaxRetrans int
	// DCCP is that the kernel tracks that protocol, with keys for its states.
	DCCP bool
}

// Read reads the timeouts of the calling thread's namespace. All are 0 while
// conntrack is not loaded.
func Read() (t Table, err error) {
	for c := None + 1; c < Classes; c++ {
		if t.Of[c], err = optional(c.Key()); err != nil {
			return Table{}, err
		}
	}
	if t.MaxRetrans, err = optional(prefix + "tcp_timeout_max_retrans"); err != nil {
		return Table{}, err
	}
	open, err := optional(prefix + "dccp_timeout_open")
	t.DCCP = open != 0
	return t, err
}

// Others are the timeouts below that of a class of TCP which an entry of it may run
// on instead, as its last packet had it, in seconds and ascending: nothing in a
// dump tells. They are what an entry has that waits for an answer, and in
// ESTABLISHED that of CLOSE, after a reset which may not be meant
// (nf_conntrack_tcp_packet).
func (t *Table) Others(c Class) (list []int) {
	if !c.TCP() {
		return nil
	}
	candidates := []int{t.MaxRetrans, t.Of[Unacknowledged]}
	if c == TCPEstablished {
		candidates = append(candidates, t.Of[TCPClose])
	}
	for _, seconds := range candidates {
		if 0 < seconds && seconds < t.Of[c] {
			list = append(list, seconds)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// optional reads a key, 0 if the kernel has none of that name.
func optional(key string) (int, error) {
	value, err := sysctl.ReadInt(key)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return value, err
}
