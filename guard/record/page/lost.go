package page

import "github.com/conntrack-guardian/conntrack-guardian/policy"

// Losses are lost connections and packets by the kernel's counter, each counted once.
type Losses struct {
	Drop         uint64 `json:"drop"`          // dropped, and not refused at confirmation
	InsertFailed uint64 `json:"insert_failed"` // refused at confirmation: no port, chain too long, clash
	EarlyDrop    uint64 `json:"early_drop"`    // somebody's entry evicted for a new one
}

// lossesOf counts each loss of one interval once. A chain that is too long counts in
// chaintoolong and insert_failed, a lack of source ports in insert_failed and drop
// (nf_conntrack_confirm, nf_nat_l4proto_unique_tuple).
func lossesOf(c policy.Counters) Losses {
	twice := min(c.Drop, c.InsertFailed-min(c.ChainTooLong, c.InsertFailed))
	return Losses{Drop: c.Drop - twice, InsertFailed: c.InsertFailed, EarlyDrop: c.EarlyDrop}
}

// Sum is how many were lost.
func (l Losses) Sum() uint64 { return l.Drop + l.InsertFailed + l.EarlyDrop }

func (l Losses) plus(o Losses) Losses {
	return Losses{l.Drop + o.Drop, l.InsertFailed + o.InsertFailed, l.EarlyDrop + o.EarlyDrop}
}

func countersPlus(a, b policy.Counters) policy.Counters {
	return policy.Counters{
		Found: a.Found + b.Found, Invalid: a.Invalid + b.Invalid, InsertFailed: a.InsertFailed + b.InsertFailed,
		Drop: a.Drop + b.Drop, EarlyDrop: a.EarlyDrop + b.EarlyDrop,
		ChainTooLong: a.ChainTooLong + b.ChainTooLong, ClashResolve: a.ClashResolve + b.ClashResolve,
	}
}
