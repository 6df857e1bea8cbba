package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Entries describes entries to be made: how many, what they are like, and which
// addresses they share. Addresses are numbered from 0 and number n is always the
// same address, so two Entries overlap where their numbers do.
//
// Sources take turns, and so do services (destinations times ports), so each has
// its even share of Count, rounded up for the first and down for the others, and
// the two are independent. A hog is an Entries of its own.
type Entries struct {
	Count   int           `json:"count"`
	Family  uint8         `json:"family"`  // 4 or 6; 0 is 4
	Proto   uint8         `json:"proto"`   // unix.IPPROTO_TCP, _UDP, _SCTP, _ICMP (echo) or _ICMPV6 (echo)
	State   uint8         `json:"state"`   // TCP_CONNTRACK_* or SCTP_CONNTRACK_*; no other protocol has one
	Replied bool          `json:"replied"` // a packet came back
	Assured bool          `json:"assured"` // Replied is implied
	Timeout time.Duration `json:"timeout"` // until they expire, whole seconds
	Fixed   bool          `json:"fixed"`   // no packet and nobody changes the timeout (IPS_FIXED_TIMEOUT)
	Zone    uint16        `json:"zone"`
	Mark    uint32        `json:"mark"`

	// Master makes them children of expectations, as helpers do: their masters are
	// the entries so many places before these in the mix, taken in turn. 0 is none.
	Master int `json:"master"`

	Sources     int `json:"sources"`      // addresses they come from; 0 is one
	FirstSource int `json:"first_source"` // number of the first of them
	PerNet      int `json:"per_net"`      // IPv6: as many consecutive sources share a /64; 0 is one

	Destinations int      `json:"destinations"` // addresses they go to; 0 is as few as are well enough
	Ports        []uint16 `json:"ports"`        // destination ports; none is 443

	SNAT NATPool    `json:"snat"` // the zero value is none
	DNAT netip.Addr `json:"dnat"` // destination n is translated to the n-th address from here on
}

// A NATPool is what sources are translated to: address after address, then port
// after port, with ids for ports in ICMP.
type NATPool struct {
	First     netip.Addr `json:"first"`     // of the addresses
	Addresses int        `json:"addresses"` // how many; 0 is one
	Ports     Ports      `json:"ports"`     // the zero value is 1024–65535, as the kernel has it
}

// TCP states of an entry, nf_conntrack_tcp.h.
const (
	SynSent     uint8 = 1
	SynRecv     uint8 = 2
	Established uint8 = 3
	FinWait     uint8 = 4
	CloseWait   uint8 = 5
	LastAck     uint8 = 6
	TimeWait    uint8 = 7
	Closed      uint8 = 8
	SynSent2    uint8 = 9
)

// SCTP states of an entry, nf_conntrack_sctp.h.
const (
	SCTPClosed          uint8 = 1
	SCTPCookieWait      uint8 = 2
	SCTPCookieEchoed    uint8 = 3
	SCTPEstablished     uint8 = 4
	SCTPShutdownSent    uint8 = 5
	SCTPShutdownRecd    uint8 = 6
	SCTPShutdownAckSent uint8 = 7
	SCTPHeartbeatSent   uint8 = 8
)

// lastState is the last state of an entry by protocol. Those not here have none.
var lastState = map[uint8]uint8{unix.IPPROTO_TCP: SynSent2, unix.IPPROTO_SCTP: SCTPHeartbeatSent}

// naturalPorts are those that nf_nat_l4proto_unique_tuple searches when the
// source port was 1024 or more.
var naturalPorts = Ports{1024, 65535}

const (
	maxSources      = 1 << 23
	maxDestinations = 1 << 17
	// easyTurns is how many ports of a source the entries use towards one service
	// when the number of destinations is free. It leaves room for other fills.
	easyTurns = 1000
)

func (p Ports) count() int { return int(p.Last) - int(p.First) + 1 }

func (p NATPool) translates() bool { return p.First.IsValid() }

// places is how many entries towards one service the pool can translate.
func (p NATPool) places() int { return p.Addresses * p.Ports.count() }

// Check says what of a mix can't be made.
func Check(mix ...Entries) error {
	_, err := new(numbering).takeAll(mix)
	return err
}

