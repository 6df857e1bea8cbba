package main

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A view is one way to look at a Report, the one that --by asks for.
type view struct {
	by    string
	names []column // what tells one row from another
	count string   // head of the entries, if it is not ENTRIES
	after []column // what follows the row's figures
	rows  func(r *census.Report) []viewRow
	whole bool // the list is never cut: what it does not name has no entry
}

// A viewRow is a row before it is laid out.
type viewRow struct {
	names []string
	census.Figure
	of    int // what Entries is a share of
	after []string
}

// views are those that --by offers. The first is the default.
var views = []view{
	{by: "source", names: []column{{"SOURCE", left}}, rows: sourceRows},
	{by: "destination", names: []column{{"DESTINATION", left}}, rows: destinationRows},
	{by: "service", names: []column{{"DESTINATION", left}, {"PORT", right}, {"PROTO", left}}, rows: serviceRows},
	{by: "state", names: []column{{"TCP STATE", left}}, rows: func(r *census.Report) []viewRow { return namedRows(r, r.States) }, whole: true},
	{by: "proto", names: []column{{"PROTO", left}}, rows: func(r *census.Report) []viewRow { return namedRows(r, r.Protocols) }, whole: true},
	{
		by:    "snat",
		names: []column{{"NAT ADDRESS", left}, {"DESTINATION", left}, {"PORT", right}, {"PROTO", left}, {"ZONE", right}},
		count: "PORTS USED",
		after: []column{{"OF", right}, {"RANGE SEEN", left}, {"OF RANGE", right}},
		rows:  poolRows,
	},
	{by: "zone", names: []column{{"ZONE", right}}, rows: zoneRows},
	view{
		by:    "timeout",
		names: []column{{"CLASS", left}},
		after: []column{
			{"TIMEOUT", right},
			{"HALF WITHIN", right},
			{"90 % WITHIN", right},
			{"FLOOR", right},
			{"FREES", right},
			{"OF TABLE", right},
			{"±", right},
		},
		whole: true,
	}.floored(policy.Default().ShortenTimeouts),
}

// floored is the view of classes with the floors of a policy.
func (v view) floored(m policy.ShortenTimeoutsConfig) view {
	v.rows = func(r *census.Report) []viewRow { return classRows(r, &m) }
	return v
}

// viewBy finds a view by its name.
func viewBy(name string) (view, bool) {
	for _, v := range views {
		if v.by == name {
			return v, true
		}
	}
	return view{}, false
}

func viewNames() []string {
	var names []string
	for _, v := range views {
		names = append(names, v.by)
	}
	return names
}

func sourceRows(r *census.Report) (rows []viewRow) {
	for _, s := range r.Sources {
		rows = append(rows, viewRow{names: []string{prefixText(s.Prefix)}, Figure: s.Figure, of: r.Table})
	}
	return rows
}

func destinationRows(r *census.Report) (rows []viewRow) {
	for _, a := range r.Destinations {
		rows = append(rows, viewRow{names: []string{a.Addr.String()}, Figure: a.Figure, of: r.Table})
	}
	return rows
}

func serviceRows(r *census.Report) (rows []viewRow) {
	for _, s := range r.Services {
		names := []string{s.Addr.String(), portText(s.Proto, s.Port), s.Proto}
		rows = append(rows, viewRow{names: names, Figure: s.Figure, of: r.Table})
	}
	return rows
}

func namedRows(r *census.Report, list []census.Named) (rows []viewRow) {
	for _, n := range list {
		rows = append(rows, viewRow{names: []string{n.Name}, Figure: n.Figure, of: r.Table})
	}
	return rows
}

func zoneRows(r *census.Report) (rows []viewRow) {
	for _, z := range r.Zones {
		rows = append(rows, viewRow{names: []string{strconv.Itoa(int(z.Zone))}, Figure: z.Figure, of: r.Table})
	}
	return rows
}

// poolRows has shares of the pool's ports, not of the table. The zone is told
// where there are several.
func poolRows(r *census.Report) (rows []viewRow) {
	for _, p := range r.Pools {
		zone := ""
		if len(r.Zones) > 1 {
			zone = strconv.Itoa(int(p.Zone))
		}
		rows = append(rows, viewRow{
			names:  []string{p.NAT.String(), p.Dst.String(), portText(p.Proto, p.Port), p.Proto, zone},
			Figure: p.Figure, of: p.Ports,
			after: []string{policy.Number(p.Ports), fmt.Sprintf("%d–%d", p.Lowest, p.Highest), rangeUse(p)},
		})
	}
	return rows
}

// rangeLeast is how many ports in use tell something of the range that they are
// taken from.
const rangeLeast = 100

// rangeUse is the share of the ports in use between the lowest and the highest
// that were seen. Near 100 % of a range that is not the whole pool, the NAT rule
// has a range of its own, and it is used up.
func rangeUse(p census.Pool) string {
	if p.Entries < rangeLeast {
		return "-"
	}
	width := int(p.Highest) - int(p.Lowest) + 1
	return shareText(min(1, float64(p.Entries)/float64(width)))
}

func classRows(r *census.Report, m *policy.ShortenTimeoutsConfig) (rows []viewRow) {
	answer := answerOf(r, m)
	for i, c := range r.Classes {
		after := []string{timeoutText(c.Timeout), aboutText(quantile(c, 0.5)), aboutText(quantile(c, 0.9))}
		rows = append(rows, viewRow{
			names: []string{c.Name}, Figure: c.Figure, of: r.Table, after: append(after, answer.Classes[i].floorCells(r.Table)...),
		})
	}
	return rows
}

// quantile is how many seconds the share q of a class's entries has left at
// most, those of one bin taken as spread evenly over it, or over what of it the
// timeout reaches. It is NaN for no entries.
func quantile(c census.Class, q float64) float64 {
	total := 0
	for _, b := range c.Remaining {
		total += b.Entries
	}
	want := q * float64(total)
	for _, b := range c.Remaining {
		n := float64(b.Entries)
		if n == 0 || want > n {
			want -= n
			continue
		}
		to := b.To
		if c.Timeout > 0 && b.From <= c.Timeout {
			to = min(to, c.Timeout)
		}
		return float64(b.From) + float64(to-b.From)*want/n
	}
	return math.NaN()
}

// spanText writes a duration in whole seconds as people say it.
func spanText(d time.Duration) string {
	if d >= 48*time.Hour { // 4.9 days must not look like 4
		return strconv.FormatFloat(math.Round(d.Hours()/2.4)/10, 'f', -1, 64) + " days"
	}
	return policy.Short(d)
}

// aboutText writes seconds from a histogram, whose bins are an eighth of their
// values wide, no finer than that; "-" for NaN.
func aboutText(seconds float64) string {
	if math.IsNaN(seconds) {
		return "-"
	}
	d := time.Duration(seconds * float64(time.Second))
	steps := []struct{ below, step time.Duration }{
		{time.Minute, time.Second},
		{10 * time.Minute, 5 * time.Second},
		{time.Hour, time.Minute},
		{10 * time.Hour, 10 * time.Minute},
	}
	for _, s := range steps {
		if d < s.below {
			return spanText(d.Round(s.step))
		}
	}
	return spanText(d.Round(time.Hour))
}

// prefixText leaves out the length that a single address has.
func prefixText(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// portText is a port, or type/code of ICMP, or "-" for a protocol without ports.
func portText(proto string, port uint16) string {
	switch {
	case strings.Contains(proto, "icmp"):
		return fmt.Sprintf("%d/%d", port>>8, port&0xff)
	case port == 0:
		return "-"
	}
	return strconv.Itoa(int(port))
}
