package actionstest

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// A LeaseWrite is a lease that is put in force with a text, or ended with none.
type LeaseWrite struct{ Key, Text string }

// An AroundLeases stands between a writer and the kernel: do has the effect of all
// writes, which are one step.
type AroundLeases func(writes []LeaseWrite, do func() error) error

// A LeaseKernel keeps leases until their time has run out on its clock, and refuses
// what the real one and nft.Leases refuse. Its sockets and its methods fit the fields
// of actions.Leases. It may be used by several goroutines.
type LeaseKernel struct {
	mu       sync.Mutex
	now      time.Duration
	plain    bool
	readOnly bool
	next     int            // number of the next namespace
	names    map[string]int // of namespaces
	spaces   map[int]map[string]*leaseTable
	around   AroundLeases
	holds    int
}

// A leaseTable is one of the tables of a namespace.
type leaseTable struct {
	socket   *LeaseSocket // that made it, nil once that is closed
	owned    bool
	terms    nft.Terms
	elements map[nft.Lease]element
}

type element struct {
	text    string
	until   time.Duration
	timeout time.Duration
}

// NewLeases returns a kernel without leases, in which our own namespace is. Its clock
// begins at an hour.
func NewLeases() *LeaseKernel {
	k := &LeaseKernel{now: time.Hour, names: map[string]int{}, spaces: map[int]map[string]*leaseTable{}}
	k.AddNamespace("")
	return k
}

// SetPlain makes tables from now on ones that nobody owns, as an old kernel does.
func (k *LeaseKernel) SetPlain(on bool) { k.locked(func() { k.plain = on }) }

// SetReadOnly makes every write fail with EPERM.
func (k *LeaseKernel) SetReadOnly(on bool) { k.locked(func() { k.readOnly = on }) }

// SetAround puts a function around every write; nil takes it away.
func (k *LeaseKernel) SetAround(a AroundLeases) { k.locked(func() { k.around = a }) }

// AddNamespace gives a name to a new namespace, also where another has it.
func (k *LeaseKernel) AddNamespace(name string) {
	k.locked(func() {
		k.next++
		k.names[name] = k.next
		k.spaces[k.next] = map[string]*leaseTable{}
	})
}

// RemoveNamespace takes the name of a namespace away.
func (k *LeaseKernel) RemoveNamespace(name string) { k.locked(func() { delete(k.names, name) }) }

// Space is the number of the namespace that has a name.
func (k *LeaseKernel) Space(name string) (number int, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	number, ok = k.names[name]
	return number, ok
}

// Now is the clock.
func (k *LeaseKernel) Now() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.now
}

// Advance lets time pass.
func (k *LeaseKernel) Advance(d time.Duration) { k.locked(func() { k.now += d }) }

// Holds is how many calls have put leases in force.
func (k *LeaseKernel) Holds() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.holds
}

// Kill closes every socket, as the death of its process does.
func (k *LeaseKernel) Kill() {
	k.locked(func() {
		for _, tables := range k.spaces {
			for _, t := range tables {
				if t.socket != nil {
					t.socket.close()
				}
			}
		}
	})
}

// Flush deletes the tables of a namespace, as another process can where nobody owns
// them.
func (k *LeaseKernel) Flush(namespace string) {
	k.locked(func() {
		maps.DeleteFunc(k.space(namespace), func(_ string, t *leaseTable) bool { return !t.owned })
	})
}

// Set puts a text beside a lease behind the writers' backs, for a minute; with no
// text it takes the lease away.
func (k *LeaseKernel) Set(namespace string, of nft.Lease, text string) {
	k.locked(func() {
		tables := k.space(namespace)
		t := tables[tableOf(of)]
		if t == nil {
			t = &leaseTable{elements: map[nft.Lease]element{}}
			tables[tableOf(of)] = t
		}
		t.elements[of] = element{text, k.now + time.Minute, time.Minute}
		if text == "" {
			delete(t.elements, of)
		}
	})
}

