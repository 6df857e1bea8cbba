package nft

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
)

// everyLease are leases in every table, and their terms.
func everyLease() (Terms, []Request) {
	terms := someTerms()
	terms.Flows = []Flow{echoFlow()}
	return terms, []Request{
		limit("192.0.2.1/32"), limit("2001:db8::/64"), drop("192.0.2.2/32"), drop("2001:db8:1::/64"), bypass("echo"),
	}
}

var everyTable = []string{"ip " + LimitsName, "ip6 " + LimitsName, "inet " + RawName}

// presentLeases asserts that Present says so.
func presentLeases(t testing.TB, l *Leases, want bool) {
	t.Helper()
	if got, err := l.Present(); err != nil || got != want {
		t.Errorf("present is %v, %v, want %v", got, err, want)
	}
}

// tablesIn are the tables of leases in a namespace, by a socket of its own.
func tablesIn(t testing.TB, ns string) (names []string) {
	t.Helper()
	for _, p := range leasePlaces {
		inside(t, ns, func() error {
			s, err := dialTable(p.proto, p.name)
			if err != nil {
				return err
			}
			defer s.lib.CloseLasting()
			if _, found, err := s.lookup(); err != nil {
				return err
			} else if found {
				names = append(names, s.name())
			}
			return nil
		})
	}
	return names
}

// heldText are the leases of a namespace, read by a socket of its own, as
// "lease: text".
func heldText(t testing.TB, ns string) (all []string) {
	t.Helper()
	inside(t, ns, func() error {
		held, err := ReadLeases()
		for _, h := range held {
			all = append(all, h.Lease.String()+": "+h.Text)
		}
		return err
	})
	return all
}

func textOf(of []Request) (all []string) {
	for _, r := range of {
		all = append(all, r.Lease.String()+": "+r.Text)
	}
	return all
}

