package lab

import (
	"context"
	"net/netip"
	"testing"
	"time"
)

// floodKinds are what the entries of each pattern are.
var floodKinds = []struct {
	pattern          Pattern
	state            uint8
	replied, assured bool
}{
	{HalfOpen, SynSent, false, false},
	{Assured, Established, true, true},
	{TimedWait, TimeWait, true, true},
	{UDP, 0, false, false},
	{UDPReplied, 0, true, false},
}

// Every flow of a flood is an entry of the kind that the pattern says. A busy machine
// may lose some answers on the way.
func TestRootFloodMakesEntries(t *testing.T) {
	undisturbed(t)
	for _, tc := range floodKinds {
		t.Run(string(tc.pattern), func(t *testing.T) {
			g := newTestGateway(t, Options{})
			r, err := g.Flood(t.Context(), Flood{Pattern: tc.pattern, Rate: 20_000, Count: 20_000, Sources: 40})
			if err != nil || r.Sent != 20_000 {
				t.Fatalf("Flood = %+v, %v, want 20000 sent", r, err)
			}
			lost := 0
			if tc.replied {
				lost = 200
			}
			sources, others := map[string]int{}, 0
			for _, f := range entries(t, g) {
				if s := f.Status; stateOf(f) != tc.state || s.SeenReply() != tc.replied || s.Assured() != tc.assured || !s.SrcNAT() {
					if others++; others > lost {
						t.Fatalf("entry %v with state %d, %v", f.TupleOrig, stateOf(f), f.Status)
					}
				}
				sources[f.TupleOrig.IP.SourceAddress.String()]++
			}
			if n := mustCount(t, g); n != 20_000 {
				t.Errorf("%d entries, want 20000", n)
			}
			if len(sources) != 40 || sources[plus(floodNet.Addr(), 3).String()] != 500 {
				t.Errorf("sources %v, want 40 with 500 each", sources)
			}
			if tc.replied && r.Completed < int64(20_000-lost) {
				t.Errorf("completed %d of 20000", r.Completed)
			}
			if closes := tc.state == TimeWait; closes != (r.Closed >= int64(20_000-lost)) || !closes && r.Closed != 0 {
				t.Errorf("closed %d of 20000", r.Closed)
			}
		})
	}
}

// The same over IPv6, where each flow comes from an address of its own and nothing is
// translated.
func TestRootFloodOfIPv6MakesEntries(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{IPv6: true})
	for i, tc := range floodKinds {
		t.Run(string(tc.pattern), func(t *testing.T) {
			from := plusNet(floodNet6.Addr(), 100*i)
			f := Flood{Pattern: tc.pattern, Rate: 20_000, Count: 4000, Sources: 2, From: from}
			r, err := g.Flood(t.Context(), f)
			if err != nil || r.Sent != 4000 {
				t.Fatalf("Flood = %+v, %v, want 4000 sent", r, err)
			}
			lost := 0
			if tc.replied {
				lost = 40
			}
			nets, addresses, others := map[netip.Prefix]int{}, map[netip.Addr]bool{}, 0
			for _, e := range entries(t, g) {
				a := e.TupleOrig.IP.SourceAddress
				net, _ := a.Prefix(64)
				if net != f.Source(0) && net != f.Source(1) {
					continue // of another pattern
				}
				nets[net]++
				addresses[a] = true
				if s := e.Status; stateOf(e) != tc.state || s.SeenReply() != tc.replied || s.Assured() != tc.assured || s.SrcNAT() {
					others++
				}
			}
			if len(addresses) != 4000 || nets[f.Source(0)] != 2000 || nets[f.Source(1)] != 2000 {
				t.Errorf("%v, %d addresses, want 4000 of two nets", nets, len(addresses))
			}
			if others > lost || tc.replied && r.Completed < int64(4000-lost) || tc.state == TimeWait && r.Closed < int64(4000-lost) {
				t.Errorf("%d entries are of another kind; %+v", others, r)
			}
		})
	}
}

// Two floods on one gateway do not repeat each other's flows.
func TestRootFloodGoesOn(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{})
	for range 2 {
		if _, err := g.Flood(t.Context(), Flood{Pattern: HalfOpen, Count: 1000}); err != nil {
			t.Fatal(err)
		}
	}
	if n := mustCount(t, g); n != 2000 {
		t.Errorf("%d entries, want 2000", n)
	}
}

// The entries of closed connections have the timeout of TIME_WAIT and nothing
// refreshes them, until a SYN opens the connection again.
func TestRootFloodOpensTuplesAgain(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{Timeouts: map[string]int{"tcp_timeout_time_wait": 7000}})
	f := Flood{Pattern: TimedWait, Rate: 4000, Count: 4000, Tuples: 1000}
	ids := map[uint32]bool{}
	for range 2 {
		r, err := g.Flood(t.Context(), f)
		if err != nil || r.Completed < 3960 || r.Closed < 3960 { // a busy machine may lose some
			t.Fatalf("%+v, %v, want 4000 completed and closed", r, err)
		}
		flows := entries(t, g)
		for _, e := range flows {
			if stateOf(e) != TimeWait || e.Timeout > 7000 || e.Timeout < 6900 {
				t.Fatalf("entry %v in state %d with %d s left, want TIME_WAIT with 7000", e.TupleOrig, stateOf(e), e.Timeout)
			}
			ids[e.ID] = true
		}
		if len(flows) != 1000 {
			t.Errorf("%d entries, want those of 1000 tuples", len(flows))
		}
	}
	if len(ids) <= 1000 {
		t.Errorf("%d ids: no tuple has a new entry", len(ids))
	}
}

func TestRootFloodKeepsItsBounds(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{})
	r, err := g.Flood(t.Context(), Flood{Pattern: HalfOpen, Rate: 5000, For: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if r.Took < time.Second || r.Took > 1200*time.Millisecond || r.Sent > 5001 {
		t.Errorf("%+v, want one second and at most 5000 flows", r)
	}
	if r.Rate < 2500 {
		t.Errorf("reached %.0f flows/s of 5000", r.Rate)
	}
}

func TestRootFloodStopsAtOnce(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{})
	for _, p := range Patterns {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		start := time.Now()
		_, err := g.Flood(ctx, Flood{Pattern: p, Rate: 20_000})
		cancel()
		if took := time.Since(start); err != nil || took > 700*time.Millisecond {
			t.Errorf("%s: ended after %s with %v, want 200ms and no error", p, took, err)
		}
	}
}

func TestRootFloodRefusesUnknownPattern(t *testing.T) {
	g := newTestGateway(t, Options{})
	if _, err := g.Flood(t.Context(), Flood{Pattern: "tsunami", Count: 1}); err == nil {
		t.Error("no error")
	}
}
