package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// limiting is a gateway whose table may not grow, under a policy that may limit sources.
func limiting(t *testing.T, opts lab.Options, more string) *site {
	t.Helper()
	return newSiteWith(t, opts).limiting(more)
}

// limiting gives a site that policy.
func (s *site) limiting(more string) *site {
	s.Helper()
	s.write("guardian.toml", fmt.Sprintf(`version = 1
mode = "act"
namespace = %q
[watch]
window = "2s"
[raise_max]
mode = "off"
[shorten_timeouts]
mode = "off"
[limit_source]
rate = 50
burst = 100
%s
`, s.gateway.Router.Path(), more))
	return s
}

// A background flood goes on until the test ends or it is told to.
type background struct {
	end  func()
	done chan error
}

func (s *site) flood(f lab.Flood) *background {
	ctx, end := context.WithCancel(s.Context())
	b := &background{end: end, done: make(chan error, 1)}
	go func() {
		_, err := s.gateway.Flood(ctx, f)
		b.done <- err
	}()
	s.Cleanup(func() { b.stop(s.T) })
	return b
}

func (b *background) stop(t *testing.T) {
	t.Helper()
	if b.end(); b.done == nil {
		return
	}
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	b.done = nil
}

// holds is how many entries the table has, and how many of them are a source's.
func (s *site) holds(source netip.Prefix) (all, its int) {
	s.Helper()
	r, err := census.Take(s.Context(), census.Options{Namespace: s.gateway.Router.Path(), Source: source})
	if err != nil {
		s.Fatal(err)
	}
	for _, k := range r.Sources {
		its += k.Entries
	}
	all, err = s.gateway.Count()
	if err != nil {
		s.Fatal(err)
	}
	return all, its
}

// innocents lets 200 clients make a new connection a second each, for a while.
func (s *site) innocents(ipv6 bool, span time.Duration) lab.Tally {
	s.Helper()
	load := s.gateway.StartClients(s.Context(), lab.Clients{TCP: 200, Way: lab.Way{Addresses: 200, IPv6: ipv6}})
	time.Sleep(span)
	r, err := load.Stop()
	if err != nil {
		s.Fatal(err)
	}
	return r.TCP
}

const (
	floodRate = 20_000
	roomy     = 131_072 // nf_conntrack_max: full within 7 s of that, with a second or two to spare for a busy machine
)

// floods are what one source does to a table, each of which fills it within seconds.
// Half-open entries are evicted for others' connections as long as there are some near;
// those of whole handshakes are not.
var floods = map[string]struct {
	lab.Flood
	lab.Way // of the offender's connections that were there before
}{
	"half-open": {
		lab.Flood{Pattern: lab.HalfOpen, From: netip.MustParseAddr("10.77.99.9")},
		lab.Way{From: netip.MustParseAddr("10.77.99.9")},
	},
	"assured": {lab.Flood{Pattern: lab.Assured, Sources: 1}, lab.Way{}},
	"ipv6 network": {
		lab.Flood{Pattern: lab.HalfOpen, From: netip.MustParseAddr("fd77:0:0:999::")},
		lab.Way{From: netip.MustParseAddr("fd77:0:0:999::1")},
	},
}