func wantStrings(t testing.TB, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// A table is there as long as it holds a lease; who reads them needs no
// Leases.
func TestRootTablesComeAndGoWithTheirLeases(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	wantStrings(t, "before", tablesIn(t, ns), nil)
	wantStrings(t, "before", heldText(t, ns), nil)
	presentLeases(t, l, true)

	terms, all := everyLease()
	hold(t, l, terms, time.Minute, all...)
	wantStrings(t, "tables", tablesIn(t, ns), everyTable)
	wantStrings(t, "leases", heldText(t, ns), textOf(all))
	presentLeases(t, l, true)
	for _, h := range readLeases(t, l) {
		if h.Timeout != time.Minute || h.Left > time.Minute || h.Left < 50*time.Second {
			t.Errorf("%s: %s left of %s", h.Lease, h.Left, h.Timeout)
		}
	}
	for i, r := range all {
		if err := l.End(r.Lease, r.Lease, limit("192.0.2.99/32").Lease); err != nil {
			t.Error(err)
		}
		wantStrings(t, "leases left", heldText(t, ns), textOf(all[i+1:]))
		wantStrings(t, "tables left", tablesIn(t, ns), everyTable[min(i+1, 2):][:len(everyTable)-min(i+1, 2)-(i+1)/len(all)])
		presentLeases(t, l, true)
	}
	hold(t, l, terms, time.Minute, all...)
	if err := errors.Join(l.Close(), l.Close()); err != nil {
		t.Error(err)
	}
	wantStrings(t, "after Close", tablesIn(t, ns), nil)
	presentLeases(t, l, false)
	if _, err := l.Hold(terms, time.Minute, all...); err == nil {
		t.Error("leases are held after Close")
	}
	if _, err := l.Read(); err == nil {
		t.Error("leases are read after Close")
	}
	if err := l.End(all[0].Lease); err != nil {
		t.Error(err)
	}
}

// What nobody renews ends, and the tables then change nothing.
func TestRootLeasesLapse(t *testing.T) {
	const lease = 2 * time.Second
	router, client, _ := routed(t)
	l := openIn(t, router, ordinaryLeases)
	terms := Terms{Rate: 1, Burst: 1, IPv4Bits: 32, IPv6Bits: 64, Flows: []Flow{echoFlow()}}
	passes := func(from string) (all bool) {
		_ = netns.Do(client, func() error {
			all = true
			for range 3 {
				c, err := udp(netip.AddrPortFrom(addr(from), 0), labEcho)
				if err != nil {
					return err
				}
				defer c.Close()
				all = say(c) == nil && all
			}
			return nil
		})
		return all
	}
	before := time.Now()
	hold(t, l, terms, lease, limit("10.77.0.1/32"), drop("10.77.0.2/32"), drop("10.77.0.3/32"), bypass("echo"))
	start := time.Now()
	t.Logf("it took %s to hold them", start.Sub(before))
	if passes("10.77.0.2") {
		t.Error("dropped from the beginning, but heard")
	}
	time.Sleep(time.Until(start.Add(lease + 100*time.Millisecond)))
	had := settled(t, router)
	for _, from := range []string{"10.77.0.1", "10.77.0.2", "10.77.0.3"} {
		if !passes(from) {
			t.Errorf("%s is not heard %s after its lease of %s began", from, time.Since(start), lease)
		}
	}
	if n := settled(t, router) - had; n != 9 {
		t.Errorf("%d entries of 9 connections", n)
	}
	holds(t, l, map[string]uint64{})
	presentLeases(t, l, true)
	// It is no error to end or to renew what has lapsed.
	if err := l.End(drop("10.77.0.2/32").Lease); err != nil {
		t.Error(err)
	}
	hold(t, l, terms, time.Minute, drop("10.77.0.3/32"), bypass("echo"))
	if passes("10.77.0.3") {
		t.Error("dropped again, but heard")
	}
}

// A plain table can be taken away: it is noticed, and made again with all that it
// held.
func TestRootPlainLeasesAreMadeAgain(t *testing.T) {
	table := func(i int) *nftables.Table {
		return &nftables.Table{Name: leasePlaces[i].name, Family: nftables.TableFamily(leasePlaces[i].proto)}
	}
	for name, tc := range map[string]struct {
		harm   func(*nftables.Conn)
		remade []string
	}{
		"ruleset":   {func(c *nftables.Conn) { c.FlushRuleset() }, everyTable},
		"deleted":   {func(c *nftables.Conn) { c.DelTable(table(0)) }, everyTable[:1]},
		"rules":     {func(c *nftables.Conn) { c.FlushTable(table(2)) }, everyTable[2:]},
		"made anew": {func(c *nftables.Conn) { c.DelTable(table(1)); c.AddTable(table(1)) }, everyTable[1:2]},
	} {
		t.Run(name, func(t *testing.T) {
			ns := loopback(t)
			l := openIn(t, ns, plainLeases)
			terms, all := everyLease()
			more := []Request{limit("192.0.2.8/32"), limit("2001:db8:8::/64"), drop("192.0.2.9/32")}
			hold(t, l, terms, time.Minute, append(more, all...)...)
			before := heldText(t, ns)
			presentLeases(t, l, true)
			inside(t, ns, func() error {
				c, err := nftables.New()
				if err != nil {
					return err
				}
				tc.harm(c)
				return c.Flush()
			})
			presentLeases(t, l, false)
			remade, err := l.Hold(terms, time.Minute, all...)
			if err != nil {
				t.Fatal(err)
			}
			wantStrings(t, "made again", remade, tc.remade)
			wantStrings(t, "leases", heldText(t, ns), before)
			presentLeases(t, l, true)
			hold(t, l, terms, time.Minute, all...)
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			wantStrings(t, "after Close", tablesIn(t, ns), nil)
		})
	}
}

// Elements that others took out of a plain table are back with the next
// renewal.
func TestRootPlainLeasesTakenOut(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, plainLeases)
	terms, all := everyLease()
	hold(t, l, terms, time.Minute, all...)
	inside(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		for _, s := range leaseSets {
			c.FlushSet(&nftables.Set{Name: s.name, Table: &nftables.Table{Name: s.place.name, Family: nftables.TableFamily(s.place.proto)}})
		}
		return c.Flush()
	})
	wantStrings(t, "taken out", heldText(t, ns), nil)
	hold(t, l, terms, time.Minute, all...)
	wantStrings(t, "renewed", heldText(t, ns), textOf(all))
	// And nothing is wrong with ending what is not there.
	inside(t, ns, func() error { return EndLeft(all[0].Lease, all[2].Lease) })
	if err := l.End(all[0].Lease, all[2].Lease); err != nil {
		t.Error(err)
	}
}

