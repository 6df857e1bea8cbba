package nft

import (
	"encoding/binary"
	"errors"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// leaseChunk is how many leases are changed in one transaction. Its list of elements
// must fit into one attribute, of 64 KiB; an element has up to 200 bytes.
const leaseChunk = 256

// leaseTries is how often a renewal is tried: leases may lapse between looking and
// renewing.
const leaseTries = 3

// leastLease is the least time that a lease is given, a jiffy where they are longest: to
// the kernel an element of none is there for ever (nft_add_set_elem), and it counts
// milliseconds in whole jiffies (nf_msecs_to_jiffies64).
const leastLease = 10 * time.Millisecond

// put puts leases of one set in force, or prolongs them.
func (t *leaseTable) put(s *leaseSet, lease time.Duration, of []Request) error {
	for chunk := range slices.Chunk(of, leaseChunk) {
		now, err := sinceBoot()
		if err != nil {
			return err
		}
		if err := t.putChunk(s, now, lease, chunk); err != nil {
			return err
		}
		for _, r := range chunk {
			t.held[r.Lease] = holding{r.Text, lease, now + lease}
		}
	}
	return nil
}

// putChunk deletes what is there and adds it again in one step: on kernels before
// 6.13 adding alone renews nothing. A delete of what has just lapsed is refused, and
// all with it: then all is added that is not there, which does nothing to what is, and
// deleted and added once more.
func (t *leaseTable) putChunk(s *leaseSet, now, lease time.Duration, of []Request) (err error) {
	var old [][]byte
	for _, r := range of {
		if h, ok := t.held[r.Lease]; ok && h.until > now {
			old = append(old, t.key(r.Lease))
		}
	}
	add := t.elements(of, lease)
	for range leaseTries {
		err = t.socket.change(s.name, old, add, netlink.Excl)
		if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EEXIST) {
			return err
		}
		if err := t.socket.change(s.name, nil, add, 0); err != nil {
			return err
		}
		old = t.keys(of)
	}
	return err
}

func (t *leaseTable) keys(of []Request) (keys [][]byte) {
	for _, r := range of {
		keys = append(keys, t.key(r.Lease))
	}
	return keys
}

// change deletes elements by their keys and adds others, in one transaction.
func (s *socket) change(set string, keys [][]byte, add []byte, flags netlink.HeaderFlags) error {
	var changes []netlink.Message
	if len(keys) > 0 {
		var list []byte
		for _, key := range keys {
			list = appendElement(list, key, 0, "")
		}
		changes = append(changes, s.message(unix.NFT_MSG_DELSETELEM, netlink.Acknowledge, s.elementList(set, list)))
	}
	if len(add) > 0 {
		changes = append(changes, s.message(unix.NFT_MSG_NEWSETELEM, netlink.Acknowledge|netlink.Create|flags, s.elementList(set, add)))
	}
	return s.transact(changes...)
}

// elementList are the attributes of a message about elements of a set.
func (s *socket) elementList(set string, list []byte) (b []byte) {
	b = appendAttribute(b, unix.NFTA_SET_ELEM_LIST_TABLE, append([]byte(s.table), 0))
	b = appendAttribute(b, unix.NFTA_SET_ELEM_LIST_SET, append([]byte(set), 0))
	if len(list) > 0 {
		b = appendAttribute(b, unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, list)
	}
	return b
}

// elements encodes leases as elements to add.
func (t *leaseTable) elements(of []Request, lease time.Duration) (list []byte) {
	for _, r := range of {
		list = appendElement(list, t.key(r.Lease), lease, r.comment())
	}
	return list
}

// comment is what nft(8) shows beside the element.
func (r Request) comment() string { return r.subject() + " " + r.Text }

// elementComment is the type of a comment in an element's user data, whose every part
// is a byte for the type, one for the length and the value (libnftnl, udata.h).
const elementComment = 0

// appendElement encodes one element of a set, without a timeout if that is 0.
func appendElement(list []byte, key []byte, timeout time.Duration, comment string) []byte {
	start := len(list)
	list = beginAttribute(list, unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED)
	nested := len(list)
	list = beginAttribute(list, unix.NFTA_SET_ELEM_KEY|unix.NLA_F_NESTED)
	list = appendAttribute(list, unix.NFTA_DATA_VALUE, key)
	endAttribute(list, nested)
	if timeout > 0 {
		timeout = max(timeout, leastLease)
		list = appendAttribute(list, unix.NFTA_SET_ELEM_TIMEOUT, binary.BigEndian.AppendUint64(nil, uint64(timeout.Milliseconds())))
	}
	if comment != "" {
		text := append([]byte{elementComment, byte(len(comment) + 1)}, comment...)
		list = appendAttribute(list, unix.NFTA_SET_ELEM_USERDATA, append(text, 0))
	}
	endAttribute(list, start)
	return list
}

// removeLeases removes elements, and what they refused. What is not there is not
// missed.
func (s *socket) removeLeases(set *leaseSet, keys [][]byte) error {
	if err := s.removeKeys(set.name, keys); err != nil || set.refused == "" {
		return err
	}
	// Most may never have had anything refused.
	refused, err := s.elementsOf(set.refused)
	if err != nil {
		return err
	}
	return s.removeKeys(set.refused, slices.DeleteFunc(slices.Clone(keys), func(key []byte) bool {
		_, there := refused[string(key)]
		return !there
	}))
}

// removeKeys removes elements: many at once or, if one of them is not there, each
// alone.
func (s *socket) removeKeys(set string, keys [][]byte) error {
	for chunk := range slices.Chunk(keys, leaseChunk) {
		err := s.change(set, chunk, nil, 0)
		if errors.Is(err, unix.ENOENT) && len(chunk) > 1 {
			err = s.removeEach(set, chunk)
		}
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}

func (s *socket) removeEach(set string, keys [][]byte) error {
	for _, key := range keys {
		if err := s.change(set, [][]byte{key}, nil, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
	return nil
}
