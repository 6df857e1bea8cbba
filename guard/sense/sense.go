// Package sense takes readings of the kernel for the policy.
//
// A reading is a handful of files that stay open: nf_conntrack_count, the counters
// and the timeouts of the guarded namespace, nf_conntrack_max and
// nf_conntrack_buckets, which are one value for all namespaces and are read in
// our own, and MemAvailable. It allocates nothing and takes about 21 µs on two
// CPUs, 15 of them for the nineteen timeouts and two for MemAvailable, and one more
// where the namespace has a name, to see what that names now. That is cheap enough
// to have each figure fresh in each reading, so there is no cache whose age one would
// have to think about.
//
// The figures are read one after another and need not agree: entries come and
// go in between, and count exceeds max for as long as it takes when max has
// been lowered below it.
package sense

import (
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// ErrAbsent is what Read returns while conntrack is not loaded. Nothing is
// wrong then, there is only nothing to guard: wait and read again.
var ErrAbsent = errors.New("conntrack is not loaded")

// A Sensor reads one network namespace. It has one user at a time.
type Sensor struct {
	namespace string
	open      func(namespace string) (source, error)
	source    source // nil while not open
}

// source is the set of files that a reading comes from.
type source interface {
	moved() bool // what it reads has another under its name now
	read(*policy.Snapshot) error
	Close() error
}

// Open makes a sensor for the network namespace at path, the caller's own if
// path is empty. It is no error if conntrack is not loaded. The namespace is
// entered only to open its files; they keep it alive.
//
// The sensor follows the path: once it names another namespace, as after "ip
// netns" has deleted and added it, that one is read. While it names none the
// sensor keeps reading the one it has: its table drains, and what was done for
// it can be taken back.
func Open(namespace string) (*Sensor, error) {
	s := &Sensor{namespace: namespace, open: openFiles}
	if err := s.reopen(); err != nil && !errors.Is(err, ErrAbsent) {
		return nil, err
	}
	return s, nil
}

// Read fills in the kernel's figures and the wall clock, and leaves the other
// fields alone. After an error no field has changed.
//
// Losses are counted from the reading before. They are zero in the first one,
// and in the first one after the files had to be opened again: what was lost in
// between is not known. The files are opened again when reading them fails,
// as it does for good once conntrack has been unloaded, even when it is back.
func (s *Sensor) Read(into *policy.Snapshot) error {
	before := *into
	if err := s.read(into); err != nil {
		*into = before
		return err
	}
	into.Wall = time.Now().Round(0) // without the monotonic clock: nothing is measured with it
	return nil
}

// read reads the open files, or if they are not the right ones or that fails new
// ones, once.
func (s *Sensor) read(into *policy.Snapshot) error {
	if s.source != nil && !s.source.moved() && s.source.read(into) == nil {
		return nil
	}
	if err := s.reopen(); err != nil {
		return err
	}
	if err := s.source.read(into); err != nil {
		s.shut()
		return absent(err)
	}
	return nil
}

// reopen opens the files anew. If that fails, none are open.
func (s *Sensor) reopen() (err error) {
	s.shut()
	s.source, err = s.open(s.namespace)
	if err != nil {
		s.source = nil
		return fmt.Errorf("open the conntrack figures: %w", err)
	}
	return nil
}

// shut closes what is open. Closing what was only read can't lose anything.
func (s *Sensor) shut() {
	if s.source != nil {
		_ = s.source.Close()
		s.source = nil
	}
}

// Close closes the sensor.
func (s *Sensor) Close() error {
	if s.source == nil {
		return nil
	}
	err := s.source.Close()
	s.source = nil
	return err
}

// absent marks err as ErrAbsent if it says that a key does not exist.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return err
}