// Where the tables have an owner, nobody else's flush does anything, nobody else
// ends or replaces them, and they go with the socket.
func TestRootLeasesHaveAnOwner(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	terms, all := everyLease()
	hold(t, l, terms, time.Minute, all...)
	port := strconv.Itoa(int(l.tables[0].made.owner))
	inside(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	wantStrings(t, "after a flush", heldText(t, ns), textOf(all))
	presentLeases(t, l, true)
	hold(t, l, terms, time.Minute, all...)

	other := openIn(t, ns, ordinaryLeases)
	inside(t, ns, func() error {
		for name, try := range map[string]func() error{
			"Hold":    func() error { _, err := other.Hold(terms, time.Minute, all...); return err },
			"EndLeft": func() error { return EndLeft(all[0].Lease) },
		} {
			if err := try(); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), port) {
				t.Errorf("%s: %v, want ErrOwned with port %s", name, err, port)
			}
		}
		return nil
	})
	wantStrings(t, "after others tried", heldText(t, ns), textOf(all))
	if err := l.socket.lib.CloseLasting(); err != nil { // as the death of the process does
		t.Fatal(err)
	}
	l.closed = true
	wantStrings(t, "after the socket was closed", tablesIn(t, ns), nil)
	if _, err := other.Hold(terms, time.Minute, all...); err != nil {
		t.Errorf("after the other: %v", err)
	}
}

// Plain tables that a dead guardian left are replaced, their leases with them.
func TestRootLeftLeasesAreReplaced(t *testing.T) {
	for _, with := range []leaseSettings{ordinaryLeases, plainLeases} {
		ns := loopback(t)
		dead := openIn(t, ns, plainLeases)
		terms, all := everyLease()
		hold(t, dead, terms, time.Minute, all...)
		left := dead.tables[0].made
		dead.closed = true

		l := openIn(t, ns, with)
		terms.Flows = nil
		mine := []Request{limit("192.0.2.77/32"), drop("192.0.2.77/32")}
		hold(t, l, terms, time.Minute, mine...)
		if l.tables[0].made.handle == left.handle {
			t.Error("the table left is still there")
		}
		want := []string{"limit 192.0.2.77/32: limited by a test", "limit 2001:db8::/64: limited by a test", "drop 192.0.2.77/32: dropped by a test"}
		wantStrings(t, "leases", heldText(t, ns), want)
	}
}

func TestRootEndLeft(t *testing.T) {
	ns := loopback(t)
	dead := openIn(t, ns, plainLeases)
	terms, all := everyLease()
	hold(t, dead, terms, time.Minute, all...)
	dead.closed = true
	inside(t, ns, func() error { return errors.Join(EndLeft(), EndLeft(limit("192.0.2.99/32").Lease)) })
	wantStrings(t, "left alone", heldText(t, ns), textOf(all))
	inside(t, ns, func() error { return EndLeft(all[4].Lease, all[2].Lease, all[0].Lease) })
	wantStrings(t, "left", heldText(t, ns), textOf([]Request{all[1], all[3]}))
	wantStrings(t, "tables", tablesIn(t, ns), everyTable[1:])
	counting := installIn(t, ns, ordinary)
	inside(t, ns, func() error { return errors.Join(EndLeft(all[1].Lease, all[3].Lease), EndLeft(all[3].Lease)) })
	wantStrings(t, "tables", tablesIn(t, ns), nil)
	present(t, counting, true)
}

// Other terms need an empty table.
func TestRootOtherTerms(t *testing.T) {
	ns := loopback(t)
	l := openIn(t, ns, ordinaryLeases)
	terms, all := everyLease()
	hold(t, l, terms, time.Minute, all...)
	before := l.tables[0].made

	other := terms
	other.Rate++
	if _, err := l.Hold(other, time.Minute, limit("192.0.2.77/32")); !errors.Is(err, ErrTerms) {
		t.Errorf("another rate: %v, want ErrTerms", err)
	}
	bits := terms
	bits.IPv6Bits = 56
	if _, err := l.Hold(bits, time.Minute, drop("192.0.2.77/32")); !errors.Is(err, ErrTerms) {
		t.Errorf("other prefixes: %v, want ErrTerms", err)
	}
	flows := terms
	flows.Flows = append(flows.Flows[:1:1], Flow{Name: "new", From: echoFlow().From, To: echoFlow().To, Proto: 1})
	if _, err := l.Hold(flows, time.Minute, bypass("echo"), drop("192.0.2.2/32")); !errors.Is(err, ErrTerms) {
		t.Errorf("other flows: %v, want ErrTerms", err)
	}
	hold(t, l, flows, time.Minute, limit("192.0.2.1/32")) // no concern of that table
	wantStrings(t, "leases", heldText(t, ns), textOf(all))
	if l.tables[0].made != before {
		t.Error("a table was made anew")
	}
	hold(t, l, other, time.Minute, all[:2]...)
	hold(t, l, flows, time.Minute, all[2:]...)
	hold(t, l, flows, time.Minute, bypass("new"))
	if l.tables[0].made == before {
		t.Error("a table was not made anew")
	}
	wantStrings(t, "leases", heldText(t, ns), textOf(append(all[:5:5], bypass("new"))))
}
