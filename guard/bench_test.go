package guard

import (
	"io"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// realGuard watches this machine's own table in mode advise: it changes nothing.
func realGuard(t testing.TB) *Guard {
	sensor, err := sense.Open("")
	if err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(t.TempDir(), "bench")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sensor.Close(); l.Close() })
	g := &Guard{
		Sensor: sensor, Actions: actions.New(l, nil), Ledger: l, Clock: boot.Now,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)), Config: policy.Default(),
	}
	g.Start()
	return g
}

// A tick of a calm table allocates nothing, sensing and deciding included.
func TestTickAllocatesNothing(t *testing.T) {
	g := realGuard(t)
	if n := testing.AllocsPerRun(1000, func() { g.Tick() }); n != 0 {
		t.Errorf("%g allocations a tick, want 0", n)
	}
}

// BenchmarkTick pairs a whole tick with only reading the same figures the plain
// way, as a script would.
func BenchmarkTick(b *testing.B) {
	b.Run("guardian", func(b *testing.B) {
		g := realGuard(b)
		b.ReportAllocs()
		for b.Loop() {
			if _, complete := g.Tick(); !complete {
				b.Fatal(g.Status())
			}
		}
	})
	b.Run("plain-reads-alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, file := range []string{
				"/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max",
				"/proc/sys/net/netfilter/nf_conntrack_buckets", "/proc/net/stat/nf_conntrack", "/proc/meminfo",
			} {
				text, err := os.ReadFile(file)
				if err != nil {
					b.Fatal(err)
				}
				if len(strings.Fields(string(text))) == 0 {
					b.Fatalf("%s is empty", file)
				}
			}
		}
	})
}
