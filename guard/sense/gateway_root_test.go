package sense

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

func TestMain(m *testing.M) {
	code := m.Run()
	if left, err := lab.Left(); err != nil || len(left) > 0 {
		fmt.Fprintf(os.Stderr, "the tests left %q, %v\n", left, err)
		code = 1
	}
	os.Exit(code)
}

func gateway(t testing.TB, o lab.Options) *lab.Gateway {
	t.Helper()
	g, err := lab.NewGateway(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// room holds the machine's max, which others lower for their tests.
func room(t testing.TB) {
	t.Helper()
	hold, err := lab.Lower(t.Context(), 262_144)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := hold.Release(); err != nil {
			t.Error(err)
		}
	})
}

func fill(t testing.TB, g *lab.Gateway, mix ...lab.Entries) {
	t.Helper()
	r, err := g.Fill(t.Context(), mix...)
	if err != nil || len(r.Failed) > 0 {
		t.Fatalf("%+v, %v", r, err)
	}
}

// counting is a policy that has new connections counted.
func counting() policy.Config {
	c := policy.Default()
	c.Census.CountNew = policy.CountAlways
	return c
}

// begun is a counter that says when it is read for the first time.
type begun struct {
	counter
	first func()
}

func (b *begun) Read() (nft.Counts, error) {
	c, err := b.counter.Read()
	if b.first != nil {
		b.first()
		b.first = nil
	}
	return c, err
}

var (
	steadyHog = netip.MustParsePrefix("10.78.9.1/32")
	burstHog  = netip.MustParsePrefix("10.78.9.2/32")
	netHog    = netip.MustParsePrefix("fd78:0:0:7::/64")
)

// flood sends half-open connections, from an address, in the background.
func flood(t *testing.T, ctx context.Context, g *lab.Gateway, f lab.Flood) (done chan struct{}) {
	done = make(chan struct{})
	f.Pattern = lab.HalfOpen
	go func() {
		defer close(done)
		if r, err := g.Flood(ctx, f); err != nil || r.Sent == 0 {
			t.Errorf("%+v, %v", r, err)
		}
	}()
	return done
}

// A burst of 300 ms in the second that is counted is nothing steady, however many
// connections it makes; what goes on all the time has its rate. How evenly a flood
// comes depends on what else the machine does, so the best of some looks counts.
func TestRootTellsBurstsFromSteady(t *testing.T) {
	const rate, looks = 1200, 5
	room(t)
	g := gateway(t, lab.Options{IPv6: true})
	ctx, stop := context.WithCancel(t.Context())
	four := flood(t, ctx, g, lab.Flood{Rate: rate, From: steadyHog.Addr()})
	six := flood(t, ctx, g, lab.Flood{Rate: rate, From: netHog.Addr()})
	defer func() { stop(); <-four; <-six }()
	<-flood(t, ctx, g, lab.Flood{Count: 20, From: burstHog.Addr()})
	time.Sleep(200 * time.Millisecond) // all have entries: they are in the census, and both families are counted

	s := NewScout(g.Router.Path())
	install := s.install
	burst := make(chan struct{})
	s.install = func(f nft.Families, by sizes) (counter, error) {
		c, err := install(f, by)
		return &begun{c, func() {
			go func() {
				<-flood(t, ctx, g, lab.Flood{Rate: 10 * rate, For: 300 * time.Millisecond, From: burstHog.Addr()})
				close(burst)
			}()
		}}, err
	}
	seen := map[netip.Prefix]policy.Holder{}
	for range looks {
		sight, err := s.Look(t.Context(), counting())
		if err != nil || sight.Uncounted != nil || !sight.Census.Counted {
			t.Fatalf("%+v, %v", sight.Uncounted, err)
		}
		for _, h := range sight.Census.Sources {
			if h.Steady >= seen[h.Prefix].Steady {
				h.New = max(h.New, seen[h.Prefix].New)
				seen[h.Prefix] = h
			}
		}
	}
	<-burst
	if err := s.Rest(); err != nil {
		t.Error(err)
	}
	for _, hog := range []netip.Prefix{steadyHog, netHog} {
		if h := seen[hog]; h.Steady < 0.8*rate || h.Steady > 1.2*rate {
			t.Errorf("%s is steady at %v, and makes %v, want %v", hog, h.Steady, h.New, rate)
		}
	}
	if h := seen[burstHog]; h.New < rate || h.Steady != 0 {
		t.Errorf("%s makes %v, of them %v steadily, want more than %v and 0", burstHog, h.New, h.Steady, rate)
	}
}

// The census and the counters go by the same networks.
func TestRootLooksByNetwork(t *testing.T) {
	const rate = 1000
	room(t)
	g := gateway(t, lab.Options{IPv6: true})
	ctx, stop := context.WithCancel(t.Context())
	four := flood(t, ctx, g, lab.Flood{Rate: rate, From: netip.MustParseAddr("10.78.9.250"), Sources: 10})
	six := flood(t, ctx, g, lab.Flood{Rate: rate, From: netip.MustParseAddr("fd78:0:0:fa::"), Sources: 10})
	defer func() { stop(); <-four; <-six }()
	time.Sleep(200 * time.Millisecond)

	c := counting()
	c.LimitSource.IPv4Bits, c.LimitSource.IPv6Bits = 24, 56
	s := NewScout(g.Router.Path())
	sight, err := s.Look(t.Context(), c)
	if err != nil || sight.Uncounted != nil {
		t.Fatalf("%+v, %v", sight.Uncounted, err)
	}
	got := map[string]policy.Holder{}
	for _, h := range sight.Census.Sources {
		if h.Prefix.IsValid() {
			got[h.Prefix.String()] = h
		}
	}
	// The sources take turns: 6 of 10 are in the first network.
	for text, share := range map[string]float64{
		"10.78.9.0/24": 0.3, "10.78.10.0/24": 0.2, "fd78::/56": 0.3, "fd78:0:0:100::/56": 0.2,
	} {
		h := got[text]
		if d := h.Share.Share - share; d < -0.03 || d > 0.03 || h.New < share*rate || h.Steady == 0 {
			t.Errorf("%s: %+v, want a share of %v and %v/s", text, h, share, 2*share*rate)
		}
	}
	if len(got) != 4 {
		t.Errorf("%d sources: %v", len(got), got)
	}
	if err := s.Rest(); err != nil {
		t.Error(err)
	}
}