// One source floods a table that may not grow. With nobody there the table is full
// within seconds; with the guardian the source is limited, and no connection of 200
// others is lost from then on, nor one that the source had before.
func TestRootLimitsTheFlood(t *testing.T) {
	for name, c := range floods {
		t.Run(name, func(t *testing.T) {
			f, ipv6 := c.Flood, c.Flood.From.Is6()
			f.Rate = floodRate
			s := newSiteOf(t, roomy, lab.Options{IPv6: ipv6}).limiting("")
			offender := f.Source(0)
			without := s.unguarded(f)

			d := s.start()
			var old *lab.Connections
			if c.Way.From.IsValid() {
				var err error
				if old, err = s.gateway.ConnectBy(t.Context(), 20, c.Way); err != nil {
					t.Fatal(err)
				}
				defer old.Close()
			}
			begun := time.Now()
			load := s.gateway.StartClients(t.Context(), lab.Clients{TCP: 200, Way: lab.Way{Addresses: 200, IPv6: ipv6}})
			flood := s.flood(f)
			s.until("the source is limited", func() bool { return d.count("limit "+bareText(offender)+" to 50 new connections/s") > 0 })
			took := time.Since(begun)
			all, its := s.holds(offender)
			until, err := load.Stop()
			if err != nil {
				t.Fatal(err)
			}
			with := s.innocents(ipv6, 10*time.Second)
			allThen, itsThen := s.holds(offender)
			t.Logf("without: %d of %d failed. Limited after %s at %d entries, %d of the offender's, %d of %d failed until then. After: %d of %d failed, %d slow; %d entries, %d of the offender's",
				without.Failed, without.Attempted, took, all, its, until.TCP.Failed, until.TCP.Attempted, with.Failed, with.Attempted, with.Slow, allThen, itsThen)
			if with.Failed > 0 || with.Attempted < 1500 {
				t.Errorf("%d of %d connections of others failed, from %s to %s after the limit", with.Failed, with.Attempted, with.FirstFailure, with.LastFailure)
			}
			if more := itsThen - its; more > 2000 { // 50/s and a burst
				t.Errorf("the offender has %d entries more than when it was limited", more)
			}
			if old != nil {
				if alive := old.Use(t.Context(), 20); alive != 20 {
					t.Errorf("%d of 20 connections that the offender had before are alive: %v", alive, old.Err())
				}
			}
			flood.stop(t)
			d.stop()
			for _, c := range s.changes() {
				if c.State != ledger.Undone || c.Measure != "limit-source" {
					t.Errorf("change %d, %s, is %s", c.ID, c.Measure, c.State)
				}
			}
		})
	}
}

// unguarded is what others meet with in a flood without a guardian, which fills the
// table.
func (s *site) unguarded(f lab.Flood) lab.Tally {
	s.Helper()
	flood := s.flood(f)
	others := s.innocents(f.From.Is6(), 8*time.Second)
	if all, err := s.gateway.Count(); err != nil || all < roomy*95/100 {
		s.Fatalf("%d entries after 8 s of the flood without a guardian, %v: this shows nothing", all, err)
	}
	flood.stop(s.T)
	s.empty()
	return others
}

func bareText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// limited starts a daemon and has it limit a source, which goes on at a lower rate.
func (s *site) limited(f lab.Flood) *daemon {
	s.Helper()
	d := s.start()
	fast := f
	fast.Rate = floodRate
	flood := s.flood(fast)
	s.until("the source is limited", func() bool { return d.count(" to 50 new connections/s") > 0 })
	flood.stop(s.T)
	s.flood(f)
	s.until("the limit holds", func() bool { return s.passing() < 500 })
	return d
}

// passing is how many connections get through in a second.
func (s *site) passing() int {
	s.Helper()
	s.empty()
	time.Sleep(time.Second)
	n, err := s.gateway.Count()
	if err != nil {
		s.Fatal(err)
	}
	return n
}

const (
	slowFlood = 4000
	lease     = 15 * time.Second // the default
)

// Nothing that a dead or hanging guardian has restricted stays restricted for longer
// than a lease: by what gets through, not by what is listed.
func TestRootLimitEndsWithTheDaemon(t *testing.T) {
	for name, end := range map[string]unix.Signal{"killed": unix.SIGKILL, "stopped": unix.SIGSTOP} {
		t.Run(name, func(t *testing.T) {
			s := limiting(t, lab.Options{}, "")
			d := s.limited(lab.Flood{Pattern: lab.HalfOpen, Rate: slowFlood, Sources: 1})
			if err := d.cmd.Process.Signal(end); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			free := 0
			for free < slowFlood/2 && time.Since(begun) < lease+5*time.Second {
				free = s.passing()
			}
			took := time.Since(begun)
			t.Logf("free %s after the signal (which takes a second to see): %d connections/s", took, free)
			if free < slowFlood/2 || took > lease+1500*time.Millisecond {
				t.Errorf("%d connections/s get through %s after %s", free, took, end)
			}
			if end == unix.SIGSTOP {
				d.cmd.Process.Signal(unix.SIGCONT)
				s.until("the ledger knows that the lease is over", func() bool { return s.changes()[0].State == ledger.Undone })
				d.stop()
			} else {
				d.cmd.Wait()
				d = s.start()
				s.until("the ledger knows that the lease is over", func() bool { return s.changes()[0].State == ledger.Undone })
				d.stop()
			}
		})
	}
}

