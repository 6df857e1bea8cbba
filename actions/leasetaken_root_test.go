package actions

import (
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

// A real ruleset flushed again and again: three times ours is put back.
func TestRootFlushedAgainAndAgainIsYielded(t *testing.T) {
	namespace := netnstest.New(t)
	h := onPlainKernel(t, t.TempDir(), namespace)
	all := two(namespace, time.Minute)
	h.lease(t, all...)
	for range restoreMost {
		flushRuleset(t, namespace)
		if restored, ended, err := h.Renew(); err != nil || len(restored) != 2 || ended != nil {
			t.Fatal(restored, ended, err)
		}
		kernelHolds(t, namespace, all...)
	}
	flushRuleset(t, namespace)
	restored, ended, err := h.Renew()
	if err != nil || restored != nil || len(ended) != 2 {
		t.Fatal(restored, ended, err)
	}
	givenUp(t, ended)
	kernelHolds(t, namespace)
	if n := tablesOf(t, namespace); n != 0 {
		t.Errorf("%d tables are left", n)
	}
	third := limited("10.0.0.7/32")
	third.Namespace, third.For = namespace, time.Minute
	h.lease(t, third)
	kernelHolds(t, namespace, third)
}
