package sense

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// A route is one of the kernel's, as far as it tells an address. The library's has no
// nexthop objects, and keeps all that a table of a million routes has of each.
type route struct {
	table   uint32
	dst     netip.Prefix
	hops    []netip.Addr
	nexthop uint32 // id of the object that has the hops, 0 for none
}

// A routing asks one namespace for its routes.
type routing struct{ sockets map[int]*nl.SocketHandle }

// openRouting opens a socket in the calling thread's namespace.
func openRouting() (*routing, error) {
	s, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	deadline := unix.NsecToTimeval(patience.Nanoseconds())
	if err := errors.Join(s.SetSendTimeout(&deadline), s.SetReceiveTimeout(&deadline)); err != nil {
		s.Close()
		return nil, fmt.Errorf("set a deadline for netlink: %w", err)
	}
	// The kernel then leaves out routes of other types. Before Linux 4.20 it does not, so
	// they are left out here, too.
	_ = unix.SetsockoptInt(s.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	return &routing{map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: s}}}, nil
}

func (r *routing) Close() { r.sockets[unix.NETLINK_ROUTE].Close() }

func (r *routing) request(kind, flags int) *nl.NetlinkRequest {
	q := nl.NewNetlinkRequest(kind, flags)
	q.Sockets = r.sockets
	return q
}

// routes are those of all tables that have a family, a type (RTN_*) and a destination of
// so many bits at most.
func (r *routing) routes(family, kind, bits uint8) ([]route, error) {
	return dump(func() (list []route, err error) {
		q := r.request(unix.RTM_GETROUTE, unix.NLM_F_DUMP)
		q.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: family, Type: kind}})
		var unclear error
		err = q.ExecuteIter(unix.NETLINK_ROUTE, unix.RTM_NEWROUTE, func(m []byte) bool {
			if len(m) < unix.SizeofRtMsg {
				unclear = errShort
				return false
			}
			head := nl.DeserializeRtMsg(m)
			if head.Family != family || head.Type != kind || head.Flags&unix.RTM_F_CLONED != 0 || head.Dst_len > bits {
				return true
			}
			var found route
			if found, unclear = parseRoute(head, m[unix.SizeofRtMsg:]); unclear == nil {
				list = append(list, found)
			}
			return unclear == nil
		})
		if unclear != nil {
			err = unclear
		}
		return list, err
	})
}

// rtaNHID is RTA_NH_ID, which x/sys/unix does not have.
const rtaNHID = 0x1e

// errShort is that an answer of the kernel has less than what it must have.
var errShort = errors.New("netlink: a message is cut short")

func parseRoute(head *nl.RtMsg, text []byte) (r route, err error) {
	attrs, err := netlink.UnmarshalAttributes(text)
	if err != nil {
		return r, err
	}
	all := netip.IPv4Unspecified()
	if head.Family == unix.AF_INET6 {
		all = netip.IPv6Unspecified()
	}
	r.table, r.dst = uint32(head.Table), netip.PrefixFrom(all, int(head.Dst_len))
	for _, a := range attrs {
		switch a.Type {
		case unix.RTA_TABLE:
			r.table, err = number(a.Data)
		case unix.RTA_DST:
			addr, _ := netip.AddrFromSlice(a.Data)
			r.dst = netip.PrefixFrom(addr, int(head.Dst_len))
		case rtaNHID:
			r.nexthop, err = number(a.Data)
		case unix.RTA_MULTIPATH:
			r.hops, err = paths(r.hops, a.Data)
		default:
			r.hops = hop(r.hops, a)
		}
		if err != nil {
			return r, err
		}
	}
	if !r.dst.IsValid() {
		return r, errShort
	}
	return r, nil
}

// hop adds the gateway that an attribute has, if it has one. One of IPv4 may go by way of
// an IPv6 address: struct rtvia, after a family.
func hop(list []netip.Addr, a netlink.Attribute) []netip.Addr {
	text := a.Data
	switch {
	case a.Type == unix.RTA_VIA && len(text) > 2:
		text = text[2:]
	case a.Type != unix.RTA_GATEWAY:
		return list
	}
	if addr, ok := netip.AddrFromSlice(text); ok {
		list = append(list, addr)
	}
	return list
}

// paths adds the gateways of all paths: struct rtnexthop, with attributes each.
func paths(list []netip.Addr, text []byte) ([]netip.Addr, error) {
	for len(text) >= unix.SizeofRtNexthop {
		size := int(binary.NativeEndian.Uint16(text))
		if size < unix.SizeofRtNexthop || size > len(text) {
			return list, errShort
		}
		attrs, err := netlink.UnmarshalAttributes(text[unix.SizeofRtNexthop:size])
		if err != nil {
			return list, err
		}
		for _, a := range attrs {
			list = hop(list, a)
		}
		text = text[min((size+3)&^3, len(text)):] // RTNH_ALIGN
	}
	return list, nil
}

func number(text []byte) (uint32, error) {
	if len(text) < 4 {
		return 0, errShort
	}
	return binary.NativeEndian.Uint32(text), nil
}
