package sense

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func to22(peer string) connection { return connection{22, netip.MustParseAddrPort(peer)} }

func all(text ...string) (list []connection) {
	for _, t := range text {
		list = append(list, to22(t))
	}
	return list
}

// Only who stays, or was there from the beginning, is an operator, and not for ever.
func TestOperators(t *testing.T) {
	type reading struct {
		at        time.Duration
		connected []connection
		broken    bool
		want      string
	}
	const a, b, other, again = "192.0.2.1:5000", "192.0.2.2:5000", "192.0.2.2:5001", "[2001:db8::1]:5000"
	for name, readings := range map[string][]reading{
		"at the beginning": {{at: 0, connected: all(a), want: "[192.0.2.1/32]"}, {at: time.Second, want: "[192.0.2.1/32]"}},
		"later, for long": {
			{at: 0, want: "[]"},
			{at: 10 * time.Second, connected: all(b), want: "[]"},
			{at: 130 * time.Second, connected: all(b), want: "[]"},
			{at: 130*time.Second + 1, connected: all(b), want: "[192.0.2.2/32]"},
			{at: 140 * time.Second, want: "[192.0.2.2/32]"},
		},
		"again and again": {
			{at: 0, want: "[]"},
			{at: time.Minute, connected: all(b), want: "[]"},
			{at: 10 * time.Minute, connected: all(other), want: "[]"},
			{at: 20 * time.Minute, connected: all(b), want: "[]"},
			{at: 21 * time.Minute, connected: all(other, b), want: "[]"},
			{at: 23 * time.Minute, connected: all(other), want: "[]"},
			{at: 23*time.Minute + 1, connected: all(other), want: "[192.0.2.2/32]"},
		},
		"another port of ours": {
			{at: 0, want: "[]"},
			{at: time.Minute, connected: all(b), want: "[]"},
			{at: time.Hour, connected: []connection{{23, netip.MustParseAddrPort(b)}}, want: "[]"},
		},
		"an hour later": {
			{at: 0, connected: all(a, again), want: "[192.0.2.1/32 2001:db8::1/128]"},
			{at: 30 * time.Minute, connected: all(again), want: "[192.0.2.1/32 2001:db8::1/128]"},
			{at: time.Hour, want: "[192.0.2.1/32 2001:db8::1/128]"},
			{at: time.Hour + 1, want: "[2001:db8::1/128]"},
			// Who merely connects again is not known for longer by that.
			{at: 90*time.Minute - 1, connected: all("[2001:db8::1]:5001"), want: "[2001:db8::1/128]"},
			{at: 90*time.Minute + 1, connected: all("[2001:db8::1]:5001"), want: "[]"},
		},
		"what was not read has not gone": {
			{at: 0, want: "[]"},
			{at: time.Minute, connected: all(b), want: "[]"},
			{at: 2 * time.Minute, broken: true, want: "[]"},
			{at: 4 * time.Minute, connected: all(b), broken: true, want: "[192.0.2.2/32]"},
		},
		"the beginning is when all was read": {
			{at: 0, connected: all(a), broken: true, want: "[192.0.2.1/32]"},
			{at: time.Second, connected: all(a, b), want: "[192.0.2.1/32 192.0.2.2/32]"},
			{at: 2 * time.Second, connected: all(again), want: "[192.0.2.1/32 192.0.2.2/32]"},
		},
	} {
		var o seenOperators
		for _, r := range readings {
			o.see(time.Hour+r.at, r.connected, !r.broken)
			if got := fmt.Sprint(distinct(o.list())); got != r.want {
				t.Errorf("%s, after %v: %s, want %s", name, r.at, got, r.want)
			}
		}
	}
}

// Those who come from many addresses push out no one who is connected.
func TestOperatorsAreNotRememberedWithoutEnd(t *testing.T) {
	var o seenOperators
	stays := all("192.0.2.1:5000", "[2001:db8::1]:5000")
	of := func(round, i int) connection {
		return connection{22, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(round), byte(i)}), 5000)}
	}
	for round := range 20 {
		connected := slices.Clone(stays)
		for i := range 100 {
			connected = append(connected, of(round, i))
		}
		begins := time.Duration(round) * 3 * time.Minute
		o.see(begins, connected, true)
		o.see(begins+proven+1, connected, true)
	}
	list := o.list()
	if len(list) != maxPeers {
		t.Errorf("%d remembered", len(list))
	}
	for _, c := range append(stays, of(19, 99), of(11, 0)) {
		if !slices.Contains(list, netip.PrefixFrom(c.peer.Addr(), c.peer.Addr().BitLen())) {
			t.Errorf("%s is forgotten", c.peer)
		}
	}
	if slices.Contains(list, netip.MustParsePrefix("10.0.0.1/32")) {
		t.Error("the first of them is remembered")
	}
}

// A flood of connections takes no more memory than that, and does not keep who came
// before it from being known.
func TestConnectionsAreNotRememberedWithoutEnd(t *testing.T) {
	var o seenOperators
	o.see(time.Hour, nil, true)
	operator := to22("192.0.2.1:5000")
	o.see(time.Hour+time.Second, []connection{operator}, true)
	for second := range 130 {
		connected := []connection{operator}
		for i := range 3000 {
			connected = append(connected, connection{22, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(second), byte(i >> 8), byte(i)}), 5000)})
		}
		o.see(time.Hour+time.Duration(second+2)*time.Second, connected, second%2 == 0)
		if len(o.since) > maxConnections {
			t.Fatalf("%d connections are remembered", len(o.since))
		}
	}
	if got := fmt.Sprint(o.list()); got != "[192.0.2.1/32]" {
		t.Errorf("%s, want the operator", got)
	}
}
