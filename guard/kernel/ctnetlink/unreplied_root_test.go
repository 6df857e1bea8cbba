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

// Only unreplied UDP of the source goes, of whichever zone; everything else of a
// mixed table stays.
func TestRootDeleteUnrepliedUDP(t *testing.T) {
	source := netip.MustParseAddr("10.7.0.1")
	inside(t, func() {
		mixed(t)
		fill(t, 400)
		want := crowdOf(t, source)
		c := open(t)
		before := collect(t, c, Query{})
		meant := func(_ uint32, e Entry) bool {
			return e.Orig.Src.Netip() == source && e.Proto == unix.IPPROTO_UDP && e.Status&StatusSeenReply == 0
		}
		all := len(before)
		n, err := DeleteUnrepliedUDP(t.Context(), netip.AddrFrom16(source.As16()))
		if !deletesByFilter(t) {
			if left := collect(t, c, Query{}); !errors.Is(err, ErrUnsupported) || n != 0 || !maps.EqualFunc(left, before, sameButTime) {
				t.Errorf("%d deleted, %v, %d left of %d", n, err, len(left), all)
			}
			t.Logf("as it shall be: %v", err)
			return
		}
		if err != nil || n != want {
			t.Errorf("%d deleted, %v, want %d", n, err, want)
		}
		maps.DeleteFunc(before, meant)
		left := collect(t, c, Query{})
		if !maps.EqualFunc(left, before, sameButTime) || len(left) != all-want {
			t.Errorf("%d left of %d, want %d", len(left), all, len(before))
		}
		for range 2 { // nobody's, now
			if n, err := DeleteUnrepliedUDP(t.Context(), source); n != 0 || err != nil {
				t.Errorf("%d deleted, %v", n, err)
			}
		}
		if n := len(collect(t, c, Query{})); n != len(left) {
			t.Errorf("%d left of %d", n, len(left))
		}
	})
}

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

// crowdOf makes entries of a source: unreplied UDP, whose number it returns, and
// others; and some that are like them but for the source.
func crowdOf(t testing.TB, source netip.Addr) (unreplied int) {
	t.Helper()
	next := source.Next()
	for i := range uint16(30) {
		for _, from := range []netip.Addr{source, next} {
			udp := flow(unix.IPPROTO_UDP, from.String(), "192.0.2.1", 1000+i, 53)
			replied := flow(unix.IPPROTO_UDP, from.String(), "192.0.2.1", 2000+i, 53)
			replied.Status |= StatusSeenReply | uint32(i&1)*StatusAssured
			tcp := flow(unix.IPPROTO_TCP, from.String(), "192.0.2.1", 3000+i, 53)
			tcp.TCPState = TCPSynSent
			zone := flow(unix.IPPROTO_UDP, from.String(), "192.0.2.1", 1000+i, 53)
			zone.Zone = 77
			marked := flow(unix.IPPROTO_UDP, from.String(), "192.0.2.1", 4000+i, 53)
			marked.Mark = uint32(i)
			icmp := flow(unix.IPPROTO_ICMP, from.String(), "192.0.2.1", i, 8<<8)
			back := flow(unix.IPPROTO_UDP, "192.0.2.9", from.String(), 1000+i, 53)
			for _, e := range []Entry{udp, replied, tcp, zone, marked, icmp, back} {
				create(t, e.Family, attributes(e)...)
			}
		}
		unreplied += 3
	}
	return unreplied
}

// The kernel would take these for others than are meant.
func TestDeleteUnrepliedUDPRefuses(t *testing.T) {
	for _, source := range []string{"2001:db8::1", "::", "0.0.0.0", "::ffff:0.0.0.0", "fe80::1%eth0"} {
		if n, err := DeleteUnrepliedUDP(t.Context(), netip.MustParseAddr(source)); err == nil || n != 0 {
			t.Errorf("%s: %d deleted, %v", source, n, err)
		}
	}
	if n, err := DeleteUnrepliedUDP(t.Context(), netip.Addr{}); err == nil || n != 0 {
		t.Errorf("of no source: %d deleted, %v", n, err)
	}
}

func TestRootDeleteUnrepliedUDPCancelled(t *testing.T) {
	source := netip.MustParseAddr("10.7.0.1")
	inside(t, func() {
		want := crowdOf(t, source)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if n, err := DeleteUnrepliedUDP(ctx, source); !errors.Is(err, context.Canceled) || n != 0 {
			t.Errorf("%d deleted, %v", n, err)
		}
		if n := len(collect(t, open(t), Query{Orig: Match{Src: source, Proto: unix.IPPROTO_UDP}, StatusMask: StatusSeenReply})); n != want {
			t.Errorf("%d left of %d", n, want)
		}
	})
}

// A kernel that does not look at the filter refuses the message, for the tuple is
// not whole; and takes it for no other.
func TestRootFilterPassedOver(t *testing.T) {
	u, err := newUnrepliedUDP(netip.MustParseAddr("10.7.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	attributes, err := u.attributes()
	if err != nil {
		t.Fatal(err)
	}
	inside(t, func() {
		crowdOf(t, u.source)
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
		if n, err := u.count(t.Context(), c, unmasked[unix.SizeofNlMsghdr+nfgenmsg:]); !errors.Is(err, ErrUnsupported) || n != 0 {
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
