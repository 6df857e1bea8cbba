package nft

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// entries is the number of entries in a namespace's table.
func entries(t *testing.T, ns string) (n int) {
	t.Helper()
	inside(t, ns, func() error {
		text, err := sysctl.Read("net.netfilter.nf_conntrack_count")
		if err == nil {
			_, err = fmt.Sscan(text, &n)
		}
		return err
	})
	return n
}

// To count one family does not make the kernel track the other: its connections
// would come to fill the table.
func TestRootCountsNoOtherFamily(t *testing.T) {
	to4, to6 := echoPort, netip.AddrPortFrom(netip.IPv6Loopback(), echoPort.Port())
	for name, tc := range map[string]struct {
		families       Families
		tracked4, both int
		counted        uint64
	}{
		"IPv4": {IPv4, 3, 3, 3},
		"IPv6": {IPv6, 0, 4, 4},
		"both": {IPv4 | IPv6, 3, 7, 7},
	} {
		t.Run(name, func(t *testing.T) {
			ns := loopback(t)
			inside(t, ns, func() error { return echo(t, to6) })
			with := ordinary
			with.families = tc.families
			table := installIn(t, ns, with)
			inside(t, ns, func() error { return talk(to4.Addr(), to4, 3) })
			if n := entries(t, ns); n != tc.tracked4 {
				t.Errorf("%d entries of IPv4, want %d", n, tc.tracked4)
			}
			inside(t, ns, func() error { return talk(to6.Addr(), to6, 4) })
			if n := entries(t, ns); n != tc.both {
				t.Errorf("%d entries of both, want %d", n, tc.both)
			}
			if c := mustRead(t, table); c.New != tc.counted {
				t.Errorf("%d counted, want %d", c.New, tc.counted)
			}
		})
	}
}

// A table that was left in one family goes when one is made in another.
func TestRootReplacesInEveryFamily(t *testing.T) {
	ns := loopback(t)
	for _, left := range []Families{IPv4, IPv6, IPv4 | IPv6} {
		plain := ordinary
		plain.flags, plain.families = 0, left
		installIn(t, ns, plain).closed = true // its process died
		with := ordinary
		with.families = IPv4 | IPv6 // another one for two of three
		table := installIn(t, ns, with)
		for _, proto := range every {
			inside(t, ns, func() error {
				s, err := dial(proto)
				if err != nil {
					return err
				}
				defer s.lib.CloseLasting()
				id, found, err := s.lookup()
				if found && id != table.made {
					t.Errorf("families %d: a table of family %d is still there", left, proto)
				}
				return err
			})
		}
		if err := table.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Install(0, 0, 0); err == nil {
		t.Error("a table that counts nothing is made")
	}
}
