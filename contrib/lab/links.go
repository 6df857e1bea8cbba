package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The addresses of every gateway. Namespaces keep them apart.
var (
	clientNet = netip.MustParsePrefix("10.77.0.0/16") // sources of well-behaved clients
	floodNet  = netip.MustParsePrefix("10.78.0.0/16") // sources of floods
	targetNet = netip.MustParsePrefix("10.79.0.0/16") // destinations of floods
	echoNet   = netip.MustParsePrefix("10.80.0.0/24") // where the server's stack answers

	// The same of IPv6. Where there is more than one source, each has a /64.
	clientNet6 = netip.MustParsePrefix("fd77::/48")
	floodNet6  = netip.MustParsePrefix("fd78::/48")
	targetNet6 = netip.MustParsePrefix("fd79::/64")
	echoNet6   = netip.MustParsePrefix("fd80::/64")

	// Entries made by Fill. Nothing is routed there.
	fillNet  = netip.MustParsePrefix("10.128.0.0/9")  // sources
	fillDst  = netip.MustParsePrefix("198.18.0.0/15") // destinations, RFC 2544
	fillNet6 = netip.MustParsePrefix("fd81::/32")     // sources
	fillDst6 = netip.MustParsePrefix("2001:db8::/64") // destinations, RFC 3849
)

// echoAddrs is how many addresses of echoNet the server has. Several, because one
// address gives a masquerading gateway 64,512 ports at most, and ports in
// TIME_WAIT are still taken.
const echoAddrs = 16

// The links. The hardware addresses are fixed so that frames can be made before
// anything was sent.
const (
	lanLink, wanLink = "lan0", "wan0" // on the gateway
	upLink           = "up0"          // on the client and on the server
)

var (
	clientMAC = net.HardwareAddr{2, 0, 0, 0, 1, 2}
	lanMAC    = net.HardwareAddr{2, 0, 0, 0, 1, 1}
	wanMAC    = net.HardwareAddr{2, 0, 0, 0, 2, 1}
	serverMAC = net.HardwareAddr{2, 0, 0, 0, 2, 2}

	clientUp = netip.MustParsePrefix("172.31.1.2/30")
	lanAddr  = netip.MustParsePrefix("172.31.1.1/30")
	wanAddr  = netip.MustParsePrefix("172.31.2.1/30")
	serverUp = netip.MustParsePrefix("172.31.2.2/30")

	clientUp6 = netip.MustParsePrefix("fd70:0:0:1::2/64")
	lanAddr6  = netip.MustParsePrefix("fd70:0:0:1::1/64")
	wanAddr6  = netip.MustParsePrefix("fd70:0:0:2::1/64")
	serverUp6 = netip.MustParsePrefix("fd70:0:0:2::2/64")
)

// connect wires the three namespaces and makes only the middle one forward.
func (g *Gateway) connect() error {
	steps := []func() error{
		func() error { return g.Router.SetSysctl("net.ipv4.ip_forward", 1) },
		func() error { return g.Client.SetSysctl("net.ipv4.ip_forward", 0) },
		func() error { return g.Server.SetSysctl("net.ipv4.ip_forward", 0) },
		func() error { return g.Router.veth(lanLink, lanMAC, g.Client, clientMAC) },
		func() error { return g.Router.veth(wanLink, wanMAC, g.Server, serverMAC) },
		func() error { return g.Router.address(lanLink, lanAddr, clientUp.Addr(), clientMAC) },
		func() error { return g.Router.address(wanLink, wanAddr, serverUp.Addr(), serverMAC) },
		func() error { return g.Client.address(upLink, clientUp, lanAddr.Addr(), lanMAC) },
		func() error { return g.Server.address(upLink, serverUp, wanAddr.Addr(), wanMAC) },
		func() error { return g.Client.route(netip.MustParsePrefix("0.0.0.0/0"), lanAddr.Addr()) },
		func() error { return g.Client.own(clientNet) },
		func() error { return g.Router.route(clientNet, clientUp.Addr()) },
		func() error { return g.Router.route(floodNet, clientUp.Addr()) },
		func() error { return g.Router.route(targetNet, serverUp.Addr()) },
		func() error { return g.Router.route(echoNet, serverUp.Addr()) },
		func() error { return g.Server.own(echoNet) },
	}
	return inOrder(steps)
}

