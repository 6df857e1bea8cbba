package guard

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Leases are the restrictions that the kernel holds for the executor.
// *actions.Leases is the real one.
type Leases interface {
	// Bounds tells what the policy in force allows.
	Bounds(bits4, bits6 int, flows []actions.Flow)
	// Held is what is in force in a namespace.
	Held(namespace string) ([]actions.Held, error)
}

// leasing is what the loop knows of the leases in force.
type leasing struct {
	read    time.Duration      // when the kernel was last asked, 0 for never
	refused map[string]refusal // by key, at that time
	unread  string             // why it could not be asked, empty when it could
	unheld  string             // why the newest renewal failed, empty when it did not
}

// A refusal is what a lease had refused at a time, in packets.
type refusal struct {
	total uint64
	rate  float64 // per second, until then
	known bool    // that rate
}

// leaseRead is the least time between two readings of what leases refuse.
const leaseRead = time.Second

// bound hands on what the policy says of leases.
func (g *Guard) bound() {
	g.scouting.listing, g.scouting.listed = true, 0
	if g.Leases == nil {
		return
	}
	m := &g.Config.LimitSource
	flows := make([]actions.Flow, 0, len(g.Config.Bypass))
	for _, f := range g.Config.Bypass {
		flows = append(flows, actions.Flow{Flow: kernelFlow(f), Mark: f.Mark()})
	}
	g.Leases.Bounds(m.IPv4Bits, m.IPv6Bits, flows)
}

// kernelFlow is a flow in the kernel's words.
func kernelFlow(f policy.Flow) nft.Flow {
	out := nft.Flow{Name: f.Name, From: f.From, To: f.To, Proto: f.Proto, Local: f.Lifeline}
	for _, p := range f.Ports {
		out.Ports = append(out.Ports, nft.Ports{Low: p.Low, High: p.High})
	}
	return out
}

// leaseOf is the lease that a decision is about.
func leaseOf(d policy.Decision, namespace string) actions.Lease {
	t := d.Terms
	l := actions.Lease{
		Kind: nft.Bypass, Namespace: namespace, Source: t.Source, Flow: t.Flow, Mark: t.Mark, Rate: t.Rate, Burst: t.Burst, For: t.Lease,
	}
	switch {
	case d.Measure == policy.Bypass:
	case max(d.From, d.To) == policy.Dropped:
		l.Kind = nft.Drop
	default:
		l.Kind = nft.Limit
	}
	return l
}

// recallLease fills in the terms of a lease in a namespace.
func recallLease(p *policy.Change, c ledger.Change, namespace string) bool {
	if len(c.Edits) != 1 {
		return false
	}
	l, ok := actions.ParseLease(c.Edits[0])
	if !ok || l.Namespace != namespace {
		return false
	}
	p.After = map[nft.Kind]int{nft.Limit: policy.Limited, nft.Drop: policy.Dropped, nft.Bypass: 1}[l.Kind]
	p.Terms = policy.Terms{Source: l.Source, Rate: l.Rate, Burst: l.Burst, Flow: l.Flow, Mark: l.Mark, Lease: l.For}
	p.Walk = recallWalk(c.Walk)
	return (l.Kind == nft.Bypass) == (p.Measure == policy.Bypass)
}

// leases are the leases in force here.
func (g *Guard) leases() []ledger.Change {
	return slices.DeleteFunc(g.restrictions(), func(c ledger.Change) bool { return !isLease(c) || g.elsewhere(c) })
}

// readLeases asks the kernel now and then what leases refuse. While it does not say,
// that is unknown.
func (g *Guard) readLeases(now time.Duration) {
	k := &g.leasing
	if g.Leases == nil || k.read != 0 && now-k.read < leaseRead {
		return
	}
	open := g.leases()
	if len(open) == 0 {
		*k, g.snapshot.Leases = leasing{unheld: k.unheld}, nil
		return
	}
	held, err := g.Leases.Held(g.Namespace)
	g.reportUnread(err)
	g.snapshot.Leases = nil
	if err != nil {
		k.read, k.refused = now, nil
		return
	}
	k.refused = since(k.refused, held, now-k.read)
	k.read = now
	for _, c := range open {
		if r := k.refused[c.Edits[0].Key]; r.known {
			g.snapshot.Leases = append(g.snapshot.Leases, policy.Lease{Change: c.ID, Refused: r.rate})
		}
	}
}

