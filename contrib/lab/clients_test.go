package lab

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestRootClientsAreServed(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{})
	l := g.StartClients(t.Context(), Clients{TCP: 200, UDP: 100})
	time.Sleep(1500 * time.Millisecond)
	r, err := l.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if r.TCP.Attempted < 200 || r.TCP.Attempted > 310 || r.TCP.Failed != 0 {
		t.Errorf("TCP %+v, want some 300 attempts and none failed", r.TCP)
	}
	if r.UDP.Attempted < 100 || r.UDP.Attempted > 155 || r.UDP.Failed != 0 {
		t.Errorf("UDP %+v, want some 150 attempts and none failed", r.UDP)
	}
	if n := mustCount(t, g); n != r.TCP.Attempted+r.UDP.Attempted {
		t.Errorf("%d entries after %d attempts: each is to be a new one", n, r.TCP.Attempted+r.UDP.Attempted)
	}
}

// A table full of assured entries lets nobody in: the count of failures can
// count.
func TestRootClientsFailOnAFullTable(t *testing.T) {
	g := newTestGateway(t, Options{})
	h := lower(t, 2000)
	_, err := g.Fill(t.Context(), Entries{
		Count: 3000, Proto: unix.IPPROTO_TCP, State: Established, Assured: true, Timeout: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	l := g.StartClients(t.Context(), Clients{TCP: 100, UDP: 50, Deadline: 1200 * time.Millisecond})
	time.Sleep(500 * time.Millisecond)
	r, err := l.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []Tally{r.TCP, r.UDP} {
		if k.Attempted == 0 || k.Failed != k.Attempted || k.LongestOutage < 1200*time.Millisecond {
			t.Errorf("%+v, want all failed", k)
		}
	}
	if _, failed := l.Progress(); failed != int64(r.TCP.Failed+r.UDP.Failed) {
		t.Errorf("progress says %d failed, the report %d and %d", failed, r.TCP.Failed, r.UDP.Failed)
	}
	roomAgain(t, g, h)
}

// roomAgain raises max for a moment: who lost the first packet is served by its
// retransmission, and counts as slow.
func roomAgain(t *testing.T, g *Gateway, h *MaxHold) {
	l := g.StartClients(t.Context(), Clients{TCP: 100, UDP: 50})
	time.Sleep(300 * time.Millisecond)
	if err := h.Set(4000); err != nil {
		t.Fatal(err)
	}
	r, err := l.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []Tally{r.TCP, r.UDP} {
		if k.Failed != 0 || k.Slow == 0 || k.Slowest < time.Second {
			t.Errorf("%+v, want none failed and some slow", k)
		}
	}
}
