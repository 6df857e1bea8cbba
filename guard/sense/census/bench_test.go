package census

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// streams are entries to measure with: what a gateway sees, and what it sees when
// every entry is another source, destination and service.
var streams = map[string]func() []ctnetlink.Entry{
	"mixed": func() []ctnetlink.Entry { return traffic(1, 1<<18) },
	"distinct": func() []ctnetlink.Entry {
		entries := traffic(2, 1<<18)
		for i := range entries {
			scatter(&entries[i], uint32(i))
		}
		return entries
	},
}

// scatter makes an entry's addresses those of no other.
func scatter(e *ctnetlink.Entry, i uint32) {
	e.Proto, e.Family, e.Status = unix.IPPROTO_TCP, unix.AF_INET, e.Status|ctnetlink.StatusSrcNAT
	e.Orig.Src, e.Orig.Dst = ipv4(10<<24|i), ipv4(100<<24|i)
	e.Reply.Src, e.Reply.Dst = e.Orig.Dst, ipv4(192<<24|i)
}

func BenchmarkAdd(b *testing.B) {
	for name, stream := range streams {
		entries := stream()
		b.Run(name+"/sketch", func(b *testing.B) {
			t := newTally(timeout.Table{})
			i := 0
			for b.Loop() {
				t.add(&entries[i&(len(entries)-1)])
				i++
			}
		})
		b.Run(name+"/map", func(b *testing.B) {
			t := newMaps()
			i := 0
			for b.Loop() {
				if i&(len(entries)-1) == 0 {
					t = newMaps() // or they would know all keys after one round
				}
				t.add(&entries[i&(len(entries)-1)])
				i++
			}
		})
	}
}

// mapTally answers the same questions with Go's maps.
type mapTally struct {
	sources, destinations map[ctnetlink.Addr]int
	services              map[service]int
	pools                 map[pool]int
	kinds                 map[uint32]int
	protocols, states     map[uint8]int
	zones                 map[uint16]int
	remaining             map[uint32]int
}

func newMaps() *mapTally {
	return &mapTally{
		map[ctnetlink.Addr]int{},
		map[ctnetlink.Addr]int{},
		map[service]int{},
		map[pool]int{},
		map[uint32]int{},
		map[uint8]int{},
		map[uint8]int{},
		map[uint16]int{},
		map[uint32]int{},
	}
}

func (t *mapTally) add(e *ctnetlink.Entry) {
	t.sources[e.Orig.Src]++
	t.destinations[e.Orig.Dst]++
	t.services[service{e.Orig.Dst, e.Orig.DstPort, uint16(e.Proto)}]++
	if e.Status&ctnetlink.StatusSrcNAT != 0 {
		t.pools[pool{e.Reply.Dst, e.Reply.Src, e.Reply.SrcPort, uint16(e.Proto), e.ReplyZone}]++
	}
	t.kinds[e.Status]++
	t.protocols[e.Proto]++
	t.states[e.TCPState]++
	t.zones[e.Zone]++
	t.remaining[e.Timeout]++
}

// BenchmarkReport is what is done once a census, when the sketches are full.
func BenchmarkReport(b *testing.B) {
	t := newTally(timeout.Table{})
	for _, e := range streams["distinct"]() {
		t.add(&e)
	}
	for b.Loop() {
		var r Report
		t.fill(&r, scale{t.read, t.read * 2})
	}
}

// ipv4 is an address by its number.
func ipv4(n uint32) ctnetlink.Addr {
	return ctnetlink.Addr{10: 0xff, 11: 0xff, 12: byte(n >> 24), 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}
}

// ipv6 is an address in one of the networks 2001:db8:0:net::/64.
func ipv6(net, host uint32) ctnetlink.Addr {
	a := ctnetlink.Addr{0x20, 0x01, 0x0d, 0xb8}
	a[6], a[7] = byte(net>>8), byte(net)
	a[14], a[15] = byte(host>>8), byte(host)
	return a
}

// traffic makes entries such as a gateway with 5,000 clients has, in the order of
// a hash.
func traffic(seed uint64, n int) []ctnetlink.Entry {
	rng := rand.New(rand.NewPCG(seed, 0))
	client := rand.NewZipf(rng, 1.1, 20, 5000)
	server := rand.NewZipf(rng, 1.05, 10, 200_000)
	entries := make([]ctnetlink.Entry, n)
	for i := range entries {
		entries[i] = flow(rng, uint32(client.Uint64()), uint32(server.Uint64()))
	}
	return entries
}

// flow makes an entry of any kind.
func flow(rng *rand.Rand, client, server uint32) ctnetlink.Entry {
	e := ctnetlink.Entry{
		Family: unix.AF_INET, ID: rng.Uint32(), Timeout: rng.Uint32N(1 << rng.IntN(20)),
		Proto:  []uint8{unix.IPPROTO_TCP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_GRE, unix.IPPROTO_SCTP, 89}[min(rng.IntN(12), 11)%7],
		Status: ctnetlink.StatusConfirmed | rng.Uint32N(4)*ctnetlink.StatusSeenReply,
	}
	e.Orig = ctnetlink.Tuple{Src: ipv4(10<<24 | client), Dst: ipv4(100<<24 | server), SrcPort: uint16(rng.Uint32())}
	e.Orig.DstPort = []uint16{80, 443, 53, 8080}[rng.IntN(4)]
	if rng.IntN(8) == 0 {
		e.Family = unix.AF_INET6
		e.Orig.Src, e.Orig.Dst = ipv6(client, rng.Uint32()), ipv6(server, 1)
	}
	e.Reply = ctnetlink.Tuple{Src: e.Orig.Dst, Dst: e.Orig.Src, SrcPort: e.Orig.DstPort, DstPort: e.Orig.SrcPort}
	if e.Family == unix.AF_INET && rng.IntN(10) > 0 {
		e.Status |= ctnetlink.StatusSrcNAT
		e.Reply.Dst = ipv4(192<<24 | 1 + server%2)
	}
	if rng.IntN(20) == 0 {
		e.Status |= ctnetlink.StatusDstNAT
		e.Reply.Src = ipv4(172<<24 | server)
	}
	if rng.IntN(30) == 0 {
		e.Zone = uint16(rng.IntN(5))
		if e.Zone < 4 { // else it is for the original direction alone
			e.ReplyZone = e.Zone
		}
	}
	if e.Proto == unix.IPPROTO_TCP {
		e.TCPState = uint8(rng.IntN(10))
	}
	if e.Proto == unix.IPPROTO_SCTP {
		e.SCTPState = uint8(rng.IntN(9))
	}
	switch rng.IntN(50) {
	case 0:
		e.Offloaded, e.Timeout, e.TCPState = true, 0, 0
		e.Status |= ctnetlink.StatusOffload
	case 1:
		e.Status |= ctnetlink.StatusFixedTimeout
	}
	return e
}
