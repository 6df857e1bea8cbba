package ctnetlink

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// collect walks and returns copies of the entries by their id.
func collect(t testing.TB, c *Conn, q Query) map[uint32]Entry {
	t.Helper()
	found := map[uint32]Entry{}
	read, err := c.Walk(context.Background(), q, func(e *Entry) bool { found[e.ID] = *e; return true }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if read != len(found) {
		t.Fatalf("%d entries with %d ids", read, len(found))
	}
	return found
}

// Every field is what another reader makes of the same table, whatever else the
// kernel tells about its entries.
func TestRootAgreesWithTiMo(t *testing.T) {
	for name, keys := range map[string][]string{
		"plain":                        nil,
		"with counters and timestamps": {"nf_conntrack_acct", "nf_conntrack_timestamp"},
	} {
		inside(t, func() {
			for _, key := range keys {
				if err := os.WriteFile("/proc/sys/net/netfilter/"+key, []byte("1"), 0); err != nil {
					t.Fatal(err)
				}
			}
			mixed(t)
			fill(t, 1000)
			ours := collect(t, open(t), Query{})
			theirs := dumped(t)
			for id, e := range ours {
				if e.Timeout == theirs[id].Timeout+1 { // the clock ticked between the two
					e.Timeout--
					ours[id] = e
				}
			}
			if len(ours) != 15+1000 {
				t.Errorf("%s: %d entries of %d", name, len(ours), 15+1000)
			}
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("%s: -theirs +ours:\n%s", name, diff)
			}
		})
	}
}

