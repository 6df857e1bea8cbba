package policy

// losses are connections or packets lost, attributed to what lost them.
type losses struct {
	full    uint64 // the table was full: refused, or somebody's half-open entry evicted
	snat    uint64 // no source port left for NAT
	chains  uint64 // the hash chain was too long
	memory  uint64 // the entry could not be allocated
	unknown uint64 // refused at confirmation for another reason, such as a clash
}

// nearFull is the utilization from which a lone drop means a full table. Room
// left above it is less than what a full table frees between two readings.
const nearFull = 0.95

// searched is how many taken ports a failed search has met at the least. A full
// search meets far more (130 for each failure in a range of 500 ports, measured),
// a clash one at most.
const searched = 4

// attribute splits one interval's increments by the signatures the kernel
// leaves. Each column is used up by the most specific signature first:
//
//   - chain too long:   chaintoolong and insert_failed together
//     (nf_conntrack_confirm and nf_conntrack_hash_check_insert)
//   - no source port:   insert_failed and drop together, after a long search that
//     met taken ports, each one found (nf_nat_l4proto_unique_tuple)
//   - clash:            the same without the search (nf_ct_resolve_clash)
//   - full table:       drop alone near the limit, or early_drop, which is a loss
//     for whoever owned the evicted entry (__nf_conntrack_alloc)
//   - no memory:        drop alone with room left (slab allocation failed)
func attribute(c Counters, utilization float64) losses {
	var l losses
	l.chains = min(c.ChainTooLong, c.InsertFailed)
	failed := c.InsertFailed - l.chains
	both := min(c.Drop, failed)
	if c.Found >= searched*both {
		l.snat = both
	}
	l.unknown = failed - l.snat
	alone := c.Drop - both
	if utilization >= nearFull {
		l.full = alone
	} else {
		l.memory = alone
	}
	l.full += c.EarlyDrop
	return l
}

func (l losses) plus(o losses) losses {
	return losses{l.full + o.full, l.snat + o.snat, l.chains + o.chains, l.memory + o.memory, l.unknown + o.unknown}
}

func (l losses) sum() uint64 { return l.full + l.snat + l.chains + l.memory + l.unknown }

// minus takes off an earlier sum.
func (l losses) minus(o losses) losses {
	return losses{l.full - o.full, l.snat - o.snat, l.chains - o.chains, l.memory - o.memory, l.unknown - o.unknown}
}

func (c Counters) plus(o Counters) Counters {
	return Counters{
		Found: c.Found + o.Found, Invalid: c.Invalid + o.Invalid, InsertFailed: c.InsertFailed + o.InsertFailed,
		Drop: c.Drop + o.Drop, EarlyDrop: c.EarlyDrop + o.EarlyDrop,
		ChainTooLong: c.ChainTooLong + o.ChainTooLong, ClashResolve: c.ClashResolve + o.ClashResolve,
	}
}
