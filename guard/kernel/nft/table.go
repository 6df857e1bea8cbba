package nft

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Name is that of the table, in whichever family it is.
const Name = "conntrack_guardian"

// Families are what of IP a table counts.
type Families uint8

// The families.
const (
	IPv4 Families = 1 << iota
	IPv6
)

// A layout is the family of a table and what it counts. A rule that asks for a
// connection's state makes the kernel track all that its table's family is about
// (nft_ct_get_init), so a table is about no more than it counts.
type layout struct {
	proto   byte // NFPROTO_*
	word    string
	counted []*family
}

var layouts = map[Families]layout{
	IPv4:        {unix.NFPROTO_IPV4, "ip", []*family{&ipv4}},
	IPv6:        {unix.NFPROTO_IPV6, "ip6", []*family{&ipv6}},
	IPv4 | IPv6: {unix.NFPROTO_INET, "inet", []*family{&ipv4, &ipv6}},
}

// every is every layout's family, in which a table may have been left.
var every = [...]byte{unix.NFPROTO_INET, unix.NFPROTO_IPV4, unix.NFPROTO_IPV6}

// name is the table as nft(8) lists it.
func (s *socket) name() string {
	for _, l := range layouts {
		if l.proto == s.family {
			return l.word + " " + s.table
		}
	}
	return s.table
}

// Attributes and flags of a table, nf_tables.h.
const (
	attrTableHandle = 4   // NFTA_TABLE_HANDLE
	attrTableOwner  = 7   // NFTA_TABLE_OWNER
	flagOwner       = 0x2 // NFT_TABLE_F_OWNER
)

// A Table is the guardian's table in one network namespace. It exists until
// Close, until the process dies or until the Table is no longer referred to. Its
// methods may be called from several goroutines.
type Table struct {
	mu     sync.Mutex
	socket *socket
	table  *nftables.Table
	closed bool

	counted []*family

	made  identity
	rules []byte // as dumped when they were made
	hint  int    // sources in the last reading
}

// settings are what tests make smaller, and the flag by which a socket owns its
// table.
type settings struct {
	families Families
	bits4    int // of the prefix that is one source, 0 for 32
	bits6    int // likewise, 0 for 64
	flags    uint32
	size     uint32        // sources in each set
	lapse    time.Duration // until a source that makes no connection is forgotten
}

// Install makes the table in the calling thread's network namespace, to count
// these families by source and make the kernel track no other. A source is a prefix
// of that many bits; 0 is 32 and 64. A table that a dead guardian left is replaced.
func Install(f Families, ipv4Bits, ipv6Bits int) (*Table, error) {
	return install(settings{
		families: f, bits4: ipv4Bits, bits6: ipv6Bits, flags: flagOwner, size: setSize, lapse: setTimeout,
	})
}

func install(with settings) (*Table, error) {
	l, ok := layouts[with.families]
	if !ok {
		return nil, fmt.Errorf("make table %s: no family %d", Name, with.families)
	}
	sources, err := l.by(with.bits4, with.bits6)
	if err != nil {
		return nil, fmt.Errorf("make table %s: %w", Name, err)
	}
	if err := removeOthers(l.proto); err != nil {
		return nil, err
	}
	s, err := dial(l.proto)
	if err != nil {
		return nil, err
	}
	t := &Table{
		socket: s, counted: sources,
		// The library is told of the table but must not add it: it drops the flags.
		table: &nftables.Table{Name: Name, Family: nftables.TableFamily(l.proto)},
	}
	if err := t.make(with); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

// make makes the table in the place of one that was left.
func (t *Table) make(with settings) error {
	left, err := t.socket.leftover()
	if err != nil {
		return err
	}
	t.made, t.rules, err = t.socket.make(left, with.flags, func() error { return t.addCounts(with) })
	return err
}

// make makes the table empty, then has it filled. Until the second step nothing
// is hooked in. It returns what it made, also if it could not be filled, and its
// rules.
func (s *socket) make(left *identity, flags uint32, fill func() error) (made identity, rules []byte, err error) {
	if err := s.create(left, flags); err != nil {
		return made, nil, fmt.Errorf("create table %s: %w", s.name(), err)
	}
	made, found, err := s.lookup()
	if err == nil && !found {
		err = unix.ENOENT // somebody deleted it, it has no owner
	}
	if err != nil {
		return made, nil, fmt.Errorf("look at table %s after creating it: %w", s.name(), err)
	}
	if err := fill(); err != nil {
		return made, nil, fmt.Errorf("fill table %s: %w", s.name(), lacking(err))
	}
	rules, err = s.rules()
	return made, rules, err
}

// create makes the table, in one step with deleting the one that was left. A
// kernel that does not know the flags gets a plain table.
func (s *socket) create(left *identity, flags uint32) error {
	err := s.replace(left, flags)
	if flags != 0 && (errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL)) {
		err = s.replace(left, 0)
	}
	if errors.Is(err, unix.EPERM) { // looking at it was permitted: it has got an owner since
		return ErrOwned
	}
	return unsupported(err)
}

