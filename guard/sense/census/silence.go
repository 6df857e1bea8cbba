package census

import "github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"

// A silence is how many seconds an entry has left that has long been silent:
// more than over, at most max.
type silence struct{ over, max int64 }

// holds reports whether an entry with so much time left is silent.
func (s silence) holds(left uint32) bool { return int64(left) > s.over && int64(left) <= s.max }

// never is the silence of an entry that can't be told to be silent.
var never = silence{over: 0, max: -1}

// RFC 5382, REQ-5, lets a NAT forget a TCP connection that was silent for 2 h
// 4 min. UDP has no end that could be seen; a live exchange is not silent for
// long.
const (
	idle    = 7440
	deadUDP = 10
)

// silences returns how an entry of each class tells that it is silent. Its
// timeout began with its last packet: it was silent for as long as is gone of it.
//
// A connection in ESTABLISHED that waits for an answer runs on another sysctl,
// which the dump does not tell (nf_conntrack_tcp_packet): on max_retrans or
// unacknowledged, both 300 s. With no more than that left it may be one of
// those, silent for seconds, and is not counted.
func silences(t *timeout.Table) (s [timeout.Classes]silence) {
	for c := range s {
		s[c] = never
	}
	for _, c := range []timeout.Class{timeout.UDP, timeout.UDPStream} {
		s[c] = silence{over: -1, max: int64(t.Of[c]) - deadUDP}
	}
	waits := max(t.MaxRetrans, t.Of[timeout.Unacknowledged])
	s[timeout.TCPEstablished] = silence{over: int64(waits), max: int64(t.Of[timeout.TCPEstablished]) - idle}
	return s
}
