package sense

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// allowlist is one that reads these instead of the machine's own name servers.
func allowlist(t testing.TB, namespace, resolv string) *Allowlist {
	t.Helper()
	a := NewAllowlist(namespace)
	a.resolv, a.upstreams = filepath.Join(t.TempDir(), "resolv.conf"), filepath.Join(t.TempDir(), "upstreams")
	write(t, a.resolv, resolv)
	return a
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// allows asserts whom a reading allows for a reason.
func allows(t *testing.T, list []policy.Allowed, why string, want ...string) {
	t.Helper()
	var got []string
	for _, a := range list {
		if a.Why == why {
			got = append(got, a.Prefix.String())
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", why, got, want)
	}
}

func mustAllow(t *testing.T, a *Allowlist, c policy.Config) []policy.Allowed {
	t.Helper()
	list, err := a.Read(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// addRoute adds a route to the calling thread's namespace.
func addRoute(r netlink.Route) error {
	if err := netlink.RouteAdd(&r); err != nil {
		return fmt.Errorf("add route %s: %w", r, err)
	}
	return nil
}

func via(text string) *netlink.Via {
	return &netlink.Via{AddrFamily: netlink.FAMILY_V6, Addr: net.ParseIP(text)}
}

func network(text string) *net.IPNet {
	p := netip.MustParsePrefix(text)
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func TestRootAllowsAddressesAndGateways(t *testing.T) {
	ns := netnstest.New(t)
	inside(t, ns, func() error {
		// The kernel gives links no addresses by itself, and at some time of its own.
		if err := sysctl.Write("net.ipv6.conf.default.addr_gen_mode", "1"); err != nil {
			return err
		}
		for _, name := range []string{"one", "two"} {
			link, far := netlink.NewVeth(netlink.LinkAttrs{Name: name}), netlink.NewVeth(netlink.LinkAttrs{Name: name + "far"})
			link.PeerName = far.Name
			if err := errors.Join(netlink.LinkAdd(link), netlink.LinkSetUp(link), netlink.LinkSetUp(far)); err != nil {
				return err
			}
		}
		for text, name := range map[string]string{
			"192.0.2.1/24": "one", "198.51.100.1/24": "two", "198.51.100.9/32": "two", "2001:db8:1::1/64": "one", "2001:db8:2::1/64": "two",
		} {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			a, err := netlink.ParseAddr(text)
			if err != nil {
				return err
			}
			a.Flags = unix.IFA_F_NODAD // it is there at once
			if err := netlink.AddrAdd(link, a); err != nil {
				return fmt.Errorf("add %s: %w", text, err)
			}
		}
		one, err := netlink.LinkByName("one")
		if err != nil {
			return err
		}
		return errors.Join(
			addRoute(netlink.Route{Dst: network("0.0.0.0/0"), Gw: net.ParseIP("192.0.2.254")}),
			addRoute(netlink.Route{Dst: network("0.0.0.0/0"), Gw: net.ParseIP("198.51.100.254"), Table: 100}),
			addRoute(netlink.Route{Dst: network("128.0.0.0/1"), Gw: net.ParseIP("192.0.2.253")}),
			addRoute(netlink.Route{Dst: network("203.0.113.0/24"), Gw: net.ParseIP("192.0.2.77")}), // to some only
			addRoute(netlink.Route{Dst: network("::/0"), MultiPath: []*netlink.NexthopInfo{
				{Gw: net.ParseIP("2001:db8:1::fe")}, {Gw: net.ParseIP("2001:db8:2::fe")},
			}}),
			addRoute(netlink.Route{Dst: network("0.0.0.0/0"), Table: 101, LinkIndex: one.Attrs().Index, Via: via("2001:db8:1::fd")}),
		)
	})
	a := allowlist(t, ns, "nameserver 203.0.113.53\n")
	list := mustAllow(t, a, policy.Default())
	allows(t, list, "own address",
		"127.0.0.0/8", "192.0.2.1/32", "198.51.100.1/32", "198.51.100.9/32", "2001:db8:1::1/128", "2001:db8:2::1/128")
	allows(t, list, "default gateway", "192.0.2.254/32", "198.51.100.254/32", "192.0.2.253/32",
		"2001:db8:1::fe/128", "2001:db8:2::fe/128", "2001:db8:1::fd/128")
	allows(t, list, "name server", "203.0.113.53/32")
	allows(t, list, "SSH peer")
	for _, p := range list {
		if p.Own != (p.Why == "own address") {
			t.Errorf("%+v: is it the gateway's own?", p)
		}
	}

	// What is there no longer is allowed no longer.
	inside(t, ns, func() error {
		link, err := netlink.LinkByName("two")
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	list = mustAllow(t, a, policy.Default())
	for _, p := range list {
		if strings.HasPrefix(p.Prefix.String(), "198.51.100.") || strings.HasPrefix(p.Prefix.String(), "2001:db8:2:") {
			t.Errorf("%v of an interface that is gone", p)
		}
	}
	allows(t, list, "default gateway", "192.0.2.254/32", "192.0.2.253/32", "2001:db8:1::fe/128", "2001:db8:1::fd/128")
}

// listen listens in a namespace until the test ends, and accepts.
func listen(t *testing.T, ns, at string) {
	t.Helper()
	inside(t, ns, func() error {
		l, err := net.Listen("tcp", at)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return // closed
				}
				t.Cleanup(func() { c.Close() })
			}
		}()
		return nil
	})
}

// connect connects from an address in a namespace and returns what hangs up.
func connect(t *testing.T, ns, from, to string) (hangUp func()) {
	t.Helper()
	var c net.Conn
	inside(t, ns, func() (err error) {
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), Timeout: 5 * time.Second}
		c, err = d.Dial("tcp", to)
		return err
	})
	hangUp = func() { c.Close() }
	t.Cleanup(hangUp)
	return hangUp
}

// Who stays connected to the gateway's port of SSH, or to a lifeline's, is allowed; who
// it is connected to is not, and neither are others.
func TestRootAllowsOperators(t *testing.T) {
	g := gateway(t, lab.Options{})
	router, client, server := g.Router.Path(), g.Client.Path(), g.Server.Path()
	const lan, wan = "172.31.1.1", "172.31.2.1"
	listen(t, router, "[::]:22") // as sshd does: IPv4 comes in a socket of IPv6
	for _, port := range []string{":2222", ":8022"} {
		listen(t, router, lan+port)
	}
	listen(t, server, "0.0.0.0:22")
	listen(t, server, "0.0.0.0:2222")

	a := allowlist(t, router, "")
	var passed time.Duration
	a.clock = func() time.Duration { return boot.Now() + passed }
	c := policy.Default()
	c.Bypass = []policy.Flow{{Name: "ssh", Lifeline: true, Ports: []policy.Ports{{Low: 2200, High: 2300}, {Low: 40000, High: 65000}}}}
	allows(t, mustAllow(t, a, c), "SSH peer")

	hangUp := connect(t, client, "10.77.0.1:0", lan+":22")
	connect(t, client, "10.77.0.2:0", lan+":2222")
	connect(t, client, "10.77.0.3:0", lan+":8022")      // of no lifeline
	connect(t, client, "10.77.0.4:0", "172.31.2.2:22")  // through the gateway
	connect(t, router, wan+":0", "172.31.2.2:22")       // from the gateway
	connect(t, router, wan+":50000", "172.31.2.2:2222") // from a port that a lifeline has
	hangUpSoon := connect(t, client, "10.77.0.6:0", lan+":22")
	allows(t, mustAllow(t, a, c), "SSH peer")
	hangUpSoon() // has been seen, but no connection of it for long
	passed = 125 * time.Second
	connect(t, client, "10.77.0.6:0", lan+":22")
	allows(t, mustAllow(t, a, c), "SSH peer", "10.77.0.1/32", "10.77.0.2/32")

	hangUp()
	connect(t, client, "10.77.0.5:0", lan+":22")
	allows(t, mustAllow(t, a, c), "SSH peer", "10.77.0.1/32", "10.77.0.2/32")

	// Those before this one's time are not known to it; who is there when it begins is.
	c.Bypass = nil
	allows(t, mustAllow(t, allowlist(t, router, ""), c), "SSH peer", "10.77.0.5/32", "10.77.0.6/32")

	passed += 62 * time.Minute
	allows(t, mustAllow(t, a, c), "SSH peer", "10.77.0.5/32", "10.77.0.6/32")
}

// Behind systemd-resolved are those that it asks.
func TestAllowsNameServers(t *testing.T) {
	a := allowlist(t, "", "nameserver 127.0.0.53\noptions edns0 trust-ad\n")
	write(t, a.upstreams, "nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver 192.0.2.53\n")
	allows(t, mustAllow(t, a, policy.Default()), "name server", "192.0.2.53/32", "2001:db8::53/128")
	write(t, a.resolv, "nameserver 127.0.0.1\nnameserver 198.51.100.53\n")
	allows(t, mustAllow(t, a, policy.Default()), "name server", "198.51.100.53/32")
}

// A host without a resolv.conf has no name servers; one that can't be read is an error.
func TestAllowsNoNameServersWithoutAFile(t *testing.T) {
	a := allowlist(t, "", "nameserver 192.0.2.53\n")
	allows(t, mustAllow(t, a, policy.Default()), "name server", "192.0.2.53/32")
	a.resolv += ".gone"
	allows(t, mustAllow(t, a, policy.Default()), "name server")
	if err := os.Symlink(a.resolv+".nowhere", a.resolv); err != nil {
		t.Fatal(err)
	}
	allows(t, mustAllow(t, a, policy.Default()), "name server")
	a.resolv += "/below" // a path through what is no directory
	write(t, strings.TrimSuffix(a.resolv, "/below")+".nowhere", "")
	if _, err := a.Read(t.Context(), policy.Default()); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("through a file: %v", err)
	}
}

// Whatever can't be read is as it was before, and what can be read comes to it.
func TestAllowlistKeepsWhatItKnows(t *testing.T) {
	const lasting = "nameserver 192.0.2.53\n"
	refused := errors.New("no sock_diag here")
	for name, tc := range map[string]struct {
		spoil   func(t *testing.T, a *Allowlist)
		servers []string
		err     string
	}{
		"garbage": {func(t *testing.T, a *Allowlist) { write(t, a.resolv, "\x7fELF\x00\n\x01\n") }, nil, "find name servers: read "},
		"huge": {func(t *testing.T, a *Allowlist) {
			write(t, a.resolv, "nameserver 192.0.2.54\n"+strings.Repeat("# again\n", 1<<16))
		}, []string{"192.0.2.54/32"}, "larger than"},
		"half of it":  {func(t *testing.T, a *Allowlist) { write(t, a.resolv, "nameserver you\nnameserver 192.0.2.55\n") }, []string{"192.0.2.55/32"}, `"you" is not`},
		"a directory": {func(t *testing.T, a *Allowlist) { a.resolv = t.TempDir() }, nil, "not a regular file"},
		"upstreams":   {func(t *testing.T, a *Allowlist) { write(t, a.resolv, "nameserver 127.0.0.53\n") }, nil, "upstreams: no such file"},
		"sockets": {func(_ *testing.T, a *Allowlist) {
			a.sockets = func() ([]socket, error) { return nil, refused }
		}, nil, "find SSH peers: no sock_diag here"},
		"half of them": {func(_ *testing.T, a *Allowlist) {
			a.sockets = func() ([]socket, error) { return append(sockets("192.0.2.2"), sockets("192.0.2.1")...), refused }
			a.clock = func() time.Duration { return boot.Now() + 3*time.Minute }
			a.seen.since[to22("192.0.2.2:40000")] = boot.Now()
		}, nil, "find SSH peers: no sock_diag here"},
	} {
		t.Run(name, func(t *testing.T) {
			a := allowlist(t, "", lasting)
			a.sockets = func() ([]socket, error) { return sockets("192.0.2.1"), nil }
			before := mustAllow(t, a, policy.Default())
			tc.spoil(t, a)
			for range 2 {
				list, err := a.Read(t.Context(), policy.Default())
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("%v, want %q", err, tc.err)
				}
				allows(t, list, "name server", append(tc.servers, "192.0.2.53/32")...)
				peers := []string{"192.0.2.1/32"}
				if name == "half of them" {
					peers = append(peers, "192.0.2.2/32")
				}
				allows(t, list, "SSH peer", peers...)
				if len(list) < len(before) {
					t.Errorf("%d are left of %d", len(list), len(before))
				}
			}
		})
	}
}

