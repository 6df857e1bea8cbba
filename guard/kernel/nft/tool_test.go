package nft

import (
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// nft runs nft(8) in a namespace. It must understand our tables: one that it can't list
// takes every firewall's reload down with it.
func nft(t *testing.T, ns string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("nft")
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/nft")
	}
	if err != nil {
		t.Fatalf("%v (apt-get install nftables)", err)
	}
	var out []byte
	inside(t, ns, func() (err error) { out, err = exec.Command(path, args...).CombinedOutput(); return err })
	return string(out)
}

// listed wants nft to list all of the ruleset, in each of its ways.
func listed(t *testing.T, ns string, want ...string) {
	t.Helper()
	for _, args := range [][]string{{"list", "tables"}, {"list", "ruleset"}, {"-j", "list", "ruleset"}, {"-s", "-a", "list", "ruleset"}} {
		out := nft(t, ns, args...)
		if args[0] != "list" || args[1] != "ruleset" {
			continue
		}
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("no %q in\n%s", w, out)
			}
		}
	}
}

func TestRootToolListsCounters(t *testing.T) {
	for f, want := range map[Families]string{IPv4: "table ip conntrack_guardian ", IPv6: "table ip6 conntrack_guardian ", IPv4 | IPv6: "table inet conntrack_guardian "} {
		t.Run(want, func(t *testing.T) {
			ns := loopback(t)
			with := ordinary
			with.families = f
			installIn(t, ns, with)
			inside(t, ns, func() error { return talk(addr("127.0.0.1"), echoPort, 5) })
			listed(t, ns, want)
		})
	}
}

func TestRootToolListsLeases(t *testing.T) {
	some := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8"), netip.MustParsePrefix("192.0.2.1/32")}
	ports := []Ports{{53, 53}, {8000, 8100}}
	terms := someTerms()
	terms.Flows = []Flow{
		{Name: "udp", From: some, To: some, Proto: unix.IPPROTO_UDP, Ports: ports},
		{Name: "tcp", From: some[:1], To: some[2:], Proto: unix.IPPROTO_TCP, Ports: ports[:1]},
		{Name: "sctp", From: some[1:2], To: some[1:2], Proto: unix.IPPROTO_SCTP, Ports: ports},
		{Name: "gre", From: some, To: some, Proto: unix.IPPROTO_GRE},
		{Name: "icmp", From: some[:1], To: some[:1], Proto: unix.IPPROTO_ICMP},
		{Name: "ssh", From: some, Proto: unix.IPPROTO_TCP, Ports: ports[:1], Local: true},
	}
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	hold(t, l, terms, time.Minute, limit("10.0.0.1/32"), limit("fd00::/64"), drop("10.0.0.2/32"), drop("fd00:1::/64"),
		bypass("udp"), bypass("tcp"), bypass("sctp"), bypass("gre"), bypass("icmp"), bypass("ssh"))
	listed(t, ns, "table ip conntrack_guardian_limits ", "table ip6 conntrack_guardian_limits ", "table inet conntrack_guardian_raw ",
		`comment "10.0.0.1/32 limited by a test"`, `comment "ssh untracked by a test"`, "notrack", "fib daddr type local")
	other := someTerms()
	other.IPv4Bits, other.IPv6Bits = 24, 56
	m := openIn(t, loopback(t), ordinaryLeases)
	hold(t, m, other, time.Minute, limit("10.0.0.0/24"), limit("fd00::/56"), drop("10.0.1.0/24"), drop("fd00:1::/56"))
}
