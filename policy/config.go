package policy

import (
	"net/netip"
	"time"
)

// Mode says how far a measure may go.
type Mode int

// The modes, least to most. A measure's effective mode is the lesser of its own
// and the global one.
const (
	Off     Mode = iota // not considered
	Observe             // decided and recorded, not journaled as advice
	Advise              // journaled as advice, not done
	Act                 // done, inside the bounds
)

// String is the mode's name in a policy file.
func (m Mode) String() string {
	return [...]string{Off: "off", Observe: "observe", Advise: "advise", Act: "act"}[m]
}

// Measure is something the guardian can do about a cause.
type Measure string

// The measures.
const (
	RaiseMax        Measure = "raise-max"
	GrowBuckets     Measure = "grow-buckets"
	ShortenTimeouts Measure = "shorten-timeouts"
	LimitSource     Measure = "limit-source"
	Bypass          Measure = "bypass"
)

// Config is the operator's approved policy, validated.
type Config struct {
	Mode Mode
	// Lease is how long a restriction outlives the last word of the guardian: the
	// kernel ends it then.
	Lease time.Duration

	// ActsPerHour bounds how often anything is done. Beyond it there is only advice.
	ActsPerHour ActsPerHour

	Watch           Watch
	Census          CensusConfig
	Memory          Memory
	RaiseMax        RaiseMaxConfig
	GrowBuckets     GrowBucketsConfig
	ShortenTimeouts ShortenTimeoutsConfig
	LimitSource     LimitSourceConfig
	Bypass          []Flow // by name
}

// ActsPerHour is how many changes may be made in an hour: in all, and of each measure.
// What an operator approves is beyond it.
type ActsPerHour struct{ All, RaiseMax, GrowBuckets, ShortenTimeouts, LimitSource, Bypass int }

// MaxActs is the most changes of a measure that a policy may allow in an hour.
const MaxActs = 100

// Watch says when the table is in trouble and when it is well again.
type Watch struct {
	High    float64       // utilization at which trouble begins, 0–1
	Low     float64       // utilization under which it may end, 0–1, below High
	Horizon time.Duration // trouble also begins when, above Low, the table would be full within this time
	Window  time.Duration // span of the fill rate and of the loss counters
	Calm    time.Duration // an episode ends after this long without trouble
	// WorstFillRate is the fastest plausible growth of the table in entries per
	// second. It only sets how often the table is read.
	WorstFillRate float64
	// LossFloor is the number of losses within Window below which causes other than
	// a full table are noise: a few clashes are normal on a busy resolver.
	LossFloor int
	// YieldFor is how long the guardian keeps off a key that somebody else changed.
	YieldFor time.Duration
}

// CensusConfig bounds what finding out who fills the table may cost.
type CensusConfig struct {
	Sample int           // entries to look at
	Every  time.Duration // the least time between two censuses
	CPU    float64       // share of one CPU that a census may take while it lasts, 0–1
	// CountNew says when new connections are counted.
	CountNew Counting
}

// Counting says when new connections are counted by source, in an nft table of our
// own.
type Counting int

// The choices, least to most.
const (
	CountNever  Counting = iota
	CountActing          // in mode act
	CountAlways
)

// String is the choice's name in a policy file.
func (n Counting) String() string {
	return [...]string{CountNever: "never", CountActing: "act", CountAlways: "always"}[n]
}

// Counts reports whether new connections are to be counted.
func (c *Config) Counts() bool {
	return c.Census.CountNew == CountAlways || c.Census.CountNew == CountActing && c.Mode == Act
}

// entryTime is the CPU time that a census takes for an entry, twice what was
// measured.
const entryTime = 5 * time.Microsecond

// stale is the age from which a census says nothing of the present. Its age counts
// from its beginning, and a large one of a small share of a CPU takes minutes.
func (c *CensusConfig) stale() time.Duration {
	return 2*c.Every + 10*time.Second + c.Takes()
}

// Takes is how long a census takes.
func (c *CensusConfig) Takes() time.Duration {
	return time.Duration(float64(c.Sample) * float64(entryTime) / c.CPU)
}

// Memory bounds what the table may come to cost.
type Memory struct {
	Budget     float64 // share of MemAvailable that growth of the table may take, 0–1
	EntryBytes int     // kernel memory of one entry in bytes
	Tables     int     // namespaces with a table of their own that share nf_conntrack_max
}

// RaiseMaxConfig bounds the measure raise-max.
type RaiseMaxConfig struct {
	Mode     Mode
	Ceiling  int           // never set nf_conntrack_max above this
	Step     float64       // at most this factor per act, above 1
	Reach    time.Duration // the new max should last this long at the present fill rate
	Cooldown time.Duration // least time between two acts, and between an undo and the next act
	Hold     time.Duration // the undo condition must hold this long
	Check    time.Duration // the effect is judged this long after the act
}