// dumped is the table as ti-mo/conntrack reads it.
func dumped(t *testing.T) map[uint32]Entry {
	t.Helper()
	c, err := conntrack.Dial(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	flows, err := c.Dump(nil)
	if err != nil {
		t.Fatal(err)
	}
	found := map[uint32]Entry{}
	for _, f := range flows {
		found[f.ID] = converted(f)
	}
	return found
}

func converted(f conntrack.Flow) Entry {
	e := Entry{
		Orig: convertedTuple(f.TupleOrig), Reply: convertedTuple(f.TupleReply),
		ID: f.ID, Status: uint32(f.Status), Mark: f.Mark, Use: f.Use, Timeout: f.Timeout,
		Zone: f.Zone | f.TupleOrig.Zone | f.TupleReply.Zone, Family: unix.AF_INET, Proto: f.TupleOrig.Proto.Protocol,
		OrigZone: f.Zone | f.TupleOrig.Zone, ReplyZone: f.Zone | f.TupleReply.Zone,
	}
	if f.TupleOrig.IP.IsIPv6() {
		e.Family = unix.AF_INET6
	}
	if f.ProtoInfo.TCP != nil {
		e.TCPState = f.ProtoInfo.TCP.State
	}
	if f.ProtoInfo.SCTP != nil {
		e.SCTPState = f.ProtoInfo.SCTP.State
	}
	return e
}

func convertedTuple(t conntrack.Tuple) Tuple {
	p := t.Proto
	into := Tuple{t.IP.SourceAddress.As16(), t.IP.DestinationAddress.As16(), p.SourcePort, p.DestinationPort}
	if p.ICMPv4 || p.ICMPv6 {
		into.SrcPort, into.DstPort = p.ICMPID, uint16(p.ICMPType)<<8|uint16(p.ICMPCode)
	}
	return into
}

// Each query finds what it asks for, and the kernel sends no more than that where
// it can tell.
func TestRootFilters(t *testing.T) {
	v4, server := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("192.0.2.1")
	v6, server6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::1")
	for name, test := range map[string]struct {
		Query
		want, sent int
	}{
		"all":             {Query{}, 55, 55},
		"IPv4":            {Query{Family: unix.AF_INET}, 31, 31},
		"IPv6":            {Query{Family: unix.AF_INET6}, 24, 24},
		"assured":         {Query{Status: StatusAssured, StatusMask: StatusAssured}, 2, 2},
		"not assured":     {Query{StatusMask: StatusAssured}, 53, 53},
		"expected":        {Query{Status: StatusExpected, StatusMask: StatusExpected}, 1, 1},
		"SNAT":            {Query{Status: StatusSrcNAT, StatusMask: StatusSrcNAT}, 1, 1},
		"mark":            {Query{Mark: 0x17, MarkMask: 0xff}, 1, 1},
		"some bits":       {Query{Mark: 7, MarkMask: 0xf}, 2, 2},
		"no mark":         {Query{MarkMask: 0xffffffff}, 53, 53},
		"zone":            {Query{Zone: new(uint16(1000))}, 1, 1},
		"zone one way":    {Query{Zone: new(uint16(2001))}, 1, 1},
		"default zone":    {Query{Zone: new(uint16(0))}, 52, 52},
		"source":          {Query{Orig: Match{Src: v4}}, 2, 2},
		"mapped source":   {Query{Orig: Match{Src: netip.AddrFrom16(v4.As16())}}, 2, 2},
		"source and zone": {Query{Orig: Match{Src: v4}, Zone: new(uint16(0))}, 1, 1},
		"destination":     {Query{Orig: Match{Dst: server}}, 31, 31},
		"reply source":    {Query{Reply: Match{Src: server}}, 31, 31},
		"NAT address":     {Query{Reply: Match{Dst: netip.MustParseAddr("203.0.113.9")}}, 1, 1},
		"both ways":       {Query{Orig: Match{Src: v4}, Reply: Match{Src: server, Proto: unix.IPPROTO_UDP, DstPort: 40003}}, 2, 2},
		"nobody":          {Query{Orig: Match{Src: netip.MustParseAddr("10.9.9.9")}}, 0, 0},
		"protocol":        {Query{Family: unix.AF_INET, Orig: Match{Proto: unix.IPPROTO_UDP}}, 15, 15},
		"port":            {Query{Family: unix.AF_INET, Orig: Match{Proto: unix.IPPROTO_UDP, DstPort: 53}}, 4, 4},
		"source port":     {Query{Family: unix.AF_INET6, Orig: Match{Proto: unix.IPPROTO_TCP, SrcPort: 40002}}, 1, 1},
		"all at once": {Query{
			Family: unix.AF_INET, Status: StatusConfirmed, StatusMask: StatusConfirmed | StatusAssured, Mark: 0x17, MarkMask: 0xff,
			Zone: new(uint16(0)), Orig: Match{v4, server, 40003, 53, unix.IPPROTO_UDP}, Reply: Match{server, v4, 53, 40003, unix.IPPROTO_UDP},
		}, 1, 1},

		// What the kernel can't tell apart, or is not asked because it errs.
		"IPv6 source":         {Query{Orig: Match{Src: v6}}, 3, 24},
		"IPv6 destination":    {Query{Orig: Match{Dst: server6, Proto: unix.IPPROTO_TCP}}, 11, 11},
		"of either family":    {Query{Orig: Match{Proto: unix.IPPROTO_TCP, DstPort: 443}}, 23, 55},
		"port of any":         {Query{Family: unix.AF_INET, Orig: Match{DstPort: 53}}, 4, 31},
		"ICMP type":           {Query{Family: unix.AF_INET, Orig: Match{Proto: unix.IPPROTO_ICMP, DstPort: 8 << 8}}, 1, 1},
		"another ICMP type":   {Query{Family: unix.AF_INET, Orig: Match{Proto: unix.IPPROTO_ICMP, DstPort: 9 << 8}}, 0, 1},
		"port of SCTP":        {Query{Family: unix.AF_INET, Orig: Match{Proto: unix.IPPROTO_SCTP, DstPort: 36412}}, 1, 1},
		"no such SCTP port":   {Query{Family: unix.AF_INET, Orig: Match{Proto: unix.IPPROTO_SCTP, DstPort: 1}}, 0, 1},
		"SCTP source port":    {Query{Family: unix.AF_INET, Orig: Match{Proto: unix.IPPROTO_SCTP, SrcPort: 40005}}, 1, 1},
		"reply of ICMPv6":     {Query{Family: unix.AF_INET6, Reply: Match{Proto: unix.IPPROTO_ICMPV6, SrcPort: 78}}, 1, 1},
		"IPv6 source, marked": {Query{Orig: Match{Src: netip.MustParseAddr("2001:db8::2")}, Mark: 0x27, MarkMask: 0xff}, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			inside(t, func() {
				mixed(t)
				fill(t, 40)
				c := open(t)
				sent := count(c)
				if got := len(collect(t, c, test.Query)); got != test.want || *sent != test.sent {
					t.Errorf("%d entries of %d sent, want %d of %d", got, *sent, test.want, test.sent)
				}
			})
		})
	}
}

