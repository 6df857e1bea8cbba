package nft

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// fillSets makes both sets full, as traffic from as many sources does. The
// library can't make elements with counters.
func fillSets(t testing.TB, table *Table) {
	t.Helper()
	const chunk = 512 // an attribute holds 64 KiB at most
	for _, f := range layouts[IPv4|IPv6].counted {
		for first := uint32(0); first < setSize; first += chunk {
			var elements []byte
			for i := range uint32(chunk) {
				key := make([]byte, f.key.Bytes)
				binary.BigEndian.PutUint32(key, 0x0a000000+first+i)
				elements = append(elements, element(key, uint64(first+i))...)
			}
			list := attributes(func(e *netlink.AttributeEncoder) {
				e.String(unix.NFTA_SET_ELEM_LIST_TABLE, Name)
				e.String(unix.NFTA_SET_ELEM_LIST_SET, f.set)
				e.Bytes(unix.NFTA_SET_ELEM_LIST_ELEMENTS|unix.NLA_F_NESTED, elements)
			})
			add := table.socket.message(unix.NFT_MSG_NEWSETELEM, netlink.Acknowledge|netlink.Create, list)
			if err := table.socket.transact(add); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestRootReadsFullSets(t *testing.T) {
	table := installIn(t, loopback(t), ordinary)
	fillSets(t, table)
	for range 2 {
		c := mustRead(t, table)
		if len(c.Sources) != 2*setSize {
			t.Fatalf("%d sources, want %d", len(c.Sources), 2*setSize)
		}
		for i, s := range c.Sources {
			if want := uint64(i % setSize); s.New != want {
				t.Fatalf("source %d, %s: %d, want %d", i, s.Prefix, s.New, want)
			}
		}
	}
}

// The library makes some objects of every element and every attribute in it.
func BenchmarkRootRead(b *testing.B) {
	table := installIn(b, loopback(b), ordinary)
	fillSets(b, table)
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			mustRead(b, table)
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, f := range layouts[IPv4|IPv6].counted {
				elements, err := table.socket.lib.GetSetElements(&nftables.Set{Table: table.table, Name: f.set})
				if err != nil || len(elements) != setSize {
					b.Fatal(len(elements), err)
				}
			}
		}
	})
}

func BenchmarkRootPresent(b *testing.B) {
	table := installIn(b, loopback(b), ordinary)
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := table.Present(); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

func BenchmarkBetween(b *testing.B) {
	before, after := Counts{}, Counts{At: time.Second, New: setSize}
	for i := range setSize {
		s := Source{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 32), uint64(i)}
		before.Sources = append(before.Sources, s)
		s.New++
		after.Sources = append(after.Sources, s)
	}
	b.ReportAllocs()
	for b.Loop() {
		Between(before, after)
	}
}

// BenchmarkRootForwarding compares new connections through a gateway with and
// without the table, in turns: the medians of five runs of each.
func BenchmarkRootForwarding(b *testing.B) {
	const flows, runs = 100_000, 5
	room(b)
	for range b.N {
		took := map[bool][]float64{}
		for range runs {
			for _, with := range []bool{false, true} {
				took[with] = append(took[with], floodOnce(b, flows, with))
			}
		}
		for with, unit := range map[bool]string{false: "ns/flow-without", true: "ns/flow-with"} {
			slices.Sort(took[with])
			b.ReportMetric(took[with][runs/2], unit)
		}
	}
}

// floodOnce is the time that a flow takes, in nanoseconds.
func floodOnce(b *testing.B, flows int, with bool) float64 {
	b.Helper()
	g, err := lab.NewGateway(lab.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := g.Close(); err != nil {
			b.Error(err)
		}
	}()
	if with {
		var table *Table
		if err := g.Router.Do(func() (err error) { table, err = Install(IPv4|IPv6, 0, 0); return err }); err != nil {
			b.Fatal(err)
		}
		defer table.Close()
	}
	r, err := g.Flood(b.Context(), lab.Flood{Pattern: lab.HalfOpen, Count: flows, Sources: 4096})
	made, counting := g.Count()
	if err := errors.Join(err, counting); err != nil || made != flows {
		b.Fatalf("%d entries of %d flows, %v", made, flows, err)
	}
	return float64(r.Took.Nanoseconds()) / float64(flows)
}
