package ctnetlink

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// The same datagram of a mixed table, as the kernel sent it, taken apart three
// ways: by this package, by mdlayher/netlink into a list of attributes per entry
// without looking into a nest, and by ti-mo/conntrack into a Flow.
func BenchmarkParse(b *testing.B) {
	datagram := readRecorded(b)
	all := bodies(b, datagram)
	ours := recordedReader(func(*Entry) bool { return true })
	for _, way := range []struct {
		name  string
		parse func() error
	}{
		{"ours", func() error {
			return ours.datagram(datagram)
		}},
		{"mdlayher", func() error {
			for _, body := range all {
				if _, err := netlink.UnmarshalAttributes(body[nfgenmsg:]); err != nil {
					return err
				}
			}
			return nil
		}},
		{"ti-mo", func() error {
			for _, body := range all {
				var e conntrack.Event
				if err := e.Unmarshal(netlink.Message{Header: netlink.Header{Type: ctNew}, Data: body}); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		b.Run(way.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := way.parse(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(all)), "ns/entry")
		})
	}
}

// A walk against its floor and against ti-mo's Dump, of the same table. CPU
// time, the kernel's included, is what to compare.
func BenchmarkRootWalk(b *testing.B) {
	const entries = 200_000
	inside(b, func() {
		fill(b, entries)
		each := func(*Entry) bool { return true }
		ctx := context.Background()
		for _, size := range []int{4 << 10, 8 << 10, 16 << 10, bufferSize} {
			c := openSized(b, size)
			per(b, fmt.Sprintf("discard/%dKiB", size>>10), entries, func() error { _, _, err := c.Discard(ctx); return err })
			per(b, fmt.Sprintf("walk/%dKiB", size>>10), entries, func() error { _, err := c.Walk(ctx, Query{}, each, nil); return err })
		}
		c, err := conntrack.Dial(nil)
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		per(b, "ti-mo", entries, func() error { _, err := c.Dump(nil); return err })
	})
}

// per measures f. A sub-benchmark has a goroutine of its own and so another
// thread, but a socket stays in the namespace that it was opened in.
func per(b *testing.B, name string, entries int, f func() error) {
	b.Run(name, func(b *testing.B) {
		b.ReportAllocs()
		start := cpu(b)
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64((cpu(b)-start).Nanoseconds())/float64(b.N*entries), "cpu-ns/entry")
	})
}

func cpu(b *testing.B) time.Duration {
	b.Helper()
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}
