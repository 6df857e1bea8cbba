package census

import (
	"net/netip"
	"time"
)

// A Report is what a census found. Entries and their bounds are always of the
// whole table (of what the filter lets through, if there is one): those of a
// sample are scaled to it.
type Report struct {
	At      time.Duration `json:"-"`       // boot clock when it was begun
	Wall    time.Time     `json:"time"`    // the same for people
	Took    float64       `json:"took"`    // seconds
	CPU     float64       `json:"cpu"`     // seconds of one CPU, kernel and user
	Full    bool          `json:"full"`    // every entry was read; otherwise the first ones of the hash table
	Read    int           `json:"read"`    // entries received, in a drill-down those of other sources included that the kernel did not skip
	Table   int           `json:"table"`   // entries that the figures are of: nf_conntrack_count for a sample, those read and counted for a full census
	Max     int           `json:"max"`     // nf_conntrack_max
	Source  string        `json:"source"`  // prefix of the drill-down, empty for the whole table
	Assured Figure        `json:"assured"` // both directions seen, never evicted early

	IPv4Bits, IPv6Bits int `json:"-"` // how long a prefix one source is

	Unreplied Figure `json:"unreplied"` // no packet came back yet
	SNAT      Figure `json:"snat"`
	DNAT      Figure `json:"dnat"`
	Offloaded Figure `json:"offloaded"` // handled by a flow table
	IPv6      Figure `json:"ipv6"`

	// What a diagnosis asks for.
	Closing Figure `json:"closing"`  // TCP on its way out: FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE
	DeadUDP Figure `json:"dead_udp"` // UDP silent for deadUDP or longer
	Opening Figure `json:"opening"`  // TCP that is not established yet: SYN_SENT, SYN_RECV
	Idle    Figure `json:"idle"`     // TCP established, silent for idle or longer

	// Largest first, and empty rather than nil. Those that a sketch holds are the
	// largest ones of many.
	Sources      []Source  `json:"sources"`
	Destinations []Address `json:"destinations"`
	Services     []Service `json:"services"`
	Pools        []Pool    `json:"snat_pools"`
	Protocols    []Named   `json:"protocols"`
	States       []Named   `json:"states"` // of TCP entries
	Zones        []Zone    `json:"zones"`
	Classes      []Class   `json:"timeout_classes"`
}

// A Figure counts entries. Low and High bound the true number: with the sketch's
// error, which is certain, and the sample's, which holds in 99 of 100 samples. In a
// list of the largest ones no Low is too high in 99 of 100 samples. Where nothing is
// uncertain all three are equal.
//
// They are of the entries that the table has while it is read. A sample knows how
// many these are from nf_conntrack_count, which counts expired entries that the
// kernel has not removed yet: then Entries, Low and High are too high by as much,
// and Share is not.
type Figure struct {
	Entries int     `json:"entries"`
	Low     int     `json:"low"`
	High    int     `json:"high"`
	Share   float64 `json:"share"` // Entries of the table, 0–1
}

// A Source is where entries come from: one prefix of the length that was asked for.
type Source struct {
	Prefix netip.Prefix `json:"prefix"`
	Figure
}

// An Address is where entries go to, as the client addressed it.
type Address struct {
	Addr netip.Addr `json:"addr"`
	Figure
}

// A Service is a destination address with its port and protocol. The port of ICMP
// is type << 8 | code, that of a protocol without ports 0.
type Service struct {
	Addr  netip.Addr `json:"addr"`
	Port  uint16     `json:"port"`
	Proto string     `json:"proto"`
	Figure
}

// A Pool is one set of source ports for NAT: those of one NAT address towards one
// destination address, port and protocol, in one zone: that of replies, which is 0
// for entries whose zone is of the original direction alone. Its entries hold one
// port each; connections of the gateway itself, which need no translation, hold
// some besides.
type Pool struct {
	NAT   netip.Addr `json:"nat"`
	Dst   netip.Addr `json:"dst"`
	Port  uint16     `json:"port"`
	Proto string     `json:"proto"`
	Zone  uint16     `json:"zone"`
	// Lowest and Highest port seen in use, and how many a pool can have without a
	// range of its own: 64,512, those from 1024 up (nf_nat_l4proto_unique_tuple).
	Lowest  uint16 `json:"lowest"`
	Highest uint16 `json:"highest"`
	Ports   int    `json:"ports"`
	Figure
}

// A Named row is a protocol or a TCP state.
type Named struct {
	Name string `json:"name"`
	Figure
}

// A Zone is a conntrack zone.
type Zone struct {
	Zone uint16 `json:"zone"`
	Figure
}

// A Class is all entries that take their timeout from the same sysctl.
type Class struct {
	Name    string `json:"name"`    // the sysctl without nf_conntrack_: "tcp_timeout_time_wait"
	Timeout int    `json:"timeout"` // seconds, the sysctl's value now; 0 if the kernel has no such key
	// Others are shorter timeouts that entries of the class may run on instead, in
	// seconds and ascending. An entry with no more left does not tell which it is.
	Others []int `json:"others"`
	Figure
	// Remaining is the histogram of seconds left, without empty bins. No bin has
	// Timeout in its midst: what is beyond took its time from somebody's policy, or
	// from this sysctl when it was longer.
	Remaining []Bin `json:"remaining"`
}

// A Bin counts entries with From <= seconds left <= To.
type Bin struct {
	From    int `json:"from"`
	To      int `json:"to"`
	Entries int `json:"entries"`
	Assured int `json:"assured"` // of them
}
