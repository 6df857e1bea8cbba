package sense

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// BenchmarkRootAllowlist reads the allowlist of a gateway.
func BenchmarkRootAllowlist(b *testing.B) {
	g := gateway(b, lab.Options{IPv6: true})
	a := allowlist(b, g.Router.Path(), "nameserver 192.0.2.53\n")
	c := policy.Default()
	for b.Loop() {
		if list, err := a.Read(b.Context(), c); err != nil || len(list) < 4 {
			b.Fatal(list, err)
		}
	}
}

// BenchmarkRootInspect looks for a lifeline, by its port, and for 32 flows among 50,000
// entries, nine tenths of them translated, of which none is.
func BenchmarkRootInspect(b *testing.B) {
	room(b)
	g := gateway(b, lab.Options{})
	fill(b, g, haystack()[:3]...)
	lifeline := flow("", policy.Flow{Proto: unix.IPPROTO_TCP, Ports: port(22), Lifeline: true})
	var many []policy.Flow
	for i := range 32 {
		many = append(many, flow("", policy.Flow{To: alone(netip.MustParseAddr("192.0.2.1")), Proto: unix.IPPROTO_UDP, Ports: port(uint16(5353 + i))}))
	}
	for name, flows := range map[string][]policy.Flow{"lifeline": {lifeline}, "32 flows": many} {
		b.Run(name, func(b *testing.B) {
			s := NewScout(g.Router.Path())
			c := policy.Default()
			c.Bypass, c.Census.CPU = flows, 1
			b.ReportAllocs()
			for b.Loop() {
				if sights, err := s.Inspect(b.Context(), c); err != nil || len(sights) != len(flows) || sights[0].NAT != "" {
					b.Fatalf("%+v, %v", sights, err)
				}
			}
		})
	}
}
