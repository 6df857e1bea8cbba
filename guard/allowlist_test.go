package guard

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Before it is known who must not be limited, nobody is.
func TestNobodyIsLimitedWithoutTheAllowlist(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		w.Allow, w.snapshot.Unlisted = nil, unlisted
		w.want = 63_000
		w.ticks(time.Minute)
		w.wantLines(eventDone, 0)
		for _, line := range w.wantLines(eventAdvised, 1) {
			if !strings.Contains(line, "not done: who is never to be limited is not known yet") {
				t.Error(line)
			}
		}
	})
}

// An allowlist that can't be read whole serves as far as it goes, and that is said once.
func TestAllowlistThatIsNotWhole(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, a *allowlist) {
		a.list, a.err = []policy.Allowed{{Prefix: hog, Why: "name server"}}, errors.New("no resolv.conf")
		w.want = 63_000
		w.ticks(time.Minute)
		w.wantLines(eventDone, 0)
		for _, line := range w.wantLines(eventUnseen, 1) {
			if !strings.Contains(line, "may lack some: no resolv.conf") {
				t.Error(line)
			}
		}
		for _, line := range w.wantLines(eventBounded, 2) { // that max may not grow is the other
			if strings.Contains(line, "limit-source") && !strings.Contains(line, "never limited: name server") {
				t.Error(line)
			}
		}
	})
}

// An allowlist that was never whole is none: until it is nobody is limited.
func TestAllowlistThatWasNeverWhole(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, a *allowlist) {
		a.err = errors.New("no addresses")
		w.snapshot.Unlisted = unlisted
		w.bound()
		w.want = 63_000
		w.ticks(time.Minute)
		w.wantLines(eventDone, 0)
		a.err, w.refuse = nil, 18_950
		w.ticks(time.Minute)
		w.wantLines(eventDone, 1)
	})
}

// Who must not be limited is looked up again without a census.
func TestAllowlistIsFollowedWhileSourcesAreLimited(t *testing.T) {
	limiting(t, func(w *gateway, _ *scout, a *allowlist) {
		w.want, w.refuse = 63_000, 18_950
		w.ticks(3 * time.Second)
		w.want = 1000
		w.ticks(6 * time.Minute) // the episode is over, so there are no more censuses
		a.list = []policy.Allowed{{Prefix: hog, Why: "default gateway"}}
		w.ticks(70 * time.Second)
		for _, line := range w.wantLines(eventUndone, 1) {
			if !strings.Contains(line, "never limited: default gateway") {
				t.Error(line)
			}
		}
	})
}
