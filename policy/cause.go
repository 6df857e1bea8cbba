package policy

import (
	"fmt"
	"slices"
	"strings"
)

// Cause names why the gateway is in trouble.
type Cause string

// The causes.
const (
	None         Cause = ""
	TableFilling Cause = "table-filling" // it will be full soon
	TableFull    Cause = "table-full"    // new flows are refused or half-open ones evicted, now or with the next burst
	SNATPorts    Cause = "snat-ports"    // no source port left; a bigger table does not help
	HashChains   Cause = "hash-chains"   // too few buckets; a bigger table makes it worse
	MemoryShort  Cause = "memory"        // entries can't be allocated; a bigger table makes it worse
	Unknown      Cause = "unknown"
)

// causes is a set of causes.
type causes [6]Cause

func (cs *causes) has(c Cause) bool { return slices.Contains(cs[:], c) }

func (cs *causes) add(c Cause) {
	for i := range cs {
		if cs[i] == None || cs[i] == c {
			cs[i] = c
			return
		}
	}
}

// clashFactor is how many times the floor losses without a signature must be: most
// are clashes, and a busy resolver has some every second.
const clashFactor = 10

// diagnose names the cause that loses most. Any loss to a full table counts; of
// the others, fewer than the loss floor are noise, and beside a table that fills
// so are fewer than a tenth of what it gains: stray losses must not keep it from
// the room it needs. Without losses, pressure alone is a filling or a full table
// and overlong chains alone are too few buckets.
func diagnose(a *Assessment, c *Config) Cause {
	most, cause := uint64(0), None
	consider := func(n, floor uint64, k Cause) {
		if n > most && n >= floor {
			most, cause = n, k
		}
	}
	floor := uint64(c.Watch.LossFloor)
	if a.Pressed {
		floor = max(floor, uint64(max(a.FillRate, 0)*a.window.Seconds()/10))
	}
	consider(a.lost.full, 1, TableFull)
	consider(a.lost.snat, floor, SNATPorts)
	consider(a.lost.chains, floor, HashChains)
	consider(a.lost.memory, floor, MemoryShort)
	if !a.Pressed {
		consider(a.lost.unknown, clashFactor*floor, Unknown)
	}
	switch {
	case cause != None:
		return cause
	case a.Pressed && a.Utilization >= nearFull:
		return TableFull
	case a.Pressed:
		return TableFilling
	case c.GrowBuckets.Mode > Off && a.Chain >= c.GrowBuckets.Chain:
		return HashChains
	}
	return None
}

// Evidence states the numbers behind the assessment that a person would check.
func (a *Assessment) Evidence() string {
	parts := []string{fmt.Sprintf("%s of %s entries (%s)", Number(a.Count), Number(a.Max), Percent(a.Utilization))}
	if a.FillRate >= 1 {
		parts = append(parts, fmt.Sprintf("filling at %s/s, full in %s", Number(int(a.FillRate)), Span(a.TimeToFull)))
	}
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
	if a.Cause == HashChains {
		parts = append(parts, fmt.Sprintf("mean chain %.1f", a.Chain))
	}
	return strings.Join(parts, ", ")
}