// sockets are those of a gateway that somebody is connected to by SSH.
func sockets(peer string) []socket {
	return []socket{
		{netlink.TCP_LISTEN, 22, netip.AddrPort{}},
		{netlink.TCP_ESTABLISHED, 22, netip.AddrPortFrom(netip.MustParseAddr(peer), 40000)},
	}
}

// A namespace that is gone, or that can't be entered, takes nothing with it; another in
// its place is another gateway.
func TestRootAllowlistFollowsTheNamespace(t *testing.T) {
	first, second := netnstest.New(t), netnstest.New(t)
	name := filepath.Join(t.TempDir(), "gateway")
	bind(t, first, name)
	inside(t, first, func() error { return address("192.0.2.1/24") })
	inside(t, second, func() error { return address("192.0.2.2/24") })
	a := allowlist(t, name, "nameserver 192.0.2.53\n")
	a.sockets = func() ([]socket, error) { return sockets("192.0.2.9"), nil }
	allows(t, mustAllow(t, a, policy.Default()), "own address", "127.0.0.0/8", "192.0.2.1/32")

	if err := errors.Join(unix.Unmount(name, 0), os.Remove(name)); err != nil {
		t.Fatal(err)
	}
	list, err := a.Read(t.Context(), policy.Default())
	if err == nil || !strings.Contains(err.Error(), name) {
		t.Errorf("without a namespace: %v", err)
	}
	allows(t, list, "own address", "127.0.0.0/8", "192.0.2.1/32")
	allows(t, list, "SSH peer", "192.0.2.9/32")
	allows(t, list, "name server", "192.0.2.53/32")

	bind(t, second, name)
	write(t, a.resolv, "nameserver us\n") // name servers are no namespace's
	a.sockets = func() ([]socket, error) { return nil, errors.New("not now") }
	list, err = a.Read(t.Context(), policy.Default())
	if err == nil {
		t.Error("no error")
	}
	allows(t, list, "own address", "127.0.0.0/8", "192.0.2.2/32")
	allows(t, list, "SSH peer")
	allows(t, list, "name server", "192.0.2.53/32")
}

// address gives the loopback of the calling thread's namespace an address.
func address(text string) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(text)
	if err != nil {
		return err
	}
	return netlink.AddrAdd(lo, a)
}

func TestAllowlistSaysThatItWasCalledBack(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("called back")
	cancel(gone)
	if list, err := allowlist(t, "", "").Read(ctx, policy.Default()); !errors.Is(err, gone) {
		t.Errorf("%v, %v", list, err)
	}
}
