package lab

import (
	"net/netip"
	"testing"
	"time"
)

// Connections last, each with an entry of its own, and who is dead is counted and
// stays so.
func TestRootConnectionsLast(t *testing.T) {
	undisturbed(t)
	g := newTestGateway(t, Options{})
	c, err := g.Connect(t.Context(), 50)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, n := range []int{20, 50} {
		if alive := c.Use(t.Context(), n); alive != n || c.Err() != nil {
			t.Errorf("%d of %d alive: %v", alive, n, c.Err())
		}
	}
	from := map[netip.AddrPort]bool{}
	for _, s := range c.Sources() {
		from[s] = true
	}
	for _, e := range entries(t, g) {
		id := tupleOf(e.TupleOrig)
		if source := netip.AddrPortFrom(id.Src, id.SrcPort); !from[source] || stateOf(e) != Established || !e.Status.Assured() {
			t.Errorf("entry %+v in state %d, want an established one of %d sources", id, stateOf(e), len(from))
		}
	}
	if n := mustCount(t, g); len(from) != 50 || n != 50 {
		t.Errorf("%d sources, %d entries, want 50 of both", len(from), n)
	}
	cut(t, g)
	start := time.Now()
	if alive := c.Use(t.Context(), 30); alive != 0 || c.Err() == nil || time.Since(start) > 2*DefaultDeadline {
		t.Errorf("%d alive with the link down, %v after %s", alive, c.Err(), time.Since(start))
	}
	if alive := c.Use(t.Context(), 30); alive != 0 {
		t.Errorf("%d came back from the dead", alive)
	}
}

// cut takes the gateway's outer link down.
func cut(t *testing.T, g *Gateway) {
	t.Helper()
	link, err := g.Router.links.LinkByName(wanLink)
	if err == nil {
		err = g.Router.links.LinkSetDown(link)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// What can't connect is an error.
func TestRootConnectFails(t *testing.T) {
	g := newTestGateway(t, Options{})
	cut(t, g)
	if c, err := g.Connect(t.Context(), 3); err == nil {
		t.Errorf("%d connections through a link that is down", len(c.clients))
	}
}
