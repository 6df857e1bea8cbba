package policy

import "slices"

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

// ofTable reports whether the cause is that the table has no room: such a one has a
// pattern.
func (c Cause) ofTable() bool { return c == TableFilling || c == TableFull }

// several is a set of causes or patterns, with room for all of them.
type several[T ~string] [6]T

func (s *several[T]) has(x T) bool { return slices.Contains(s[:], x) }

func (s *several[T]) add(x T) {
	for i := range s {
		if s[i] == "" || s[i] == x {
			s[i] = x
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
