package nft

import (
	"net/netip"
	"slices"
)

// Has reports whether the rules for the flow leave packets untracked that go from one
// end to the other, with 0 for the ports of a protocol without. Which way round the flow
// is does not matter. For a flow that is Local it asks local, which may be slow, whether
// an address is this machine's: last, and only then.
func (f *Flow) Has(proto uint8, from, to netip.AddrPort, local func(netip.Addr) bool) bool {
	return proto == f.Proto && (f.between(from, to, local) || f.between(to, from, local))
}

// between reports whether the flow has such a client and server.
func (f *Flow) between(client, server netip.AddrPort, local func(netip.Addr) bool) bool {
	if !f.hasPort(server.Port()) || !containedIn(f.From, client.Addr()) {
		return false
	}
	if f.Local {
		return local(server.Addr())
	}
	return containedIn(f.To, server.Addr())
}

func (f *Flow) hasPort(port uint16) bool {
	return len(f.Ports) == 0 || slices.ContainsFunc(f.Ports, func(p Ports) bool { return p.Low <= port && port <= p.High })
}

func containedIn(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
