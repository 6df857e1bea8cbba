package sense

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// haystack are 50,000 entries, most of them translated, and some to look for: one or a
// few from each of the sources from number 9000 on.
func haystack() []lab.Entries {
	at := func(address string) lab.NATPool { return lab.NATPool{First: netip.MustParseAddr(address)} }
	udp := lab.Entries{Count: 1, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Ports: []uint16{5353}}
	tcp := lab.Entries{Count: 1, Proto: unix.IPPROTO_TCP, State: lab.Established, Timeout: time.Hour, Assured: true, Ports: []uint16{443}}
	with := func(e lab.Entries, change func(*lab.Entries)) lab.Entries { change(&e); return e }
	return []lab.Entries{
		with(udp, func(e *lab.Entries) { e.Count, e.Sources, e.Destinations, e.SNAT = 25_000, 500, 50, at("203.0.113.1") }),
		with(tcp, func(e *lab.Entries) { e.Count, e.Sources, e.Destinations, e.SNAT = 20_000, 500, 50, at("203.0.113.1") }),
		with(tcp, func(e *lab.Entries) { e.Count, e.Sources, e.Family = 5000, 500, 6 }),

		with(udp, func(e *lab.Entries) { e.FirstSource, e.SNAT = 9000, at("203.0.113.77") }),
		with(tcp, func(e *lab.Entries) { e.FirstSource, e.Family, e.SNAT = 9001, 6, at("2001:db8:5::1") }),
		with(udp, func(e *lab.Entries) {
			e.FirstSource, e.Proto, e.SNAT, e.Ports = 9002, unix.IPPROTO_ICMP, at("203.0.113.78"), nil
		}),
		with(tcp, func(e *lab.Entries) {
			e.FirstSource, e.Ports, e.DNAT = 9003, []uint16{22}, netip.MustParseAddr("192.168.7.7")
		}),
		with(tcp, func(e *lab.Entries) { e.FirstSource, e.Ports, e.Count = 9004, []uint16{22}, 3 }),
		with(udp, func(e *lab.Entries) { e.FirstSource, e.Count = 9005, 300 }),
	}
}

// needles are the first entry each of the sources from number 9000 on.
func needles(t *testing.T, mix []lab.Entries) map[int]lab.Entry {
	t.Helper()
	of := map[int]lab.Entry{}
	err := lab.Each(func(e lab.Entry) {
		if _, seen := of[e.Kind.FirstSource]; !seen {
			of[e.Kind.FirstSource] = e
		}
	}, mix...)
	if err != nil || len(of) != 7 {
		t.Fatalf("%d needles, %v", len(of), err)
	}
	return of
}

func alone(a netip.Addr) []netip.Prefix { return singles([]netip.Addr{a}) }

func port(n uint16) []policy.Ports { return []policy.Ports{{Low: n, High: n}} }

// sight is what a search must come to: the NAT's text, "" for none.
type sight struct {
	policy.Flow
	nat  string
	seen int // entries, where none of them is translated
}

// flowsOf are flows that have translated entries in the haystack, and others.
func flowsOf(t *testing.T, of map[int]lab.Entry) (all []sight) {
	all4, all6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	add := func(name, nat string, f policy.Flow, seen ...int) {
		f.Name, f.Mode = name, policy.Act
		if f.Proto == 0 {
			f.Proto = unix.IPPROTO_UDP
		}
		all = append(all, sight{f, nat, slices.Max(append(seen, 0))})
	}
	dns, six, ping, life, plain, quiet := of[9000], of[9001], of[9002], of[9003], of[9004], of[9005]
	client, server, outside := alone(dns.Orig.Src), alone(dns.Orig.Dst), alone(dns.Reply.Dst)
	text := netip.AddrPortFrom(dns.Orig.Src, dns.Orig.SrcPort).String() + " → " + netip.AddrPortFrom(dns.Orig.Dst, 5353).String() + " udp, seen as 203.0.113.77"
	if dns.Reply.DstPort != dns.Orig.SrcPort {
		text = strings.TrimSuffix(text, "203.0.113.77") + netip.AddrPortFrom(dns.Reply.Dst, dns.Reply.DstPort).String()
	}
	add("there", text, policy.Flow{From: client, To: server, Ports: port(5353)})
	add("there, the other end", text, policy.Flow{From: server, To: client, Ports: port(dns.Orig.SrcPort)})
	add("back", text, policy.Flow{From: outside, To: server, Ports: port(5353)})
	add("back, the other end", text, policy.Flow{From: server, To: outside, Ports: port(dns.Reply.DstPort)})
	add("of a range", text, policy.Flow{From: client, To: []netip.Prefix{all4}, Ports: []policy.Ports{{Low: 53, High: 53}, {Low: 5000, High: 6000}}})
	add("both families", "* tcp, seen as *", policy.Flow{From: append(alone(six.Orig.Src), client...), To: []netip.Prefix{all4, all6}, Proto: unix.IPPROTO_TCP, Ports: port(443)})
	add("six", "["+six.Orig.Src.String()+"]:* tcp, seen as *", policy.Flow{From: alone(six.Orig.Src), To: alone(six.Orig.Dst), Proto: unix.IPPROTO_TCP, Ports: port(443)})
	add("ping", ping.Orig.Src.String()+" → "+ping.Orig.Dst.String()+" icmp, seen as 203.0.113.78", policy.Flow{From: alone(ping.Orig.Src), To: []netip.Prefix{all4}, Proto: unix.IPPROTO_ICMP})
	add("lifeline", "* → "+life.Orig.Dst.String()+":22 tcp, sent on to 192.168.7.7", policy.Flow{From: alone(life.Orig.Src), Proto: unix.IPPROTO_TCP, Ports: port(22), Lifeline: true})
	add("lifelines", "* → "+life.Orig.Dst.String()+":22 tcp, sent on to 192.168.7.7", policy.Flow{From: []netip.Prefix{all4, all6}, Proto: unix.IPPROTO_TCP, Ports: []policy.Ports{{Low: 20, High: 23}}, Lifeline: true})

	add("another port", "", policy.Flow{From: client, To: server, Ports: port(5354)})
	add("another protocol", "", policy.Flow{From: client, To: server, Proto: unix.IPPROTO_TCP, Ports: port(5353)})
	add("another client", "", policy.Flow{From: alone(dns.Orig.Src.Next().Next().Next().Next().Next().Next()), To: server, Ports: port(5353)})
	add("another server", "", policy.Flow{From: client, To: alone(netip.MustParseAddr("192.0.2.250")), Ports: port(5353)})
	add("not translated", "", policy.Flow{From: alone(quiet.Orig.Src), To: []netip.Prefix{all4}, Ports: port(5353)}, 300)
	add("lifeline not translated", "", policy.Flow{From: alone(plain.Orig.Src), Proto: unix.IPPROTO_TCP, Ports: port(22), Lifeline: true}, 3)
	add("that and another", "", policy.Flow{From: alone(plain.Orig.Src), Proto: unix.IPPROTO_TCP, Ports: []policy.Ports{{Low: 21, High: 22}}, Lifeline: true}, 3)
	add("another lifeline", "", policy.Flow{From: alone(life.Orig.Src), Proto: unix.IPPROTO_TCP, Ports: port(2222), Lifeline: true})
	return all
}

