package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ReadLeases reads the leases in force in the calling thread's network namespace,
// whoever holds them, by our tables' names. Where there are none, that is no error.
func ReadLeases() (all []Held, err error) {
	s, err := dialTable(raw.proto, raw.name)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.lib.CloseLasting()) }()
	return s.leases()
}

// Read is ReadLeases for the namespace of the Leases.
func (l *Leases) Read() ([]Held, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errLeasesClosed
	}
	return l.socket.leases()
}

// leases reads all sets of all tables.
func (s *socket) leases() (all []Held, err error) {
	about := *s
	for _, set := range leaseSets {
		about.family, about.table = set.place.proto, set.place.name
		held, err := about.heldIn(set)
		if err != nil {
			return nil, fmt.Errorf("read leases of table %s: %w", about.name(), permission(err))
		}
		for _, h := range held {
			all = append(all, h.Held)
		}
	}
	sortHeld(all)
	return all, nil
}

// A keyed lease is one with the key of its element.
type keyed struct {
	Held
	key []byte
}

// heldIn reads the leases of one set, and what each refused.
func (s *socket) heldIn(set *leaseSet) ([]keyed, error) {
	all, err := s.elementsOf(set.name)
	if err != nil || len(all) == 0 || set.refused == "" {
		return set.held(all), err
	}
	refused, err := s.elementsOf(set.refused)
	if err != nil {
		return nil, err
	}
	held := set.held(all)
	for i := range held {
		held[i].Refused = refused[string(held[i].key)].packets
	}
	return held, nil
}

// held makes leases of elements.
func (s *leaseSet) held(elements map[string]leaseElement) (held []keyed) {
	for key, e := range elements {
		l, text := s.lease([]byte(key), e.comment)
		held = append(held, keyed{Held{Lease: l, Text: text, Left: e.left, Timeout: e.timeout}, []byte(key)})
	}
	return held
}

// lease is what the key and the comment of an element say. A comment that is not ours
// is all text.
func (s *leaseSet) lease(key []byte, comment string) (Lease, string) {
	subject, text, _ := strings.Cut(comment, " ")
	if s.kind == Bypass {
		if len(subject) == 0 || len(subject) > maxName || strings.IndexFunc(subject, unnamed) >= 0 || text == "" {
			return Lease{Kind: s.kind}, comment
		}
		return Lease{Kind: s.kind, Flow: subject}, text
	}
	p, err := netip.ParsePrefix(subject)
	if err != nil || !bytes.Equal(p.Addr().AsSlice(), key) || p.Masked() != p || text == "" {
		return Lease{Kind: s.kind, Source: source(key)}, comment
	}
	return Lease{Kind: s.kind, Source: p}, text
}

// A leaseElement is an element of one of the sets.
type leaseElement struct {
	timeout, left time.Duration
	comment       string
	packets       uint64 // of its counter
}

// elementsOf dumps a set of the table by keys; none if there is no such set.
func (s *socket) elementsOf(set string) (map[string]leaseElement, error) {
	all := map[string]leaseElement{}
	err := s.exchange(func(attrs []byte) error {
		return leaseElements(find(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS), all)
	}, s.message(unix.NFT_MSG_GETSETELEM, netlink.Dump, s.elementList(set, nil)))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("set %s: %w", set, err)
	}
	return all, nil
}

// leaseElements parses a list of elements. One may be there twice, if the kernel
// resizes the set's hash table while it is dumped.
func leaseElements(list []byte, to map[string]leaseElement) error {
	for len(list) > 0 {
		_, attrs, rest, err := next(list)
		if err != nil {
			return err
		}
		key := find(attrs, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)
		if key == nil {
			return errors.New("element without a key")
		}
		to[string(key)] = parseLeaseElement(attrs)
		list = rest
	}
	return nil
}

// attrExpressions is NFTA_SET_ELEM_EXPRESSIONS, of an element with more than one.
const attrExpressions = 11

func parseLeaseElement(attrs []byte) (e leaseElement) {
	e.timeout = milliseconds(attrs, unix.NFTA_SET_ELEM_TIMEOUT)
	e.left = milliseconds(attrs, unix.NFTA_SET_ELEM_EXPIRATION)
	e.comment = commentOf(first(attrs, unix.NFTA_SET_ELEM_USERDATA))
	e.packets, _ = packetsOf(first(attrs, unix.NFTA_SET_ELEM_EXPR))
	for list := first(attrs, attrExpressions); len(list) > 0; {
		_, expression, rest, err := next(list)
		if err != nil {
			break
		}
		if packets, ok := packetsOf(expression); ok {
			e.packets = packets
		}
		list = rest
	}
	return e
}

// packetsOf is what an expression has counted, if it is a counter.
func packetsOf(expression []byte) (packets uint64, ok bool) {
	if string(first(expression, unix.NFTA_EXPR_NAME)) != "counter\x00" {
		return 0, false
	}
	return findUint64(expression, unix.NFTA_EXPR_DATA, unix.NFTA_COUNTER_PACKETS)
}

// milliseconds is a duration as nf_tables has it.
func milliseconds(attrs []byte, kind uint16) time.Duration {
	value := first(attrs, kind)
	if len(value) != 8 {
		return 0
	}
	ms := binary.BigEndian.Uint64(value)
	return time.Duration(min(ms, uint64(maxDuration/time.Millisecond))) * time.Millisecond
}

const maxDuration = time.Duration(1<<63 - 1)

// commentOf finds the comment in an element's user data.
func commentOf(userdata []byte) string {
	for len(userdata) >= 2 {
		kind, size := userdata[0], int(userdata[1])
		userdata = userdata[2:]
		if size > len(userdata) {
			return ""
		}
		if kind == elementComment {
			return string(bytes.TrimRight(userdata[:size], "\x00"))
		}
		userdata = userdata[size:]
	}
	return ""
}