func (s *socket) replace(left *identity, flags uint32) error {
	var changes []netlink.Message
	if left != nil {
		changes = append(changes, s.deleteTable(*left))
	}
	changes = append(changes, s.message(unix.NFT_MSG_NEWTABLE, netlink.Acknowledge|netlink.Create|netlink.Excl,
		attributes(func(e *netlink.AttributeEncoder) {
			e.String(unix.NFTA_TABLE_NAME, s.table)
			e.Uint32(unix.NFTA_TABLE_FLAGS, flags)
		})))
	return s.transact(changes...)
}

// deleteTable deletes exactly the table that was looked at, not one that has
// taken its name since. Without a handle the message would flush the ruleset of
// the family (nf_tables_deltable).
func (s *socket) deleteTable(id identity) netlink.Message {
	return s.message(unix.NFT_MSG_DELTABLE, netlink.Acknowledge, attributes(func(e *netlink.AttributeEncoder) {
		e.Uint64(attrTableHandle, id.handle)
	}))
}

// identity is what tells a table from another of its name.
type identity struct {
	handle uint64 // never used again in the life of the namespace
	flags  uint32
	owner  uint32 // netlink port of the socket that owns it, 0 if none does
}

func (id identity) owned() bool { return id.flags&flagOwner != 0 }

// lookup asks for the table.
func (s *socket) lookup() (id identity, found bool, err error) {
	name := attributes(func(e *netlink.AttributeEncoder) { e.String(unix.NFTA_TABLE_NAME, s.table) })
	err = s.exchange(func(attrs []byte) error {
		id.handle, found = findUint64(attrs, attrTableHandle)
		id.flags, _ = findUint32(attrs, unix.NFTA_TABLE_FLAGS)
		id.owner, _ = findUint32(attrs, attrTableOwner)
		if !found {
			return errors.New("no handle in the answer")
		}
		return nil
	}, s.message(unix.NFT_MSG_GETTABLE, netlink.Acknowledge, name))
	if errors.Is(err, unix.ENOENT) {
		return identity{}, false, nil
	}
	return id, found, err
}

// leftover is the table of our name that nobody else owns, nil if there is none. It is
// ErrOwned if there is one with another owner. One that is ours was made by a call that
// did not live to hear of it: the kernel may take longer than our deadline.
func (s *socket) leftover() (*identity, error) {
	id, found, err := s.lookup()
	switch {
	case err != nil:
		return nil, fmt.Errorf("look for table %s: %w", s.name(), unsupported(err))
	case !found:
		return nil, nil
	case id.owned() && id.owner != s.port():
		return nil, fmt.Errorf("table %s: %w (netlink port %d)", s.name(), ErrOwned, id.owner)
	}
	return &id, nil
}

// rules dumps the rules of our table as they come, to compare them.
func (s *socket) rules() (all []byte, err error) {
	table := attributes(func(e *netlink.AttributeEncoder) { e.String(unix.NFTA_RULE_TABLE, s.table) })
	err = s.exchange(func(attrs []byte) error {
		all = append(all, attrs...)
		return nil
	}, s.message(unix.NFT_MSG_GETRULE, netlink.Dump, table))
	if err != nil {
		return nil, fmt.Errorf("read rules of table %s: %w", s.name(), err)
	}
	return all, nil
}

// Present reports whether the table that Install made is still there with its
// rules.
func (t *Table) Present() (bool, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false, nil
	}
	return t.socket.present(t.made, t.rules)
}

// present reports whether the table is the one that was made, with its rules.
func (s *socket) present(made identity, rules []byte) (bool, error) {
	now, found, err := s.lookup()
	if err != nil {
		return false, fmt.Errorf("look for table %s: %w", s.name(), permission(err))
	}
	if !found || now != made {
		return false, nil
	}
	has, err := s.rules()
	return err == nil && bytes.Equal(has, rules), err
}

// Close removes the table. Calling it again does nothing.
func (t *Table) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil
	}
	t.closed = true
	var err error
	if t.made != (identity{}) && !t.made.owned() {
		err = t.socket.remove(t.made)
	}
	// An owned table goes with its socket (nft_rcv_nl_event).
	return errors.Join(err, t.socket.lib.CloseLasting())
}

// Remove removes tables that a dead guardian left in the calling thread's network
// namespace. It is no error if there are none.
func Remove() error { return removeOthers(0) }

// removeOthers removes those of all families but one.
func removeOthers(but byte) error {
	for _, proto := range every {
		if proto == but {
			continue
		}
		if err := removeLeft(proto); err != nil {
			return err
		}
	}
	return nil
}

func removeLeft(proto byte) (err error) {
	s, err := dial(proto)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lib.CloseLasting()) }()
	left, err := s.leftover()
	if err != nil || left == nil {
		return err
	}
	return s.remove(*left)
}

func (s *socket) remove(id identity) error {
	err := s.transact(s.deleteTable(id))
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("remove table %s: %w", s.name(), permission(err))
}
