package nft

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrTerms is what Hold returns if it would have to make a table anew for other
// terms while the table holds leases that are not asked for.
var ErrTerms = errors.New("the table holds leases on other terms")

// A Kind is what a lease does.
type Kind uint8

// The kinds.
const (
	Limit  Kind = iota + 1 // limits the new connections of a source
	Drop                   // drops all packets of a source
	Bypass                 // leaves a flow untracked
)

func (k Kind) String() string {
	switch k {
	case Limit:
		return "limit"
	case Drop:
		return "drop"
	case Bypass:
		return "bypass"
	}
	return "kind " + strconv.Itoa(int(k))
}

// A Lease is a restriction that ends by itself. It is of a Source, masked, or of
// the Flow of a name.
type Lease struct {
	Kind   Kind
	Source netip.Prefix // Limit, Drop
	Flow   string       // Bypass
}

func (l Lease) String() string { return l.Kind.String() + " " + l.subject() }

// subject is what the lease is about.
func (l Lease) subject() string {
	if l.Kind == Bypass {
		return l.Flow
	}
	return l.Source.String()
}

// A Request is a lease with the text that is kept beside it in the kernel: up to
// 80 characters of ASCII.
type Request struct {
	Lease
	Text string
}

// Held is a lease in force.
type Held struct {
	Lease
	Text    string
	Left    time.Duration // until it ends by itself
	Timeout time.Duration // from its last renewal
	// Refused are the packets of the source that were refused since it was leased:
	// each the first of a connection where it is limited. A source that has nothing
	// refused for ten minutes begins at 0 again.
	Refused uint64
}

// Terms are what the leases do that is not said by a single one.
type Terms struct {
	Rate  uint32 // new connections of a source in a second (Limit)
	Burst uint32 // that may come at once (Limit)
	// IPv4Bits and IPv6Bits are the prefix length of one source.
	IPv4Bits, IPv6Bits int
	Flows              []Flow // that may bypass tracking, each of its own name
}

// A Flow is traffic by what its packets say: from a client to a server's port, and
// back.
type Flow struct {
	Name     string
	From, To []netip.Prefix // may be of both families
	Proto    uint8          // IPPROTO_*
	Ports    []Ports        // of To; none for a protocol without ports
	// Local is a flow to this machine's own addresses, whichever they are, in the
	// place of To. What is forwarded is never of it.
	Local bool
}

// Ports are a range of ports, both ends included.
type Ports struct{ Low, High uint16 }

// Limits of what is put into an element's comment, which nft(8) shows up to 128
// bytes of.
const (
	maxText = 80
	maxName = 32
)

// check says what is wrong with a request.
func (r Request) check(t *Terms) error {
	if len(r.Text) == 0 || len(r.Text) > maxText || strings.IndexFunc(r.Text, unprintable) >= 0 {
		return fmt.Errorf("lease %s with the text %q", r.Lease, r.Text)
	}
	switch r.Kind {
	case Limit, Drop:
		a := r.Source.Addr()
		if bits := t.bits(a); !r.Source.IsValid() || r.Source.Masked() != r.Source || r.Source.Bits() != bits || a.Is4In6() {
			return fmt.Errorf("lease %s: the prefix of a source has %d bits", r.Lease, bits)
		}
	case Bypass:
		if t.flow(r.Flow) < 0 {
			return fmt.Errorf("lease %s: no such flow", r.Lease)
		}
	default:
		return fmt.Errorf("lease %s", r.Lease)
	}
	return nil
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }

// bits is the prefix length of a source of the address's family.
func (t *Terms) bits(a netip.Addr) int {
	if a.Is4() {
		return t.IPv4Bits
	}
	return t.IPv6Bits
}

// flow is the place of a flow among the others, -1 if there is none of the name.
func (t *Terms) flow(name string) int {
	return slices.IndexFunc(t.Flows, func(f Flow) bool { return f.Name == name })
}

// check says what is wrong with the terms: what the kernel would take for something
// else than is meant.
func (t *Terms) check() error {
	if t.IPv4Bits < 1 || t.IPv4Bits > 32 || t.IPv6Bits < 1 || t.IPv6Bits > 128 {
		return fmt.Errorf("sources of %d and %d bits", t.IPv4Bits, t.IPv6Bits)
	}
	if len(t.Flows) > maxFlows {
		return fmt.Errorf("%d flows, there is room for %d", len(t.Flows), maxFlows)
	}
	for i, f := range t.Flows {
		if err := f.check(); err != nil {
			return fmt.Errorf("flow %s: %w", f.Name, err)
		}
		if t.flow(f.Name) != i {
			return fmt.Errorf("flow %s twice", f.Name)
		}
	}
	return nil
}

func (f *Flow) check() error {
	if len(f.Name) == 0 || len(f.Name) > maxName || strings.IndexFunc(f.Name, unnamed) >= 0 {
		return errors.New("the name is not of letters, digits, - and _")
	}
	if len(f.From) == 0 || (len(f.To) == 0) != f.Local {
		return errors.New("from or to is missing or too much")
	}
	for _, p := range slices.Concat(f.From, f.To) {
		if !p.IsValid() || p.Masked() != p || p.Addr().Is4In6() {
			return fmt.Errorf("the prefix %s", p)
		}
	}
	if f.Proto == 0 {
		return errors.New("no protocol")
	}
	for _, p := range f.Ports {
		if p.Low > p.High {
			return fmt.Errorf("the ports %d-%d", p.Low, p.High)
		}
	}
	return nil
}

func unnamed(r rune) bool {
	letter := 'a' <= r|0x20 && r|0x20 <= 'z'
	return !letter && (r < '0' || r > '9') && r != '-' && r != '_'
}

// sortHeld brings leases in order.
func sortHeld(all []Held) {
	slices.SortFunc(all, func(a, b Held) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), a.Source.Compare(b.Source), cmp.Compare(a.Flow, b.Flow))
	})
}
