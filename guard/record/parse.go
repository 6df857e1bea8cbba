package record

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	// mostChanges is the most that a snapshot may have, far more than a ledger keeps.
	mostChanges = 10_000
	// mostLeases likewise.
	mostLeases = 10_000
	// mostDecisions is the most that one reading may have.
	mostDecisions = 500
)

var errShort = errors.New("a reading ends too soon")

// A cursor goes through the payload of a reading. What can't be read is 0, and err says
// why, once.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf(format, args...)
	}
	c.b = nil
}

func (c *cursor) uvarint() uint64 {
	n, size := binary.Uvarint(c.b)
	if size <= 0 {
		c.fail("%w", errShort)
		return 0
	}
	c.b = c.b[size:]
	return n
}

func (c *cursor) varint() int64 {
	n, size := binary.Varint(c.b)
	if size <= 0 {
		c.fail("%w", errShort)
		return 0
	}
	c.b = c.b[size:]
	return n
}

func (c *cursor) bytes(n uint64) []byte {
	if n > uint64(len(c.b)) {
		c.fail("%w", errShort)
		return nil
	}
	part := c.b[:n]
	c.b = c.b[n:]
	return part
}

// blob reads a plain value into what p points to.
func (c *cursor) blob(what string, p any) {
	text := c.bytes(c.uvarint())
	if c.err != nil {
		return
	}
	if err := parsePlain(text, p); err != nil {
		c.fail("%s: %w", what, err)
	}
}

// length reads a number of elements; none is that there is no list.
func (c *cursor) length(most uint64) (n int, none bool) {
	k := c.uvarint()
	switch {
	case k == 0:
		return 0, true
	case k-1 > most:
		c.fail("a list of %d, and %d are allowed", k-1, most)
		return 0, true
	}
	return int(k - 1), false
}

// parse reads the payload of a reading as append has written it. c is the policy that was
// put in force just before, nil if none was.
func (l *newest) parse(payload []byte) (st Step, c *policy.Config, err error) {
	in := &cursor{b: payload}
	mask := in.uvarint()
	if mask&^hasAll != 0 {
		return Step{}, nil, fmt.Errorf("a reading with unknown parts (%#x): of a later program?", mask)
	}
	l.pause += time.Duration(in.varint())
	l.now += l.pause
	l.parseWall(in, mask)
	l.parseNumbers(in, mask)
	if mask&hasLeases != 0 {
		l.s.Leases = parseLeases(in)
	}
	if mask&hasRest != 0 {
		l.parseRest(in)
	}
	if mask&hasChanges != 0 {
		l.s.Changes = parseChanges(in, l.s.Changes)
	}
	st = Step{Now: l.now}
	if mask&hasDecisions != 0 {
		if in.blob("decisions", &st.Decisions); len(st.Decisions) > mostDecisions {
			in.fail("%d decisions, and %d are allowed", len(st.Decisions), mostDecisions)
		}
	}
	if mask&hasConfig != 0 {
		d := policy.Default() // what a later program has besides
		c = &d
		in.blob("policy", c)
	}
	if in.err == nil && len(in.b) > 0 {
		in.fail("%d bytes too many in a reading", len(in.b))
	}
	st.Snapshot = l.s
	return st, c, in.err
}

func (l *newest) parseWall(in *cursor, mask uint64) {
	if mask&hasWall != 0 {
		sec, nsec := in.varint(), in.uvarint()
		if nsec >= uint64(time.Second) {
			in.fail("%d nanoseconds", nsec)
			return
		}
		l.s.Wall = time.Unix(sec, int64(nsec)).UTC()
		return
	}
	l.s.Wall = l.s.Wall.Add(l.pause).Add(time.Duration(in.varint()))
}

func (l *newest) parseNumbers(in *cursor, mask uint64) {
	difference := func(bit uint64) int64 {
		if mask&bit == 0 {
			return 0
		}
		return in.varint()
	}
	l.s.Count += int(difference(hasCount))
	l.s.Max += int(difference(hasMax))
	l.s.Buckets += int(difference(hasBuckets))
	l.s.MemAvailable += difference(hasMemory) * 1024
	l.s.MemAvailable += difference(hasBytes)
	l.s.Losses = policy.Counters{}
	if mask&hasLosses != 0 {
		l.parseLosses(in)
	}
	if mask&hasTimeouts == 0 {
		return
	}
	changed := in.uvarint()
	if changed>>policy.Timeouts != 0 {
		in.fail("timeouts %#x, and there are %d", changed, policy.Timeouts)
	}
	for i := range l.s.Timeouts {
		if changed&(1<<i) != 0 {
			l.s.Timeouts[i] = int(in.varint())
		}
	}
}

func (l *newest) parseLosses(in *cursor) {
	mask := in.bytes(1)
	if in.err != nil {
		return
	}
	all := losses(&l.s.Losses)
	if mask[0]>>len(all) != 0 {
		in.fail("counters %#x, and there are %d", mask[0], len(all))
	}
	for i, n := range all {
		if mask[0]&(1<<i) != 0 {
			*n = in.uvarint()
		}
	}
}

func parseLeases(in *cursor) []policy.Lease {
	n, none := in.length(mostLeases)
	if none {
		return nil
	}
	list := []policy.Lease{}
	for range n {
		change := in.varint()
		b := in.bytes(8)
		if in.err != nil {
			return nil
		}
		list = append(list, policy.Lease{Change: int(change), Refused: math.Float64frombits(binary.LittleEndian.Uint64(b))})
	}
	return list
}

func (l *newest) parseRest(in *cursor) {
	changed := in.uvarint()
	var only policy.Snapshot
	in.blob("a reading", &only)
	if changed>>len(rest) != 0 {
		in.fail("parts %#x of a reading, and there are %d: of a later program?", changed, len(rest))
	}
	for i, r := range rest {
		if changed&(1<<i) != 0 && in.err == nil {
			r.copy(&l.s, &only)
		}
	}
}

func parseChanges(in *cursor, was []policy.Change) []policy.Change {
	n, none := in.length(mostChanges)
	if none {
		return nil
	}
	list := make([]policy.Change, 0, min(n, len(was)+16))
	for len(list) < n && in.err == nil {
		from := in.uvarint()
		if from == 0 {
			var fresh []policy.Change
			if in.blob("changes", &fresh); len(fresh) == 0 {
				in.fail("a run of no changes")
			}
			if len(fresh) > n-len(list) {
				in.fail("more than the %d changes that are wanted", n)
				return nil
			}
			list = append(list, fresh...)
			continue
		}
		k := in.uvarint()
		if from-1 > uint64(len(was)) || k == 0 || k > uint64(len(was))-(from-1) {
			in.fail("changes %d to %d of %d", from, from+k, len(was))
			return nil
		}
		list = append(list, was[from-1:from-1+k]...)
	}
	if len(list) != n {
		in.fail("%d changes where %d are wanted", len(list), n)
	}
	return slices.Clip(list)
}
