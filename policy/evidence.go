package policy

import (
	"fmt"
	"strings"
	"time"
)

// Evidence states the numbers behind the diagnosis that a person would check.
func (a *Assessment) Evidence() string {
	parts := []string{a.figures()}
	if a.why.pattern != NoPattern {
		parts = append(parts, a.why.evidence(&a.Census))
	}
	if a.Census.At != 0 {
		parts = append(parts, a.Census.evidence(a.lost.snat > 0, a.age)...)
	}
	return strings.Join(parts, ", ")
}

// figures states what the kernel counts.
func (a *Assessment) figures() string {
	parts := []string{fmt.Sprintf("%s of %s entries (%s)", Number(a.Count), Number(a.Max), Percent(a.Utilization))}
	if a.FillRate >= 1 {
		parts = append(parts, fmt.Sprintf("filling at %s/s, full in %s", Number(int(a.FillRate)), Span(a.TimeToFull)))
	}
	parts = append(parts, a.lossEvidence()...)
	// The hash table is shared: chains may be long by other namespaces' entries.
	if a.Cause == HashChains && a.Chain >= 1 {
		parts = append(parts, fmt.Sprintf("mean chain %.1f", a.Chain))
	}
	return strings.Join(parts, ", ")
}

func (a *Assessment) lossEvidence() (parts []string) {
	var found uint64 // says something only of a search for ports
	if a.lost.snat > 0 {
		found = a.counters.Found
	}
	for _, l := range []struct {
		n    uint64
		name string
	}{
		{a.counters.Drop, "drop"},
		{a.counters.InsertFailed, "insert_failed"},
		{a.counters.EarlyDrop, "early_drop"},
		{a.counters.ChainTooLong, "chaintoolong"},
		{found, "found"},
	} {
		if l.n > 0 {
			parts = append(parts, fmt.Sprintf("%s +%s in %s", l.name, Number(int(l.n)), Span(a.window)))
		}
	}
	return parts
}

// noteworthy is the share from which a kind of entry or a single source is worth a
// word.
const noteworthy = 0.1

// fresh is how old a census may be without saying so.
const fresh = 5 * time.Second

// evidence says what a census of that age found that bears on a cause, the ports in
// use if some were missing.
func (k *Census) evidence(ports bool, age time.Duration) (parts []string) {
	if p := k.Pool; ports && p.Used > 0 {
		used := "%s, all within %d-%d"
		if k.Read < k.Table {
			used = "about %s, those seen within %d-%d"
		}
		parts = append(parts, fmt.Sprintf("most ports in use by %s to %s port %d %s: "+used,
			p.NAT, p.Dst, p.Port, p.Proto, Number(p.Used), p.Lowest, p.Highest))
	}
	for _, kind := range []struct {
		share Share
		name  string
	}{
		{k.Closing, "closing TCP"}, {k.DeadUDP, "dead UDP"}, {k.Opening, "half-open TCP"}, {k.Idle, "idle TCP"},
	} {
		if kind.share.Share >= noteworthy {
			parts = append(parts, kind.name+" "+kind.share.text())
		}
	}
	if h := k.Sources[0]; h.Share.Share >= noteworthy {
		parts = append(parts, h.text()+" holds "+h.Share.text())
		if !k.Counted && h.New >= 1 {
			parts = append(parts, fmt.Sprintf("which grows by %s/s", Number(int(h.New))))
		}
	}
	by := fmt.Sprintf("by a census of %s", Number(k.Read))
	if age > fresh {
		by += " " + Span(age) + " ago"
	}
	parts = append(parts, by)
	if k.Counted {
		parts = append(parts, fmt.Sprintf("%s new connections/s", Number(int(k.New))))
		if f := k.Fastest; f.New >= noteworthy*k.New && f.New >= 1 {
			parts = append(parts, fmt.Sprintf("%s of them by %s", Number(int(f.New)), f.text()))
		}
	}
	return parts
}

// text writes a source without the length of a whole IPv4 address.
func (h Holder) text() string {
	if h.Prefix.IsSingleIP() {
		return h.Prefix.Addr().String()
	}
	return h.Prefix.String()
}

// text writes a share with the wider side of its interval, unless it is sure.
func (s Share) text() string {
	if off := max(s.High-s.Share, s.Share-s.Low); off >= 0.0005 {
		return fmt.Sprintf("%.1f ± %.1f %%", s.Share*100, off*100)
	}
	return fmt.Sprintf("%.1f %%", s.Share*100)
}
