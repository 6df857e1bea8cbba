package page

import (
	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A figure is a number with its name and what it means.
type figure struct{ Name, Value, What string }

// counters are the kernel's own, those that are not 0.
func (r *Report) counters() (out []figure) {
	c := &r.Counters
	for _, f := range []struct {
		name string
		n    uint64
		what string
	}{
		{"drop", c.Drop, "dropped: table full, no memory, no source port, clash"},
		{"insert_failed", c.InsertFailed, "refused at confirmation"},
		{"early_drop", c.EarlyDrop, "half-open entries evicted from a full table"},
		{"chaintoolong", c.ChainTooLong, "refused by too long a hash chain"},
		{"clash_resolve", c.ClashResolve, "clashes that were resolved: nothing lost"},
		{"invalid", c.Invalid, "packets that fitted no entry"},
		{"found", c.Found, "lookups that hit; many mean a search for ports"},
	} {
		if f.n > 0 {
			out = append(out, figure{f.name, policy.Number(int(f.n)), f.what})
		}
	}
	return out
}

func diagnosisText(d Diagnosis) string { return guard.Diagnosis(d.Cause, d.Pattern, d.Confidence) }
