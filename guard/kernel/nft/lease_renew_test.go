package nft

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// A renewal prolongs, and neither forgets what was refused nor fills the limiter
// again.
func TestRootRenewalKeepsWhatWas(t *testing.T) {
	g := newGateway(t)
	table := installIn(t, g.Router.Path(), ordinary)
	l := openIn(t, g.Router.Path(), ordinaryLeases)
	terms := Terms{Rate: 1, Burst: 30, IPv4Bits: 32, IPv6Bits: 64}
	both := []Request{limit("10.77.0.1/32"), drop("10.77.0.2/32")}
	start := time.Now()
	sent := 0
	for range 6 {
		hold(t, l, terms, 3*time.Second, both...)
		for _, h := range readLeases(t, l) {
			if h.Left < 2*time.Second || h.Timeout != 3*time.Second {
				t.Errorf("%s: %s left of %s", h.Lease, h.Left, h.Timeout)
			}
		}
		inside(t, g.Client.Path(), func() error {
			return shoutOnce(addr("10.77.0.1"), nobody, 30)
		})
		inside(t, g.Client.Path(), func() error {
			return shoutOnce(addr("10.77.0.2"), nobody, 10)
		})
		sent++
		time.Sleep(100 * time.Millisecond)
	}
	n := settled(t, g.Router.Path())
	if most := 31 + int(time.Since(start).Seconds()); n < 30 || n > most {
		t.Errorf("%d connections passed, want 30 to %d", n, most)
	}
	began := mustRead(t, table).New // not 30 each time: a port may come again
	holds(t, l, map[string]uint64{"limit 10.77.0.1/32": began - uint64(n), "drop 10.77.0.2/32": uint64(10 * sent)})

	// What ends and comes again begins anew.
	if err := l.End(both[0].Lease); err != nil {
		t.Fatal(err)
	}
	hold(t, l, terms, time.Minute, both...)
	holds(t, l, map[string]uint64{"limit 10.77.0.1/32": 0, "drop 10.77.0.2/32": uint64(10 * sent)})
}

// A text that changes is changed.
func TestRootRenewalChangesTheText(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	terms, all := everyLease()
	hold(t, l, terms, time.Minute, all...)
	for i := range all {
		all[i].Text = fmt.Sprintf("text %d", i)
	}
	hold(t, l, terms, time.Minute, all...)
	wantStrings(t, "leases", heldText(t, ns), textOf(all))
}

// Leases that lapse while others of their chunk do not are renewed all the same,
// whatever is known of them.
func TestRootRenewalOfTheLapsed(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	terms, all := everyLease()
	var early []Request
	for i := range byte(20) {
		early = append(early, limit(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 3, i}), 32).String()))
	}
	hold(t, l, terms, time.Minute, all...)
	hold(t, l, terms, time.Second, early...)
	time.Sleep(1200 * time.Millisecond)
	table := l.tables[0]
	for _, r := range early[:10] { // as if they were just about to lapse
		h := table.held[r.Lease]
		h.until += time.Minute
		table.held[r.Lease] = h
	}
	delete(table.held, all[0].Lease) // as if it had lapsed, but it has not
	hold(t, l, terms, time.Minute, append(early, all...)...)
	held := readLeases(t, l)
	if len(held) != len(early)+len(all) {
		t.Errorf("%d leases, want %d", len(held), len(early)+len(all))
	}
	for _, h := range held {
		if h.Left < 50*time.Second || h.Timeout != time.Minute {
			t.Errorf("%s: %s left of %s", h.Lease, h.Left, h.Timeout)
		}
	}
}

// manyLeases are n limits, every fourth of IPv6.
func manyLeases(n int) (all []Request) {
	for i := range n {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 32)
		if i%4 == 3 {
			p = netip.PrefixFrom(netip.AddrFrom16([16]byte{0x20, 1, 0xd, 0xb8, 6: byte(i >> 8), 7: byte(i)}), 64)
		}
		all = append(all, Request{Lease{Kind: Limit, Source: p}, "50/s burst 100 lease 15s"})
	}
	return all
}

// Thousands are held, renewed, read and ended.
func TestRootManyLeases(t *testing.T) {
	const n = 5000
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	all := manyLeases(n)
	for range 3 {
		hold(t, l, someTerms(), 5*time.Minute, all...)
		held := readLeases(t, l)
		if len(held) != n {
			t.Fatalf("%d leases, want %d", len(held), n)
		}
		for _, h := range held {
			if h.Left < 4*time.Minute || h.Text != all[0].Text {
				t.Fatalf("%s: %s left, text %q", h.Lease, h.Left, h.Text)
			}
		}
	}
	var ended []Lease
	for _, r := range all[:n-10] {
		ended = append(ended, r.Lease)
	}
	if err := l.End(ended...); err != nil {
		t.Fatal(err)
	}
	if held := readLeases(t, l); len(held) != 10 {
		t.Errorf("%d leases left, want 10", len(held))
	}
	presentLeases(t, l, true)
}

