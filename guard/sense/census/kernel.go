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

// A size is watched: that of the hash table that a walk began with.
type size struct {
	file *sysctl.File
	was  int
}

// watchSize begins with the size that the table has.
func watchSize() (s size, err error) {
	if s.file, err = sysctl.Open(keys + "buckets"); err != nil {
		return s, absent(err)
	}
	if s.was, err = s.file.Int(); err != nil {
		_ = s.file.Close() // only read
		return s, absent(err)
	}
	return s, nil
}

// check returns ErrResized if the hash table is not what it was.
func (s *size) check() error {
	now, err := s.file.Int()
	if err != nil {
		return absent(err)
	}
	if now != s.was {
		return fmt.Errorf("%w (%d, then %d)", ErrResized, s.was, now)
	}
	return nil
}

// Close ends the watch.
func (s *size) Close() error { return s.file.Close() }

// absent marks err as ErrAbsent if it says that a key does not exist.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return err
}