// since is what leases refuse by now, and how fast after the reading before.
func since(before map[string]refusal, held []actions.Held, span time.Duration) map[string]refusal {
	now := make(map[string]refusal, len(held))
	for _, h := range held {
		was, known := before[h.Key]
		r := refusal{total: h.Refused, known: known}
		more := h.Refused - min(was.total, h.Refused)
		if h.Refused < was.total { // it began anew
			more = h.Refused
		}
		r.rate = float64(more) / span.Seconds()
		now[h.Key] = r
	}
	return now
}

// renew prolongs the leases in force. It comes after the decisions of a reading: who
// can't read the kernel lets them end.
func (g *Guard) renew() {
	if g.NoLedger != nil || g.Leases == nil {
		return
	}
	restored, ended, err := g.Actions.Renew()
	for _, c := range restored {
		g.log(slog.LevelWarn, eventRestored, fmt.Sprintf("change %d is in force again: somebody had removed it, as with nft flush ruleset: %s", c.ID, lease(c)), ofChange(c)...)
	}
	for _, c := range ended {
		if !c.State.Open() {
			g.reportEnded(g.liftOne(c, c.Note), c)
		}
	}
	why := ""
	if err != nil && g.Actions.Err() == nil { // a ledger that can't be written is reported as such
		why = err.Error()
	}
	if why != "" && why != g.leasing.unheld {
		g.log(slog.LevelError, eventFailed, "leases can't be renewed, and end by themselves: "+why, slog.String("ERROR", why))
	}
	g.leasing.unheld = why
}

// reportUnread reports that what leases refuse is not known when the reason is new.
func (g *Guard) reportUnread(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	if why != "" && why != g.leasing.unread {
		g.log(slog.LevelWarn, eventFailed, "what leases refuse can't be read, so they go on: "+why, slog.String("ERROR", why))
	}
	g.leasing.unread = why
}

// lease says what a change has put in force.
func lease(c ledger.Change) string {
	if len(c.Edits) != 1 {
		return ""
	}
	l, _ := actions.ParseLease(c.Edits[0])
	return leaseText(l)
}

func leaseText(l actions.Lease) string {
	switch l.Kind {
	case nft.Limit:
		return fmt.Sprintf("limit %s to %s new connections/s, %s at once", bare(l), policy.Number(l.Rate), policy.Number(l.Burst))
	case nft.Drop:
		return "drop all that comes from " + bare(l)
	case nft.Bypass:
		return "let " + l.Flow + " pass untracked"
	}
	return ""
}

// freeText says that a lease is taken back.
func freeText(l actions.Lease) string {
	if l.Kind == nft.Bypass {
		return "track " + l.Flow + " again"
	}
	return "set " + bare(l) + " free"
}

// bare is a source without the length of a single address.
func bare(l actions.Lease) string {
	if l.Source.IsSingleIP() {
		return l.Source.Addr().String()
	}
	return l.Source.String()
}

// limitedText says how many sources and flows are under a lease, empty for none.
func (g *Guard) limitedText() string {
	limited, flows := map[string]bool{}, 0
	for _, c := range g.leases() {
		if l, ok := actions.ParseLease(c.Edits[0]); ok && l.Kind != nft.Bypass {
			limited[l.Source.String()] = true
		} else if ok {
			flows++
		}
	}
	var parts []string
	if n := len(limited); n > 0 {
		parts = append(parts, countText(n, "source limited", "sources limited"))
	}
	if flows > 0 {
		parts = append(parts, countText(flows, "flow untracked", "flows untracked"))
	}
	return strings.Join(parts, ", ")
}

func countText(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