// As many leases fit as is said, and one that finds no room is an error that takes
// nothing away.
func TestRootLeasesWithoutRoom(t *testing.T) {
	ns := loopback(t)
	with := ordinaryLeases
	with.size = 4
	l := openIn(t, ns, with)
	var all []Request
	for i := range byte(5) {
		all = append(all, drop(netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 32).String()))
	}
	hold(t, l, someTerms(), time.Minute, all[:4]...)
	if _, err := l.Hold(someTerms(), time.Minute, all[4]); err == nil {
		t.Error("a lease found room where there is none")
	}
	for range 2 {
		hold(t, l, someTerms(), time.Minute, all[:4]...) // a renewal needs no more
	}
	wantStrings(t, "leases", heldText(t, ns), textOf(all[:4]))
}

// What a full set can't count is dropped all the same.
func TestRootDropsWhatItCannotCount(t *testing.T) {
	g := newGateway(t)
	with := ordinaryLeases
	with.refused = 1
	l := openIn(t, g.Router.Path(), with)
	hold(t, l, someTerms(), time.Minute, drop("10.77.0.1/32"), drop("10.77.0.2/32"))
	inside(t, g.Client.Path(), func() error {
		if err := shoutOnce(addr("10.77.0.1"), nobody, 10); err != nil {
			return err
		}
		return shoutOnce(addr("10.77.0.2"), nobody, 10)
	})
	if n := settled(t, g.Router.Path()); n != 0 {
		t.Errorf("%d entries of dropped sources", n)
	}
	holds(t, l, map[string]uint64{"drop 10.77.0.1/32": 10, "drop 10.77.0.2/32": 0})
}

// The library's own way, and ours.
func BenchmarkRootHold(b *testing.B) {
	const n = 5000
	all := manyLeases(n)
	slices.SortStableFunc(all, func(x, y Request) int { return x.Source.Addr().BitLen() - y.Source.Addr().BitLen() })
	b.Run("install", func(b *testing.B) {
		l := openIn(b, loopback(b), ordinaryLeases)
		b.ReportAllocs()
		for b.Loop() {
			hold(b, l, someTerms(), time.Hour, all...)
			b.StopTimer()
			for _, t := range l.tables {
				if err := t.remove(); err != nil {
					b.Fatal(err)
				}
			}
			b.StartTimer()
		}
	})
	b.Run("renew", func(b *testing.B) {
		l := openIn(b, loopback(b), ordinaryLeases)
		hold(b, l, someTerms(), time.Hour, all...)
		b.ReportAllocs()
		cpu := cpuTime(b)
		for b.Loop() {
			hold(b, l, someTerms(), time.Hour, all...)
		}
		b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	})
	b.Run("renew by the library", func(b *testing.B) {
		l := openIn(b, loopback(b), ordinaryLeases)
		hold(b, l, someTerms(), time.Hour, all...)
		b.ReportAllocs()
		cpu := cpuTime(b)
		for b.Loop() {
			renewByLibrary(b, l, all)
		}
		b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
	})
}

func renewByLibrary(b *testing.B, l *Leases, all []Request) {
	b.Helper()
	for chunk := range slices.Chunk(all, leaseChunk) {
		bySet := map[*leaseSet][]nftables.SetElement{}
		for _, r := range chunk {
			bySet[r.set()] = append(bySet[r.set()], nftables.SetElement{
				Key: r.Source.Addr().AsSlice(), Timeout: time.Hour, Comment: r.comment(),
			})
		}
		for s, elements := range bySet {
			set := &nftables.Set{
				Name: s.name, HasTimeout: true,
				Table: &nftables.Table{Name: s.place.name, Family: nftables.TableFamily(s.place.proto)},
			}
			if err := l.socket.lib.SetDeleteElements(set, elements); err != nil {
				b.Fatal(err)
			}
			if err := l.socket.lib.SetAddElements(set, elements); err != nil {
				b.Fatal(err)
			}
			if err := l.socket.flush(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// cpuTime is what this process has used, in nanoseconds, the kernel's part with it.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func BenchmarkRootReadLeases(b *testing.B) {
	for _, n := range []int{1, 64, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := openIn(b, loopback(b), ordinaryLeases)
			hold(b, l, someTerms(), time.Hour, manyLeases(n)...)
			b.ReportAllocs()
			for b.Loop() {
				if held := readLeases(b, l); len(held) != n {
					b.Fatalf("%d leases", len(held))
				}
			}
		})
	}
}

func BenchmarkRootPresentLeases(b *testing.B) {
	l := openIn(b, loopback(b), ordinaryLeases)
	terms, all := everyLease()
	hold(b, l, terms, time.Hour, all...)
	b.ReportAllocs()
	for b.Loop() {
		if ok, err := l.Present(); !ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
