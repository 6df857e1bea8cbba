package nft

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Counts is one reading of the table: connections that were begun since it was
// installed, each counted by its first packet. What conntrack itself refused, its
// table being full, did not get as far as our chains; what a rule dropped later
// did, and left no entry.
type Counts struct {
	At time.Duration // boot clock, when the reading began
	// New is all connections, Unlisted those that Sources lacks because there was
	// no room for their source.
	New      uint64
	Unlisted uint64
	// Sources are those that made a connection in the last minute, in order. A
	// reading may miss some while many come and go: see Between.
	Sources []Source
}

// A Source is a prefix of the length that the table counts by, an IPv4 address or an
// IPv6 /64 if it was not told, and its connections since it was listed. After a minute without any it is forgotten, and begins at 0 if it comes
// back.
type Source struct {
	Prefix netip.Prefix
	New    uint64
}

// Read reads all counts. The error is fs.ErrNotExist if the table is gone.
func (t *Table) Read() (Counts, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c, err := t.read()
	if err != nil {
		return Counts{}, fmt.Errorf("read counts of table %s: %w", t.socket.name(), permission(err))
	}
	t.hint = len(c.Sources)
	return c, nil
}

func (t *Table) read() (c Counts, err error) {
	if c.At, err = sinceBoot(); err != nil {
		return c, err
	}
	if c.New, err = t.socket.counter(newCounter); err != nil {
		return c, err
	}
	if c.Unlisted, err = t.socket.counter(unlistedCounter); err != nil {
		return c, err
	}
	// As many as last time and some.
	c.Sources = make([]Source, 0, t.hint+t.hint/8)
	for _, f := range t.counted {
		if c.Sources, err = t.socket.sources(f, c.Sources); err != nil {
			return c, err
		}
	}
	c.Sources = once(c.Sources)
	return c, nil
}

// sinceBoot reads the boot clock.
func sinceBoot() (time.Duration, error) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, fmt.Errorf("read CLOCK_BOOTTIME: %w", err)
	}
	return time.Duration(now.Nano()), nil
}

// once sorts the sources and keeps the larger count of one that is there twice:
// the kernel walks the set's hash table part by part, and begins again when it is
// resized meanwhile.
func once(s []Source) []Source {
	slices.SortFunc(s, func(a, b Source) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) })
	kept := s[:0]
	for _, this := range s {
		if n := len(kept); n > 0 && kept[n-1].Prefix == this.Prefix {
			kept[n-1].New = max(kept[n-1].New, this.New)
			continue
		}
		kept = append(kept, this)
	}
	return kept
}

// counter reads the packets of a named counter.
func (s *socket) counter(name string) (packets uint64, err error) {
	which := attributes(func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_OBJ_TABLE, Name)
		e.String(unix.NFTA_OBJ_NAME, name)
		e.Uint32(unix.NFTA_OBJ_TYPE, unix.NFT_OBJECT_COUNTER)
	})
	err = s.exchange(func(attrs []byte) error {
		var ok bool
		if packets, ok = findUint64(attrs, unix.NFTA_OBJ_DATA, unix.NFTA_COUNTER_PACKETS); !ok {
			return errors.New("no packets in the answer")
		}
		return nil
	}, s.message(unix.NFT_MSG_GETOBJ, netlink.Acknowledge, which))
	if err != nil {
		return 0, fmt.Errorf("counter %s: %w", name, err)
	}
	return packets, nil
}

// sources appends the elements of a family's set to a list.
func (s *socket) sources(f *family, to []Source) ([]Source, error) {
	which := attributes(func(e *netlink.AttributeEncoder) {
		e.String(unix.NFTA_SET_ELEM_LIST_TABLE, Name)
		e.String(unix.NFTA_SET_ELEM_LIST_SET, f.set)
	})
	err := s.exchange(func(attrs []byte) (err error) {
		to, err = f.elements(find(attrs, unix.NFTA_SET_ELEM_LIST_ELEMENTS), to)
		return err
	}, s.message(unix.NFT_MSG_GETSETELEM, netlink.Dump, which))
	if err != nil {
		return to, fmt.Errorf("set %s: %w", f.set, err)
	}
	return to, nil
}

// elements parses a list of set elements.
func (f *family) elements(list []byte, to []Source) ([]Source, error) {
	for len(list) > 0 {
		_, element, rest, err := next(list)
		if err != nil {
			return to, err
		}
		source, err := f.element(element)
		if err != nil {
			return to, err
		}
		to, list = append(to, source), rest
	}
	return to, nil
}

func (f *family) element(attrs []byte) (Source, error) {
	key := find(attrs, unix.NFTA_SET_ELEM_KEY, unix.NFTA_DATA_VALUE)
	addr, ok := netip.AddrFromSlice(key)
	if !ok || len(key) != int(f.key.Bytes) {
		return Source{}, fmt.Errorf("element with a key of %d bytes", len(key))
	}
	packets, ok := findUint64(attrs, unix.NFTA_SET_ELEM_EXPR, unix.NFTA_EXPR_DATA, unix.NFTA_COUNTER_PACKETS)
	if !ok {
		return Source{}, fmt.Errorf("element %s without a counter", addr)
	}
	return Source{Prefix: netip.PrefixFrom(addr, f.bits), New: packets}, nil
}
