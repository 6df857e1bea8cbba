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