// count counts the entries that c receives.
func count(c *Conn) *int {
	n := new(int)
	receive := c.receive
	c.receive = func(buf []byte) (int, uint32, error) {
		size, sender, err := receive(buf)
		for b := buf[:size]; len(b) > 0; {
			h, _, rest, err := cutMessage(b)
			if err != nil {
				return 0, 0, err
			}
			*n += one(h.typ == ctNew)
			b = rest
		}
		return size, sender, err
	}
	return n
}

// A walk that is broken off spends its Conn, a complete one does not.
func TestRootBreakingOff(t *testing.T) {
	enough := errors.New("enough")
	var cancel context.CancelFunc
	for name, test := range map[string]struct {
		each    func(*Entry) bool
		between func(int) error
		want    error
		most    int
	}{
		"stopped at once": {func(*Entry) bool { return false }, nil, nil, 1},
		"between":         {func(*Entry) bool { return true }, func(int) error { return enough }, enough, 400},
		"context":         {func(*Entry) bool { return true }, func(int) error { cancel(); return nil }, context.Canceled, 400},
	} {
		inside(t, func() {
			fill(t, 4000)
			c := open(t)
			for range 2 {
				if n := len(collect(t, c, Query{})); n != 4000 {
					t.Errorf("%d entries of 4000", n)
				}
			}
			var ctx context.Context
			ctx, cancel = context.WithCancel(context.Background())
			defer cancel()
			n, err := c.Walk(ctx, Query{}, test.each, test.between)
			if !errors.Is(err, test.want) || n == 0 || n > test.most {
				t.Errorf("%s: %d entries, %v", name, n, err)
			}
			n, err = c.Walk(context.Background(), Query{}, test.each, nil)
			if n != 0 || !errors.Is(err, os.ErrClosed) {
				t.Errorf("%s: after it: %d entries, %v", name, n, err)
			}
		})
	}
}

// Between is told the number of entries before every receive but the first.
func TestRootBetween(t *testing.T) {
	inside(t, func() {
		fill(t, 2000)
		c := open(t)
		var received, told []int
		n, receive := 0, c.receive
		c.receive = func(buf []byte) (int, uint32, error) { received = append(received, n); return receive(buf) }
		each := func(*Entry) bool { n++; return true }
		if _, err := c.Walk(context.Background(), Query{}, each, func(n int) error { told = append(told, n); return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(received[1:], told); diff != "" || len(told) < 5 {
			t.Errorf("%d calls, -received +told:\n%s", len(told), diff)
		}
	})
}

// Whatever the size of the table, a walk allocates as often: not once for an
// entry, nor for one of the 40 datagrams. The runtime may add one or two.
func TestRootAllocations(t *testing.T) {
	inside(t, func() {
		c := open(t)
		ctx, each, between := context.Background(), func(*Entry) bool { return true }, func(int) error { return nil }
		allocations := func() float64 {
			return testing.AllocsPerRun(20, func() {
				if _, err := c.Walk(ctx, Query{}, each, between); err != nil {
					t.Fatal(err)
				}
			})
		}
		empty := allocations()
		fill(t, 5000)
		if full := allocations(); full > empty+4 || full > 10 {
			t.Errorf("%v allocations for an empty table, %v for 5000 entries", empty, full)
		}
	})
}

// Somebody else may send to the socket, and even know what it waits for.
func TestRootForgedAnswer(t *testing.T) {
	inside(t, func() {
		fill(t, 10)
		c, other := open(t), open(t)
		forged := entry(flow(unix.IPPROTO_UDP, "10.6.6.6", "192.0.2.1", 6666, 53))
		copy(forged[8:], errno(int32(c.seq+1)))
		copy(forged[12:], errno(int32(c.port)))
		if err := unix.Sendto(other.fd, forged, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: c.port}); err != nil {
			t.Fatal(err)
		}
		sent := count(c)
		if n := len(collect(t, c, Query{})); n != 10 || *sent != 11 {
			t.Errorf("%d entries of %d sent, want 10 of 11", n, *sent)
		}
	})
}

// What the kernel can't filter by it refuses, saying why if it has words for it.
func TestRootRefused(t *testing.T) {
	for name, test := range map[string]struct {
		attributes []byte
		want       []error
		words      string
	}{
		"unknown flag": {
			nested(ctaFilter, attr(ctaFilterOrigFlags, errno(1<<30))),
			[]error{unix.EINVAL, unix.EOPNOTSUPP},
			"may not know a filter",
		},
		"short status": {attr(ctaStatus, u16(1)), []error{unix.ERANGE}, "policy"},
	} {
		inside(t, func() {
			fill(t, 10)
			c := open(t)
			r := reader{seq: c.seq + 1, port: c.port, each: func(*Entry) bool { t.Error("an entry"); return true }}
			err := c.dump(context.Background(), message(unix.AF_INET, test.attributes), r.datagram)
			is := func(want error) bool { return errors.Is(err, want) }
			if !slices.ContainsFunc(test.want, is) || !strings.Contains(err.Error(), test.words) {
				t.Errorf("%s: %v, want %v", name, err, test.want)
			}
			t.Logf("%s: %v", name, err)
		})
	}
}

// Without CAP_NET_ADMIN the kernel refuses, and the error says what is lacking.
func TestRootWithoutCapability(t *testing.T) {
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread dies with its lost capabilities
		var sets [2]unix.CapUserData
		if err := unix.Capset(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &sets[0]); err != nil {
			result <- err
			return
		}
		c, err := Open()
		if err == nil {
			defer c.Close()
			_, err = c.Walk(context.Background(), Query{}, func(*Entry) bool { return true }, nil)
		}
		result <- err
	}()
	if err := <-result; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN") {
		t.Errorf("got %v", err)
	}
}

