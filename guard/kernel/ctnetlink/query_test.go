package ctnetlink

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestQueryRefuses(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	for _, test := range []struct {
		Query
		want string
	}{
		{Query{Family: 1}, "query: address family 1"},
		{Query{Status: 8}, "query: status 0x8 is not within the mask 0x0"},
		{Query{Mark: 3, MarkMask: 2}, "query: mark 0x3 is not within the mask 0x2"},
		{Query{Orig: Match{Src: v4}, Reply: Match{Dst: v6}}, "query: IPv4 and IPv6 at once, which no entry is"},
		{Query{Family: unix.AF_INET, Orig: Match{Dst: v6}}, "query: IPv4 and IPv6 at once, which no entry is"},
		{Query{Family: unix.AF_INET6, Reply: Match{Src: netip.AddrFrom16(v4.As16())}}, "query: IPv4 and IPv6 at once, which no entry is"},
		{Query{Orig: Match{Src: netip.MustParseAddr("fe80::1%eth0")}}, "query: fe80::1%eth0: an entry knows no interface"},
		{Query{Reply: Match{Dst: netip.MustParseAddr("::ffff:10.0.0.1%eth0")}}, "query: ::ffff:10.0.0.1%eth0: an entry knows no interface"},
	} {
		if _, _, err := test.compile(); err == nil || err.Error() != test.want {
			t.Errorf("%+v: %v, want %s", test.Query, err, test.want)
		}
	}
}

// An entry that differs in one field that the query names is skipped, whatever
// the kernel sends.
func TestMatch(t *testing.T) {
	e := flow(unix.IPPROTO_TCP, "10.0.0.1", "192.0.2.1", 40001, 443)
	e.Mark, e.Zone, e.Reply.Dst, e.Reply.DstPort = 0x55, 3, Addr{10: 255, 11: 255, 12: 203, 14: 113, 15: 9}, 50001
	q := Query{
		Family: unix.AF_INET, Status: StatusConfirmed, StatusMask: StatusConfirmed | StatusAssured,
		Mark: 0x50, MarkMask: 0xf0, Zone: new(e.Zone),
		Orig:  Match{e.Orig.Src.Netip(), e.Orig.Dst.Netip(), 40001, 443, unix.IPPROTO_TCP},
		Reply: Match{e.Reply.Src.Netip(), e.Reply.Dst.Netip(), 443, 50001, unix.IPPROTO_TCP},
	}
	_, f, err := q.compile()
	if err != nil || !f.match(&e) {
		t.Fatalf("%+v does not match itself: %v", e, err)
	}
	_, all, err := Query{}.compile()
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(e *Entry){
		"family":            func(e *Entry) { e.Family = unix.AF_INET6 },
		"status":            func(e *Entry) { e.Status = 0 },
		"status not wanted": func(e *Entry) { e.Status |= StatusAssured },
		"mark":              func(e *Entry) { e.Mark = 0x65 },
		"zone":              func(e *Entry) { e.Zone = 0 },
		"protocol":          func(e *Entry) { e.Proto = unix.IPPROTO_UDP },
		"source":            func(e *Entry) { e.Orig.Src[15]++ },
		"source's family":   func(e *Entry) { e.Orig.Src[11]++ },
		"destination":       func(e *Entry) { e.Orig.Dst[15]++ },
		"source port":       func(e *Entry) { e.Orig.SrcPort++ },
		"port":              func(e *Entry) { e.Orig.DstPort++ },
		"reply source":      func(e *Entry) { e.Reply.Src[15]++ },
		"NAT address":       func(e *Entry) { e.Reply.Dst[15]++ },
		"reply source port": func(e *Entry) { e.Reply.SrcPort++ },
		"NAT port":          func(e *Entry) { e.Reply.DstPort++ },
	} {
		other := e
		change(&other)
		if f.match(&other) {
			t.Errorf("another %s matches", name)
		}
		if !all.match(&other) {
			t.Errorf("another %s: not among all", name)
		}
	}
	same := e
	same.Mark, same.Status, same.Timeout, same.ID = 0x5a, StatusConfirmed|StatusSeenReply, 1, 1
	if !f.match(&same) {
		t.Error("what the query does not name counts")
	}
}

// An older kernel sends all entries: those that don't match are not handed on.
func TestWalkComparesAgain(t *testing.T) {
	datagram := append(readRecorded(t), done()...)
	c := answered(t, inTurn(reception{datagram: datagram}))
	zone := uint16(1000)
	read, err := c.Walk(t.Context(), Query{Zone: &zone}, func(e *Entry) bool {
		if e.Zone != zone {
			t.Errorf("an entry of zone %d", e.Zone)
		}
		return true
	}, nil)
	if err != nil || read != 1 {
		t.Errorf("%d entries, %v", read, err)
	}
}