// Value is the text beside the lease of a key, empty when it is not in force.
func (k *LeaseKernel) Value(key string) string { return k.Values()[key] }

// Values are the texts of all leases in namespaces that have a name, by key.
func (k *LeaseKernel) Values() map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[string]string{}
	for name := range k.names {
		for _, h := range k.read(k.space(name)) {
			all[keyOf(name, h.Lease)] = h.Text
		}
	}
	return all
}

// Left reads what is in force in a namespace.
func (k *LeaseKernel) Left(namespace string) ([]nft.Held, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	tables := k.space(namespace)
	if tables == nil {
		return nil, &os.PathError{Op: "open", Path: namespace, Err: syscall.ENOENT}
	}
	return k.read(tables), nil
}

// EndLeft ends leases in tables that no socket owns.
func (k *LeaseKernel) EndLeft(namespace string, of ...nft.Lease) error {
	return k.write(endings(namespace, of), func() error {
		tables := k.space(namespace)
		if tables == nil {
			return &os.PathError{Op: "open", Path: namespace, Err: syscall.ENOENT}
		}
		for _, lease := range of {
			if t := tables[tableOf(lease)]; t != nil && t.owned {
				return nft.ErrOwned
			}
		}
		end(tables, of)
		return nil
	})
}

// locked runs f alone.
func (k *LeaseKernel) locked(f func()) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f()
}

// write has one effect, with what stands around it.
func (k *LeaseKernel) write(writes []LeaseWrite, do func() error) error {
	alone := func() (err error) {
		k.locked(func() {
			if err = syscall.EPERM; !k.readOnly {
				err = do()
			}
		})
		return err
	}
	k.mu.Lock()
	around := k.around
	k.mu.Unlock()
	if around == nil {
		return alone()
	}
	return around(writes, alone)
}

// space are the tables of a namespace, nil if there is none of the name.
func (k *LeaseKernel) space(name string) map[string]*leaseTable { return k.spaces[k.names[name]] }

// read returns the leases whose time has not run out, by key.
func (k *LeaseKernel) read(tables map[string]*leaseTable) (all []nft.Held) {
	for _, t := range tables {
		for lease, e := range t.elements {
			if e.until > k.now {
				all = append(all, nft.Held{Lease: lease, Text: e.text, Left: e.until - k.now, Timeout: e.timeout})
			}
		}
	}
	slices.SortFunc(all, func(a, b nft.Held) int { return cmp.Compare(keyOf("", a.Lease), keyOf("", b.Lease)) })
	return all
}

// end removes leases, and tables with their last one.
func end(tables map[string]*leaseTable, of []nft.Lease) {
	for _, lease := range of {
		if t := tables[tableOf(lease)]; t != nil {
			if delete(t.elements, lease); len(t.elements) == 0 {
				delete(tables, tableOf(lease))
			}
		}
	}
}

func endings(namespace string, of []nft.Lease) (writes []LeaseWrite) {
	for _, lease := range of {
		writes = append(writes, LeaseWrite{keyOf(namespace, lease), "none"})
	}
	return writes
}

// keyOf is the key of a lease in the ledger.
func keyOf(namespace string, of nft.Lease) string {
	about := of.Flow
	if of.Kind != nft.Bypass {
		about = of.Source.String()
	}
	if namespace != "" {
		about += "@" + namespace
	}
	return of.Kind.String() + ":" + about
}

// tableOf is the table that a lease is in.
func tableOf(of nft.Lease) string {
	switch {
	case of.Kind != nft.Limit:
		return "inet conntrack_guardian_raw"
	case of.Source.Addr().Is4():
		return "ip conntrack_guardian_limits"
	}
	return "ip6 conntrack_guardian_limits"
}

// errClosed is what a socket answers that is closed.
var errClosed = errors.New("the socket is closed")
