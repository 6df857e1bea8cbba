package ctnetlink

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"
)

// The short way and the long way understand the same, whichever bit of a tuple is
// another; what the short way does not take it does not touch.
func TestLayoutAgrees(t *testing.T) {
	for name, e := range examples() {
		whole := bytes.Join(tuple(e, e.Orig), nil)
		taken := 0
		for bit := range 8 * len(whole) {
			b := bytes.Clone(whole)
			b[bit/8] ^= 1 << (bit % 8)
			short, long := Tuple{SrcPort: 9}, Tuple{}
			proto, ok := ofFamily(e.Family).read(b, &short)
			if !ok {
				if short != (Tuple{SrcPort: 9}) {
					t.Errorf("%s, bit %d: not taken, but touched: %+v", name, bit, short)
				}
				continue
			}
			taken++
			p := parser{Entry: Entry{Family: e.Family}}
			if want, err := p.attributes(b, &long); err != nil || want != proto || long != short {
				t.Errorf("%s, bit %d: %d %+v, want %d %+v, %v", name, bit, proto, short, want, long, err)
			}
		}
		// Addresses, ports, padding, and the protocol but where it becomes ICMP.
		ports := e.Proto != unix.IPPROTO_ICMP && e.Proto != unix.IPPROTO_ICMPV6 && e.Proto != unix.IPPROTO_ESP
		if (taken > 0) != ports {
			t.Errorf("%s: the short way takes %d of its neighbours", name, taken)
		}
	}
}
