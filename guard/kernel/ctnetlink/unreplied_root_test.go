package ctnetlink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// Only what is unreplied of the source goes, of whichever protocol and zone;
// everything else of a mixed table stays. By a filter and one by one comes to the
// same.
func TestRootDeleteUnreplied(t *testing.T) {
	byFilter, byEach := unreplied.deleteByFilter, unreplied.deleteEach
	for name, tc := range map[string]struct {
		source string
		delete func(unreplied, context.Context) (int, error)
	}{
		"an address by a filter": {"10.7.0.1/32", byFilter},
		"an address one by one":  {"10.7.0.1/32", byEach},
		"an address":             {"10.7.0.1/32", nil},
		"a prefix":               {"10.7.0.0/28", nil},
		"a prefix of IPv6":       {"2001:db8:7::/64", nil},
		"an address of IPv6":     {"2001:db8:7::1/128", nil},
		"a wide prefix of IPv6":  {"2001:db8:7::/61", nil},
		"a prefix of two":        {"10.7.0.0/31", nil},
		"a source with no entry": {"10.7.0.77/32", nil},
		"no entry, one by one":   {"10.7.0.77/32", byEach},
		"a prefix with no entry": {"2001:db8:77::/64", nil},
	} {
		t.Run(name, func(t *testing.T) { deletesUnreplied(t, netip.MustParsePrefix(tc.source), tc.delete) })
	}
}

func deletesUnreplied(t *testing.T, source netip.Prefix, by func(unreplied, context.Context) (int, error)) {
	inside(t, func() {
		mixed(t)
		fill(t, 400)
		for _, from := range crowds {
			crowdOf(t, netip.MustParseAddr(from))
		}
		c := open(t)
		want := collect(t, c, Query{})
		all := len(want)
		maps.DeleteFunc(want, func(_ uint32, e Entry) bool {
			return source.Contains(e.Orig.Src.Netip()) && e.Status&(StatusSeenReply|StatusFixedTimeout) == 0
		})
		delete := func() (int, error) { return DeleteUnreplied(t.Context(), source) }
		if by != nil {
			delete = func() (int, error) { return by(unreplied{source}, t.Context()) }
		}
		n, err := delete()
		if byFilter := errors.Is(err, errNoFilter); byFilter && !deletesByFilter(t) {
			if left := collect(t, c, Query{}); n != 0 || len(left) != all {
				t.Errorf("%d deleted, %d left of %d", n, len(left), all)
			}
			t.Logf("as it shall be: %v", err)
			return
		}
		if err != nil || n != all-len(want) {
			t.Errorf("%d deleted, %v, want %d", n, err, all-len(want))
		}
		left := collect(t, c, Query{})
		if !maps.EqualFunc(left, want, sameButTime) {
			t.Errorf("%d left of %d, want %d", len(left), all, len(want))
		}
		for range 2 { // nobody's, now
			if n, err := delete(); n != 0 || err != nil {
				t.Errorf("%d deleted, %v", n, err)
			}
		}
		if n := len(collect(t, c, Query{})); n != len(left) {
			t.Errorf("%d left of %d", n, len(left))
		}
	})
}

// crowds are sources that crowdOf makes entries of.
var crowds = []string{"10.7.0.1", "10.7.0.2", "10.7.0.16", "2001:db8:7::1", "2001:db8:7:0:ffff::1", "2001:db8:7:1::1", "2001:db8:7:8::1"}

// deletesByFilter is whether this kernel is of Linux 6.11 or later.
func deletesByFilter(t *testing.T) bool {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	if _, err := fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor); err != nil {
		t.Fatal(err)
	}
	return major > 6 || major == 6 && minor >= 11
}

// crowdOf makes entries from a source and some to it, and returns how many of those
// from it are unreplied and not fixed.
func crowdOf(t testing.TB, source netip.Addr) (unreplied int) {
	t.Helper()
	for i := range uint16(30) {
		for _, e := range crowd(source, i) {
			create(t, e.Family, attributes(e)...)
			if e.Orig.Src.Netip() == source && e.Status&(StatusSeenReply|StatusFixedTimeout) == 0 {
				unreplied++
			}
		}
	}
	return unreplied
}

