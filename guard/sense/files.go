package sense

import (
	"errors"
	"fmt"
	"io"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/meminfo"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/stat"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// The keys of a reading.
const (
	keyCount   = "net.netfilter.nf_conntrack_count"
	keyMax     = "net.netfilter.nf_conntrack_max"
	keyBuckets = "net.netfilter.nf_conntrack_buckets"
)

// files is the kernel as a source.
type files struct {
	count, max, buckets *sysctl.File
	timeouts            [policy.Timeouts]*sysctl.File // nil for one that this kernel does not have
	counters            *stat.Reader
	memory              *meminfo.File
	opened              []io.Closer

	path *netns.Path // nil for our own namespace
	id   netns.ID    // of the namespace that was entered by it
}

// openFiles opens the files of a reading, or none of them.
func openFiles(namespace string) (source, error) {
	f := &files{}
	if namespace != "" {
		f.path = netns.NewPath(namespace)
	}
	if err := f.openAll(namespace); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (f *files) openAll(namespace string) (err error) {
	err = netns.Do(namespace, func() (err error) {
		if f.id, err = netns.Current(); err != nil {
			return fmt.Errorf("identify the network namespace: %w", err)
		}
		// The count goes first. Without conntrack it fails, and opening the counters
		// might load conntrack.
		if err := f.number(&f.count, keyCount); err != nil {
			return err
		}
		if err := f.openTimeouts(); err != nil {
			return err
		}
		return f.openCounters()
	})
	if err != nil {
		return err
	}
	if err := f.number(&f.max, keyMax); err != nil {
		return err
	}
	if err := f.number(&f.buckets, keyBuckets); err != nil {
		return err
	}
	if f.memory, err = meminfo.Open(); err != nil {
		return err
	}
	f.opened = append(f.opened, f.memory)
	return nil
}

// number opens a key into place.
func (f *files) number(place **sysctl.File, key string) error {
	file, err := sysctl.Open(key)
	if err != nil {
		return absent(err)
	}
	*place = file
	f.opened = append(f.opened, file)
	return nil
}

// openTimeouts opens those of the calling thread's namespace.
func (f *files) openTimeouts() error {
	for t := range policy.Timeouts {
		class, ok := timeout.ByName(t.String())
		if !ok {
			return fmt.Errorf("no sysctl belongs to %s", t)
		}
		if err := f.number(&f.timeouts[t], class.Key()); err != nil && !errors.Is(err, ErrAbsent) {
			return err
		}
	}
	return nil
}

// openCounters opens the counters of the calling thread's namespace.
func (f *files) openCounters() error {
	reader, err := stat.Open()
	if err != nil {
		return err
	}
	f.counters = reader
	f.opened = append(f.opened, reader)
	return nil
}

// read takes one reading. On an error into holds part of it.
func (f *files) read(into *policy.Snapshot) (err error) {
	// The count is first, and max right behind it: their quotient matters most.
	if into.Count, err = f.count.Int(); err != nil {
		return err
	}
	if into.Max, err = f.max.Int(); err != nil {
		return err
	}
	if into.Buckets, err = f.buckets.Int(); err != nil {
		return err
	}
	if into.MemAvailable, err = f.memory.Available(); err != nil {
		return err
	}
	for t, file := range f.timeouts {
		if file == nil {
			continue
		}
		if into.Timeouts[t], err = file.Int(); err != nil {
			return err
		}
	}
	// The counters are last: a reading that fails must not swallow increments.
	counted, err := f.counters.Read()
	if err != nil {
		return err
	}
	into.Losses = losses(&counted)
	return nil
}

// moved reports whether the path names another namespace than the one that is
// open. One that names none, or can't be followed, has not moved.
func (f *files) moved() bool {
	if f.path == nil {
		return false
	}
	id, err := f.path.ID()
	return err == nil && id.Another(f.id)
}

// losses picks what the policy asks for.
func losses(counted *stat.Counters) policy.Counters {
	return policy.Counters{
		Found:        counted[stat.Found],
		Invalid:      counted[stat.Invalid],
		InsertFailed: counted[stat.InsertFailed],
		Drop:         counted[stat.Drop],
		EarlyDrop:    counted[stat.EarlyDrop],
		ChainTooLong: counted[stat.ChainTooLong],
		ClashResolve: counted[stat.ClashResolve],
	}
}

// Close closes every file that is open.
func (f *files) Close() error {
	var failed []error
	for _, file := range f.opened {
		failed = append(failed, file.Close())
	}
	f.opened = nil
	if err := errors.Join(failed...); err != nil {
		return fmt.Errorf("close the conntrack figures: %w", err)
	}
	return nil
}
