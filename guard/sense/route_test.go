package sense

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// routeOf is an answer of the kernel without its head.
func routeOf(attrs ...*nl.RtAttr) (text []byte) {
	for _, a := range attrs {
		text = append(text, a.Serialize()...)
	}
	return text
}

func headOf(family, bits uint8) *nl.RtMsg {
	return &nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Dst_len: bits, Table: unix.RT_TABLE_MAIN}}
}

// path is a struct rtnexthop with a gateway.
func path(gateway ...byte) []byte {
	attr := nl.NewRtAttr(unix.RTA_GATEWAY, gateway).Serialize()
	head := &nl.RtNexthop{}
	text := head.Serialize()
	nl.NativeEndian().PutUint16(text, uint16(len(text)+len(attr)))
	return append(text, attr...)
}

func TestParseRoute(t *testing.T) {
	two := append(path(192, 0, 2, 1), path(192, 0, 2, 2)...)
	got, err := parseRoute(headOf(unix.AF_INET, 0), routeOf(
		nl.NewRtAttr(unix.RTA_TABLE, nl.Uint32Attr(1000)), nl.NewRtAttr(unix.RTA_MULTIPATH, two), nl.NewRtAttr(rtaNHID, nl.Uint32Attr(7)),
	))
	if err != nil || got.table != 1000 || got.nexthop != 7 || got.dst.String() != "0.0.0.0/0" || !slices.Equal(got.hops, addrs("192.0.2.1", "192.0.2.2")) {
		t.Errorf("%+v, %v", got, err)
	}
	for name, text := range map[string][]byte{
		"half of a path":           routeOf(nl.NewRtAttr(unix.RTA_MULTIPATH, two[:len(two)-3])),
		"a path that says nothing": routeOf(nl.NewRtAttr(unix.RTA_MULTIPATH, make([]byte, 8))),
		"a short number":           routeOf(nl.NewRtAttr(rtaNHID, []byte{1, 2})),
		"a short destination":      routeOf(nl.NewRtAttr(unix.RTA_DST, []byte{1, 2})),
		"half of an attribute":     routeOf(nl.NewRtAttr(rtaNHID, nl.Uint32Attr(7)))[:6],
	} {
		if got, err := parseRoute(headOf(unix.AF_INET, 0), text); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got, err := parseRoute(headOf(unix.AF_INET, 33), nil); err == nil {
		t.Errorf("of 33 bits: %+v", got)
	}
}

func FuzzParseRoute(f *testing.F) {
	f.Add(uint8(unix.AF_INET), uint8(0), routeOf(nl.NewRtAttr(unix.RTA_MULTIPATH, path(192, 0, 2, 1))))
	f.Add(uint8(unix.AF_INET6), uint8(3), routeOf(nl.NewRtAttr(unix.RTA_VIA, []byte{2, 0, 192, 0, 2, 1}), nl.NewRtAttr(rtaNHID, nl.Uint32Attr(1))))
	f.Fuzz(func(t *testing.T, family, bits uint8, text []byte) {
		r, err := parseRoute(headOf(family, bits), text)
		if err == nil && (!r.dst.IsValid() || slices.ContainsFunc(singles(r.hops), func(p netip.Prefix) bool { return !p.IsValid() })) {
			t.Errorf("%+v", r)
		}
	})
}
