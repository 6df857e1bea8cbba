package actions

import (
	"fmt"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

// many are as many limits as there can be at once.
func many(namespace string) (all []Lease) {
	for i := range 64 {
		l := limited(fmt.Sprintf("10.0.0.%d/32", i))
		l.Namespace, l.For = namespace, 10*time.Minute
		all = append(all, l)
	}
	return all
}

// BenchmarkRootManyLeases is what a tick pays that makes as many leases as there can
// be, each with its records on the disk, and one that ends them.
func BenchmarkRootManyLeases(b *testing.B) {
	namespace := netnstest.New(b)
	h := holderOn(b, b.TempDir(), namespace)
	var made, ended time.Duration
	for b.Loop() {
		began := time.Now()
		h.lease(b, many(namespace)...)
		made += time.Since(began)
		began = time.Now()
		for _, c := range h.Open() {
			if _, err := h.Undo(c.ID, "calm"); err != nil {
				b.Fatal(err)
			}
		}
		ended += time.Since(began)
	}
	b.ReportMetric(made.Seconds()*1000/float64(b.N), "ms/made")
	b.ReportMetric(ended.Seconds()*1000/float64(b.N), "ms/ended")
}

// BenchmarkRootRenew is what a tick pays while leases are in force, and every third of
// one.
func BenchmarkRootRenew(b *testing.B) {
	for name, due := range map[string]bool{"idle": false, "due": true} {
		b.Run(name, func(b *testing.B) {
			namespace := netnstest.New(b)
			h := holderOn(b, b.TempDir(), namespace)
			h.lease(b, many(namespace)...)
			skew := time.Duration(0)
			h.leases.Now = func() time.Duration { return sinceBoot() + skew }
			for b.Loop() {
				if due {
					skew += 200 * time.Second
				}
				if restored, ended, err := h.Renew(); err != nil || restored != nil || ended != nil {
					b.Fatal(restored, ended, err)
				}
			}
		})
	}
}
