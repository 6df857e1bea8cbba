package policy

import (
	"math"
	"time"
)

// TopLevel is the level at which timeouts are at their floors. So few make a journal
// line each worth reading.
const TopLevel = 4

// level is the level for a utilization. Between the marks timeouts are scaled linearly,
// as pf does between adaptive.start and adaptive.end, in steps of a quarter of the way.
func (m *ShortenTimeoutsConfig) level(utilization float64) int {
	way := (utilization - m.Start) / (m.End - m.Start)
	return int(math.Floor(TopLevel * min(max(way, 0), 1)))
}

// mark is the utilization at which a level begins.
func (m *ShortenTimeoutsConfig) mark(level int) float64 {
	return m.Start + (m.End-m.Start)*float64(level)/TopLevel
}

// relaxed is how far utilization must be under the mark of a level before it is left,
// as a share of the distance between two marks.
const relaxed = 0.5

// leaves reports whether a utilization is well under the mark of the level above one
// that is to be gone back to.
func (m *ShortenTimeoutsConfig) leaves(utilization float64, to int) bool {
	step := (m.End - m.Start) / TopLevel
	return utilization < m.mark(to+1)-relaxed*step
}

// scaled is a timeout in seconds at a level.
func (f *FloorConfig) scaled(normal, level int) int {
	floor := int(f.Floor / time.Second)
	if floor >= normal {
		return normal
	}
	return normal - (normal-floor)*level/TopLevel
}
