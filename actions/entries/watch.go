package entries

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// keys is what the names of the keys begin with.
const keys = "net.netfilter.nf_conntrack_"

var (
	// ErrResized is that the hash table was given another size during the walk. The dump
	// then misses entries, and nothing in it tells.
	ErrResized = errors.New("nf_conntrack_buckets changed during the walk, which loses entries")
	// ErrTaken is that a timeout is not what the plan says. An entry that has its time
	// from what it is then may look older than it is.
	ErrTaken = errors.New("somebody else changed the timeout")
	// ErrAbsent is what Walk returns while conntrack is not loaded: there is no table.
	ErrAbsent = errors.New("conntrack is not loaded")

	// errEnough ends a walk whose table holds few enough entries.
	errEnough = errors.New("the pressure is gone")
)

// A watch is what must not change under an attempt, and the count of entries.
type watch struct {
	files    []*sysctl.File // all of them
	count    *sysctl.File
	buckets  *sysctl.File
	size     int // of the hash table in buckets, at the start
	timeouts [timeout.Classes]*sysctl.File
	want     [timeout.Classes]int // seconds
}

// open opens what is watched for some rules, and looks at it for the first time.
func (w *watch) open(rules *[timeout.Classes]Rule) (err error) {
	*w = watch{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.buckets, err = w.file(keys + "buckets"); err != nil {
		return err
	}
	if w.count, err = w.file(keys + "count"); err != nil {
		return err
	}
	for c := range timeout.Classes {
		if rules[c].New == 0 {
			continue
		}
		if w.timeouts[c], err = w.file(c.Key()); err != nil {
			return err
		}
		w.want[c] = rules[c].New
	}
	if w.size, err = w.buckets.Int(); err != nil {
		return absent(err)
	}
	return w.ours()
}

func (w *watch) file(key string) (*sysctl.File, error) {
	f, err := sysctl.Open(key)
	if err != nil {
		return nil, absent(err)
	}
	w.files = append(w.files, f)
	return f, nil
}

// close closes what was only read.
func (w *watch) close() {
	for _, f := range w.files {
		_ = f.Close()
	}
}

// resized returns ErrResized if the table is not the one of the start.
func (w *watch) resized() error {
	now, err := w.buckets.Int()
	if err != nil {
		return absent(err)
	}
	if now != w.size {
		return fmt.Errorf("%w (%d, then %d)", ErrResized, w.size, now)
	}
	return nil
}

// ours returns ErrTaken if a timeout is not what it should be.
func (w *watch) ours() error {
	for c := range timeout.Classes {
		if w.timeouts[c] == nil {
			continue
		}
		if err := w.is(c); err != nil {
			return err
		}
	}
	return nil
}

// is returns ErrTaken if the timeout of a class is not what it should be.
func (w *watch) is(c timeout.Class) error {
	now, err := w.timeouts[c].Int()
	if err != nil {
		return absent(err)
	}
	if now != w.want[c] {
		return fmt.Errorf("%w: %s is %d, not %d", ErrTaken, c.Key(), now, w.want[c])
	}
	return nil
}

// enough returns errEnough if the table holds as few entries, or fewer.
func (w *watch) enough(until int) error {
	if until == 0 {
		return nil
	}
	now, err := w.count.Int()
	if err == nil && now <= until {
		return fmt.Errorf("%w: %d entries are left", errEnough, now)
	}
	return absent(err)
}

// absent marks err as ErrAbsent if it says that a key does not exist.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return err
}
