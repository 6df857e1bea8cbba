package record

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A reading is written as what is not as it was in the reading before, the first of a
// segment as what is not zero. Its payload is a mask of what follows, the boot clock (how
// much longer the pause was than the one before), the wall clock (how much more it moved
// than the boot clock), and what the mask says, in this order.
const (
	hasCount     = 1 << iota // difference
	hasLosses                // a mask of those that are not 0, and those
	hasMemory                // difference in KiB
	hasLeases                // all of them
	hasRest                  // a mask of what else has changed, and JSON of it
	hasChanges               // those that are new, between those that stay
	hasDecisions             // JSON
	hasMax                   // difference
	hasBuckets               // difference
	hasTimeouts              // a mask of those that have changed, and those
	hasBytes                 // the rest of the difference in memory, in bytes
	hasWall                  // the wall clock whole, in seconds and nanoseconds
	hasConfig                // JSON: the policy was put in force just before
	hasAll       = 1<<iota - 1
)

// nearby is how far the wall clock is written as a difference.
const nearby = time.Hour

// A reader and a writer of readings both know the newest.
type newest struct {
	now, pause time.Duration
	s          policy.Snapshot
}

// rest are the parts of a snapshot that seldom change. Their order is the mask's:
// append only.
var rest = []struct {
	same func(a, b *policy.Snapshot) bool
	copy func(to, from *policy.Snapshot)
}{
	{
		func(a, b *policy.Snapshot) bool { return a.Census == b.Census },
		func(to, from *policy.Snapshot) { to.Census = from.Census },
	},
	{
		func(a, b *policy.Snapshot) bool { return sameList(a.Allowed, b.Allowed) },
		func(to, from *policy.Snapshot) { to.Allowed = slices.Clone(from.Allowed) },
	},
	{
		func(a, b *policy.Snapshot) bool { return a.Unlisted == b.Unlisted },
		func(to, from *policy.Snapshot) { to.Unlisted = from.Unlisted },
	},
	{
		func(a, b *policy.Snapshot) bool { return sameList(a.Flows, b.Flows) },
		func(to, from *policy.Snapshot) { to.Flows = slices.Clone(from.Flows) },
	},
	{
		func(a, b *policy.Snapshot) bool { return sameList(a.Approved, b.Approved) },
		func(to, from *policy.Snapshot) { to.Approved = slices.Clone(from.Approved) },
	},
	{
		func(a, b *policy.Snapshot) bool { return a.Paused == b.Paused },
		func(to, from *policy.Snapshot) { to.Paused = from.Paused },
	},
	{
		func(a, b *policy.Snapshot) bool { return a.Unable == b.Unable },
		func(to, from *policy.Snapshot) { to.Unable = from.Unable },
	},
}

// sameList tells none from an empty one, too.
func sameList[T comparable](a, b []T) bool { return (a == nil) == (b == nil) && slices.Equal(a, b) }

// append writes a reading, and what was decided, behind b. A policy that was put in force
// just before is c, nil if none was.
func (l *newest) append(b []byte, s *policy.Snapshot, now time.Duration, ds []policy.Decision, c *policy.Config) []byte {
	var p parts
	p.numbers(&l.s, s)
	wall := s.Wall.Round(0).UTC()
	ahead := wall.Sub(l.s.Wall.Add(now - l.now))
	if far := ahead >= nearby || ahead <= -nearby; far {
		p.mask |= hasWall
	}
	var changed uint64
	for i, r := range rest {
		if !r.same(&l.s, s) {
			changed |= 1 << i
		}
	}
	p.flag(hasRest, changed != 0)
	p.flag(hasLeases, !sameList(l.s.Leases, s.Leases))
	p.flag(hasChanges, !sameList(l.s.Changes, s.Changes))
	p.flag(hasDecisions, len(ds) > 0)
	p.flag(hasConfig, c != nil)

	pause := now - l.now
	b = binary.AppendUvarint(append(b, kindReading), p.mask)
	b = binary.AppendVarint(b, int64(pause-l.pause))
	if p.mask&hasWall != 0 {
		b = binary.AppendUvarint(binary.AppendVarint(b, wall.Unix()), uint64(wall.Nanosecond()))
	} else {
		b = binary.AppendVarint(b, int64(ahead))
	}
	b = p.append(b, &l.s, s)
	if p.mask&hasLeases != 0 {
		b = appendLeases(b, s.Leases)
	}
	if p.mask&hasRest != 0 {
		b = appendRest(b, changed, s)
	}
	if p.mask&hasChanges != 0 {
		b = appendChanges(b, l.s.Changes, s.Changes)
	}
	if p.mask&hasDecisions != 0 {
		decided := ds // so that ds stays on the stack
		b = appendBlob(b, &decided, false)
	}
	if c != nil {
		b = appendBlob(b, c, true)
	}
	l.now, l.pause = now, pause
	l.keep(s, wall, changed, p.mask)
	return b
}

