package main

import (
	"cmp"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A limitsPage is a report of what restricts the traffic, to be printed.
type limitsPage struct {
	now   *limitsReport
	watch bool // a page among others: it has the time and the rates
}

// lines lays the page out.
func (p *limitsPage) lines(most int) []textLine {
	lines := []textLine{{text: p.headLine()}}
	all := p.now.Leases
	if len(all) == 0 {
		return lines
	}
	shown := all[:min(len(all), most)]
	lines = append(append(lines, textLine{}), p.table(shown)...)
	lines = append(lines, restLines(len(all), len(shown), "", p.watch)...)
	if p.now.Unexplained != "" {
		lines = append(lines, textLine{text: "Since when and why can't be told: " + p.now.Unexplained})
	}
	return lines
}

// headLine says how much there is in all.
func (p *limitsPage) headLine() string {
	text := "No source is limited or dropped, and no flow bypasses tracking."
	if len(p.now.Leases) > 0 {
		text = p.sum()
	}
	if p.watch {
		text = p.now.Wall.Format("15:04:05") + "  " + text
	}
	return text
}

func (p *limitsPage) sum() string {
	kinds := map[nft.Kind]int{}
	var refused uint64
	rate, known := 0.0, false
	for _, r := range p.now.Leases {
		kinds[r.held.Kind]++
		refused += r.Refused
		if r.PerSecond != nil {
			rate, known = rate+*r.PerSecond, true
		}
	}
	var parts []string
	for _, k := range []struct {
		nft.Kind
		one, many string
	}{
		{nft.Limit, "source limited", "sources limited"},
		{nft.Drop, "source dropped", "sources dropped"},
		{nft.Bypass, "flow untracked", "flows untracked"},
	} {
		switch n := kinds[k.Kind]; n {
		case 0:
		case 1:
			parts = append(parts, "1 "+k.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", n, k.many))
		}
	}
	text := strings.Join(parts, ", ") + "; " + packetsText(refused) + " refused"
	if known {
		text += fmt.Sprintf(", %s/s", policy.Number(int(math.Round(rate))))
	}
	return text
}

func packetsText(n uint64) string {
	if n == 1 {
		return "1 packet"
	}
	return policy.Number(int(n)) + " packets"
}

// table lays out leases. What nothing is known of has no column.
func (p *limitsPage) table(rows []limitRow) []textLine {
	columns := []column{
		{"SOURCE OR FLOW", left},
		{"TERMS", left},
		{"REFUSED", right},
		{"REFUSED/S", right},
		{"LEFT", right},
		{"OF", right},
		{"SINCE", left},
		{"CHANGE", right},
		{"REASON", left},
	}
	cells := make([][]string, 0, len(rows))
	for i := range rows {
		cells = append(cells, p.row(&rows[i]))
	}
	return layOut(columns, cells)
}

func (p *limitsPage) row(r *limitRow) []string {
	refused, rate := "-", "" // of a bypass: it refuses nothing
	if r.held.Kind != nft.Bypass {
		refused = policy.Number(int(r.Refused))
		if rate = ""; p.watch && r.PerSecond != nil {
			rate = policy.Number(int(math.Round(*r.PerSecond)))
		}
	}
	since, change := "", ""
	if r.Change != nil {
		since, change = moment(*r.Since), strconv.Itoa(*r.Change)
	}
	return []string{
		r.who(), r.what(), refused, rate, seconds(r.Left), seconds(r.Lease), since, change, r.Reason,
	}
}

// who is the source or the flow.
func (r *limitRow) who() string {
	if r.held.Kind == nft.Bypass {
		return cmp.Or(r.Flow, "?")
	}
	return prefixText(r.held.Source)
}

// what are the terms for people. Those that are none of ours somebody has written there.
func (r *limitRow) what() string {
	if l, ok := r.ours(); ok {
		return leaseTerms(l)
	}
	return r.Kind + " " + strconv.Quote(r.Terms)
}

func seconds(n float64) string { return policy.Span(time.Duration(n * float64(time.Second))) }