// connect6 does the same for IPv6 on links that are there, and has it tracked.
func (g *Gateway) connect6() error {
	return inOrder([]func() error{
		func() error { return g.Router.SetSysctl("net.ipv6.conf.all.forwarding", 1) },
		// Without, a socket may bind only addresses that are listed (__inet6_bind).
		func() error { return g.Client.SetSysctl("net.ipv6.ip_nonlocal_bind", 1) },
		func() error { return g.Server.SetSysctl("net.ipv6.ip_nonlocal_bind", 1) },
		func() error { return g.Router.address(lanLink, lanAddr6, clientUp6.Addr(), clientMAC) },
		func() error { return g.Router.address(wanLink, wanAddr6, serverUp6.Addr(), serverMAC) },
		func() error { return g.Client.address(upLink, clientUp6, lanAddr6.Addr(), lanMAC) },
		func() error { return g.Server.address(upLink, serverUp6, wanAddr6.Addr(), wanMAC) },
		func() error { return g.Client.route(netip.MustParsePrefix("::/0"), lanAddr6.Addr()) },
		func() error { return g.Server.route(clientNet6, wanAddr6.Addr()) }, // not translated
		func() error { return g.Server.route(lanAddr6.Masked(), wanAddr6.Addr()) },
		func() error { return g.Client.own(clientNet6) },
		func() error { return g.Router.route(clientNet6, clientUp6.Addr()) },
		func() error { return g.Router.route(floodNet6, clientUp6.Addr()) },
		func() error { return g.Router.route(targetNet6, serverUp6.Addr()) },
		func() error { return g.Router.route(echoNet6, serverUp6.Addr()) },
		func() error { return g.Server.own(echoNet6) },
		func() error { return track6(g.Router) },
	})
}

func inOrder(steps []func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// veth makes a link from n to peer, where it is called upLink, and brings both
// ends up.
func (n *Namespace) veth(name string, mac net.HardwareAddr, peer *Namespace, peerMAC net.HardwareAddr) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr = name, mac
	link := netlink.NewVeth(attrs)
	link.PeerName, link.PeerHardwareAddr = upLink, peerMAC
	link.PeerNamespace = netlink.NsFd(peer.ns)
	if err := n.links.LinkAdd(link); err != nil {
		return fmt.Errorf("link %s to %s: %w", n.Name, peer.Name, err)
	}
	if err := n.linkUp(name); err != nil {
		return err
	}
	return peer.linkUp(upLink)
}

func (n *Namespace) linkUp(name string) error {
	link, err := n.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s in %s: %w", name, n.Name, err)
	}
	if err := n.links.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %s in %s: %w", name, n.Name, err)
	}
	return nil
}

// address gives a link its address and the neighbour on its other end for good:
// a neighbour that had to be resolved would cost the first packets.
func (n *Namespace) address(name string, addr netip.Prefix, other netip.Addr, mac net.HardwareAddr) error {
	link, err := n.links.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s in %s: %w", name, n.Name, err)
	}
	// Without IFA_F_NODAD an IPv6 address is of no use for the first second or two.
	if err := n.links.AddrAdd(link, &netlink.Addr{IPNet: ipNet(addr), Flags: nodad(addr)}); err != nil {
		return fmt.Errorf("add address %s to %s in %s: %w", addr, name, n.Name, err)
	}
	err = n.links.NeighAdd(&netlink.Neigh{
		LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
		IP: other.AsSlice(), HardwareAddr: mac,
	})
	if err != nil {
		return fmt.Errorf("add neighbour %s in %s: %w", other, n.Name, err)
	}
	return nil
}

// nodad is IFA_F_NODAD for an IPv6 address: nobody else can have it.
func nodad(addr netip.Prefix) int {
	if addr.Addr().Is6() {
		return unix.IFA_F_NODAD
	}
	return 0
}

// route sends dst by way of via.
func (n *Namespace) route(dst netip.Prefix, via netip.Addr) error {
	err := n.links.RouteAdd(&netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice()})
	if err != nil {
		return fmt.Errorf("add route to %s in %s: %w", dst, n.Name, err)
	}
	return nil
}

// own makes a whole net the namespace's own, address by address, without
// listing them (AnyIP).
func (n *Namespace) own(prefix netip.Prefix) error {
	lo, err := n.links.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("find loopback in %s: %w", n.Name, err)
	}
	err = n.links.RouteAdd(&netlink.Route{
		LinkIndex: lo.Attrs().Index, Dst: ipNet(prefix), Table: unix.RT_TABLE_LOCAL,
		Type: unix.RTN_LOCAL, Scope: netlink.SCOPE_HOST,
	})
	if err != nil {
		return fmt.Errorf("own %s in %s: %w", prefix, n.Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