// Whoever is on the allowlist is never limited, however bad; and many sources that do
// the same are not the doing of one.
func TestRootNobodyIsLimited(t *testing.T) {
	worst := lab.Flood{Pattern: lab.HalfOpen, Rate: floodRate, Sources: 1}
	many := lab.Flood{Pattern: lab.HalfOpen, Rate: floodRate, Sources: 500}
	for name, c := range map[string]struct {
		flood lab.Flood
		more  string
		says  string
	}{
		"allowed": {worst, fmt.Sprintf("allow = [%q]", worst.Source(0).Addr()), "but is never limited: allowed by the policy"},
		"many":    {many, "", "no source is limited: the largest, "},
	} {
		t.Run(name, func(t *testing.T) {
			s := limiting(t, lab.Options{}, c.more)
			d := s.start()
			flood := s.flood(c.flood)
			s.until("it is said", func() bool { return d.count(c.says) > 0 })
			time.Sleep(8 * time.Second) // another census and some
			if changes := s.changes(); len(changes) != 0 {
				t.Errorf("%d changes: %+v", len(changes), changes[0])
			}
			flood.stop(t)
			d.stop()
			if n := d.count("limit-source failed"); n > 0 {
				t.Error("something was tried")
			}
		})
	}
}

// A second daemon's start finds what the first has in force ended, and a rollback of
// restrictions without one finds nothing.
func TestRootRollbackOfLeases(t *testing.T) {
	s := limiting(t, lab.Options{}, "")
	d := s.limited(lab.Flood{Pattern: lab.HalfOpen, Rate: slowFlood, Sources: 1})
	d.kill()
	code, out, errs := s.command("rollback", "--restrictions")
	if code != 0 || !strings.Contains(out, "undone") {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if n := s.passing(); n < slowFlood/2 {
		t.Errorf("%d connections/s after the rollback", n)
	}
	if c := s.changes()[0]; c.State != ledger.Undone {
		t.Errorf("the change is %s", c.State)
	}
}

// What a limit leaves in the table is deleted if nobody has answered it, and where that
// does not help, either, all that the source sends is dropped.
func TestRootEscalates(t *testing.T) {
	for name, c := range map[string]struct {
		flood lab.Flood
		level string
		says  string
	}{
		"delete": {lab.Flood{Pattern: lab.UDP, Sources: 1}, "delete", " without a reply deleted in "},
		"drop":   {lab.Flood{Pattern: lab.Assured, Sources: 1}, "drop", "drop all that comes from "},
	} {
		t.Run(name, func(t *testing.T) {
			s := limiting(t, lab.Options{Timeouts: map[string]int{"udp_timeout": 120}},
				fmt.Sprintf("escalation = %q\nescalate_after = 1\n[census]\nevery = \"2s\"", c.level))
			s.replace("guardian.toml", "version = 1\n", "version = 1\nlease = \"5s\"\n")
			offender := c.flood.Source(0)
			d := s.start()
			c.flood.Rate = floodRate
			flood := s.flood(c.flood)
			s.until("the limit is not all", func() bool { return d.count(c.says) > 0 })
			all, its := s.holds(offender)
			t.Logf("%d entries, %d of the offender's", all, its)
			switch c.level {
			case "delete":
				if its > baseline/2 {
					t.Errorf("the offender still has %d entries", its)
				}
				if n := d.count("drop all that comes from "); n > 0 {
					t.Error("dropped, which is not approved")
				}
			case "drop":
				s.empty()
				time.Sleep(time.Second)
				if _, its := s.holds(offender); its > 0 {
					t.Errorf("%d entries of a source that is dropped", its)
				}
			}
			flood.stop(t)
			d.stop()
			for _, c := range s.changes() {
				if c.State != ledger.Undone {
					t.Errorf("change %d is %s", c.ID, c.State)
				}
			}
		})
	}
}

// replace edits a file.
func (s *site) replace(name, from, to string) {
	s.Helper()
	b, err := os.ReadFile(s.path(name))
	if err != nil || !strings.Contains(string(b), from) {
		s.Fatalf("no %q in %s, %v", from, name, err)
	}
	s.write(name, strings.Replace(string(b), from, to, 1))
}

// Somebody empties the whole ruleset, as nft flush ruleset and a firewall's reload do.
// The limit holds all the time, or does again at the second reading.
func TestRootLimitSurvivesAFlush(t *testing.T) {
	s := limiting(t, lab.Options{}, "")
	d := s.limited(lab.Flood{Pattern: lab.HalfOpen, Rate: slowFlood, Sources: 1})
	err := s.gateway.Router.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * time.Second) // two readings at the most
	// Without the gateway's own rules it is ours by which the kernel tracks.
	if n := s.passing(); n == 0 || n > 500 {
		t.Errorf("%d connections/s get through", n)
	}
	d.stop()
}
