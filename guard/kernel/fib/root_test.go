package fib

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// route adds one of a type that is no way to anywhere, or to lo.
func route(to string, typ int) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	_, dst, err := net.ParseCIDR(to)
	if err != nil {
		return err
	}
	r := netlink.Route{Dst: dst, Type: typ}
	if typ == unix.RTN_LOCAL {
		r.LinkIndex, r.Table, r.Scope = lo.Attrs().Index, unix.RT_TABLE_LOCAL, unix.RT_SCOPE_HOST
	}
	return netlink.RouteAdd(&r)
}

func TestRootLocal(t *testing.T) {
	g, err := lab.NewGateway(lab.Options{IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	var table *Table
	err = g.Router.Do(func() error {
		if table, err = Open(); err != nil {
			return err
		}
		return errors.Join(
			route("203.0.113.0/28", unix.RTN_LOCAL), route("198.51.100.0/28", unix.RTN_BLACKHOLE), route("198.51.100.16/28", unix.RTN_UNREACHABLE),
			route("198.51.100.32/28", unix.RTN_PROHIBIT), route("198.51.100.48/28", unix.RTN_THROW), route("2001:db8:7::/64", unix.RTN_BLACKHOLE),
			route("2001:db8:8::/64", unix.RTN_UNREACHABLE), route("2001:db8:9::/64", unix.RTN_PROHIBIT),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if is, err := table.Local(lab.LAN6); is || err != nil { // its route comes some time after it (addrconf_dad_work)
			break
		}
	}
	for address, want := range map[string]bool{
		lab.LAN.String(): true, lab.LAN6.String(): true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "203.0.113.9": true,
		"::ffff:203.0.113.9": true,
		"10.77.0.5":          false, "fd77::5": false, "203.0.113.200": false, "2001:db8:ffff::1": false,
		"198.51.100.1": false, "198.51.100.17": false, "198.51.100.33": false, "198.51.100.49": false,
		"2001:db8:7::1": false, "2001:db8:8::1": false, "2001:db8:9::1": false,
	} {
		if got, err := table.Local(netip.MustParseAddr(address)); got != want || err != nil {
			t.Errorf("%s: %v, %v, want %v", address, got, err, want)
		}
	}
	if _, err := table.Local(netip.Addr{}); err == nil {
		t.Error("no address: no error")
	}
}
