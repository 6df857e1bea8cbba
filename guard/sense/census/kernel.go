package census

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// ErrAbsent is what Take returns while conntrack is not loaded: there is no table.
var ErrAbsent = errors.New("conntrack is not loaded")

// keys is what the names of the keys begin with.
const keys = "net.netfilter.nf_conntrack_"

// table is what the kernel says of the calling thread's table.
type table struct{ count, max, buckets int }

func readTable() (t table, err error) {
	if t.buckets, err = sysctl.ReadInt(keys + "buckets"); err != nil {
		return t, absent(err)
	}
	if t.max, err = sysctl.ReadInt(keys + "max"); err != nil {
		return t, absent(err)
	}
	t.count, err = sysctl.ReadInt(keys + "count")
	return t, absent(err)
}

// absent marks err as ErrAbsent if it says that a key does not exist.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return err
}

// readTimeouts reads the timeouts of the calling thread's namespace. Keys that
// this kernel does not have are 0.
func readTimeouts() (t timeouts, err error) {
	for c := noClass + 1; c < classes; c++ {
		if t.of[c], err = readOptional(classNames[c]); err != nil {
			return t, err
		}
	}
	if t.maxRetrans, err = readOptional(maxRetrans); err != nil {
		return t, err
	}
	associated, err := readOptional("sctp_timeout_established")
	if err != nil {
		return t, err
	}
	open, err := readOptional("dccp_timeout_open")
	t.sctp, t.dccp = associated != 0, open != 0
	return t, err
}

// readOptional reads a key, 0 if the kernel has none of that name.
func readOptional(name string) (int, error) {
	value, err := sysctl.ReadInt(keys + name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return value, err
}
