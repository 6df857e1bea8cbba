package policy

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// portsOfAddress is how many source ports one NAT address has towards one destination
// address, port and protocol: 1024 to 65535 (nf_nat_l4proto_unique_tuple).
const portsOfAddress = 64512

// A PoolUse is what a census found of the ports of one NAT address towards one
// destination address, port and protocol.
type PoolUse struct {
	NAT, Dst        netip.Addr
	Port            uint16
	Proto           string
	Used            int
	Lowest, Highest uint16 // port seen in use
}

// A SizedPool is how many NAT addresses one destination needs.
type SizedPool struct {
	Dst       netip.Addr `json:"dst"`
	Port      uint16     `json:"port"`
	Proto     string     `json:"proto"`
	Addresses int        `json:"addresses"` // that are in use towards it
	Needed    int        `json:"needed"`
	Used      int        `json:"used"`    // ports, of all of them
	AtPeak    int        `json:"at_peak"` // likewise
	Ports     int        `json:"ports"`   // that each of them has
	Reason    string     `json:"reason"`
	TradeOff  string     `json:"trade_off"` // empty where there are enough
}

// poolsNamed is how many destinations are named that have enough addresses: the fullest,
// to show how far it is from more. All that have too few are named, up to a handful.
const (
	poolsNamed = 1
	poolsShort = 5
)

// pools are the destinations that need more NAT addresses, or else the fullest.
func (z *sizing) pools() []SizedPool {
	list := []SizedPool{}
	for _, group := range z.destinations() {
		list = append(list, z.pool(group))
	}
	slices.SortStableFunc(list, func(a, b SizedPool) int {
		return cmp.Or(cmp.Compare(b.Needed-b.Addresses, a.Needed-a.Addresses), cmp.Compare(b.AtPeak, a.AtPeak))
	})
	short := slices.IndexFunc(list, func(p SizedPool) bool { return p.Needed <= p.Addresses })
	if short < 0 {
		short = len(list)
	}
	return list[:min(len(list), max(min(short, poolsShort), poolsNamed))]
}

// destinations groups the pools by what they lead to, in the order that they come in.
func (z *sizing) destinations() (groups [][]PoolUse) {
	type destination struct {
		dst   netip.Addr
		port  uint16
		proto string
	}
	at := map[destination]int{}
	for _, p := range z.Pools {
		key := destination{p.Dst, p.Port, p.Proto}
		i, known := at[key]
		if !known {
			i = len(groups)
			at[key], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

// pool sizes one destination: its ports at the peak, with headroom.
func (z *sizing) pool(of []PoolUse) SizedPool {
	first := of[0]
	p := SizedPool{Dst: first.Dst, Port: first.Port, Proto: first.Proto}
	addresses, ranged := map[netip.Addr]bool{}, portsOfAddress
	for _, u := range of {
		addresses[u.NAT] = true // one may have a pool in each of several zones
		p.Used += u.Used
		ranged = min(ranged, u.ports())
	}
	p.Addresses, p.Ports, p.AtPeak = len(addresses), ranged, z.scaled(p.Used)
	p.Needed = max(1, int(math.Ceil(z.Headroom*float64(p.AtPeak)/float64(p.Ports))))
	p.explain(z, first)
	return p
}

// rangeLeast is how many ports in use tell something of the range that they are from.
const rangeLeast = 100

// ports are how many a pool has. Where those seen fill most of a narrow range, the NAT
// rule seems to have a range of its own: without one the kernel keeps the client's port if
// it is free, and searches all of them if it is not. One busy client fills that which its
// system takes ports from, of 28,232 on Linux (ip_local_port_range), as well.
func (u *PoolUse) ports() int {
	width := int(u.Highest) - int(u.Lowest) + 1
	if u.Used >= rangeLeast && width < portsOfAddress*9/10 && u.Used >= width*4/5 {
		return width
	}
	return portsOfAddress
}

func (p *SizedPool) explain(z *sizing, first PoolUse) {
	p.Reason = fmt.Sprintf("%s source ports lead there", Number(p.Used))
	if p.AtPeak > p.Used {
		p.Reason += fmt.Sprintf(", %s at the peak", Number(p.AtPeak))
	}
	p.Reason += fmt.Sprintf("; an address has %s", Number(p.Ports))
	if p.Ports < portsOfAddress {
		p.Reason += fmt.Sprintf(", as it seems: all seen are within %d-%d, of %s that it could have", first.Lowest, first.Highest, Number(portsOfAddress))
	}
	p.Reason += fmt.Sprintf("; %s that.", asFactor(z.Headroom))
	if p.Needed <= p.Addresses {
		return
	}
	p.TradeOff = "More addresses have to be had, and a client may be seen under several of them: with nftables, snat to a range keeps " +
		"each client on one with the flag persistent. A larger table does not help."
	if p.Ports < portsOfAddress {
		p.TradeOff = "If the NAT rule has that range, a wider one costs nothing and comes first; if it has none, they are the clients' own ports, " +
			"and an address has all. " + p.TradeOff
	}
}

// asFactor says how much of something is wanted.
func asFactor(f float64) string {
	if f == 1 {
		return "no more is kept free than"
	}
	return "room is for " + times(f)
}
