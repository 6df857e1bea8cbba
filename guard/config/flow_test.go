package config

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
	"pgregory.net/rapid"
)

// What flows are written, in whatever way and order, is what comes out.
func TestFlowsComeAsWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := rapid.SliceOfNDistinct(rapid.Custom(drawFlow), 0, maxFlows, func(f policy.Flow) string { return f.Name }).Draw(t, "flows")
		text, tables := "version = 1\n[bypass]\n", ""
		for _, f := range want {
			if rapid.Bool().Draw(t, "inline") {
				text += f.Name + " = { " + strings.Join(keysOf(f), ", ") + " }\n"
			} else {
				tables += "[bypass." + f.Name + "]\n" + strings.Join(keysOf(f), "\n") + "\n"
			}
		}
		text += tables
		got, problems := Parse("p", []byte(text))
		slices.SortFunc(want, func(a, b policy.Flow) int { return cmp.Compare(a.Name, b.Name) })
		if len(problems) > 0 || len(want)+len(got.Policy.Bypass) > 0 && !reflect.DeepEqual(got.Policy.Bypass, want) {
			t.Fatalf("got %+v and %v from\n%s", got.Policy.Bypass, problems, text)
		}
	})
}

func drawFlow(t *rapid.T) policy.Flow {
	f := newFlow(rapid.StringMatching(`[A-Za-z0-9_-]{1,32}`).Draw(t, "name"))
	f.Mode = rapid.SampledFrom([]policy.Mode{policy.Off, policy.Observe, policy.Advise, policy.Act}).Draw(t, "mode")
	f.Hold = time.Duration(rapid.IntRange(1, 720*3600).Draw(t, "hold")) * time.Second
	v6 := rapid.Bool().Draw(t, "v6")
	f.From = drawPrefixes(t, v6)
	f.Lifeline = rapid.Bool().Draw(t, "lifeline")
	f.Proto = tcp
	if !f.Lifeline {
		f.To = drawPrefixes(t, v6)
		f.Proto = rapid.SampledFrom([]uint8{tcp, 17, 132, 136, 47, 50, 255}).Draw(t, "proto")
	}
	if hasPorts(f.Proto) {
		f.Ports = drawPorts(t)
	}
	return f
}

// drawPrefixes draws networks that lie apart, in any order.
func drawPrefixes(t *rapid.T, v6 bool) []netip.Prefix {
	net := func(i int) netip.Prefix {
		addr, bits := netip.AddrFrom4([4]byte{10, byte(i)}), 16+i%17
		if v6 {
			addr, bits = netip.AddrFrom16([16]byte{0x20, 1, 0x0d, 0xb8, byte(i)}), 48+i%81
		}
		return netip.PrefixFrom(addr, bits)
	}
	var all []netip.Prefix
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, 255), 1, 5, rapid.ID).Draw(t, "prefixes") {
		all = append(all, net(i))
	}
	return all
}

func drawPorts(t *rapid.T) (all []policy.Ports) {
	for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(1, 1000), 1, 5, rapid.ID).Draw(t, "ports") {
		low := uint16(i * 64)
		all = append(all, policy.Ports{Low: low, High: low + uint16(rapid.IntRange(0, 63).Draw(t, "more"))})
	}
	return all
}

// keysOf are the lines of a flow. What is by default may be left out, and an address
// stands for its network.
func keysOf(f policy.Flow) []string {
	keys := []string{"from = " + listLiteral(f.From, addressLiteral), "proto = " + protocolLiteral(f.Proto), fmt.Sprintf("hold = %q", f.Hold)}
	if f.Mode != policy.Act {
		keys = append(keys, fmt.Sprintf("mode = %q", f.Mode))
	}
	if f.Lifeline {
		keys = append(keys, "lifeline = true")
	} else {
		keys = append(keys, "to = "+listLiteral(f.To, addressLiteral))
	}
	if len(f.Ports) > 0 {
		keys = append(keys, "ports = "+listLiteral(f.Ports, portsLiteral))
	}
	return keys
}

// Terms that are written differently and mean the same have one mark, and others
// another: what is in force is told from what is asked for by it.
func TestMarkIsOfTheTerms(t *testing.T) {
	mark := func(text string) string {
		f, problems := Parse("p", []byte("version = 1\n[bypass.a]\n"+text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		return f.Policy.Bypass[0].Mark()
	}
	const base = "from = ['10.0.0.0/8']\nto = ['192.0.2.1']\nports = [53]\nproto = "
	for text, same := range map[string]bool{
		base + "17": true, base + "'udp'\nhold = '1m'\nmode = 'off'": true, base + "'tcp'": false,
		strings.Replace(base, "192.0.2.1", "192.0.2.1/32", 1) + "'udp'": true,
		strings.Replace(base, "[53]", "['53-54']", 1) + "'udp'":         false,
	} {
		if got := mark(text) == mark(base+"'udp'"); got != same {
			t.Errorf("%s: same mark %v, want %v", text, got, same)
		}
	}
}
