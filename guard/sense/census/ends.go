package census

import (
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// batch is how many entries wait at most.
const batch = 64

// Ends are entries that wait to be counted by where they come from and where they
// go to. When there are enough, the memory for all of them is fetched at once
// instead of for one after the other, which takes most of the time where the
// kernel's own work has pushed it out of the cache.
type ends struct {
	hasher  hasher
	waiting [batch]waiting
	waits   int
	fetched uint32 // see sketch.fetch
}

// A waiting entry: what of it is counted, with the hashes of its keys.
type waiting struct {
	Orig, Reply                        ctnetlink.Tuple
	Status                             uint32
	ReplyZone                          uint16
	Family                             uint8
	Proto                              uint8
	source, destination, service, pool uint64
	pooled                             bool // it has a pool
}

// addEnds counts where an entry comes from and where it goes to, at the next
// settle.
func (t *tally) addEnds(e *ctnetlink.Entry) {
	w := &t.ends.waiting[t.ends.waits]
	w.take(e)
	w.prepare(&t.ends.hasher, &t.networks)
	if t.ends.waits++; t.ends.waits == batch {
		t.settle()
	}
}

func (w *waiting) take(e *ctnetlink.Entry) {
	w.Orig, w.Reply, w.Status = e.Orig, e.Reply, e.Status
	w.ReplyZone, w.Family, w.Proto = e.ReplyZone, e.Family, e.Proto
}

// prepare makes of an entry what it is counted by, and hashes that.
func (w *waiting) prepare(h *hasher, n *networks) {
	n.mask(&w.Orig.Src, w.Family)
	if w.Proto == unix.IPPROTO_GRE {
		w.Orig.DstPort = 0 // its key is that of a call, not of a service
	}
	w.source = h.address(&w.Orig.Src)
	w.destination = h.address(&w.Orig.Dst)
	w.service = h.service(w.destination, w.Orig.DstPort, w.Proto)
	w.pooled = w.Status&ctnetlink.StatusSrcNAT != 0 && HasPorts(w.Proto)
	if !w.pooled {
		return
	}
	to := w.service
	if w.Reply.Src != w.Orig.Dst || w.Reply.SrcPort != w.Orig.DstPort { // its destination is translated too
		to = h.service(h.address(&w.Reply.Src), w.Reply.SrcPort, w.Proto)
	}
	w.pool = h.pool(h.address(&w.Reply.Dst), to, w.ReplyZone)
}

// settle counts the entries that wait. The sketches are complete only after it.
func (t *tally) settle() {
	ready := t.ends.waiting[:t.ends.waits]
	fetched := uint32(0)
	for i := range ready {
		w := &ready[i]
		fetched += t.sources.fetch(w.source) + t.destinations.fetch(w.destination) +
			t.services.fetch(w.service) + t.pools.fetch(w.pool)
	}
	t.ends.fetched += fetched
	for i := range ready {
		t.count(&ready[i])
	}
	t.ends.waits = 0
}

func (t *tally) count(w *waiting) {
	if key := t.sources.add(w.source, ports{}); key != nil {
		*key = w.Orig.Src
	}
	if key := t.destinations.add(w.destination, ports{}); key != nil {
		*key = w.Orig.Dst
	}
	if key := t.services.add(w.service, ports{}); key != nil {
		w.to(key)
	}
	if w.pooled {
		t.addPort(w)
	}
}

// to sets key to the service that an entry goes to. Like from, it sets one field
// after the other where they stay: to copy what was just written in pieces would
// make the processor wait for it.
func (w *waiting) to(key *service) {
	key.dst, key.port, key.proto = w.Orig.Dst, w.Orig.DstPort, uint16(w.Proto)
}

// from sets key to the pool that an entry's source port is from.
func (w *waiting) from(key *pool) {
	key.nat, key.dst = w.Reply.Dst, w.Reply.Src
	key.port, key.proto, key.zone = w.Reply.SrcPort, uint16(w.Proto), w.ReplyZone
}

// addPort counts a port that source NAT took: the reply comes to it, so it is
// taken in the reply's zone (nf_conntrack_tuple_taken). Clients that have zones of
// their own in the original direction alone share the ports.
func (t *tally) addPort(w *waiting) {
	port := w.Reply.DstPort
	if key := t.pools.add(w.pool, ports{port, port}); key != nil {
		w.from(key)
	}
}

// HasPorts reports whether a protocol has source ports that NAT chooses from.
func HasPorts(proto uint8) bool {
	switch proto {
	case unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_UDPLITE, unix.IPPROTO_SCTP, unix.IPPROTO_DCCP:
		return true
	}
	return false
}