func crowd(source netip.Addr, i uint16) []Entry {
	from, to, other, ping, echo := source.String(), "192.0.2.1", "192.0.2.9", uint8(unix.IPPROTO_ICMP), uint16(8<<8)
	if source.Is6() {
		to, other, ping, echo = "2001:db8:1::1", "2001:db8:1::9", unix.IPPROTO_ICMPV6, 128<<8
	}
	udp := flow(unix.IPPROTO_UDP, from, to, 1000+i, 53)
	replied := flow(unix.IPPROTO_UDP, from, to, 2000+i, 53)
	replied.Status |= StatusSeenReply | uint32(i&1)*StatusAssured
	syn := flow(unix.IPPROTO_TCP, from, to, 3000+i, 53)
	syn.TCPState = TCPSynSent
	established := flow(unix.IPPROTO_TCP, from, to, 5000+i, 53)
	established.Status |= StatusSeenReply | StatusAssured
	zone := udp
	zone.Zone = 77
	marked := flow(unix.IPPROTO_UDP, from, to, 4000+i, 53)
	marked.Mark = uint32(i)
	fixed := flow(unix.IPPROTO_UDP, from, to, 6000+i, 53)
	fixed.Status |= StatusFixedTimeout
	return []Entry{
		udp, replied, syn, established, zone, marked, fixed,
		flow(ping, from, to, i, echo),
		flow(unix.IPPROTO_SCTP, from, to, 7000+i, 53),
		flow(unix.IPPROTO_UDP, other, from, 1000+i, 53),
	}
}

// These are no sources, or the kernel would take them for others than are meant.
func TestDeleteUnrepliedRefuses(t *testing.T) {
	for _, source := range []string{
		"::/0", "0.0.0.0/0", "0.0.0.0/32", "::/128", "10.7.0.1/24", "2001:db8::1/64", "::ffff:10.7.0.1/128", "::ffff:0.0.0.0/96",
	} {
		if n, err := DeleteUnreplied(t.Context(), netip.MustParsePrefix(source)); err == nil || n != 0 {
			t.Errorf("%s: %d deleted, %v", source, n, err)
		}
	}
	if n, err := DeleteUnreplied(t.Context(), netip.Prefix{}); err == nil || n != 0 {
		t.Errorf("of no source: %d deleted, %v", n, err)
	}
}

func TestRootDeleteUnrepliedCancelled(t *testing.T) {
	for _, source := range []string{"10.7.0.1/32", "2001:db8:7::/64"} {
		inside(t, func() {
			source := netip.MustParsePrefix(source)
			crowdOf(t, source.Addr().Next())
			crowdOf(t, source.Addr())
			all := len(collect(t, open(t), Query{}))
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if n, err := DeleteUnreplied(ctx, source); !errors.Is(err, context.Canceled) || n != 0 {
				t.Errorf("%d deleted, %v", n, err)
			}
			if n := len(collect(t, open(t), Query{})); n != all {
				t.Errorf("%d left of %d", n, all)
			}
		})
	}
}

// A kernel that does not look at the filter refuses the message, for the tuple is
// not whole; and takes it for no other.
func TestRootFilterPassedOver(t *testing.T) {
	u, err := newUnreplied(netip.MustParsePrefix("10.7.0.1/32"))
	if err != nil {
		t.Fatal(err)
	}
	attributes, err := u.attributes()
	if err != nil {
		t.Fatal(err)
	}
	inside(t, func() {
		crowdOf(t, u.source.Addr())
		c := open(t)
		all := len(collect(t, c, Query{}))
		request := message(unix.AF_INET, attributes)
		if err := makeDelete(request); err != nil {
			t.Fatal(err)
		}
		hide(t, request, ctaFilter)
		if err := c.dump(t.Context(), request, c.acknowledged); !errors.Is(err, unix.EINVAL) {
			t.Errorf("got %v", err)
		}
		if n := len(collect(t, open(t), Query{})); n != all {
			t.Errorf("%d left of %d", n, all)
		}
		// Nor is it deleted by if a dump shows that a part of it is passed over.
		c = open(t)
		unmasked := message(unix.AF_INET, attributes)
		hide(t, unmasked, ctaStatus)
		hide(t, unmasked, ctaStatusMask)
		if n, err := u.count(t.Context(), c, unmasked[unix.SizeofNlMsghdr+nfgenmsg:]); !errors.Is(err, errNoFilter) || n != 0 {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// hide gives an attribute of a message a type that no kernel knows.
func hide(t testing.TB, request []byte, typ uint16) {
	t.Helper()
	for b := request[unix.SizeofNlMsghdr+nfgenmsg:]; len(b) > 0; {
		of, size := attribute(b)
		if of == typ {
			b[2] = 200
			return
		}
		b = b[(size+3)&^3:]
	}
	t.Fatalf("no attribute %d in %x", typ, request)
}
