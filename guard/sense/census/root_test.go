package census_test

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

func TestRootFullCensusIsExact(t *testing.T) {
	g := gateway(t)
	mix := known()
	fill(t, g, mix...)
	truth, err := lab.CountTruth(mix...)
	if err != nil {
		t.Fatal(err)
	}
	r := take(t, g, census.Options{})
	if !r.Full || r.Read != truth.Entries || r.Table != truth.Entries || r.Source != "" {
		t.Errorf("full %t, read %d of %d, want %d", r.Full, r.Read, r.Table, truth.Entries)
	}
	is := exact(t, truth.Entries)
	compare(&r, &truth, is)
	is("closing", r.Closing, 24+25+26+27+28)
	is("opening", r.Opening, 21+22+29)
	is("dead UDP", r.DeadUDP, 202+104)
	is("idle", r.Idle, 1501+902+503+605+307)
	for name, lengths := range map[string][2]int{
		"sources": {len(r.Sources), len(truth.Sources)}, "destinations": {len(r.Destinations), len(truth.Destinations)},
		"services": {len(r.Services), len(truth.Services)}, "pools": {len(r.Pools), len(truth.Pools)},
		"protocols": {len(r.Protocols), len(truth.Protocols)}, "states": {len(r.States), len(truth.States)},
		"zones": {len(r.Zones), len(truth.Zones)},
	} {
		if lengths[0] != lengths[1] {
			t.Errorf("%d %s, want %d", lengths[0], name, lengths[1])
		}
	}
	checkClasses(t, g, &r, &truth)
}

// checkClasses compares the classes and what is left of their timeouts.
func checkClasses(t *testing.T, g *lab.Gateway, r *census.Report, truth *lab.Truth) {
	t.Helper()
	for _, class := range r.Classes {
		made := truth.Classes[class.Name]
		if class.Name == "tcp_timeout_syn_sent2" {
			if class.Entries != 29 || class.Timeout != 0 {
				t.Errorf("%+v, want 29 without a key", class)
			}
			continue
		}
		timeout, err := g.Router.Sysctl("net.netfilter.nf_conntrack_" + class.Name)
		if err != nil || class.Timeout != timeout {
			t.Errorf("%s: timeout %d, want %d, %v", class.Name, class.Timeout, timeout, err)
		}
		want := map[time.Duration]int{}
		for seconds, n := range made {
			want[seconds] += n
		}
		if class.Name == "tcp_timeout_syn_sent" {
			want[100*time.Second] -= 29
		}
		for _, bin := range class.Remaining {
			for seconds := range want {
				// Some seconds may have passed.
				if left := int(seconds / time.Second); bin.From <= left && bin.To >= left-5 {
					want[seconds] -= bin.Entries
					break
				}
			}
		}
		for seconds, n := range want {
			if n != 0 {
				t.Errorf("%s: %d entries with %s are missing in %+v", class.Name, n, seconds, class)
			}
		}
	}
	if len(r.Classes) != len(truth.Classes)+1 {
		t.Errorf("%d classes, want %d", len(r.Classes), len(truth.Classes)+1)
	}
}

// A drill-down counts what comes from a prefix, and nothing else.
func TestRootDrillDown(t *testing.T) {
	g := gateway(t)
	mix := known()
	fill(t, g, mix...)
	whole := take(t, g, census.Options{})
	for _, of := range []struct {
		prefix string
		is     func(lab.Entry) bool
	}{
		{whole.Sources[0].Prefix.String(), func(e lab.Entry) bool { return e.Orig.Src == whole.Sources[0].Prefix.Addr() }},
		{"0.0.0.0/0", func(e lab.Entry) bool { return e.Orig.Src.Is4() }},
		{"::/0", func(e lab.Entry) bool { return e.Orig.Src.Is6() }},
		{"198.51.100.0/24", func(lab.Entry) bool { return false }},
	} {
		prefix := netip.MustParsePrefix(of.prefix)
		want := 0
		sources := map[netip.Prefix]int{}
		if err := lab.Each(func(e lab.Entry) {
			if of.is(e) {
				want++
				bits := 32
				if e.Orig.Src.Is6() {
					bits = 64
				}
				sources[netip.PrefixFrom(e.Orig.Src, bits).Masked()]++
			}
		}, mix...); err != nil {
			t.Fatal(err)
		}
		r := take(t, g, census.Options{Source: prefix, Sample: 10})
		if !r.Full || r.Table != want || r.Read < want || r.Source != of.prefix {
			t.Errorf("%s: full %t, %d of %d read, want %d", of.prefix, r.Full, r.Table, r.Read, want)
		}
		if prefix.Bits() == 32 && r.Read != want {
			t.Errorf("%s: %d entries left the kernel, want %d", of.prefix, r.Read, want)
		}
		for _, s := range r.Sources {
			if sources[s.Prefix] != s.Entries {
				t.Errorf("%s: %s has %d, want %d", of.prefix, s.Prefix, s.Entries, sources[s.Prefix])
			}
		}
		if len(r.Sources) != len(sources) {
			t.Errorf("%s: %d sources, want %d", of.prefix, len(r.Sources), len(sources))
		}
	}
}

// Sources are networks of the length that was asked for.
func TestRootSourcesOfOtherLengths(t *testing.T) {
	g := gateway(t)
	mix := []lab.Entries{
		{Count: 2000, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Sources: 700},
		{Count: 500, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Sources: 3, FirstSource: 4000},
		{Count: 1500, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Sources: 600, Family: 6},
	}
	fill(t, g, mix...)
	for _, bits := range [][2]int{{24, 56}, {8, 32}, {32, 128}} {
		want := map[netip.Prefix]int{}
		if err := lab.Each(func(e lab.Entry) {
			length := bits[0]
			if e.Orig.Src.Is6() {
				length = bits[1]
			}
			want[netip.PrefixFrom(e.Orig.Src, length).Masked()]++
		}, mix...); err != nil {
			t.Fatal(err)
		}
		r := take(t, g, census.Options{IPv4Bits: bits[0], IPv6Bits: bits[1]})
		total := 0
		for _, s := range r.Sources {
			if want[s.Prefix] != s.Entries {
				t.Errorf("%s has %d, want %d", s.Prefix, s.Entries, want[s.Prefix])
			}
			total += s.Entries
		}
		if len(r.Sources) != min(len(want), census.Rows) || len(want) <= census.Rows && total != 4000 {
			t.Errorf("by /%d and /%d: %d sources with %d entries, want %d", bits[0], bits[1], len(r.Sources), total, len(want))
		}
	}
	for _, o := range []census.Options{{IPv4Bits: 33}, {IPv6Bits: 129}, {IPv4Bits: -1}, {IPv6Bits: -64}} {
		if r, err := census.Take(t.Context(), o); err == nil {
			t.Errorf("%+v: a census of %d sources", o, len(r.Sources))
		}
	}
}
