package ctnetlink

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What it takes to queue a delete, of each shape, without the kernel.
func BenchmarkQueue(b *testing.B) {
	batch := &Batch{fd: -1, part: partSize}
	for name, e := range examples() {
		e.ID = 5
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if batch.Len() == partSize {
					batch.queue, batch.queued, batch.open = batch.queue[:0], 0, 0
				}
				if err := batch.Delete(&e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// listed walks and returns copies of the entries, of which two may have one id.
func listed(t testing.TB, c *Conn) (list []Entry) {
	t.Helper()
	if _, err := c.Walk(context.Background(), Query{}, func(e *Entry) bool { list = append(list, *e); return true }, nil); err != nil {
		t.Fatal(err)
	}
	return list
}

// Deletes by the size of a part: what the kernel takes for the entry itself is the
// most of it.
func BenchmarkRootDelete(b *testing.B) {
	const entries = 1 << 16
	for _, size := range []int{1, 4, 16, 64, 128, 256, 512, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var took, used time.Duration
			for b.Loop() {
				inside(b, func() {
					fill(b, entries)
					list := listed(b, open(b))
					batch := openBatch(b)
					if err := unix.SetsockoptInt(batch.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size*answerRoom); err != nil {
						b.Fatal(err)
					}
					batch.part = size
					start, before := time.Now(), cpu(b)
					for i := range list {
						queue(b, batch.Delete(&list[i]))
					}
					if sent, err := batch.Send(context.Background()); err != nil || sent.Deleted != entries {
						b.Fatal(sent, err)
					}
					took, used = took+time.Since(start), used+cpu(b)-before
				})
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*entries), "ns/entry")
			b.ReportMetric(float64(used.Nanoseconds())/float64(b.N*entries), "cpu-ns/entry")
		})
	}
}

// One message, or one by one, by the size of the table that the kernel goes through
// for it.
func BenchmarkRootDeleteUnreplied(b *testing.B) {
	const entries = 200_000
	for name, by := range map[string]func(unreplied, context.Context) (int, error){
		"filter": unreplied.deleteByFilter, "each": unreplied.deleteEach,
	} {
		b.Run(name, func(b *testing.B) {
			source := netip.MustParsePrefix("10.7.0.1/32")
			inside(b, func() {
				fill(b, entries)
				took := time.Duration(0)
				for b.Loop() {
					want := crowdOf(b, source.Addr())
					start := time.Now()
					if n, err := by(unreplied{source}, context.Background()); err != nil || n != want {
						b.Fatal(n, err)
					}
					took += time.Since(start)
					flush(b)
				}
				b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*entries), "ns/entry")
			})
		})
	}
}

// flush deletes what crowdOf made.
func flush(b *testing.B) {
	batch := openBatch(b)
	defer batch.Close()
	for _, e := range listed(b, open(b)) {
		if e.Orig.Src[13] == 7 || e.Orig.Dst[13] == 7 {
			queue(b, batch.Delete(&e))
		}
	}
	if _, err := batch.Send(context.Background()); err != nil {
		b.Fatal(err)
	}
}
