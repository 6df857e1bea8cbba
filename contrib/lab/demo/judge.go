package demo

import (
	"fmt"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// judge says what is wrong with the result. A demonstration in which nothing was
// lost without the guardian shows nothing, so that is wrong too.
func (r *Result) judge() {
	wrong := func(format string, args ...any) {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
	if failed(r.Unguarded.Clients) == 0 {
		wrong("nothing was lost without the guardian: the flood was no trouble, so this shows nothing")
	}
	if n := failed(r.Guarded.Clients); n > 0 {
		wrong("%d connections were lost with the guardian", n)
	}
	if len(r.Guarded.Moves) == 0 {
		wrong("the guardian never raised nf_conntrack_max")
	}
	if found := r.found(); found != r.Max {
		wrong("the guardian left nf_conntrack_max at %d, not at %d", found, r.Max)
	}
	for _, path := range r.Left {
		wrong("the lab left %s", path)
	}
	for _, c := range r.Changes {
		if c.State != ledger.Undone {
			wrong("the ledger has change %d (%s) as %s, not as undone", c.ID, c.Measure, c.State)
		}
	}
	if len(r.Changes) == 0 {
		wrong("the ledger has no account of a change")
	}
}

// found is nf_conntrack_max as the guardian left it: nobody else had it in hand
// when the lab came to put the machine's values back.
func (r *Result) found() int {
	if r.Sizes == nil {
		return 0
	}
	return r.Sizes.Found.Max
}

func failed(r lab.ClientReport) int { return r.TCP.Failed + r.UDP.Failed }
