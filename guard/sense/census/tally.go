package census

import (
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// Slots of a sketch, as a power of two: 2 MB in all. Of pools, whose keys are the
// largest, only those that have a good part of their ports in use are of interest.
const (
	addressSlots = 14
	serviceSlots = 14
	poolSlots    = 13
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

	remaining [timeout.Classes][2]histogram // of entries that are not assured, and of those that are
	longer    [timeout.Classes][2]uint32    // those of them that have more left than the timeout
	silent    [timeout.Classes]uint32

	sources      *sketch[ctnetlink.Addr]
	destinations *sketch[ctnetlink.Addr]
	services     *sketch[service]
	pools        *sketch[pool]
	ends         ends
	networks     networks

	timeouts timeout.Table
	rules    timeout.Rules
	whole    [timeout.Classes]uint32 // seconds, the timeout
	silences [timeout.Classes]silence
}

// newTally makes a tally for a namespace with these timeouts, of the usual sources.
func newTally(t timeout.Table) *tally {
	return &tally{
		sources:      newSketch[ctnetlink.Addr](addressSlots),
		destinations: newSketch[ctnetlink.Addr](addressSlots),
		services:     newSketch[service](serviceSlots),
		pools:        newSketch[pool](poolSlots),
		ends:         ends{hasher: newHasher()},
		networks:     newNetworks(0, 0),
		timeouts:     t,
		rules:        *t.Rules(),
		whole:        wholes(&t),
		silences:     silences(&t),
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
	c := t.rules.Class(e)
	assured := e.Status / ctnetlink.StatusAssured & 1
	t.remaining[c][assured][bin(e.Timeout)]++
	if e.Timeout > t.whole[c] {
		t.longer[c][assured]++
	}
	if t.silences[c].holds(e.Timeout) {
		t.silent[c]++
	}
}

// reset forgets all entries.
func (t *tally) reset() {
	t.read, t.offloaded, t.ipv6 = 0, 0, 0
	clear(t.protocols[:])
	clear(t.states[:])
	clear(t.zones[:])
	clear(t.kinds[:])
	clear(t.remaining[:])
	clear(t.longer[:])
	clear(t.silent[:])
	t.sources.reset()
	t.destinations.reset()
	t.services.reset()
	t.pools.reset()
	t.ends.waits = 0
}
