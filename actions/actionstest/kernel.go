// Package actionstest has a kernel for tests: it keeps values and refuses what
// the real one refuses.
package actionstest

import (
	"maps"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// The names that New starts with, as the real kernel has them.
const (
	maxName     = "net.netfilter.nf_conntrack_max"
	bucketsName = "net.netfilter.nf_conntrack_buckets"
)

// A Write is one write that was taken.
type Write struct{ Name, Old, New string }

// An Around stands between a writer and the kernel: do has the effect.
type Around func(name, value string, do func() error) error

// A Kernel keeps sysctl values. Its Read, Write and Entries fit the fields of
// actions.Sysctl, its ReadIn, WriteIn and Gone those of actions.Timeouts. It may be
// used by several goroutines.
type Kernel struct {
	mu       sync.Mutex
	values   map[string]string
	writes   []Write
	entries  int
	readOnly bool
	deaf     bool
	around   Around
}

// New returns a kernel with a table of that size and as many buckets, empty.
func New(size int) *Kernel {
	text := strconv.Itoa(size)
	return &Kernel{values: map[string]string{maxName: text, bucketsName: text}}
}

// Set puts a value there behind the writers' backs, as a rival does.
func (k *Kernel) Set(name, value string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.values[name] = value
}

// Remove takes a name away, as unloading the module does.
func (k *Kernel) Remove(name string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.values, name)
}

// Value is the present value, empty when there is no such name.
func (k *Kernel) Value(name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.values[name]
}

// Values is a copy of all values.
func (k *Kernel) Values() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return maps.Clone(k.values)
}

// Writes lists the writes that were taken, also those of an unchanged value.
func (k *Kernel) Writes() []Write {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]Write(nil), k.writes...)
}

// SetEntries sets how many entries the table holds.
func (k *Kernel) SetEntries(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.entries = n
}

// SetReadOnly makes every write fail with EACCES, as in another than the
// initial network namespace.
func (k *Kernel) SetReadOnly(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.readOnly = on
}

// SetDeaf makes every write succeed without being taken.
func (k *Kernel) SetDeaf(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.deaf = on
}

// SetAround puts a function around every write; nil takes it away.
func (k *Kernel) SetAround(a Around) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.around = a
}

// Entries is the count of a namespace's table; all share one here.
func (k *Kernel) Entries(string) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.entries, nil
}

// Read returns a value, ENOENT for an unknown name.
func (k *Kernel) Read(name string) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	v, ok := k.values[name]
	if !ok {
		return "", syscall.ENOENT
	}
	return v, nil
}

// Write sets a value or refuses it: EACCES when read-only, ENOENT for an
// unknown name, EINVAL for what is no number the kernel takes.
func (k *Kernel) Write(name, value string) error {
	k.mu.Lock()
	around := k.around
	k.mu.Unlock()
	if around != nil {
		return around(name, value, func() error { return k.take(name, value) })
	}
	return k.take(name, value)
}

// In is the name of a value of a namespace, which is there as long as it has any;
// our own is empty.
func In(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return name + "@" + namespace
}

// ReadIn is Read in a namespace.
func (k *Kernel) ReadIn(namespace, name string) (string, error) { return k.Read(In(namespace, name)) }

// WriteIn is Write in a namespace.
func (k *Kernel) WriteIn(namespace, name, value string) error {
	return k.Write(In(namespace, name), value)
}

// Gone reports whether there is no such namespace.
func (k *Kernel) Gone(namespace string) bool {
	for name := range k.Values() {
		if strings.HasSuffix(name, In(namespace, "")) {
			return false
		}
	}
	return true
}

// RemoveNamespace takes a namespace away.
func (k *Kernel) RemoveNamespace(namespace string) {
	for name := range k.Values() {
		if strings.HasSuffix(name, In(namespace, "")) {
			k.Remove(name)
		}
	}
}

func (k *Kernel) take(name, value string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	old, ok := k.values[name]
	if k.readOnly {
		return syscall.EACCES
	}
	if !ok {
		return syscall.ENOENT
	}
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 32)
	if err != nil || n < 0 || n == 0 && name == bucketsName {
		return syscall.EINVAL
	}
	if k.deaf {
		return nil
	}
	if name == bucketsName {
		n = (n + 511) / 512 * 512 // nf_ct_alloc_hashtable fills whole pages
	}
	k.values[name] = strconv.FormatInt(n, 10)
	k.writes = append(k.writes, Write{Name: name, Old: old, New: k.values[name]})
	return nil
}
