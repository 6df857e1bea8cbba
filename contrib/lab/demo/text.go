package demo

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// Write tells the result to people.
func (r Result) Write(to io.Writer) error {
	w := bufio.NewWriter(to)
	perColumn := scale(r.Unguarded, r.Guarded)
	fmt.Fprintf(w, "The same flood twice, against a table of %s entries\n", grouped(r.Max))
	fmt.Fprintf(w, "\nwithout the guardian: utilization over %s\n", span(r.Unguarded))
	plot(w, r.Unguarded, perColumn)
	fmt.Fprintf(w, "\nwith the guardian: utilization over %s\n", span(r.Guarded))
	plot(w, r.Guarded, perColumn)
	fmt.Fprintln(w, "  While the flows ended, the lab walked the table: that frees what has expired")
	fmt.Fprintln(w, "  at once, where the kernel alone takes up to a minute.")
	r.writeTable(w)
	r.writeChanges(w)
	r.writeVerdict(w)
	return w.Flush()
}

func span(r Run) string {
	if n := len(r.Samples); n > 0 {
		return seconds(r.Samples[n-1].At)
	}
	return "no time"
}

func (r Result) writeTable(w io.Writer) {
	a, b := r.Unguarded, r.Guarded
	fmt.Fprintf(w, "\n%-38s %10s %10s\n", "", "without", "with")
	row := func(name string, a, b int) { fmt.Fprintf(w, "%-38s %10s %10s\n", name, grouped(a), grouped(b)) }
	tally := func(name string, a, b lab.Tally) {
		row(name+" attempted", a.Attempted, b.Attempted)
		row("  failed: no echo within the deadline", a.Failed, b.Failed)
		row("  slow: a packet was sent again", a.Slow, b.Slow)
		fmt.Fprintf(w, "%-38s %10s %10s\n", "  longest outage", seconds(a.LongestOutage), seconds(b.LongestOutage))
	}
	tally("new connections", a.Clients.TCP, b.Clients.TCP)
	tally("UDP exchanges", a.Clients.UDP, b.Clients.UDP)
	row("flows of the flood sent", int(a.Flood.Sent), int(b.Flood.Sent))
	row("  that got through", int(a.Flood.Completed), int(b.Flood.Completed))
}

func (r Result) writeChanges(w io.Writer) {
	fmt.Fprintln(w, "\nThe guardian's own account (conntrack-guardian actions):")
	for _, c := range r.Changes {
		fmt.Fprintf(w, "  %d %s: %s\n", c.ID, c.Measure, cmp.Or(c.Outcome, "not judged"))
		for _, e := range c.Edits {
			fmt.Fprintf(w, "    made:   %s %s → %s\n", e.Key[strings.LastIndex(e.Key, ".")+1:], e.Before, e.After)
		}
		fmt.Fprintf(w, "            %s\n", cmp.Or(c.Reason, "no reason given"))
		fmt.Fprintf(w, "    %-7s %s\n", string(c.State)+":", cmp.Or(c.Note, "no reason given"))
	}
	if len(r.Changes) == 0 {
		fmt.Fprintln(w, "  none")
	}
}

func (r Result) writeVerdict(w io.Writer) {
	fmt.Fprintln(w)
	if s := r.Sizes; s != nil {
		fmt.Fprintf(w, "The guardian left nf_conntrack_max at %s.\n", grouped(s.Found.Max))
	}
	if s := r.Sizes; s != nil && len(r.Left) == 0 {
		fmt.Fprintf(w, "Everything is back as before: nf_conntrack_max %s, nf_conntrack_buckets\n%s, nothing of the lab left.\n",
			grouped(s.Now.Max), grouped(s.Now.Buckets))
	}
	for _, p := range r.Problems {
		fmt.Fprintf(w, "FAILED: %s\n", p)
	}
	if len(r.Problems) == 0 {
		fmt.Fprintf(w, "%s lost without the guardian, none with it. It took %.0f seconds.\n",
			grouped(failed(r.Unguarded.Clients)), r.Took.Seconds())
	}
}
