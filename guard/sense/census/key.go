package census

import "github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"

// A service is where an entry goes to.
type service struct {
	dst   ctnetlink.Addr
	port  uint16
	proto uint16 // wider than need be, so that there is no padding
}

// A pool is a set of source ports for NAT: within a zone, no two entries from
// one address to one destination, port and protocol share a port.
type pool struct {
	nat, dst ctnetlink.Addr
	port     uint16
	proto    uint16
	zone     uint16
}

// ports are the lowest and the highest source port seen.
type ports struct{ lowest, highest uint16 }

func (p ports) join(other ports) ports {
	return ports{min(p.lowest, other.lowest), max(p.highest, other.highest)}
}
