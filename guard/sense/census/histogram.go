package census

import "math/bits"

// A histogram of seconds: exact below 16, and eight bins to each power of two
// from there on, so that none is wider than an eighth of its values.
type histogram [bins]uint32

const (
	exact = 16
	bins  = exact + (32-4)*8
)

// bin is the bin of a value.
func bin(seconds uint32) int {
	if seconds < exact {
		return int(seconds)
	}
	power := bits.Len32(seconds) - 1 // 4 to 31
	eighth := seconds >> (power - 3) & 7
	return exact + (power-4)*8 + int(eighth)
}

// span is the smallest and the largest value of a bin.
func span(bin int) (from, to uint32) {
	if bin < exact {
		return uint32(bin), uint32(bin)
	}
	power := (bin-exact)/8 + 4
	width := uint32(1) << (power - 3)
	from = 1<<power + uint32(bin-exact)%8*width
	return from, from + (width - 1)
}