// resolved returns the entries with defaults filled in, or what can't be made.
func (e Entries) resolved() (Entries, error) {
	if e.Family == 0 {
		e.Family = 4
	}
	e.Sources = max(e.Sources, 1)
	e.PerNet = max(e.PerNet, 1)
	e.Replied = e.Replied || e.Assured
	e.SNAT.Addresses = max(e.SNAT.Addresses, 1)
	if e.SNAT.Ports == (Ports{}) {
		e.SNAT.Ports = naturalPorts
	}
	if len(e.Ports) == 0 {
		e.Ports = []uint16{443}
		if e.isICMP() {
			e.Ports = []uint16{e.echo().request()}
		}
	} else if e.isICMP() {
		return e, errors.New("make entries: ICMP has no ports")
	}
	if e.Destinations == 0 {
		e.Destinations = e.enoughDestinations()
	}
	return e, errors.Join(e.checkKind(), e.checkNAT(), e.checkNumbers())
}

// enoughDestinations is how many leave each source easyTurns ports at most, and
// each pool the places it has.
func (e Entries) enoughDestinations() int {
	n := ceilDiv(e.Count, e.Sources*len(e.Ports)*easyTurns)
	if e.SNAT.translates() && e.SNAT.places() > 0 {
		n = max(n, ceilDiv(e.Count, len(e.Ports)*e.SNAT.places()))
	}
	return max(n, 1)
}

func (e Entries) checkKind() error {
	last, states := lastState[e.Proto]
	known := states || e.Proto == unix.IPPROTO_UDP ||
		e.Family == 4 && e.Proto == unix.IPPROTO_ICMP || e.Family == 6 && e.Proto == unix.IPPROTO_ICMPV6
	switch {
	case e.Family != 4 && e.Family != 6:
		return fmt.Errorf("make entries: no family %d", e.Family)
	case !known:
		return fmt.Errorf("make entries: no protocol %d in IPv%d", e.Proto, e.Family)
	case states && (e.State == 0 || e.State > last):
		return fmt.Errorf("make entries: no state %d of protocol %d", e.State, e.Proto)
	case !states && e.State != 0:
		return fmt.Errorf("make entries: state %d, but protocol %d has none", e.State, e.Proto)
	case e.Timeout < time.Second:
		return fmt.Errorf("make entries: timeout of %s is under a second", e.Timeout)
	}
	return nil
}

func (e Entries) checkNAT() error {
	for _, to := range []netip.Addr{e.SNAT.First, e.DNAT} {
		if to.IsValid() && to.Is4() != (e.Family == 4) {
			return fmt.Errorf("make entries: IPv%d can't be translated to %s", e.Family, to)
		}
	}
	if p := e.SNAT.Ports; p.First == 0 || p.First > p.Last {
		return fmt.Errorf("make entries: no ports %d to %d to translate to", p.First, p.Last)
	}
	return nil
}

// checkMasters says why masters, nil if there are none, can't be those of e: the
// kernel looks for a master in the child's zone and family
// (ctnetlink_create_conntrack).
func (e Entries) checkMasters(masters *Entries) error {
	switch {
	case masters == nil:
		return fmt.Errorf("make entries: no masters %d places before them in the mix", e.Master)
	case masters.Count == 0:
		return errors.New("make entries: their masters are none")
	case masters.Family != e.Family || masters.Zone != e.Zone:
		return fmt.Errorf("make entries: IPv%d in zone %d, their masters are IPv%d in zone %d",
			e.Family, e.Zone, masters.Family, masters.Zone)
	case masters.isICMP():
		return errors.New("make entries: no expectation has a master that is ICMP")
	}
	return nil
}

// checkNumbers refuses what could not have a tuple of its own for each entry.
func (e Entries) checkNumbers() error {
	switch {
	case e.Count < 0 || e.FirstSource < 0 || e.Destinations < 0 || e.Master < 0:
		return errors.New("make entries: a number is negative")
	case e.FirstSource+e.Sources > maxSources:
		return fmt.Errorf("make entries: %d sources from number %d, there are %d", e.Sources, e.FirstSource, maxSources)
	case e.Destinations > maxDestinations:
		return fmt.Errorf("make entries: %d destinations, there are %d", e.Destinations, maxDestinations)
	case e.turns() > tuplePorts:
		return fmt.Errorf("make entries: %d from %d sources to %d services of %d destinations need %d source ports of %d",
			e.Count, e.Sources, len(e.Ports), e.Destinations, e.turns(), tuplePorts)
	case e.SNAT.translates() && e.perService() > e.SNAT.places():
		return fmt.Errorf("make entries: %d to one service are to be translated to %d places",
			e.perService(), e.SNAT.places())
	}
	return nil
}

func (e Entries) services() int { return len(e.Ports) * e.Destinations }

// perService is how many entries go to one service at most.
func (e Entries) perService() int { return ceilDiv(e.Count, e.services()) }

// turns is how often a source uses a service at most: as many source ports.
func (e Entries) turns() int { return ceilDiv(e.perService(), e.Sources) }

func ceilDiv(a, b int) int { return (a + b - 1) / b }
