package guard

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A loosener for tests takes as long as it is told to, and hears of the end.
type loosener struct {
	w     *gateway
	asked []string // flows, in order
	held  []string // their leases at that time
	takes time.Duration
	deaf  bool
	n     int
	err   error
	ended error
}

func (l *loosener) loosen(ctx context.Context, namespace string, f nft.Flow) (int, error) {
	l.asked = append(l.asked, f.Name)
	l.held = append(l.held, l.w.leased.Value("bypass:"+f.Name))
	if namespace != "" || f.Proto != unix.IPPROTO_TCP || !slices.Equal(f.Ports, []nft.Ports{{Low: 53, High: 54}}) || len(f.From) != 1 || len(f.To) != 1 {
		l.w.t.Errorf("asked in %q for %+v", namespace, f)
	}
	done := ctx.Done()
	if l.deaf {
		done = nil
	}
	select {
	case <-done:
		l.ended = context.Cause(ctx)
		return 0, l.ended
	case <-time.After(l.takes):
	}
	return l.n, l.err
}

// bypassing runs a test on a gateway with these flows, by name and protocol, whose table
// gets into trouble.
func bypassing(t *testing.T, l *loosener, flows map[string]uint8, check func(w *gateway)) {
	limiting(t, func(w *gateway, _ *scout, _ *allowlist) {
		l.w, w.Loosen = w, l.loosen
		w.Config.LimitSource.Mode, w.Config.Bypass = policy.Off, nil
		for _, name := range []string{"dns", "ntp", "ssh"} {
			if flows[name] == 0 {
				continue
			}
			w.Config.Bypass = append(w.Config.Bypass, policy.Flow{
				Name: name, Mode: policy.Act, From: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
				To: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Proto: flows[name], Ports: []policy.Ports{{Low: 53, High: 54}}, Hold: time.Minute,
			})
		}
		w.bound()
		w.want = 63_000
		check(w)
	})
}

// Once the bypass of a flow of TCP is in force its connections are seen to, once, and
// nothing waits for that.
func TestLoosensFlowsOfTCP(t *testing.T) {
	for n, want := range map[int]string{
		1200: "change 1: 1,200 connections that dns had before will be taken up again when it is tracked again",
		1:    "change 1: 1 connection that dns had before will be taken up again when it is tracked again",
		0:    "change 1: dns had no connections before",
	} {
		l := &loosener{takes: 5 * time.Second, n: n}
		bypassing(t, l, map[string]uint8{"dns": unix.IPPROTO_TCP, "ntp": unix.IPPROTO_UDP}, func(w *gateway) {
			w.ticks(4 * time.Second)
			if !slices.Equal(l.asked, []string{"dns"}) || !strings.HasPrefix(l.held[0], "untracked") {
				t.Fatalf("asked for %v, which held %v", l.asked, l.held)
			}
			w.wantLines(eventLoosened, 0)
			w.ticks(30 * time.Second)
			for _, line := range w.wantLines(eventLoosened, 1) {
				if !strings.Contains(line, want) || !strings.Contains(line, `CHANGE_ID="1"`) || !strings.Contains(line, `ABOUT="dns"`) {
					t.Error(line)
				}
			}
			if len(l.asked) != 1 || l.ended != nil {
				t.Errorf("asked for %v, %v", l.asked, l.ended)
			}
			w.wantLines(eventFailed, 0)
		})
	}
}

// Flows take turns.
func TestLoosensOneFlowAfterAnother(t *testing.T) {
	l := &loosener{takes: 5 * time.Second, n: 3}
	bypassing(t, l, map[string]uint8{"dns": 6, "ntp": 6, "ssh": 6}, func(w *gateway) {
		w.ticks(4 * time.Second)
		if len(l.asked) != 1 {
			t.Errorf("asked for %v at once", l.asked)
		}
		w.ticks(30 * time.Second)
		if !slices.Equal(l.asked, []string{"dns", "ntp", "ssh"}) {
			t.Errorf("asked for %v", l.asked)
		}
		w.wantLines(eventLoosened, 3)
	})
}

// What fails is said once, and nothing else fails with it.
func TestLoosenThatFails(t *testing.T) {
	l := &loosener{err: errors.New("no way")}
	bypassing(t, l, map[string]uint8{"dns": 6}, func(w *gateway) {
		w.ticks(time.Minute)
		for _, line := range w.wantLines(eventFailed, 1) {
			if !strings.Contains(line, "change 1: connections that dns had before may hang when it is tracked again: no way") {
				t.Error(line)
			}
		}
		w.wantLines(eventLoosened, 0)
		if len(l.asked) != 1 || w.leased.Value("bypass:dns") == "" {
			t.Errorf("asked for %v; bypass:dns is %q", l.asked, w.leased.Value("bypass:dns"))
		}
	})
}

// A stop waits until connections are seen to, before it has the flows tracked again;
// but not for ever.
func TestStopWaitsForLoosening(t *testing.T) {
	for name, tc := range map[string]struct {
		l      loosener
		asked  int
		lines  int           // of what was done
		failed int           // lines
		within time.Duration // the stop
	}{
		"in time":  {loosener{takes: 4 * time.Second}, 2, 2, 0, 9 * time.Second},
		"too late": {loosener{takes: time.Hour}, 2, 0, 2, lastWait + time.Second},
		"deaf":     {loosener{takes: time.Hour, deaf: true}, 1, 0, 1, 2*lastWait + time.Second},
	} {
		l := &tc.l
		bypassing(t, l, map[string]uint8{"dns": 6, "ssh": 6}, func(w *gateway) {
			w.ticks(3 * time.Second)
			began := time.Now()
			w.liftAll()
			if took := time.Since(began); took > tc.within || len(l.asked) != tc.asked {
				t.Errorf("%s: asked for %v, within %s", name, l.asked, took)
			}
			if tc.asked == 2 && (l.held[0] == "" || l.held[1] == "") {
				t.Errorf("%s: tracked again before connections are seen to: %q", name, l.held)
			}
			if got := w.leased.Value("bypass:dns"); got != "" {
				t.Errorf("%s: bypass:dns is still %q", name, got)
			}
			w.wantLines(eventLoosened, tc.lines)
			for _, line := range w.wantLines(eventFailed, tc.failed) {
				if !strings.Contains(line, "had before may hang") {
					t.Error(line)
				}
			}
			if l.deaf {
				time.Sleep(2 * time.Hour) // it comes back at last, to nobody
			}
		})
	}
}
