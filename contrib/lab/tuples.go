package lab

import "bytes"

// Made flows and entries are numbered through source port and destination:
// firstPort and up, then the next destination. So each has a tuple of its own
// even after masquerading, which keeps the source port when it can.
const (
	firstPort  = 1024
	tuplePorts = 60_000
)

// twice finds both places of a mark.
func twice(b, mark []byte) (first, second int) {
	first = bytes.Index(b, mark)
	second = first + 1 + bytes.Index(b[first+1:], mark)
	return first, second
}
