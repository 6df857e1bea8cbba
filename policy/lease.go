package policy

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net/netip"
	"time"
)

// Terms say what a lease is about: a source that is limited or dropped, or a flow
// that bypasses tracking. They are comparable.
type Terms struct {
	Source netip.Prefix  `json:"source,omitzero"` // LimitSource
	Rate   int           `json:"rate,omitempty"`  // new connections a second (Limited)
	Burst  int           `json:"burst,omitempty"` // that may come at once (Limited)
	Flow   string        `json:"flow,omitempty"`  // Bypass: its name
	Mark   string        `json:"mark,omitempty"`  // Bypass: the Mark of its terms
	Lease  time.Duration `json:"-"`               // from one renewal; in JSON lease, in seconds
}

// MarshalJSON writes the lease as people and programs expect it.
func (t Terms) MarshalJSON() ([]byte, error) {
	type plain Terms
	return json.Marshal(struct {
		plain
		Lease float64 `json:"lease"`
	}{plain(t), t.Lease.Seconds()})
}

// The levels of limit-source.
const (
	Limited = 1 // new connections of the source are limited
	Dropped = 2 // all its packets are dropped
)

// Allowed is a source that is never limited, and why.
type Allowed struct {
	Prefix netip.Prefix
	Why    string // "own address", "default gateway", "name server", "SSH peer"
	Own    bool   // an address of the gateway itself
}

// A Lease is what the kernel says of one in force.
type Lease struct {
	Change int // id of the change
	// Refused are the packets a second that it has lately refused (LimitSource): each the
	// first of a connection where the source is limited.
	Refused float64
}

// A Flow is traffic that may bypass tracking.
type Flow struct {
	Name     string
	Mode     Mode
	From, To []netip.Prefix
	Proto    uint8   // IPPROTO_*
	Ports    []Ports // of To; empty for a protocol without ports
	// Lifeline is a way to the gateway itself: To is empty and stands for its own
	// addresses. It is used when the table is full.
	Lifeline bool
	Hold     time.Duration // the undo condition must hold this long
}

// Ports are a range of ports, both ends included.
type Ports struct{ Low, High uint16 }

// Mark tells flows of other terms apart: eight hex digits.
func (f *Flow) Mark() string {
	h := fnv.New32a()
	fmt.Fprint(h, f.From, f.To, f.Proto, f.Ports, f.Lifeline) // a hash takes all
	return fmt.Sprintf("%08x", h.Sum32())
}

// A FlowSight is what the table has shown of a flow.
type FlowSight struct {
	Flow string
	Mark string        // the Mark of its terms then
	At   time.Duration // boot clock when the look for it ended
	Seen int           // entries of it
	// NAT is an entry of the flow that is translated, as text; empty if there was none.
	NAT string
}

// maxFlows is how many flows a policy may list.
const maxFlows = 32

// maxLeases is how many leases have an undo clock: each source may be limited and
// dropped.
const maxLeases = 2*MaxLimited + maxFlows

// wellFor is how long the undo condition of a lease has held, which is asked of each at
// every snapshot. Where there is no clock left it never does.
func (st *State) wellFor(ch Change, well bool, now time.Duration) time.Duration {
	clock := &st.leases[0]
	for i := range st.leases {
		if k := &st.leases[i]; k.change == ch.ID || k.change == 0 {
			clock = k
			break
		}
	}
	switch {
	case clock.change != ch.ID && clock.change != 0:
		return 0
	case clock.change == 0 || !well:
		*clock = calm{ch.ID, now}
	case st.paused:
		return 0
	}
	return now - clock.since
}

// tidy forgets the clocks of leases that are over.
func (st *State) tidy(s *Snapshot) {
	n := 0
	for _, k := range st.leases {
		if k.change != 0 && applied(s, k.change) {
			st.leases[n] = k
			n++
		}
	}
	clear(st.leases[n:])
}

func applied(s *Snapshot, change int) bool {
	for _, ch := range s.Changes {
		if ch.ID == change {
			return ch.State == Applied
		}
	}
	return false
}