// The kernel's datagrams are 4 KiB at least, so a smaller buffer cuts them.
func TestRootTruncated(t *testing.T) {
	inside(t, func() {
		fill(t, 100)
		c := open(t)
		c.buf = c.buf[:1024]
		n, err := c.Walk(context.Background(), Query{}, func(*Entry) bool { return true }, nil)
		if n != 0 || err == nil || !strings.Contains(err.Error(), "larger than the buffer of 1024") {
			t.Errorf("%d entries, %v", n, err)
		}
	})
}

// Discard receives what a walk receives, and comes to the end.
func TestRootDiscard(t *testing.T) {
	inside(t, func() {
		fill(t, 1000)
		c := open(t)
		want := 0
		receive := c.receive
		c.receive = func(buf []byte) (int, uint32, error) {
			n, sender, err := receive(buf)
			want += n
			return n, sender, err
		}
		datagrams, bytes, err := c.Discard(context.Background())
		if err != nil || bytes != want || datagrams < 2 {
			t.Errorf("%d datagrams, %d bytes, %v, want %d bytes", datagrams, bytes, err, want)
		}
		if n := len(collect(t, c, Query{})); n != 1000 || want < 2*bytes {
			t.Errorf("after it: %d entries, %d bytes in all", n, want)
		}
	})
}

// Two entries can't have one reply, so they take each other's ports, where their
// zones are for the original direction alone: it is ReplyZone that counts.
func TestRootRepliesOfOneWayZones(t *testing.T) {
	inside(t, func() {
		made := func(zone, orig uint16, source string) error {
			e := flow(unix.IPPROTO_UDP, source, "192.0.2.1", 40001, 53)
			e.Reply.Dst = flow(unix.IPPROTO_UDP, "203.0.113.9", "192.0.2.1", 40001, 53).Orig.Src
			if e.Zone = zone; orig == 0 {
				return tryCreate(t, e.Family, attributes(e)...)
			}
			return tryCreate(t, e.Family, zoned(e, 0, orig)...)
		}
		for i, test := range []struct {
			zone, orig uint16
			want       error
		}{
			{0, 1, nil},
			{0, 2, unix.EEXIST},
			{0, 0, unix.EEXIST},
			{3, 0, nil},
			{3, 0, unix.EEXIST},
		} {
			if err := made(test.zone, test.orig, fmt.Sprint("10.0.0.", i+1)); !errors.Is(err, test.want) {
				t.Errorf("%d: %v, want %v", i, err, test.want)
			}
		}
		zones := map[[2]uint16]bool{}
		for _, e := range collect(t, open(t), Query{}) {
			zones[[2]uint16{e.Zone, e.ReplyZone}] = true
		}
		if want := map[[2]uint16]bool{{1, 0}: true, {3, 3}: true}; !maps.Equal(zones, want) {
			t.Errorf("zones and those of replies: %v, want %v", zones, want)
		}
	})
}
