package main

import (
	"cmp"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// A limitsReport is what restricts the traffic of a namespace, as --limits --json
// prints it. Durations are in seconds.
type limitsReport struct {
	Wall      time.Time     `json:"time"`
	at        time.Duration // boot clock
	Namespace string        `json:"namespace"` // path, empty for our own
	Leases    []limitRow    `json:"leases"`    // who was refused most first
	// Unexplained is why the ledger says nothing of them, empty where it was read.
	Unexplained string `json:"unexplained"`
}

// A limitRow is one lease in force.
type limitRow struct {
	Kind   string  `json:"kind"`   // limit, drop or bypass
	Source string  `json:"source"` // prefix; empty for a bypass
	Flow   string  `json:"flow"`   // name in the policy; empty for the others
	Terms  string  `json:"terms"`  // as the kernel and the ledger have them
	Rate   int     `json:"rate"`   // new connections a second (limit)
	Burst  int     `json:"burst"`  // that may come at once (limit)
	Lease  float64 `json:"lease"`  // from one renewal
	Left   float64 `json:"left"`   // until it ends, unless it is renewed
	// Refused are packets: each the first of a connection where the source is limited.
	Refused uint64 `json:"refused"`
	// PerSecond is how many were refused since the report before, null in the first one.
	PerSecond *float64 `json:"refused_per_second"`

	// What follows is from the ledger: null, or empty, where that says nothing.

	Change *int       `json:"change"` // id
	Since  *time.Time `json:"since"`
	Held   *float64   `json:"held"` // since then
	Cause  string     `json:"cause"`
	Reason string     `json:"reason"`

	held actions.Held
}

// newLimitsReport is what the kernel says.
func newLimitsReport(namespace string, held []actions.Held) limitsReport {
	r := limitsReport{Namespace: namespace, Leases: []limitRow{}}
	for _, h := range held {
		row := limitRow{
			Kind: h.Kind.String(), Flow: h.Flow, Terms: h.Text, Lease: h.Timeout.Seconds(), Left: h.Left.Seconds(), Refused: h.Refused, held: h,
		}
		if h.Kind != nft.Bypass {
			row.Source = h.Source.String()
		}
		if l, ok := row.ours(); ok {
			row.Rate, row.Burst = l.Rate, l.Burst
		}
		r.Leases = append(r.Leases, row)
	}
	slices.SortStableFunc(r.Leases, func(a, b limitRow) int {
		return cmp.Or(cmp.Compare(b.Refused, a.Refused), cmp.Compare(a.held.Kind, b.held.Kind), a.held.Source.Compare(b.held.Source), cmp.Compare(a.Flow, b.Flow))
	})
	return r
}

// edit is how the ledger has a lease.
func (r *limitRow) edit() ledger.Edit {
	return ledger.Edit{Key: r.held.Key, Before: actions.NoLease, After: r.Terms}
}

// ours is the lease, if its terms are some of ours.
func (r *limitRow) ours() (actions.Lease, bool) { return actions.ParseLease(r.edit()) }

// explain adds what the ledger says of each lease. It may have another path to the same
// namespace.
func (r *limitsReport) explain(changes []ledger.Change, same func(namespace, as string) bool) {
	for _, c := range changes { // the newest comes last, and counts
		l, ok := leaseOf(c)
		if !ok {
			continue
		}
		for i := range r.Leases {
			row := &r.Leases[i]
			of, ours := row.ours()
			if at := l; ours && same(l.Namespace, of.Namespace) {
				if at.Namespace = of.Namespace; at == of {
					row.explain(c, r.at)
				}
			}
		}
	}
}

func (r *limitRow) explain(c ledger.Change, now time.Duration) {
	since := c.Created
	r.Change, r.Since, r.Cause, r.Reason = &c.ID, &since, c.Cause, c.Reason
	if c.Made > 0 {
		held := (now - c.Made).Seconds()
		r.Held = &held
	}
}

// compare adds how many packets were refused a second since the report before. Of a
// lease that was not in it that is not known.
func (r *limitsReport) compare(before *limitsReport) {
	span := (r.at - before.at).Seconds()
	was := map[string]uint64{}
	for _, row := range before.Leases {
		was[row.held.Key] = row.Refused
	}
	for i := range r.Leases {
		row := &r.Leases[i]
		old, known := was[row.held.Key]
		if !known || span <= 0 {
			continue
		}
		if old > row.Refused { // it began anew
			old = 0
		}
		rate := float64(row.Refused-old) / span
		row.PerSecond = &rate
	}
}
