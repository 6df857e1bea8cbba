package nft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// Names of the tables that hold leases. Limits are in a table of the family that
// they are about, for their rules make the kernel track it (nft_ct_get_init); what
// is done before tracking is in one of both families.
const (
	LimitsName = "conntrack_guardian_limits" // of ip and of ip6
	RawName    = "conntrack_guardian_raw"    // of inet
)

// Sizes of the sets: a lease costs some 200 bytes. There is more room for what was
// refused, as it is remembered for longer than the lease.
const (
	leaseSize   = 8192
	refusedSize = 2 * leaseSize
	maxFlows    = 32
	forget      = 10 * time.Minute // what a source was refused, after the last time
)

// A leasePlace is the table that holds leases, before it is made.
type leasePlace struct {
	proto byte
	name  string
}

var (
	limits4 = leasePlace{unix.NFPROTO_IPV4, LimitsName}
	limits6 = leasePlace{unix.NFPROTO_IPV6, LimitsName}
	raw     = leasePlace{unix.NFPROTO_INET, RawName}

	leasePlaces = []leasePlace{limits4, limits6, raw}
)

// A leaseSet is a timed set, each element of which is a lease: rules match by it
// alone. What it refuses is counted in a set of its own, whose elements outlast a
// lease's renewals.
type leaseSet struct {
	kind    Kind
	place   leasePlace
	name    string
	refused string // name of the set that counts, keyed alike
	key     nftables.SetDatatype
	proto   byte   // NFPROTO_* of the sources
	offset  uint32 // of their address in the network header
}

var (
	limited4 = leaseSet{Limit, limits4, "limited", "refused", nftables.TypeIPAddr, unix.NFPROTO_IPV4, 12}
	limited6 = leaseSet{Limit, limits6, "limited", "refused", nftables.TypeIP6Addr, unix.NFPROTO_IPV6, 8}
	dropped4 = leaseSet{Drop, raw, "dropped4", "refused4", nftables.TypeIPAddr, unix.NFPROTO_IPV4, 12}
	dropped6 = leaseSet{Drop, raw, "dropped6", "refused6", nftables.TypeIP6Addr, unix.NFPROTO_IPV6, 8}
	// armed has the numbers of flows.
	armed = leaseSet{kind: Bypass, place: raw, name: "armed", key: nftables.TypeMark}

	leaseSets = []*leaseSet{&limited4, &limited6, &dropped4, &dropped6, &armed}
)

// set is where a lease belongs, nil if nowhere.
func (l Lease) set() *leaseSet {
	for _, s := range leaseSets {
		if s.kind == l.Kind && (l.Kind == Bypass || l.Source.IsValid() && s.is4() == l.Source.Addr().Is4()) {
			return s
		}
	}
	return nil
}

func (s *leaseSet) is4() bool { return s.proto == unix.NFPROTO_IPV4 }

// setKey is what an element of a flow has for a key.
func flowKey(number int) []byte { return binary.NativeEndian.AppendUint32(nil, uint32(number)) }

// bits is the length of the sources' prefixes.
func (s *leaseSet) bits(t *Terms) int {
	if s.is4() {
		return t.IPv4Bits
	}
	return t.IPv6Bits
}

// A leaseTable is one of the tables, in one network namespace.
type leaseTable struct {
	leasePlace
	socket *socket
	with   leaseSettings

	made  identity // zero if there is none
	rules []byte   // as dumped when they were made
	terms Terms    // that it was made for
	held  map[Lease]holding
}

// A holding is a lease as it was last renewed.
type holding struct {
	text  string
	lease time.Duration
	until time.Duration // boot clock
}

// leaseSettings are what tests change.
type leaseSettings struct {
	flags         uint32
	size, refused uint32
	forget        time.Duration
}

// ready sees to it that the table is there for these terms and these leases. Remade
// means that it had been made, and was taken away or changed.
func (t *leaseTable) ready(terms *Terms, of []Request) (remade bool, err error) {
	if t.made == (identity{}) {
		left, err := t.socket.leftover()
		if err != nil {
			return false, err
		}
		return false, t.make(left, terms)
	}
	is, err := t.socket.present(t.made, t.rules)
	if err != nil {
		return false, err
	}
	if !is {
		return true, t.remake(terms, of)
	}
	if t.same(terms) {
		return false, nil
	}
	if err := t.free(of); err != nil {
		return false, err
	}
	return false, t.make(&t.made, terms)
}

