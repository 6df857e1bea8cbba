package sense

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"time"
)

const (
	// proven is how long a connection must last to be taken for an operator's. Anybody can
	// connect, but sshd hangs up on who does not log in within 120 s (LoginGraceTime).
	proven = 120 * time.Second
	// remembered is how long an operator is known for after the last such connection.
	remembered = time.Hour
)

// What is remembered at most: who knows an open port can come from many addresses, and
// ports.
const (
	maxPeers       = 1024
	maxConnections = 4096
)

// seenOperators are those who have been connected for long. Times are the boot clock's.
type seenOperators struct {
	begun bool                         // there was a whole reading
	since map[connection]time.Duration // of those at the last reading, when they were first seen
	last  map[netip.Addr]time.Duration // operators, and when such a connection was last seen
}

// see takes in who is connected now; if that is not whole, what was before is as well.
// Those at the beginning may be connected for any time and are taken for operators.
func (o *seenOperators) see(now time.Duration, connected []connection, whole bool) {
	since := map[connection]time.Duration{}
	if !whole {
		maps.Copy(since, o.since)
	}
	if o.last == nil {
		o.last = map[netip.Addr]time.Duration{}
	}
	for _, c := range connected {
		first, known := o.since[c]
		switch {
		case !known && o.begun:
			first = now
		case !known:
			first = now - proven - 1
		}
		since[c] = first
		if now-first > proven {
			o.last[c.peer.Addr()] = now
		}
	}
	o.since, o.begun = since, o.begun || whole
	keep(maxConnections, o.since, cmp.Compare) // a flood of them does not put off who came before
	maps.DeleteFunc(o.last, func(_ netip.Addr, last time.Duration) bool { return now-last > remembered })
	keep(maxPeers, o.last, func(a, b time.Duration) int { return cmp.Compare(b, a) })
}

// keep keeps so many of what is timed, the first ones in this order.
func keep[K comparable](most int, timed map[K]time.Duration, order func(a, b time.Duration) int) {
	if len(timed) <= most {
		return
	}
	keys := slices.SortedFunc(maps.Keys(timed), func(a, b K) int { return order(timed[a], timed[b]) })
	for _, k := range keys[most:] {
		delete(timed, k)
	}
}

func (o *seenOperators) list() []netip.Prefix { return singles(slices.Collect(maps.Keys(o.last))) }
