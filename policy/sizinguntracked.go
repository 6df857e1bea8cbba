package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// A ServiceUse is a destination address, port and protocol of which a walk through the
// whole table has seen no translated entry, by the status bits of NAT.
type ServiceUse struct {
	Addr    netip.Addr
	Port    uint16
	Proto   string // tcp, udp or sctp
	Entries int
	Own     bool // the address is one of the gateway's own
}

// An UntrackedAdvice is a service that needs no entries.
type UntrackedAdvice struct {
	Addr     netip.Addr `json:"addr"`
	Port     uint16     `json:"port"`
	Proto    string     `json:"proto"`
	Entries  int        `json:"entries"`
	Share    float64    `json:"share"` // of the table, 0–1
	Rules    []string   `json:"rules"` // of nftables, for a chain of prerouting and one of output, both at priority raw
	Reason   string     `json:"reason"`
	TradeOff string     `json:"trade_off"`
}

// worthUntracking is the share of the table that a service has to hold to be named.
const (
	worthUntracking = 0.01
	untrackedNamed  = 5
)

// untracked are the services that could do without entries.
func (z *sizing) untracked() []UntrackedAdvice {
	list := []UntrackedAdvice{}
	for _, s := range z.Services {
		if z.Table == 0 || float64(s.Entries) < worthUntracking*float64(z.Table) {
			continue
		}
		list = append(list, z.untrack(s))
	}
	slices.SortStableFunc(list, func(a, b UntrackedAdvice) int { return cmp.Compare(b.Entries, a.Entries) })
	return list[:min(len(list), untrackedNamed)]
}

func (z *sizing) untrack(s ServiceUse) UntrackedAdvice {
	share := float64(s.Entries) / float64(z.Table)
	whose := "It is routed"
	if s.Own {
		whose = "It is the gateway itself"
	}
	return UntrackedAdvice{
		Addr: s.Addr, Port: s.Port, Proto: s.Proto, Entries: s.Entries, Share: share, Rules: s.rules(),
		Reason: fmt.Sprintf("%s. %s of %s entries (%s) lead there, and none of them is translated.",
			whose, Number(s.Entries), Number(z.Table), Percent(share)),
		TradeOff: s.tradeOff(),
	}
}

// rules match both directions.
func (s *ServiceUse) rules() []string {
	family := "ip"
	if s.Addr.Is6() {
		family = "ip6"
	}
	return []string{
		fmt.Sprintf("%s daddr %s %s dport %d notrack", family, s.Addr, s.Proto, s.Port),
		fmt.Sprintf("%s saddr %s %s sport %d notrack", family, s.Addr, s.Proto, s.Port),
	}
}

// tradeOff says what an untracked packet does not have.
func (s *ServiceUse) tradeOff() string {
	text := "Untracked packets are never translated: somebody whose way there needs it breaks, if only at another hour. " +
		"They match ct state untracked and not established, so the firewall must let both directions pass by address and port, and no longer protects by state."
	if s.Proto == "tcp" {
		text += " Connections that are open at the change go on only if the rules let them."
	}
	return text
}