// same is whether the table would be the same for other terms.
func (t *leaseTable) same(terms *Terms) bool {
	a, b := &t.terms, terms
	switch t.proto {
	case unix.NFPROTO_IPV4:
		return a.Rate == b.Rate && a.Burst == b.Burst && a.IPv4Bits == b.IPv4Bits
	case unix.NFPROTO_IPV6:
		return a.Rate == b.Rate && a.Burst == b.Burst && a.IPv6Bits == b.IPv6Bits
	}
	return a.IPv4Bits == b.IPv4Bits && a.IPv6Bits == b.IPv6Bits && slices.EqualFunc(a.Flows, b.Flows, sameFlow)
}

func sameFlow(a, b Flow) bool {
	return a.Name == b.Name && a.Proto == b.Proto && a.Local == b.Local &&
		slices.Equal(a.From, b.From) && slices.Equal(a.To, b.To) && slices.Equal(a.Ports, b.Ports)
}

// free is ErrTerms if the table holds a lease that is not one of these.
func (t *leaseTable) free(of []Request) error {
	now, err := sinceBoot()
	if err != nil {
		return err
	}
	for l, h := range t.held {
		if h.until > now && !slices.ContainsFunc(of, func(r Request) bool { return r.Lease == l }) {
			return fmt.Errorf("table %s: %w: %s", t.socket.name(), ErrTerms, l)
		}
	}
	return nil
}

// make makes the table in the place of another, if there is one.
func (t *leaseTable) make(left *identity, terms *Terms) (err error) {
	clear(t.held)
	t.made, t.rules, err = t.socket.make(left, t.with.flags, func() error { return t.fill(terms) })
	if err == nil {
		t.terms = *terms
		t.terms.Flows = slices.Clone(terms.Flows)
		return nil
	}
	if t.made != (identity{}) { // as far as it came
		err = errors.Join(err, t.socket.remove(t.made))
		t.made = identity{}
	}
	return err
}

// remake makes the table that was taken away again, and gives the leases that
// nobody asks to renew the time that they had left. What ends within leastLease has
// ended.
func (t *leaseTable) remake(terms *Terms, of []Request) error {
	if !t.same(terms) {
		if err := t.free(of); err != nil {
			return err
		}
	}
	left, err := t.socket.leftover()
	if err != nil {
		return err
	}
	before := t.others(of)
	if err := t.make(left, terms); err != nil {
		return err
	}
	now, err := sinceBoot()
	if err != nil {
		return err
	}
	for l, h := range before {
		if left := h.until - now; left >= leastLease {
			if err := t.put(l.set(), left, []Request{{l, h.text}}); err != nil {
				return err
			}
		}
	}
	return nil
}

// others are the leases but these.
func (t *leaseTable) others(of []Request) map[Lease]holding {
	others := make(map[Lease]holding, len(t.held))
	for l, h := range t.held {
		others[l] = h
	}
	for _, r := range of {
		delete(others, r.Lease)
	}
	return others
}

// fill fills the table by its name.
func (t *leaseTable) fill(terms *Terms) error {
	r := ruleset{
		socket: t.socket, with: t.with, terms: terms,
		table: &nftables.Table{Name: t.name, Family: nftables.TableFamily(t.proto)},
	}
	if t.name == LimitsName {
		return r.limits()
	}
	return r.raw()
}

// key is the element's key.
func (t *leaseTable) key(l Lease) []byte {
	if l.Kind == Bypass {
		return flowKey(t.terms.flow(l.Flow))
	}
	return l.Source.Addr().AsSlice()
}

// source is the prefix of an element's key whose comment does not tell it.
func source(key []byte) netip.Prefix {
	a, _ := netip.AddrFromSlice(key)
	return netip.PrefixFrom(a, a.BitLen())
}
