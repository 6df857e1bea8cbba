package page

import "time"

// A bucket is the readings of a stretch of time: one, or as many as lie too close
// together to be told apart. Nothing that was extreme or lost is lost in it.
type bucket struct {
	from, to time.Duration // of its first and last reading, since the first of all
	// Of the entries: at the first and the last reading, the fewest and the most.
	first, last, low, high int
	limit                  int // nf_conntrack_max at the last reading
	limitLow, limitHigh    int
	used                   float64 // the highest utilization of a reading
	lost                   Losses
}

// mostBuckets bounds what is kept of a record: an hour at ten readings a second, a
// day at a second and a half, in four megabytes.
const mostBuckets = 1 << 15

// A series is the readings of a record, finer the shorter it is.
type series struct {
	width   time.Duration // of a bucket
	buckets []bucket      // oldest first; none where nothing was read
}

// add takes in one reading. Those that do not move time forward are ignored.
func (s *series) add(at time.Duration, count, limit int, used float64, lost Losses) {
	if s.width == 0 {
		s.width = 100 * time.Millisecond // the shortest pause between two readings
	}
	if n := len(s.buckets); n > 0 && at <= s.buckets[n-1].to {
		return
	}
	one := bucket{at, at, count, count, count, count, limit, limit, limit, used, lost}
	s.buckets = fold(s.buckets, one, s.width)
	for len(s.buckets) >= mostBuckets {
		s.width *= 2
		s.buckets = refold(s.buckets, s.width)
	}
}

// fold puts a bucket behind others: in the last one if it belongs to the same
// stretch of time.
func fold(list []bucket, b bucket, width time.Duration) []bucket {
	if n := len(list); n > 0 && list[n-1].from/width == b.from/width {
		list[n-1] = list[n-1].join(b)
		return list
	}
	return append(list, b)
}

// refold widens the buckets of a list in place.
func refold(list []bucket, width time.Duration) []bucket {
	out := list[:0]
	for _, b := range list {
		out = fold(out, b, width)
	}
	return out
}

// join is this bucket and a later one as one.
func (b bucket) join(o bucket) bucket {
	return bucket{
		from: b.from, to: o.to,
		first: b.first, last: o.last, low: min(b.low, o.low), high: max(b.high, o.high),
		limit: o.limit, limitLow: min(b.limitLow, o.limitLow), limitHigh: max(b.limitHigh, o.limitHigh),
		used: max(b.used, o.used), lost: b.lost.plus(o.lost),
	}
}

// within are the buckets that have a reading from one time to another.
func (s *series) within(from, to time.Duration) []bucket {
	first, last := 0, len(s.buckets)
	for first < last && s.buckets[first].to < from {
		first++
	}
	for last > first && s.buckets[last-1].from > to {
		last--
	}
	return s.buckets[first:last]
}

// A cell is a bucket and in which part of a stretch it lies.
type cell struct {
	bucket
	at int
}

// cells divides a stretch of time into n parts and joins what lies in each. Parts
// without a reading have no cell.
func (s *series) cells(from, to time.Duration, n int) []cell {
	var out []cell
	span := max(to-from, 1)
	for _, b := range s.within(from, to) {
		at := min(max(int(float64(b.from-from)/float64(span)*float64(n)), 0), n-1)
		if k := len(out); k > 0 && out[k-1].at == at {
			out[k-1].bucket = out[k-1].join(b)
			continue
		}
		out = append(out, cell{b, at})
	}
	return out
}

// held fills the parts without a reading that lie between two readings with what was
// read last, but for gaps.
func (s *series) held(cells []cell) (out []cell) {
	for i, c := range cells {
		if i > 0 && !s.apart(cells[i-1].bucket, c.bucket) {
			b := cells[i-1].bucket
			b.first, b.low, b.high, b.limitLow, b.limitHigh, b.lost = b.last, b.last, b.last, b.limit, b.limit, Losses{}
			for at := cells[i-1].at + 1; at < c.at; at++ {
				out = append(out, cell{b, at})
			}
		}
		out = append(out, c)
	}
	return out
}

// gap is the time without readings from which it is told: a reading is taken at least
// every second.
const gap = 5 * time.Second

// apart reports whether there is a gap between two buckets that follow each other.
func (s *series) apart(a, b bucket) bool { return b.from-a.to > max(gap, 2*s.width) }
