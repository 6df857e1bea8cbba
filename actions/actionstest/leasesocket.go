package actionstest

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// A LeaseSocket holds leases in the namespace that it was opened in, whatever becomes
// of its name. What it has made ends with it.
type LeaseSocket struct {
	kernel *LeaseKernel
	name   string // of the namespace, for what stands around writes
	tables map[string]*leaseTable
	made   map[string]*leaseTable
	closed bool
}

// Open opens a socket in a namespace.
func (k *LeaseKernel) Open(namespace string) (*LeaseSocket, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	tables := k.space(namespace)
	if tables == nil {
		return nil, &os.PathError{Op: "open", Path: namespace, Err: syscall.ENOENT}
	}
	return &LeaseSocket{kernel: k, name: namespace, tables: tables, made: map[string]*leaseTable{}}, nil
}

// Hold puts leases in force or prolongs them. A table that was taken away is made
// anew, with what it held.
func (s *LeaseSocket) Hold(terms nft.Terms, lease time.Duration, of ...nft.Request) (remade []string, err error) {
	var writes []LeaseWrite
	for _, r := range of {
		writes = append(writes, LeaseWrite{keyOf(s.name, r.Lease), r.Text})
	}
	err = s.kernel.write(writes, func() error {
		if err := s.refuse(terms, lease, of); err != nil {
			return err
		}
		s.kernel.holds++
		for _, r := range of {
			t, again := s.table(r.Lease, terms)
			if again {
				remade = append(remade, tableOf(r.Lease))
			}
			t.elements[r.Lease] = element{r.Text, s.kernel.now + lease, lease}
		}
		return nil
	})
	return remade, err
}

// refuse says why leases can't be held.
func (s *LeaseSocket) refuse(terms nft.Terms, lease time.Duration, of []nft.Request) error {
	if s.closed {
		return errClosed
	}
	if lease < time.Second {
		return fmt.Errorf("a lease of %s", lease)
	}
	for _, r := range of {
		if err := malformed(terms, r); err != nil {
			return err
		}
		t := s.tables[tableOf(r.Lease)]
		if t != nil && t.owned && t.socket != s {
			return nft.ErrOwned
		}
		if t != nil && t.socket == s && !alike(r.Lease, t.terms, terms) && s.others(t, of) {
			return nft.ErrTerms
		}
	}
	return nil
}

// malformed says what is wrong with a request.
func malformed(terms nft.Terms, r nft.Request) error {
	bits := terms.IPv6Bits
	if r.Source.Addr().Is4() {
		bits = terms.IPv4Bits
	}
	known := slices.ContainsFunc(terms.Flows, func(f nft.Flow) bool { return f.Name == r.Flow })
	printable := !strings.ContainsFunc(r.Text, func(c rune) bool { return c < ' ' || c > '~' })
	switch {
	case r.Text == "" || len(r.Text) > 80 || !printable:
	case r.Kind == nft.Limit && (terms.Rate == 0 || terms.Burst == 0):
	case r.Kind == nft.Bypass && known:
		return nil
	case (r.Kind == nft.Limit || r.Kind == nft.Drop) && r.Source.IsValid() && r.Source.Masked() == r.Source && r.Source.Bits() == bits:
		return nil
	}
	return fmt.Errorf("lease %s with the text %q", r.Lease, r.Text)
}

// others reports whether a table holds what is not asked for.
func (s *LeaseSocket) others(t *leaseTable, of []nft.Request) bool {
	for held, e := range t.elements {
		if e.until > s.kernel.now && !slices.ContainsFunc(of, func(r nft.Request) bool { return r.Lease == held }) {
			return true
		}
	}
	return false
}

// table is the table to put leases in. One that a dead guardian left is replaced.
func (s *LeaseSocket) table(lease nft.Lease, terms nft.Terms) (t *leaseTable, again bool) {
	name := tableOf(lease)
	was := s.made[name]
	if t = s.tables[name]; t != nil && t == was && alike(lease, t.terms, terms) {
		return t, false
	}
	again = was != nil && t != was
	t = &leaseTable{socket: s, owned: !s.kernel.plain, terms: terms, elements: map[nft.Lease]element{}}
	if again {
		t.elements = was.elements
	}
	s.tables[name], s.made[name] = t, t
	return t, again
}

// alike is whether the table of a lease would be the same by other terms.
func alike(lease nft.Lease, a, b nft.Terms) bool {
	switch {
	case lease.Kind != nft.Limit:
		return a.IPv4Bits == b.IPv4Bits && a.IPv6Bits == b.IPv6Bits && reflect.DeepEqual(a.Flows, b.Flows)
	case lease.Source.Addr().Is4():
		return a.Rate == b.Rate && a.Burst == b.Burst && a.IPv4Bits == b.IPv4Bits
	}
	return a.Rate == b.Rate && a.Burst == b.Burst && a.IPv6Bits == b.IPv6Bits
}

// End ends leases. Those that are not in force are no error.
func (s *LeaseSocket) End(of ...nft.Lease) error {
	return s.kernel.write(endings(s.name, of), func() error {
		if s.closed {
			return errClosed
		}
		for _, lease := range of {
			name := tableOf(lease)
			if t := s.made[name]; t != nil {
				if delete(t.elements, lease); len(t.elements) == 0 {
					delete(s.made, name)
					if s.tables[name] == t {
						delete(s.tables, name)
					}
				}
			}
		}
		return nil
	})
}

// Present reports whether the tables that hold leases are those that were made.
func (s *LeaseSocket) Present() (bool, error) {
	s.kernel.mu.Lock()
	defer s.kernel.mu.Unlock()
	for name, t := range s.made {
		if s.tables[name] != t {
			return false, nil
		}
	}
	return true, nil
}

// Read reads what is in force, as Left does.
func (s *LeaseSocket) Read() ([]nft.Held, error) {
	s.kernel.mu.Lock()
	defer s.kernel.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	return s.kernel.read(s.tables), nil
}

// Close ends all that the socket has made.
func (s *LeaseSocket) Close() error {
	s.kernel.mu.Lock()
	defer s.kernel.mu.Unlock()
	for name, t := range s.made {
		if s.tables[name] == t {
			delete(s.tables, name)
		}
	}
	s.closed = true
	return nil
}

// close is what the death of the process does: a table without an owner stays.
func (s *LeaseSocket) close() {
	for name, t := range s.made {
		if t.socket = nil; t.owned && s.tables[name] == t {
			delete(s.tables, name)
		}
	}
	s.closed = true
}
