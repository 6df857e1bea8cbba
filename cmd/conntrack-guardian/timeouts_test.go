package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

const (
	timeWait  = 100 // seconds, in the gateways of these tests
	timeFloor = 5   // its floor
)

// churning is a gateway that may not grow, under a policy that lets TIME_WAITs be
// timeFloor.
func churning(t *testing.T) *site {
	t.Helper()
	s := newSiteWith(t, lab.Options{Timeouts: map[string]int{"tcp_timeout_time_wait": timeWait}})
	s.write("guardian.toml", fmt.Sprintf(`version = 1
mode = "act"
namespace = %q
[watch]
low = 0.01 # a walk goes to its end
window = "2s"
calm = "1s"
[raise_max]
ceiling = %d
[shorten_timeouts]
hold = "3s"
check = "2s"
tcp_timeout_time_wait = { floor = "%ds", mode = "act" }
udp_timeout = { floor = "5s" }
`, s.gateway.Router.Path(), baseline, timeFloor))
	return s
}

// closeMany fills a table with connections that were opened and closed, until no room is
// left and nothing in it can be evicted: one that was interrupted can.
func closeMany(t *testing.T, g *lab.Gateway) {
	t.Helper()
	for range 10 {
		n, err := g.Count()
		if err != nil {
			t.Fatal(err)
		}
		ok, err := works(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		if !ok && n >= baseline {
			return
		}
		f := lab.Flood{Pattern: lab.TimedWait, Rate: 30_000, Count: baseline - n + 4096}
		if _, err := g.Flood(t.Context(), f); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("new connections work in a table full of TIME_WAITs: this shows nothing")
}

// works reports whether all of some new connections are made and echoed in time.
func works(ctx context.Context, g *lab.Gateway) (bool, error) {
	load := g.StartClients(ctx, lab.Clients{TCP: 50, Deadline: 400 * time.Millisecond})
	time.Sleep(200 * time.Millisecond)
	r, err := load.Stop()
	return r.TCP.Attempted > 0 && r.TCP.Failed == 0, err
}

// worksAgain is when new connections do, or when that was waited for in vain.
func worksAgain(ctx context.Context, g *lab.Gateway, patience time.Duration) (at time.Time, ok bool, err error) {
	for end := time.Now().Add(patience); time.Now().Before(end); {
		at = time.Now()
		if ok, err = works(ctx, g); ok || err != nil {
			return at, ok, err
		}
	}
	return at, false, nil
}

// kinds are entries that are never dealt with, by the mark that they carry.
var kinds = []struct {
	name  string
	count int
	lab.Entries
}{
	{"fixed timeout", 100, lab.Entries{Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: (timeWait - 1) * time.Second, Fixed: true}},
	{"somebody's longer timeout", 100, lab.Entries{Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: 10 * timeWait * time.Second}},
	{"masters", 100, lab.Entries{Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: (timeWait - 1) * time.Second}},
	{"their children", 100, lab.Entries{Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: time.Hour, Master: 1}},
	{"established", 100, lab.Entries{Proto: unix.IPPROTO_TCP, State: lab.Established, Assured: true, Timeout: 400 * time.Second}},
	{"another class", 100, lab.Entries{Proto: unix.IPPROTO_TCP, State: lab.CloseWait, Assured: true, Timeout: 50 * time.Second}},
}

func (s *site) fillKinds() {
	s.Helper()
	var mix []lab.Entries
	for i, k := range kinds {
		e := k.Entries
		e.Count, e.Mark, e.Sources = k.count, uint32(i+1), 10
		mix = append(mix, e)
	}
	if r, err := s.gateway.Fill(s.Context(), mix...); err != nil || len(r.Failed) > 0 {
		s.Fatalf("%v, %v", r.Failed, err)
	}
}

// flows are the entries of the gateway's table.
func (s *site) flows() []conntrack.Flow {
	s.Helper()
	var all []conntrack.Flow
	err := s.gateway.Router.Do(func() error {
		c, err := conntrack.Dial(&netlink.Config{})
		if err != nil {
			return err
		}
		defer c.Close()
		all, err = c.Dump(nil)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	return all
}

// ids are those of the entries from some sources.
func (s *site) ids(of []netip.AddrPort) map[netip.AddrPort]uint32 {
	wanted := map[netip.AddrPort]bool{}
	for _, a := range of {
		wanted[a] = true
	}
	ids := map[netip.AddrPort]uint32{}
	for _, f := range s.flows() {
		if from := netip.AddrPortFrom(f.TupleOrig.IP.SourceAddress, f.TupleOrig.Proto.SourcePort); wanted[from] {
			ids[from] = f.ID
		}
	}
	return ids
}

// TestRootTableOfTimeWaits fills two tables that may not grow with connections that
// are over. For the one the guardian shortens the timeout, for the other only the
// sysctl is written: new connections wait there for the rest of the old one.
func TestRootTableOfTimeWaits(t *testing.T) {
	s := churning(t)
	beside, err := lab.NewGateway(lab.Options{Timeouts: map[string]int{"tcp_timeout_time_wait": timeWait}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := beside.Close(); err != nil {
			t.Error(err)
		}
	})
	lasting, err := s.gateway.Connect(t.Context(), 200)
	if err != nil {
		t.Fatal(err)
	}
	defer lasting.Close()
	entries := s.ids(lasting.Sources())
	if len(entries) != 200 {
		t.Fatalf("%d entries of 200 connections", len(entries))
	}
	s.fillKinds()
	closeMany(t, s.gateway)
	closeMany(t, beside)
	time.Sleep((timeFloor + 2) * time.Second) // all are older than the floor
	closeMany(t, s.gateway)                   // but for those in the place of what has ended meanwhile
	closeMany(t, beside)
	if alive := lasting.Use(t.Context(), 100); alive != 100 {
		t.Fatalf("%d of 100 connections are alive in a full table: %v", alive, lasting.Err())
	}

	if err := beside.SetTimeouts(map[string]int{"tcp_timeout_time_wait": timeFloor}); err != nil {
		t.Fatal(err)
	}
	written := time.Now()
	var sysctlAlone time.Duration
	var waiting sync.WaitGroup
	var failed error
	waiting.Go(func() {
		var at time.Time
		at, _, failed = worksAgain(t.Context(), beside, 3*timeFloor*time.Second)
		sysctlAlone = at.Sub(written)
	})
	d := s.start()
	at, ok, err := worksAgain(t.Context(), s.gateway, patience)
	if err != nil || !ok {
		t.Fatalf("new connections work: %v, %v", ok, err)
	}
	changes := s.changes()
	if len(changes) == 0 || changes[0].Measure != "shorten-timeouts" {
		t.Fatalf("the ledger has %+v", changes)
	}
	retroactive := at.Sub(changes[0].Created)
	for i, n := range s.counted() {
		if n != kinds[i].count {
			t.Errorf("%s: %d of %d entries are left", kinds[i].name, n, kinds[i].count)
		}
	}
	if alive := lasting.Use(t.Context(), 200); alive != 200 {
		t.Errorf("%d of 200 connections are alive: %v", alive, lasting.Err())
	}
	for from, id := range s.ids(lasting.Sources()) {
		if entries[from] != id {
			t.Errorf("the connection from %s has another entry", from)
		}
		delete(entries, from)
	}
	if len(entries) > 0 {
		t.Errorf("%d connections have no entry", len(entries))
	}
	s.until("the effect is judged", func() bool { return d.count("ACTION=judged") > 0 })
	waiting.Wait()
	t.Logf("new connections work %s after the measure, and not for %s after the sysctl alone", retroactive.Round(time.Millisecond), sysctlAlone.Round(time.Millisecond))
	for line := range strings.Lines(d.log.String()) {
		if strings.Contains(line, "shorten-timeouts") {
			t.Log(strings.TrimSpace(line))
		}
	}
	if failed != nil || retroactive > 2*time.Second || sysctlAlone < 4*retroactive || sysctlAlone < timeFloor*time.Second {
		t.Errorf("that is not what was promised; %v", failed)
	}
	if w := s.changes()[0].Walk; w == nil || !w.Done || w.Read < baseline/2 {
		t.Errorf("the walk: %+v", w)
	}
	if d.count("change 1: shorten timeouts to level 4 of 4: tcp_timeout_time_wait 1m40s → 5s") != 1 || d.count("change 1 helped: ") != 1 {
		t.Error("not one line at the start and one at the end")
	}
	d.stop()
	if got, err := s.gateway.Router.Sysctl("net.netfilter.nf_conntrack_tcp_timeout_time_wait"); err != nil || got != timeWait {
		t.Errorf("the timeout is %d s after the stop, %v", got, err)
	}
	if got := s.max(); got != baseline {
		t.Errorf("nf_conntrack_max is %d", got)
	}
}

// TestRootKilledWhileShortening kills the daemon with its change just written, in its
// walk and after it. In the end all timeouts are what they were.
func TestRootKilledWhileShortening(t *testing.T) {
	s := churning(t)
	keys := []string{"net.netfilter.nf_conntrack_tcp_timeout_time_wait", "net.netfilter.nf_conntrack_udp_timeout"}
	now := func() (values []int) {
		for _, k := range keys {
			v, err := s.gateway.Router.Sysctl(k)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, v)
		}
		return values
	}
	before := now()
	churn := []lab.Entries{
		{Count: 45_000, Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, Timeout: (timeWait - 1) * time.Second, Sources: 200},
		{Count: 20_000, Proto: unix.IPPROTO_UDP, Timeout: 29 * time.Second, Sources: 200},
	}
	filledWith(churn...)(s)
	newest := func() (c ledger.Change) {
		for _, c = range s.changes() {
			if c.Measure == "shorten-timeouts" && c.State.Open() {
				return c
			}
		}
		return ledger.Change{}
	}
	for _, step := range []struct {
		what string
		is   func(c ledger.Change) bool
	}{
		{"a change is applied", func(c ledger.Change) bool { return c.State == ledger.Applied }},
		{"a walk has begun", func(c ledger.Change) bool { return c.Walk != nil && c.Walk.Walks > 0 }},
		{"a walk is done", func(c ledger.Change) bool { return c.Walk != nil && c.Walk.Done }},
	} {
		d := s.start()
		for end := time.Now().Add(patience); !step.is(newest()); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not within %s: %s\n%s", patience, step.what, d.log.String())
			}
		}
		d.kill()
		t.Logf("killed when %s: %s with %v", step.what, newest().State, now())
	}
	if got := now(); got[0] != timeFloor || got[1] != timeFloor {
		t.Errorf("killed with the timeouts %v, want them at their floors", got)
	}
	d := s.start()
	s.empty()
	s.until("the timeouts are what they were", func() bool { return slices.Equal(now(), before) })
	s.until("the change is recorded as undone", func() bool { return newest().ID == 0 })
	if len(s.changes()) != 1 || d.count("ACTION=failed") > 0 {
		t.Errorf("the ledger has %+v\n%s", s.changes(), d.log.String())
	}
	d.stop()
}

// TestRootChurnThroughASmallTable sends three times as many connections through a table
// that may not grow as it holds. They are over at once, and would stay for two minutes:
// all would be full of them. Ordinary clients do not notice.
func TestRootChurnThroughASmallTable(t *testing.T) {
	s := newSiteWith(t, lab.Options{Timeouts: map[string]int{"tcp_timeout_time_wait": 120}})
	s.write("guardian.toml", fmt.Sprintf(`version = 1
mode = "act"
namespace = %q
[raise_max]
ceiling = %d
[shorten_timeouts]
tcp_timeout_time_wait = { floor = "%ds", mode = "act" }
`, s.gateway.Router.Path(), baseline, timeFloor))
	d := s.start()
	clients := s.gateway.StartClients(t.Context(), lab.Clients{TCP: 100, UDP: 20})
	flood, err := s.gateway.Flood(t.Context(), lab.Flood{Pattern: lab.TimedWait, Rate: 7000, Count: 3 * baseline})
	if err != nil {
		t.Fatal(err)
	}
	r, err := clients.Stop()
	t.Logf("%d connections of %d closed; of the clients %d of %d failed, %d were slow", flood.Closed, flood.Sent,
		r.TCP.Failed+r.UDP.Failed, r.TCP.Attempted+r.UDP.Attempted, r.TCP.Slow+r.UDP.Slow)
	if failed := r.TCP.Failed + r.UDP.Failed; err != nil || r.TCP.Attempted == 0 || 100*failed > r.TCP.Attempted+r.UDP.Attempted {
		t.Errorf("clients failed: %+v, %v", r, err)
	}
	if flood.Closed < flood.Sent*98/100 {
		t.Errorf("%d of %d connections", flood.Closed, flood.Sent)
	}
	d.stop()
	if n := d.count("shorten timeouts to level"); n < 1 || n > 4 {
		t.Errorf("%d lines of levels:\n%s", n, d.log.String())
	}
}

// counted is how many entries of each kind there are.
func (s *site) counted() []int {
	s.Helper()
	counts := make([]int, len(kinds))
	for _, f := range s.flows() {
		if m := int(f.Mark); m > 0 && m <= len(kinds) {
			counts[m-1]++
		}
	}
	return counts
}
