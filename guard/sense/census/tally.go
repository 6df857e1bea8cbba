package census

import (
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// Slots of a sketch, as a power of two: 1.8 MB in all.
const (
	addressSlots = 14
	serviceSlots = 14
	poolSlots    = 14
)

// A tally counts entries, each in one pass and in bounded memory. It allocates
// nothing while it does.
type tally struct {
	read      int
	protocols [256]uint32
	states    [256]uint32 // TCP_CONNTRACK_*, of TCP entries
	zones     [1 << 16]uint32
	kinds     [32]uint32 // by kind
	offloaded uint32
	ipv6      uint32

	remaining [classes]histogram
	silent    [classes]uint32

	sources      *sketch[ctnetlink.Addr, struct{}]
	destinations *sketch[ctnetlink.Addr, struct{}]
	services     *sketch[service, struct{}]
	pools        *sketch[pool, ports]

	timeouts timeouts
	tcp      [256]rule // by state
	others   [256]rule // by protocol
	silences [classes]silence
}

// newTally makes a tally for a namespace with these timeouts.
func newTally(t timeouts) *tally {
	return &tally{
		sources:      newSketch[ctnetlink.Addr, struct{}](addressSlots, nil),
		destinations: newSketch[ctnetlink.Addr, struct{}](addressSlots, nil),
		services:     newSketch[service, struct{}](serviceSlots, nil),
		pools:        newSketch[pool, ports](poolSlots, ports.join),
		timeouts:     t,
		tcp:          t.tcpRules(),
		others:       t.protocolRules(),
		silences:     t.silences(),
	}
}

// add counts an entry.
func (t *tally) add(e *ctnetlink.Entry) {
	t.read++
	t.protocols[e.Proto]++
	t.zones[e.Zone]++
	t.kinds[kind(e.Status)]++
	if e.Proto == unix.IPPROTO_TCP {
		t.states[e.TCPState]++
	}
	if e.Family == unix.AF_INET6 {
		t.ipv6++
	}
	t.addTimeout(e)
	t.addEnds(e)
}

// The bits of a kind, and what it takes of the status.
const (
	kindShift  = 1
	kindMask   = 31
	seenReply  = ctnetlink.StatusSeenReply >> kindShift
	isAssured  = ctnetlink.StatusAssured >> kindShift
	isSourced  = ctnetlink.StatusSrcNAT >> kindShift
	isDirected = ctnetlink.StatusDstNAT >> kindShift
)

// kind is what of an entry's status is counted.
func kind(status uint32) uint32 { return status >> kindShift & kindMask }

// addTimeout counts an entry's seconds left, if they began as a sysctl says.
func (t *tally) addTimeout(e *ctnetlink.Entry) {
	if e.Offloaded {
		t.offloaded++
		return
	}
	if e.Status&ctnetlink.StatusFixedTimeout != 0 {
		return
	}
	c := t.class(e)
	t.remaining[c][bin(e.Timeout)]++
	if t.silences[c].holds(e.Timeout) {
		t.silent[c]++
	}
}

func (t *tally) class(e *ctnetlink.Entry) class {
	if e.Proto == unix.IPPROTO_TCP {
		return t.tcp[e.TCPState].of(e.Status)
	}
	return t.others[e.Proto].of(e.Status)
}

// addEnds counts where an entry comes from and where it goes to.
func (t *tally) addEnds(e *ctnetlink.Entry) {
	source := e.Orig.Src
	if e.Family == unix.AF_INET6 {
		clear(source[8:])
	}
	t.sources.add(source, struct{}{})
	t.destinations.add(e.Orig.Dst, struct{}{})

	to := service{dst: e.Orig.Dst, port: e.Orig.DstPort, proto: uint16(e.Proto)}
	if e.Proto == unix.IPPROTO_GRE {
		to.port = 0 // its key is that of a call, not of a service
	}
	t.services.add(to, struct{}{})
	if e.Status&ctnetlink.StatusSrcNAT != 0 && hasPorts(e.Proto) {
		t.addPort(e)
	}
}

// addPort counts a port that source NAT took: the reply comes to it, so it is
// taken in the reply's zone (nf_conntrack_tuple_taken). Clients that have zones of
// their own in the original direction alone share the ports.
func (t *tally) addPort(e *ctnetlink.Entry) {
	port := e.Reply.DstPort
	t.pools.add(pool{
		nat: e.Reply.Dst, dst: e.Reply.Src,
		port: e.Reply.SrcPort, proto: uint16(e.Proto), zone: e.ReplyZone,
	}, ports{port, port})
}

// hasPorts reports whether a protocol has source ports that NAT chooses from.
func hasPorts(proto uint8) bool {
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		return true
	}
	return false
}

// reset forgets all entries.
func (t *tally) reset() {
	t.read, t.offloaded, t.ipv6 = 0, 0, 0
	clear(t.protocols[:])
	clear(t.states[:])
	clear(t.zones[:])
	clear(t.kinds[:])
	clear(t.remaining[:])
	clear(t.silent[:])
	t.sources.reset()
	t.destinations.reset()
	t.services.reset()
	t.pools.reset()
}
