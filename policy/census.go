package policy

import (
	"net/netip"
	"time"
)

// A Census is who and what fills the table, as far as a diagnosis needs it. Its
// zero value is that none was taken. It is a plain value.
type Census struct {
	At    time.Duration // boot clock when it was begun
	Read  int           // entries looked at
	Table int           // entries in the table

	// What share of the entries is of a kind, 0–1.
	Closing Share // TCP on its way out: FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE
	DeadUDP Share // UDP that has long been silent
	Opening Share // TCP that is not established yet
	Idle    Share // TCP established and silent for longer than RFC 5382 lets a NAT forget it

	Classes [Timeouts]Share // of entries by the timeout they take

	Sources [64]Holder // largest first
	Pool    Pool       // the fullest set of source ports for NAT
	// Counted is that new connections were counted. New is then how many are made a
	// second, and Fastest who makes most of them.
	Counted bool
	New     float64
	Fastest Holder
}

// WantsCensus reports whether the newest reading calls for a census: there is
// trouble, or was and nobody has looked yet, or an undo depends on what is in the
// table; and the last one was begun long enough ago. One that an approval waits for is
// wanted at once. last is 0 for never.
func (st *State) WantsCensus(c *Config, last, now time.Duration) bool {
	if st.rush > last && c.Mode > Off {
		return true
	}
	due := last == 0 || now-last >= st.censusEvery(c)
	return due && (st.unsure || c.Mode > Off && (st.Now.Cause != None || st.awaitsCensus()))
}

// pursuit is the least time between two censuses while connections are being lost, or
// about to be, and sources may be limited: the second of two floods is not to be found
// only when it has filled the table.
const pursuit = 5 * time.Second

// censusEvery is the least time between two censuses.
func (st *State) censusEvery(c *Config) time.Duration {
	if min(c.Mode, c.LimitSource.Mode) >= Advise && st.Now.ofSources() && st.presses() {
		return min(pursuit, c.Census.Every)
	}
	return c.Census.Every
}

// presses reports whether connections are being lost, or will be before another census.
func (st *State) presses() bool { return st.Now.Losing() || st.Now.TimeToFull < 2*pursuit }

// awaitsCensus reports whether no census of this episode has been reported yet.
func (st *State) awaitsCensus() bool { return st.Episode.Name != "" && !st.Episode.census }

// hasCensus reports whether there is a census of this episode.
func (st *State) hasCensus() bool {
	return st.Now.Census.At >= st.Episode.Since && st.Now.Census.At != 0
}

// A Share is a share of the entries with its 99 % interval.
type Share struct{ Share, Low, High float64 }

// A Holder is a source and what it holds.
type Holder struct {
	Prefix netip.Prefix
	Share  Share
	// New is how many connections a second it makes, or where they are not counted by
	// how many its entries become more; 0 if unknown.
	New float64
	// Steady is the least that New was in any part of the time that it was measured
	// over; 0 if unknown. A burst has none.
	Steady float64
}

// A Pool is the ports that one NAT address has towards one destination address,
// port and protocol.
type Pool struct {
	NAT, Dst        netip.Addr
	Port            uint16
	Proto           string
	Used            int // ports
	Lowest, Highest uint16
}