// keep copies what the next reading is compared with.
func (l *newest) keep(s *policy.Snapshot, wall time.Time, changed, mask uint64) {
	l.s.Wall, l.s.Count, l.s.Max, l.s.Buckets = wall, s.Count, s.Max, s.Buckets
	l.s.Timeouts, l.s.MemAvailable = s.Timeouts, s.MemAvailable
	for i, r := range rest {
		if changed&(1<<i) != 0 {
			r.copy(&l.s, s)
		}
	}
	if mask&hasLeases != 0 {
		l.s.Leases = refill(l.s.Leases, s.Leases)
	}
	if mask&hasChanges != 0 {
		l.s.Changes = refill(l.s.Changes, s.Changes)
	}
}

// refill copies a list into the memory of another.
func refill[T any](to, from []T) []T {
	if from == nil {
		return nil
	}
	if to == nil {
		to = []T{}
	}
	return append(to[:0], from...)
}

// parts are the numbers of a reading.
type parts struct {
	mask    uint64
	memory  int64
	lossed  byte
	changed uint64 // timeouts
}

func (p *parts) flag(bit uint64, set bool) {
	if set {
		p.mask |= bit
	}
}

// losses lists the counters, in the order of their mask: append only.
func losses(c *policy.Counters) [7]*uint64 {
	return [...]*uint64{&c.Found, &c.Invalid, &c.InsertFailed, &c.Drop, &c.EarlyDrop, &c.ChainTooLong, &c.ClashResolve}
}

func (p *parts) numbers(was, is *policy.Snapshot) {
	p.memory = is.MemAvailable - was.MemAvailable
	p.flag(hasCount, is.Count != was.Count)
	p.flag(hasMax, is.Max != was.Max)
	p.flag(hasBuckets, is.Buckets != was.Buckets)
	p.flag(hasMemory, p.memory/1024 != 0)
	p.flag(hasBytes, p.memory%1024 != 0)
	for i, n := range losses(&is.Losses) {
		if *n != 0 {
			p.lossed |= 1 << i
		}
	}
	p.flag(hasLosses, p.lossed != 0)
	for i := range is.Timeouts {
		if is.Timeouts[i] != was.Timeouts[i] {
			p.changed |= 1 << i
		}
	}
	p.flag(hasTimeouts, p.changed != 0)
}

// append writes the numbers that the mask names.
func (p *parts) append(b []byte, was, is *policy.Snapshot) []byte {
	difference := func(bit uint64, n int64) {
		if p.mask&bit != 0 {
			b = binary.AppendVarint(b, n)
		}
	}
	difference(hasCount, int64(is.Count)-int64(was.Count))
	difference(hasMax, int64(is.Max)-int64(was.Max))
	difference(hasBuckets, int64(is.Buckets)-int64(was.Buckets))
	difference(hasMemory, p.memory/1024)
	difference(hasBytes, p.memory%1024)
	if p.mask&hasLosses != 0 {
		b = append(b, p.lossed)
		for i, n := range losses(&is.Losses) {
			if p.lossed&(1<<i) != 0 {
				b = binary.AppendUvarint(b, *n)
			}
		}
	}
	if p.mask&hasTimeouts != 0 {
		b = binary.AppendUvarint(b, p.changed)
		for i, n := range is.Timeouts {
			if p.changed&(1<<i) != 0 {
				b = binary.AppendVarint(b, int64(n))
			}
		}
	}
	return b
}

// appendLeases writes leases: their number and one, 0 for none at all, and each.
func appendLeases(b []byte, list []policy.Lease) []byte {
	if list == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(list))+1)
	for _, l := range list {
		b = binary.AppendVarint(b, int64(l.Change))
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(l.Refused))
	}
	return b
}

// appendRest writes what seldom changes, as far as it has.
func appendRest(b []byte, changed uint64, s *policy.Snapshot) []byte {
	var only policy.Snapshot
	for i, r := range rest {
		if changed&(1<<i) != 0 {
			r.copy(&only, s)
		}
	}
	return appendBlob(binary.AppendUvarint(b, changed), &only, false)
}

// appendChanges writes changes: their number and one, 0 for none at all; then runs: from
// where and how many stay from the reading before, or 0 and JSON of those that are new. A
// ledger changes by a few, and a long one is not to be written each time.
func appendChanges(b []byte, was, is []policy.Change) []byte {
	if is == nil {
		return append(b, 0)
	}
	b = binary.AppendUvarint(b, uint64(len(is))+1)
	old := 0 // where the next is most likely
	for len(is) > 0 {
		from, n := stays(was, is, old)
		if n > 0 {
			b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(from)+1), uint64(n))
			is, old = is[n:], from+n
			continue
		}
		for n = 1; n < len(is); n++ {
			if _, k := stays(was, is[n:], old+n); k > 0 {
				break
			}
		}
		fresh := is[:n]
		b = appendBlob(append(b, 0), &fresh, false)
		is, old = is[n:], old+n
	}
	return b
}

// stays finds where the first of is was, and how many of those behind it follow there.
func stays(was, is []policy.Change, likely int) (from, n int) {
	if from = likely; from >= len(was) || was[from] != is[0] {
		from = slices.Index(was, is[0])
	}
	if from < 0 {
		return 0, 0
	}
	for n < len(is) && from+n < len(was) && was[from+n] == is[n] {
		n++
	}
	return from, n
}

// appendBlob writes a plain value with its length.
func appendBlob(b []byte, p any, all bool) []byte {
	text := appendPlain(nil, p, all)
	return append(binary.AppendUvarint(b, uint64(len(text))), text...)
}
