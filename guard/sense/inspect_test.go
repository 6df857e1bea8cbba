package sense

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func tuple(src, dst string) ctnetlink.Tuple {
	from, to := netip.MustParseAddrPort(src), netip.MustParseAddrPort(dst)
	return ctnetlink.Tuple{Src: from.Addr().As16(), Dst: to.Addr().As16(), SrcPort: from.Port(), DstPort: to.Port()}
}

// masqueraded is a translated entry of UDP.
func masqueraded() ctnetlink.Entry {
	return ctnetlink.Entry{
		Family: unix.AF_INET, Proto: unix.IPPROTO_UDP, Status: ctnetlink.StatusSrcNAT,
		Orig: tuple("10.0.0.5:40000", "192.0.2.1:53"), Reply: tuple("192.0.2.1:53", "203.0.113.1:40000"),
	}
}

func TestTranslatedAsText(t *testing.T) {
	plain := masqueraded()
	port, both, six, ping := plain, plain, plain, plain
	port.Reply.DstPort = 1024
	both.Status |= ctnetlink.StatusDstNAT
	both.Reply.Src, both.Reply.SrcPort = netip.MustParseAddr("10.9.9.9").As16(), 5353
	six.Proto, six.Status, six.Orig = unix.IPPROTO_TCP, ctnetlink.StatusDstNAT, tuple("[2001:db8::1]:50", "[2001:db8::2]:22")
	six.Reply = tuple("[2001:db8::3]:22", "[2001:db8::1]:50")
	ping.Proto, ping.Orig.SrcPort, ping.Orig.DstPort, ping.Reply.DstPort = unix.IPPROTO_ICMP, 7, 8<<8, 9
	for want, e := range map[string]ctnetlink.Entry{
		"10.0.0.5:40000 → 192.0.2.1:53 udp, seen as 203.0.113.1":                           plain,
		"10.0.0.5:40000 → 192.0.2.1:53 udp, seen as 203.0.113.1:1024":                      port,
		"10.0.0.5:40000 → 192.0.2.1:53 udp, seen as 203.0.113.1, sent on to 10.9.9.9:5353": both,
		"[2001:db8::1]:50 → [2001:db8::2]:22 tcp, sent on to 2001:db8::3":                  six,
		"10.0.0.5 → 192.0.2.1 icmp, seen as 203.0.113.1":                                   ping,
	} {
		if got := translated(&e); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func flow(name string, f policy.Flow) policy.Flow {
	f.Name, f.Mode = name, policy.Act
	if f.From == nil {
		f.From = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}
	return f
}

func TestQueries(t *testing.T) {
	six := []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")}
	ssh := flow("", policy.Flow{Lifeline: true, Proto: unix.IPPROTO_TCP, Ports: port(22)})
	dns := flow("", policy.Flow{Proto: unix.IPPROTO_UDP, Ports: port(53)})
	web := flow("", policy.Flow{Proto: unix.IPPROTO_TCP, Ports: port(443)})
	ssh6, both, range_, second := ssh, ssh, ssh, ssh
	ssh6.From, both.From = six, append(six, ssh.From...)
	range_.Ports, second.Ports = []policy.Ports{{Low: 22, High: 23}}, port(2222)
	for name, tc := range map[string]struct {
		flows      []policy.Flow
		all, ports int // queries, and those of them by a port
	}{
		"a lifeline":               {[]policy.Flow{ssh}, 4, 4},
		"of both families":         {[]policy.Flow{both}, 8, 8},
		"the same twice":           {[]policy.Flow{ssh, ssh}, 4, 4},
		"one of each family":       {[]policy.Flow{ssh, ssh6}, 8, 8},
		"two lifelines":            {[]policy.Flow{ssh, second}, 1, 0},
		"a range":                  {[]policy.Flow{range_}, 1, 0},
		"another flow":             {[]policy.Flow{dns}, 1, 0},
		"both":                     {[]policy.Flow{ssh, dns}, 5, 4},
		"both of one protocol":     {[]policy.Flow{web, ssh}, 1, 0},
		"that, the other way":      {[]policy.Flow{ssh, web}, 1, 0},
		"of one protocol, and six": {[]policy.Flow{ssh6, web}, 5, 4},
	} {
		var flows []*sought
		for _, f := range tc.flows {
			flows = append(flows, &sought{Flow: f})
		}
		all, ports := queries(flows), 0
		asked := map[ctnetlink.Query]bool{}
		for _, q := range all {
			if asked[q] {
				t.Errorf("%s: twice %+v", name, q)
			}
			asked[q] = true
			if q.Family == 0 || q.Orig.Proto+q.Reply.Proto == 0 {
				t.Errorf("%s: %+v", name, q)
			}
			if q.Orig.SrcPort+q.Orig.DstPort+q.Reply.SrcPort+q.Reply.DstPort != 0 {
				ports++
			}
		}
		if len(all) != tc.all || ports != tc.ports {
			t.Errorf("%s: %d queries, %d by port, want %d and %d", name, len(all), ports, tc.all, tc.ports)
		}
	}
}

// A search that fails leaves what it found, which is certain, and says nothing of the
// others.
func TestInspectAfterAnError(t *testing.T) {
	broken := errors.New("no answer")
	e, other := masqueraded(), masqueraded()
	other.Status = 0
	s := &Scout{find: func(_ context.Context, of census.Search, each func(*ctnetlink.Entry) bool) error {
		if of.CPU != 0.5 || len(of.Queries) != 1 {
			t.Errorf("asked %+v", of)
		}
		if !each(&other) || !each(&e) || !each(&e) {
			t.Error("it wants no more, with one flow not found")
		}
		return broken
	}}
	c := policy.Default()
	server := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	c.Bypass = []policy.Flow{
		flow("other", policy.Flow{To: server, Proto: unix.IPPROTO_UDP, Ports: port(123)}),
		flow("dns", policy.Flow{To: server, Proto: unix.IPPROTO_UDP, Ports: port(53)}),
	}
	sights, err := s.Inspect(t.Context(), c)
	if !errors.Is(err, broken) || len(sights) != 1 || sights[0].Flow != "dns" || sights[0].NAT == "" || sights[0].Mark != c.Bypass[1].Mark() {
		t.Errorf("%+v, %v", sights, err)
	}
}

// It ends when all are found, and does not begin where there is nothing to look for.
func TestInspectEndsEarly(t *testing.T) {
	walks := 0
	var ended time.Duration
	e := masqueraded()
	s := &Scout{find: func(_ context.Context, _ census.Search, each func(*ctnetlink.Entry) bool) error {
		walks++
		if each(&e) {
			t.Error("it wants more")
		}
		time.Sleep(time.Millisecond)
		ended = boot.Now()
		return nil
	}}
	c := policy.Default()
	c.Bypass = []policy.Flow{flow("dns", policy.Flow{To: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Proto: unix.IPPROTO_UDP, Ports: port(53)})}
	sights, err := s.Inspect(t.Context(), c)
	if err != nil || len(sights) != 1 || walks != 1 || sights[0].Seen != 1 {
		t.Fatalf("%+v, %v, after %d walks", sights, err, walks)
	}
	if at := sights[0].At; at < ended || at > boot.Now() {
		t.Errorf("seen at %v, the walk ended at %v", at, ended)
	}
	c.Bypass[0].Mode = policy.Off
	for _, c.Bypass = range [][]policy.Flow{c.Bypass, nil} {
		if sights, err := s.Inspect(t.Context(), c); err != nil || len(sights) != 0 || walks != 1 {
			t.Errorf("nothing to look for: %+v, %v, after %d walks", sights, err, walks)
		}
	}
}

// To compare an entry with the flows takes no memory.
func TestMeetAllocatesNothing(t *testing.T) {
	var flows []*sought
	for i := range 32 {
		f := flow("", policy.Flow{Proto: unix.IPPROTO_UDP, Ports: port(uint16(1000 + i))})
		if i == 0 {
			f.Ports = port(53) // of it are the ports, and not the server
		}
		flows = append(flows, seekFlow(f, slices.Clone(f.From)))
	}
	e := masqueraded()
	look := inspection{flows: flows, queries: queries(flows), left: len(flows)}
	if n := testing.AllocsPerRun(1000, func() { look.meet(&e) }); n != 0 || look.left != len(flows) {
		t.Errorf("%v allocations, %d found", n, len(flows)-look.left)
	}
	plain := masqueraded()
	plain.Status = 0
	flows[0] = seekFlow(flow("", policy.Flow{Proto: unix.IPPROTO_UDP, Ports: port(53)}), []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")})
	if n := testing.AllocsPerRun(1000, func() { look.meet(&plain) }); n != 0 || flows[0].entries() < 1000 {
		t.Errorf("%v allocations for the flow's own, %d entries", n, flows[0].entries())
	}
}
