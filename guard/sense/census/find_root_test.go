package census_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// find looks for entries in a gateway's table and counts them.
func find(t testing.TB, g *lab.Gateway, s census.Search) (n int) {
	t.Helper()
	s.Namespace = g.Router.Path()
	if err := census.Find(t.Context(), s, func(*ctnetlink.Entry) bool { n++; return true }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRootFind(t *testing.T) {
	g := gateway(t)
	fill(t, g,
		tcp(lab.Entries{Count: 700, Ports: []uint16{22}}), tcp(lab.Entries{Count: 4000, Sources: 50}),
		lab.Entries{Count: 300, Proto: unix.IPPROTO_UDP, Timeout: time.Hour, Ports: []uint16{22}})
	all := ctnetlink.Query{}
	ssh := ctnetlink.Query{Family: unix.AF_INET, Orig: ctnetlink.Match{Proto: unix.IPPROTO_TCP, DstPort: 22}}
	udp := ctnetlink.Query{Family: unix.AF_INET, Orig: ctnetlink.Match{Proto: unix.IPPROTO_UDP}}
	for _, of := range []struct {
		queries []ctnetlink.Query
		want    int
	}{
		{nil, 0},
		{[]ctnetlink.Query{all}, 5000},
		{[]ctnetlink.Query{ssh, udp}, 1000},
		{[]ctnetlink.Query{ssh, ssh}, 1400},
	} {
		if n := find(t, g, census.Search{Queries: of.queries, CPU: 1}); n != of.want {
			t.Errorf("%d found, want %d", n, of.want)
		}
	}
	n := 0
	err := census.Find(t.Context(), census.Search{Namespace: g.Router.Path(), Queries: []ctnetlink.Query{ssh, all}},
		func(*ctnetlink.Entry) bool { n++; return n < 10 })
	if n != 10 || err != nil {
		t.Errorf("%d found after the tenth was enough, %v", n, err)
	}
	if err := census.Find(t.Context(), census.Search{CPU: 2}, nil); err == nil {
		t.Error("it takes two CPUs")
	}
}

// A resize loses entries: the walk begins anew, and gives up when it happens again and
// again. It is noticed on the way, and at the end of a table that is read in fewer
// receives than lie between two looks.
func TestRootFindBeginsAnew(t *testing.T) {
	g := gateway(t)
	for _, entries := range []int{20_000, 2500} {
		flush(t, g)
		fill(t, g, tcp(lab.Entries{Count: entries, Sources: 50}))
		beginsAnew(t, g, entries)
	}
}

// longest is more than a chain holds in these tests.
const longest = 8

func beginsAnew(t *testing.T, g *lab.Gateway, entries int) {
	sizes, err := lab.ReadSizes()
	if err != nil {
		t.Fatal(err)
	}
	defer resize(t, sizes.Buckets)
	larger := 0
	for _, resizes := range []int{1, 3, 4} {
		first, walks, whole := uint32(0), 0, 0
		err := census.Find(t.Context(), census.Search{Namespace: g.Router.Path(), Queries: []ctnetlink.Query{{}}}, func(e *ctnetlink.Entry) bool {
			if first == 0 || e.ID == first { // a resize keeps the order, but for that within a chain
				first, whole = e.ID, 0
				if walks++; walks <= resizes {
					larger = 4096 - larger
					resize(t, sizes.Buckets+larger)
				}
			}
			whole++
			return true
		})
		if resizes < 4 && (err != nil || walks != resizes+1 || whole > entries || whole < entries-longest) {
			t.Errorf("%d resizes: %d walks, %d entries in the last, %v", resizes, walks, whole, err)
		}
		if resizes == 4 && (!errors.Is(err, census.ErrResized) || walks != 4) {
			t.Errorf("4 resizes: %d walks, %v, want ErrResized", walks, err)
		}
	}
}

// A search that may take a fifth of a CPU takes five times as long as it works, be there
// much to receive or nothing.
func TestRootFindIsPaced(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 60_000, Sources: 500}))
	gre := ctnetlink.Query{Family: unix.AF_INET, Orig: ctnetlink.Match{Proto: unix.IPPROTO_GRE}}
	for name, queries := range map[string][]ctnetlink.Query{"one walk": {{}}, "many": slices.Repeat([]ctnetlink.Query{gre}, 20)} {
		var cpu, wall float64
		if err := g.Router.Do(func() error {
			before, began := threadTime(t), time.Now()
			err := census.Find(t.Context(), census.Search{Queries: queries, CPU: 0.2}, func(*ctnetlink.Entry) bool { return true })
			cpu, wall = threadTime(t)-before, time.Since(began).Seconds()
			return err
		}); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s: %.3f s of CPU in %.3f s", name, cpu, wall)
		if wall < 4*cpu || cpu < 0.01 {
			t.Errorf("%s: %v s of CPU in %v s", name, cpu, wall)
		}
	}
}

// It ends with its context, also while it sleeps.
func TestRootFindEndsWithItsContext(t *testing.T) {
	g := gateway(t)
	fill(t, g, tcp(lab.Entries{Count: 60_000, Sources: 500}))
	gone := errors.New("called back")
	ctx, cancel := context.WithCancelCause(t.Context())
	n := 0
	err := census.Find(ctx, census.Search{Namespace: g.Router.Path(), CPU: 0.001, Queries: []ctnetlink.Query{{}}}, func(*ctnetlink.Entry) bool {
		if n++; n == 1 {
			cancel(gone)
		}
		return true
	})
	if !errors.Is(err, gone) || n > 10_000 {
		t.Errorf("%v after %d entries", err, n)
	}
}
