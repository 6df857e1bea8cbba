package sense

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// localRoute makes addresses local, as `ip route add local ... dev lo` does.
func localRoute(to string, table int) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return addRoute(netlink.Route{Dst: network(to), Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST, LinkIndex: lo.Attrs().Index, Table: table})
}

// rule leads packets to a table: those of a mark, or all if it is 0.
func rule(family, table int, mark uint32) error {
	r := netlink.NewRule()
	r.Family, r.Table, r.Mark, r.Priority = family, table, mark, 1000+2*table+int(mark)
	if err := netlink.RuleAdd(r); err != nil {
		return fmt.Errorf("add a rule for table %d: %w", table, err)
	}
	return nil
}

func loopbackUp() error {
	lo, err := netlink.LinkByName("lo")
	return errors.Join(err, netlink.LinkSetUp(lo))
}

// Addresses are the gateway's own that are local by route alone, but not those of others
// that a proxy takes in.
func TestRootAllowsLocalRoutes(t *testing.T) {
	ns := netnstest.New(t)
	inside(t, ns, func() error {
		return errors.Join(
			loopbackUp(),
			localRoute("203.0.113.0/28", unix.RT_TABLE_LOCAL),
			localRoute("2001:db8:f::/64", unix.RT_TABLE_LOCAL),
			localRoute("198.51.100.0/24", unix.RT_TABLE_MAIN),
			localRoute("192.0.2.0/29", 100),
			localRoute("192.0.2.8/29", 101), rule(unix.AF_INET, 101, 0),
			localRoute("192.0.2.16/29", 102), rule(unix.AF_INET, 102, 1), rule(unix.AF_INET, 102, 0),
			localRoute("0.0.0.0/0", 200), rule(unix.AF_INET, 200, 1),
			localRoute("10.0.0.0/8", 201), rule(unix.AF_INET, 201, 1),
			localRoute("::/0", 202),
			localRoute("2001:db8:e::/64", 203), rule(unix.AF_INET6, 203, 1),
			localRoute("2001:db8:d::/64", 204), rule(unix.AF_INET, 204, 1), // of the other family
		)
	})
	a := allowlist(t, ns, "")
	allows(t, mustAllow(t, a, policy.Default()), "own address", "127.0.0.0/8", "127.0.0.1/32", "::1/128",
		"203.0.113.0/28", "2001:db8:f::/64", "198.51.100.0/24", "192.0.2.0/29", "192.0.2.8/29", "192.0.2.16/29", "2001:db8:d::/64")
}

// A rule of the operator's that sends connections on may be for an address that is local
// by route alone: a lifeline would break them.
func TestRootInspectOfLocalRoutes(t *testing.T) {
	room(t)
	g := gateway(t, lab.Options{})
	mix := haystack()
	fill(t, g, mix...)
	life := needles(t, mix)[9003]
	ssh := policy.Flow{Name: "ssh", Mode: policy.Act, From: alone(life.Orig.Src), Proto: unix.IPPROTO_TCP, Ports: port(22), Lifeline: true}
	c := policy.Default()
	c.Bypass = []policy.Flow{ssh}
	s := NewScout(g.Router.Path())
	check(t, s, c, sight{ssh, "", 0})
	block := netip.PrefixFrom(life.Orig.Dst, 28).Masked()
	inside(t, g.Router.Path(), func() error { return localRoute(block.String(), unix.RT_TABLE_LOCAL) })
	check(t, s, c, sight{ssh, "* → " + life.Orig.Dst.String() + ":22 tcp, sent on to 192.168.7.7", 0})
}

// newNexthop is the head of a nexthop object that is made.
type newNexthop struct{ family uint8 }

func (newNexthop) Len() int            { return unix.SizeofNhmsg }
func (n newNexthop) Serialize() []byte { return []byte{n.family, 0, 0, 0, 0, 0, 0, 0} }

