package entries_test

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/entries"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// An entry that is over the new timeout is gone; one that is not ends when it would
// have under it.
func TestRootAsIfTheTimeoutHadAlwaysBeenShort(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	fill(t, g, timeWait(1, 30), timeWait(1, 100), timeWait(1, 75), timeWait(1, 119))
	h := newHand(t, g)
	c := h.shorten(map[timeout.Class]int{timeout.TCPTimeWait: 40})
	r := h.walk(c, nil)
	if r.Deleted != 2 || r.Retimed != 2 || r.Read != 4 || r.Attempts != 1 {
		t.Fatalf("%+v", r)
	}
	list := table(t, g)
	n, least, most := leftOf(list, func(*ctnetlink.Entry) bool { return true })
	if n != 2 || least < 19 || least > 21 || most < 38 || most > 40 {
		t.Errorf("%d entries with %d to %d s left", n, least, most)
	}
	w := h.Changes()[0].Walk
	want := []ledger.Count{{Class: "tcp_timeout_time_wait", Deleted: 2, Retimed: 2}}
	if d := cmp.Diff(want, w.Classes); d != "" || !w.Done || !w.Retimes || w.Running || w.Walks != 1 {
		t.Errorf("recorded %+v\n%s", w, d)
	}
}

// sendUDP has the client send from each port, which is a packet an entry.
func sendUDP(t *testing.T, g *lab.Gateway, first, n int) {
	t.Helper()
	err := g.Client.Do(func() error {
		for port := first; port < first+n; port++ {
			fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				return err
			}
			err = errors.Join(
				unix.Bind(fd, &unix.SockaddrInet4{Port: port}),
				unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Addr: [4]byte{172, 31, 2, 2}, Port: 4000}),
				unix.Close(fd))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func between(first, n int) func(e *ctnetlink.Entry) bool {
	return func(e *ctnetlink.Entry) bool {
		return e.Proto == unix.IPPROTO_UDP && int(e.Orig.SrcPort) >= first && int(e.Orig.SrcPort) < first+n
	}
}

// Real packets, real timeouts, and the end itself.
func TestRootEntriesOfRealPacketsEnd(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	if err := g.SetTimeouts(map[string]int{"udp_timeout": 20}); err != nil {
		t.Fatal(err)
	}
	sendUDP(t, g, 20_000, 30)
	time.Sleep(5500 * time.Millisecond)
	sendUDP(t, g, 30_000, 40)
	sent := time.Now()
	h := newHand(t, g)
	c := h.shorten(map[timeout.Class]int{timeout.UDP: 4})
	r := h.walk(c, nil)
	sendUDP(t, g, 40_000, 50) // under the new timeout
	if r.Deleted != 30 || r.Retimed != 40 {
		t.Fatalf("%+v", r)
	}
	if n, least, most := leftOf(table(t, g), between(30_000, 40)); n != 40 || least < 2 || most > 4 {
		t.Errorf("%d entries with %d to %d s left", n, least, most)
	}
	time.Sleep(time.Until(sent.Add(2 * time.Second)))
	if n, _, _ := leftOf(table(t, g), between(30_000, 40)); n != 40 {
		t.Errorf("%d entries live after 2 s", n)
	}
	time.Sleep(time.Until(sent.Add(5500 * time.Millisecond)))
	if n, least, most := leftOf(table(t, g), between(30_000, 40)); n != 0 {
		t.Errorf("%d entries with %d to %d s left after 5 s", n, least, most)
	}
}

// Entries of every class that can be made, of both families, in zones and translated.
func TestRootEveryClass(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	pool := lab.NATPool{First: netip.MustParseAddr("203.0.113.7"), Addresses: 2}
	from := map[timeout.Class]int{}
	to := map[timeout.Class]int{}
	names := map[string]int{}
	for c := timeout.None + 1; c < timeout.Classes; c++ {
		if c == timeout.TCPEstablished || c == timeout.Unacknowledged {
			continue
		}
		if _, err := g.Router.Sysctl(c.Key()); err == nil {
			from[c], to[c], names[c.Name()] = 200, 40, 200
		}
	}
	if err := g.SetTimeouts(names); err != nil {
		t.Fatal(err)
	}
	var mix []lab.Entries
	kinds := 0
	for _, e := range []lab.Entries{
		{Proto: unix.IPPROTO_UDP},
		{Proto: unix.IPPROTO_UDP, Family: 6},
		{Proto: unix.IPPROTO_UDP, Zone: 7},
		{Proto: unix.IPPROTO_UDP, SNAT: pool},
		{Proto: unix.IPPROTO_UDP, DNAT: netip.MustParseAddr("192.0.2.200")},
		{Proto: unix.IPPROTO_UDP, Assured: true},
		{Proto: unix.IPPROTO_UDP, Assured: true, Family: 6, Zone: 3},
		{Proto: unix.IPPROTO_ICMP},
		{Proto: unix.IPPROTO_ICMP, Zone: 3, SNAT: pool},
		{Proto: unix.IPPROTO_ICMPV6, Family: 6},
		{Proto: unix.IPPROTO_TCP, State: lab.SynSent},
		{Proto: unix.IPPROTO_TCP, State: lab.SynRecv},
		{Proto: unix.IPPROTO_TCP, State: lab.FinWait, Assured: true},
		{Proto: unix.IPPROTO_TCP, State: lab.CloseWait, Assured: true},
		{Proto: unix.IPPROTO_TCP, State: lab.LastAck, Assured: true},
		{Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true, SNAT: pool},
		{Proto: unix.IPPROTO_TCP, State: lab.Closed, Family: 6},
		{Proto: unix.IPPROTO_SCTP, State: lab.SCTPEstablished},
		{Proto: unix.IPPROTO_SCTP, State: lab.SCTPShutdownSent},
	} {
		kinds++
		for count, left := range map[int]int{3: 20, 4: 150, 5: 190, 6: 700} {
			e.Count, e.Timeout = count, time.Duration(left)*time.Second
			mix = append(mix, e)
		}
	}
	fill(t, g, mix...)
	raw := addRaw(t, g, unix.IPPROTO_GRE, 150, 20) + addRaw(t, g, 253, 150, 20)
	h := newHand(t, g)
	r := h.walk(h.shorten(to), nil)
	t.Logf("%+v", r)
	if r.Deleted != (3+4)*kinds+raw || r.Retimed != 5*kinds || r.Kept.Foreign != 6*kinds || r.Read != 18*kinds+raw {
		t.Errorf("%d kinds: %+v", kinds, r)
	}
	sum := 0
	for _, c := range r.Classes {
		sum += c.Deleted + c.Retimed
	}
	if sum != r.Deleted+r.Retimed || len(r.Classes) < 12 {
		t.Errorf("the classes add up to %d: %+v", sum, r.Classes)
	}
	n, least, most := leftOf(table(t, g), func(e *ctnetlink.Entry) bool { return e.Timeout < 600 })
	if n != 5*kinds || least < 28 || most > 31 {
		t.Errorf("%d entries are left with %d to %d s", n, least, most)
	}
}

// A second walk finds nothing to do, nor does one of a table that has nothing.
func TestRootWalkingTwiceIsWalkingOnce(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	h := newHand(t, g)
	c := h.shorten(map[timeout.Class]int{timeout.TCPTimeWait: 40, timeout.UDP: 10})
	if r := h.walk(c, nil); r.Read != 0 || r.Deleted != 0 || len(r.Classes) != 0 {
		t.Fatalf("of an empty table: %+v", r)
	}
	if _, err := h.Undo(c.ID, "again"); err != nil {
		t.Fatal(err)
	}
	for left := range 120 {
		fill(t, g, timeWait(20, left+1))
	}
	for left := range 30 {
		fill(t, g, udp(10, left+1))
	}
	h = newHand(t, g)
	c = h.shorten(map[timeout.Class]int{timeout.TCPTimeWait: 40, timeout.UDP: 10})
	first := h.walk(c, nil)
	if first.Deleted < 1400 || first.Retimed < 700 || first.Deleted+first.Retimed+first.Kept.Young+first.Gone != first.Read {
		t.Fatalf("%+v", first)
	}
	second := h.walk(c, nil)
	if second.Deleted != 0 || second.Retimed != 0 || second.Read == 0 {
		t.Errorf("again: %+v", second)
	}
	if w := h.Changes()[0].Walk; w.Walks != 2 || w.Read != first.Read+second.Read || w.Classes[0].Deleted+w.Classes[1].Deleted != first.Deleted {
		t.Errorf("recorded %+v after %+v and %+v", w, first, second)
	}
	if r := walk(t, entries.Plan{Namespace: g.Router.Path()}); r.Read != 0 {
		t.Errorf("a plan of nothing: %+v", r)
	}
}

// Every kind that is to be left alone is, and is counted.
func TestRootLeftAlone(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	other := unheld(t)
	fill(t, other, timeWait(50, 10))
	established := tcp(101, lab.Established, 100_000)
	idle := tcp(7, lab.Established, 299) // may be unanswered for a second
	fixed := timeWait(102, 30)
	fixed.Fixed = true
	foreign := timeWait(103, 500)
	parents := timeWait(20, 30)
	children := udp(40, 25)
	children.Master = 1
	young := timeWait(105, 41) // a packet of just now would have given as much
	classless := tcp(106, lab.FinWait, 10)
	fill(t, g, established, idle, fixed, foreign, young, classless)
	fill(t, g, parents, children)
	before := table(t, g)
	h := newHand(t, g)
	c := h.shorten(map[timeout.Class]int{timeout.TCPTimeWait: 40, timeout.TCPEstablished: 7440})
	r := h.walk(c, nil)
	want := entries.Kept{Other: 40 + 106, Fixed: 102, Established: 108, Foreign: 103, Held: 20, Young: 105}
	if d := cmp.Diff(want, r.Kept); d != "" || r.Deleted != 0 || r.Retimed != 0 {
		t.Errorf("kept (-want +got):\n%s%+v", d, r)
	}
	if after := table(t, g); len(after) != len(before) {
		t.Errorf("%d entries of %d are left", len(after), len(before))
	}
	if n := len(table(t, other)); n != 50 {
		t.Errorf("%d entries of 50 are left in another namespace", n)
	}

	// With the opt-in.
	r = h.walk(c, func(p *entries.Plan) { p.Established = true })
	want.Established, want.Young = 0, 105+7
	want.Held, want.Young = 0, want.Young+20 // a walk may have given them their 30 s by now
	if d := cmp.Diff(want, r.Kept); d != "" || r.Deleted != 101 || r.Retimed != 0 {
		t.Errorf("opted in, kept (-want +got):\n%s%+v", d, r)
	}

	// Once the children are gone, so may be their parents.
	for _, e := range table(t, g) {
		if e.Proto == unix.IPPROTO_UDP && e.Status&ctnetlink.StatusExpected == 0 {
			t.Errorf("a child without a master: %+v", e)
		}
	}
	deleteAll(t, g, func(e *ctnetlink.Entry) bool { return e.Status&ctnetlink.StatusExpected != 0 })
	r = walk(t, shortened(t, g, map[timeout.Class]int{timeout.TCPTimeWait: 120}, map[timeout.Class]int{timeout.TCPTimeWait: 10}))
	if r.Kept.Held != 0 || r.Deleted != 20+105 || r.Kept.Fixed != 102 {
		t.Errorf("without children: %+v", r)
	}
}

// A level on a level: what the first has re-timed is as old as it was.
func TestRootLevels(t *testing.T) {
	g := gateway(t, lab.Sizes{})
	fill(t, g, timeWait(10, 115), timeWait(20, 80), timeWait(30, 45), timeWait(40, 15)) // 5, 40, 75 and 105 s old
	h := newHand(t, g)
	r := h.walk(h.shorten(map[timeout.Class]int{timeout.TCPTimeWait: 90}), nil)
	if r.Deleted != 40 || r.Retimed != 60 {
		t.Fatalf("to 90 s: %+v", r)
	}
	// What they have left by the first tells their age as their own timeout did.
	r = h.walk(h.shorten(map[timeout.Class]int{timeout.TCPTimeWait: 60}), nil)
	if r.Deleted != 30 || r.Retimed != 30 {
		t.Fatalf("to 60 s: %+v", r)
	}
	r = h.walk(h.shorten(map[timeout.Class]int{timeout.TCPTimeWait: 30}), nil)
	if r.Deleted != 20 || r.Retimed != 10 {
		t.Fatalf("to 30 s: %+v", r)
	}
	n, least, most := leftOf(table(t, g), func(*ctnetlink.Entry) bool { return true })
	if n != 10 || least < 22 || most > 29 {
		t.Errorf("%d entries with %d to %d s left", n, least, most)
	}
	if moved, err := h.Undo(1, "calm"); err != nil || len(moved) != 3 {
		t.Error(moved, err)
	}
	if now, err := g.Router.Sysctl(timeout.TCPTimeWait.Key()); err != nil || now != 120 {
		t.Errorf("given back as %d, %v", now, err)
	}
}

// Of the namespace that is not there the walk says so.
func TestRootNoSuchNamespace(t *testing.T) {
	p := entries.Plan{Namespace: "/run/netns/conntrack-guardian-nowhere"}
	p.Rules[timeout.UDP] = entries.Rule{New: 10, Was: []entries.Was{{Timeout: 30, Until: boot.Now()}}}
	if r, err := entries.Walk(t.Context(), p); !errors.Is(err, unix.ENOENT) || r.Done {
		t.Errorf("%+v, %v", r, err)
	}
}