// GrowBucketsConfig bounds the measure grow-buckets.
type GrowBucketsConfig struct {
	Mode     Mode
	Ceiling  int           // never set nf_conntrack_buckets above this
	Chain    float64       // mean hash chain length (2 × count ÷ buckets) at which to grow before any loss
	Cooldown time.Duration // least time between two acts
	Hold     time.Duration // the undo condition must hold this long
	Check    time.Duration // the effect is judged this long after the act
	Shrink   bool          // shrink again on undo; a resize stalls all packets while it rehashes
}

// ShortenTimeoutsConfig bounds the measure shorten-timeouts.
type ShortenTimeoutsConfig struct {
	Mode     Mode
	Start    float64               // utilization from which timeouts are scaled down, 0–1
	End      float64               // utilization at which they are at their floors, 0–1, above Start
	Share    float64               // a class that holds less of the table is left alone, 0–1
	Floors   [Timeouts]FloorConfig // by class
	Retime   bool                  // also end existing entries earlier that are younger than their new timeout
	Budget   int                   // existing entries deleted or re-timed per second at most, 0 for as many as can be
	Cooldown time.Duration         // least time between two acts
	Hold     time.Duration         // the undo condition must hold this long
	Check    time.Duration         // the effect is judged this long after the entries were dealt with
}

// LimitSourceConfig bounds the measure limit-source.
type LimitSourceConfig struct {
	Mode       Mode
	Rate       int            // new connections a second that a limited source may make
	Burst      int            // that it may make at once
	Share      float64        // a source that holds less of the table is left alone, 0–1
	MaxSources int            // limited at once; when there are more offenders nobody is, at most MaxLimited
	IPv4Bits   int            // length of the prefix that is one source
	IPv6Bits   int            // likewise
	Allow      []netip.Prefix // never limited
	Hold       time.Duration  // the undo condition must hold this long
	Check      time.Duration  // the effect is judged this long after the act
	Escalation Escalation     // what may follow where the limit does not help
	// EscalateAfter is how many leases without improvement come before each step of the
	// escalation.
	EscalateAfter int
}

// MaxLimited is the most sources that can be limited at once.
const MaxLimited = 64

// Escalation is how far limit-source may go.
type Escalation int

// The steps, each of which allows those before it.
const (
	LimitOnly       Escalation = iota
	DeleteUnreplied            // delete the entries of a limited source that have seen no reply
	DropAll                    // drop all that comes from it
)

// String is the step's name in a policy file.
func (e Escalation) String() string {
	return [...]string{LimitOnly: "none", DeleteUnreplied: "delete", DropAll: "drop"}[e]
}

// Default is the policy in force without a policy file: it advises and touches
// nothing. guardian.toml.example documents every value.
func Default() Config {
	return Config{
		Mode:        Advise,
		Lease:       15 * time.Second,
		ActsPerHour: ActsPerHour{All: 200, RaiseMax: 60, GrowBuckets: 4, ShortenTimeouts: 60, LimitSource: 100, Bypass: 60},
		Watch: Watch{
			High: 0.80, Low: 0.50,
			Horizon: 30 * time.Second, Window: 10 * time.Second, Calm: 5 * time.Minute,
			WorstFillRate: 100_000, LossFloor: 10, YieldFor: time.Hour,
		},
		Census: CensusConfig{Sample: 20_000, Every: 30 * time.Second, CPU: 0.5, CountNew: CountActing},
		Memory: Memory{Budget: 0.25, EntryBytes: 384, Tables: 1},
		RaiseMax: RaiseMaxConfig{
			Mode: Act, Ceiling: 1 << 20, Step: 2, Reach: 60 * time.Second,
			Cooldown: 100 * time.Millisecond, Hold: 10 * time.Minute, Check: 5 * time.Second,
		},
		GrowBuckets: GrowBucketsConfig{
			Mode: Act, Ceiling: 1 << 20, Chain: 16,
			Cooldown: 10 * time.Minute, Hold: time.Hour, Check: 10 * time.Second, Shrink: false,
		},
		ShortenTimeouts: ShortenTimeoutsConfig{
			Mode: Act, Start: 0.80, End: 0.95, Share: 0.05, Floors: defaultFloors, Retime: true, Budget: 500_000,
			Cooldown: 2 * time.Second, Hold: 10 * time.Minute, Check: 5 * time.Second,
		},
		LimitSource: LimitSourceConfig{
			Mode: Act, Rate: 50, Burst: 100, Share: 0.1, MaxSources: 8, IPv4Bits: 32, IPv6Bits: 64,
			Hold: time.Minute, Check: 5 * time.Second, EscalateAfter: 4,
		},
	}
}

// Established reports whether the measure may end silent connections, too, whatever the
// global mode, where it takes at least that mode to do anything.
func (m *ShortenTimeoutsConfig) Established(least Mode) bool {
	return m.Mode >= least && m.Floors[TCPEstablished].Mode >= least
}