func create(kind int, head nl.NetlinkRequestData, attrs ...*nl.RtAttr) error {
	q := nl.NewNetlinkRequest(kind, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	q.AddData(head)
	for _, a := range attrs {
		q.AddData(a)
	}
	_, err := q.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// nexthop makes an object: by an address, or of an interface alone.
func nexthop(id uint32, link int, gateway string) error {
	attrs := []*nl.RtAttr{nl.NewRtAttr(unix.NHA_ID, nl.Uint32Attr(id)), nl.NewRtAttr(unix.NHA_OIF, nl.Uint32Attr(uint32(link)))}
	family := uint8(unix.AF_INET)
	if gateway != "" {
		addr := netip.MustParseAddr(gateway)
		if addr.Is6() {
			family = unix.AF_INET6
		}
		attrs = append(attrs, nl.NewRtAttr(unix.NHA_GATEWAY, addr.AsSlice()))
	}
	if err := create(unix.RTM_NEWNEXTHOP, newNexthop{family}, attrs...); err != nil {
		return fmt.Errorf("make nexthop %d: %w", id, err)
	}
	return nil
}

func nexthopGroup(id uint32, of ...uint32) error {
	var members []byte
	for _, m := range of {
		members = append(append(members, nl.Uint32Attr(m)...), 0, 0, 0, 0)
	}
	err := create(unix.RTM_NEWNEXTHOP, newNexthop{}, nl.NewRtAttr(unix.NHA_ID, nl.Uint32Attr(id)), nl.NewRtAttr(unix.NHA_GROUP, members))
	if err != nil {
		return fmt.Errorf("make nexthop group %d: %w", id, err)
	}
	return nil
}

// defaultBy adds a default route by a nexthop object.
func defaultBy(family uint8, table byte, id uint32) error {
	head := nl.NewRtMsg()
	head.Family, head.Table = family, table
	if err := create(unix.RTM_NEWROUTE, head, nl.NewRtAttr(rtaNHID, nl.Uint32Attr(id))); err != nil {
		return fmt.Errorf("add a route by nexthop %d: %w", id, err)
	}
	return nil
}

// wan makes a link with addresses of both families, and returns its number.
func wan() (int, error) {
	link := netlink.NewVeth(netlink.LinkAttrs{Name: "wan"})
	link.PeerName = "far"
	if err := netlink.LinkAdd(link); err != nil {
		return 0, err
	}
	far, err := netlink.LinkByName("far")
	if err != nil {
		return 0, err
	}
	if err := errors.Join(netlink.LinkSetUp(link), netlink.LinkSetUp(far)); err != nil {
		return 0, err
	}
	for _, text := range []string{"192.0.2.1/24", "2001:db8:1::1/64"} {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return 0, err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, a); err != nil {
			return 0, err
		}
	}
	return link.Attrs().Index, nil
}

// Gateways are found that a route has of a nexthop object, whether the kernel tells them
// with the route or not.
func TestRootAllowsGatewaysOfNexthops(t *testing.T) {
	for _, compat := range []string{"0", "1"} {
		ns := netnstest.New(t)
		inside(t, ns, func() error {
			if err := sysctl.Write("net.ipv4.nexthop_compat_mode", compat); err != nil {
				return err
			}
			link, err := wan()
			if err != nil {
				return err
			}
			return errors.Join(
				nexthop(1, link, "192.0.2.251"), nexthop(2, link, "192.0.2.252"), nexthop(3, link, "192.0.2.253"),
				nexthop(4, link, "192.0.2.254"), // of no default route
				nexthop(5, link, ""),            // without a gateway
				nexthop(6, link, "2001:db8:1::fe"), nexthop(7, link, "2001:db8:1::fd"), nexthop(8, link, "2001:db8:1::fc"),
				nexthopGroup(10, 2, 3), nexthopGroup(11, 6, 7),
				defaultBy(unix.AF_INET, unix.RT_TABLE_MAIN, 1), defaultBy(unix.AF_INET, 100, 10), defaultBy(unix.AF_INET, 101, 5),
				defaultBy(unix.AF_INET, 102, 8), defaultBy(unix.AF_INET, 103, 10),
				defaultBy(unix.AF_INET6, unix.RT_TABLE_MAIN, 11),
				addRoute(netlink.Route{Dst: network("0.0.0.0/0"), Table: 104, Gw: net.ParseIP("192.0.2.250")}),
			)
		})
		allows(t, mustAllow(t, allowlist(t, ns, ""), policy.Default()), "default gateway", "192.0.2.250/32", "192.0.2.251/32",
			"192.0.2.252/32", "192.0.2.253/32", "2001:db8:1::fe/128", "2001:db8:1::fd/128", "2001:db8:1::fc/128")
	}
}

// An object that goes meanwhile is an error, and no answer.
func TestRootNexthopThatIsNotThere(t *testing.T) {
	inside(t, netnstest.New(t), func() error {
		r, err := openRouting()
		if err != nil {
			return err
		}
		defer r.Close()
		if list, err := r.gatewaysOf(77); !errors.Is(err, unix.ENOENT) || len(list) != 0 {
			t.Errorf("%v, %v", list, err)
		}
		return nil
	})
}

// A router of IPv6 may have a default route to all addresses that are in use.
func TestRootAllowsGatewaysToAllInUse(t *testing.T) {
	ns := netnstest.New(t)
	inside(t, ns, func() error {
		if _, err := wan(); err != nil {
			return err
		}
		by := func(to, gateway string) error {
			return addRoute(netlink.Route{Dst: network(to), Gw: net.ParseIP(gateway)})
		}
		return errors.Join(
			by("2000::/3", "2001:db8:1::fe"), by("8000::/1", "2001:db8:1::fd"), by("4000::/3", "2001:db8:1::fc"),
			by("2000::/4", "2001:db8:1::fb"), by("192.0.0.0/3", "192.0.2.251"), by("0.0.0.0/1", "192.0.2.252"),
		)
	})
	allows(t, mustAllow(t, allowlist(t, ns, ""), policy.Default()), "default gateway", "2001:db8:1::fe/128", "2001:db8:1::fd/128", "192.0.2.252/32")
}