// like reports whether a text is as a pattern says, in which * is anything.
func like(text, pattern string) bool {
	for part := range strings.SplitSeq(pattern, "*") {
		_, rest, found := strings.Cut(text, part)
		if !found {
			return false
		}
		text = rest
	}
	return true
}

// One translated entry of a flow is found among 50,000 others, whichever way round the
// flow is, and nothing where there is none: asked for one by one, and all at once.
func TestRootInspectFindsTranslatedEntries(t *testing.T) {
	room(t)
	g := gateway(t, lab.Options{})
	mix := haystack()
	fill(t, g, mix...)
	of := needles(t, mix)
	want := flowsOf(t, of)
	life := of[9003].Orig.Dst
	forwarded := policy.Flow{
		Name: "of the gateway", Mode: policy.Act, From: alone(of[9003].Orig.Src),
		Proto: unix.IPPROTO_TCP, Ports: port(22), Lifeline: true,
	}
	c := policy.Default()
	c.Bypass = []policy.Flow{forwarded}
	check(t, NewScout(g.Router.Path()), c, sight{forwarded, "", 0})
	inside(t, g.Router.Path(), func() error { return address(life.String() + "/32") })

	s := NewScout(g.Router.Path())
	for _, w := range want {
		c.Bypass = []policy.Flow{w.Flow}
		check(t, s, c, w)
	}
	c.Bypass = nil
	for _, w := range want {
		c.Bypass = append(c.Bypass, w.Flow)
	}
	check(t, s, c, want...)
}

// check asserts what an inspection comes to.
func check(t *testing.T, s *Scout, c policy.Config, want ...sight) {
	t.Helper()
	began := boot.Now()
	got, err := s.Inspect(t.Context(), c)
	if err != nil || len(got) != len(want) {
		t.Fatalf("%d flows of %d, %v", len(got), len(want), err)
	}
	for i, w := range want {
		if g := got[i]; g.Flow != w.Name || g.Mark != w.Mark() || g.At < began || g.At > boot.Now() {
			t.Errorf("%+v, want %s", g, w.Name)
		}
		if g := got[i]; (g.NAT == "") != (w.nat == "") || !like(g.NAT, w.nat) {
			t.Errorf("%s: %q, want %q", w.Name, g.NAT, w.nat)
		}
		if g := got[i]; w.nat == "" && g.Seen != w.seen || w.nat != "" && g.Seen == 0 {
			t.Errorf("%s: %d entries, want %d, or one that is translated", w.Name, g.Seen, w.seen)
		}
	}
}

// What a masquerading gateway forwards is translated; what comes to itself is not.
func TestRootInspectOfTraffic(t *testing.T) {
	g := gateway(t, lab.Options{})
	listen(t, g.Router.Path(), "172.31.1.1:22")
	connect(t, g.Client.Path(), "10.77.0.1:0", "172.31.1.1:22")
	inside(t, g.Client.Path(), func() error {
		c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(10, 77, 0, 2)}, &net.UDPAddr{IP: net.IPv4(10, 80, 0, 1), Port: 7})
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Write([]byte("x"))
		return errors.Join(err, c.SetReadDeadline(time.Now().Add(5*time.Second)), heard(c))
	})
	clients := []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}
	c := policy.Default()
	c.Bypass = []policy.Flow{
		{Name: "echo", Mode: policy.Advise, From: clients, To: []netip.Prefix{netip.MustParsePrefix("10.80.0.0/24")}, Proto: unix.IPPROTO_UDP, Ports: port(7)},
		{Name: "off", Mode: policy.Off, From: clients, To: clients, Proto: unix.IPPROTO_UDP},
		{Name: "ssh", Mode: policy.Act, From: clients, Proto: unix.IPPROTO_TCP, Ports: port(22), Lifeline: true},
	}
	check(t, NewScout(g.Router.Path()), c,
		sight{c.Bypass[0], "10.77.0.2:* → 10.80.0.1:7 udp, seen as 172.31.2.1", 0}, sight{c.Bypass[2], "", 1})
}

func heard(c net.Conn) error {
	_, err := c.Read(make([]byte, 1))
	return err
}
