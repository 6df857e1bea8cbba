package lab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkFill is entries per second, at any size that a census is to be tested
// with. It needs root, and 800 MB for two million entries. The kernel takes
// seconds to take a gateway's entries away behind its end, which the pause leaves
// out of the next figure.
func BenchmarkFill(b *testing.B) {
	plain := Entries{Proto: unix.IPPROTO_TCP, State: Established, Assured: true, Timeout: time.Hour, Sources: 4096}
	nat, six := plain, plain
	nat.SNAT = NATPool{First: netip.MustParseAddr("203.0.113.1"), Addresses: 4}
	six.Family = 6
	for _, size := range []int{1000, 250_000, 2_000_000} {
		for _, kind := range []struct {
			name string
			Entries
		}{{"IPv4", plain}, {"NAT", nat}, {"IPv6", six}} {
			b.Run(fmt.Sprintf("%s/%d", kind.name, size), func(b *testing.B) {
				kind.Count = size
				benchmarkFill(b, kind.Entries)
			})
		}
	}
}

func benchmarkFill(b *testing.B, e Entries) {
	h, err := HoldSizes(b.Context(), Sizes{Max: e.Count + 1000, Buckets: max(262_144, 1<<20*(e.Count/1_000_000))})
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		if _, err := h.Release(); err != nil {
			b.Error(err)
		}
	}()
	made, took := 0, time.Duration(0)
	for b.Loop() {
		g, err := NewGateway(Options{})
		if err != nil {
			b.Fatal(err)
		}
		r, err := g.Fill(b.Context(), e)
		if err != nil || r.Created != e.Count {
			b.Errorf("%+v, %v, want %d entries", r, err, e.Count)
		}
		made, took = made+r.Created, took+r.Took
		if err := g.Close(); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Duration(e.Count) * 5 * time.Microsecond)
	}
	b.ReportMetric(float64(made)/took.Seconds(), "entries/s")
}
