package policy

import (
	"errors"
	"fmt"
	"time"
)

// What has to be seen of a table before it is sized for good. In less than an hour
// nothing is ordinary, and a day has its night and its busy hour.
const (
	leastSeen = time.Hour
	wellSeen  = 24 * time.Hour
)

// ErrTooLittle is that a table can't be sized yet.
var ErrTooLittle = errors.New("too little was seen of the table to size it")

// A SizingInput is all that a permanent size rests on.
type SizingInput struct {
	Baseline *Baseline
	Record   Peaks // of the flight record; the zero value for none
	Now      *Snapshot
	Config   *Config
	Headroom float64 // nf_conntrack_max becomes the peak times this; 1 at the least
	// EntryBytes is the kernel memory of one entry, 0 for what the policy says.
	EntryBytes int

	// Of a census. Table is how many entries it is of, 0 without one.
	Table    int
	Classes  [Timeouts]ClassUse
	Pools    []PoolUse
	Services []ServiceUse // that no entry of was translated
}

// A Sizing is what a table should be for good. Whoever applies it is the operator: the
// guardian writes none of it.
type Sizing struct {
	Seen      Seen              `json:"seen"`
	Max       SizedValue        `json:"nf_conntrack_max"`
	Buckets   SizedValue        `json:"nf_conntrack_buckets"`
	Memory    SizedMemory       `json:"memory"`
	Alerts    []Alert           `json:"alerts"`    // least urgent first
	Timeouts  []LastingTimeout  `json:"timeouts"`  // that are worth a thought, the one that frees most first
	Pools     []SizedPool       `json:"snat"`      // fullest first
	Untracked []UntrackedAdvice `json:"untracked"` // that need no entry, largest first
	Notes     []string          `json:"notes"`     // what the figures leave open
	// NotNow is why the sizes must not be put in force at present, empty where nothing
	// speaks against it.
	NotNow string `json:"not_now,omitempty"`
}

// A SizedValue is one kernel parameter: what it is without the guardian's changes, and
// what it should be.
type SizedValue struct {
	Key      string `json:"key"`
	Now      int    `json:"now"`
	Lent     int    `json:"lent"` // what the guardian has made of it for the time being, 0 for nothing
	To       int    `json:"to"`
	Reason   string `json:"reason"`
	Cost     string `json:"cost"`
	TradeOff string `json:"trade_off"`
}

// A SizedMemory is what the sized table takes, in bytes.
type SizedMemory struct {
	Entry     int   `json:"entry"`     // of one entry
	Entries   int64 `json:"entries"`   // of a full table
	AtPeak    int64 `json:"at_peak"`   // of the entries at the peak
	Buckets   int64 `json:"buckets"`   // of the hash table, from the beginning
	Available int64 `json:"available"` // MemAvailable
}

// Size sizes a table. It returns ErrTooLittle where less than an hour was read.
func Size(in *SizingInput) (Sizing, error) {
	if span := in.Baseline.Span(); span < leastSeen {
		return Sizing{}, fmt.Errorf("%w: %s of readings, an hour is the least", ErrTooLittle, Span(span.Truncate(time.Second)))
	}
	z := sizing{in, in.seen()}
	s := Sizing{Seen: z.Seen}
	s.Max = z.max()
	s.Buckets = z.buckets(s.Max.To)
	s.Memory = z.memory(s.Max.To, s.Buckets.To)
	s.Alerts = z.alerts(s.Max.To)
	s.Timeouts, s.Pools, s.Untracked = z.timeouts(), z.pools(), z.untracked()
	s.Notes = z.notes()
	s.NotNow = z.notNow(&s)
	return s, nil
}

// notNow says why the sizes would do harm at present: what is sized is the value without
// the guardian's changes, and those in force are there because it does not suffice.
func (z *sizing) notNow(s *Sizing) string {
	const begin = "Do not put it in force now: "
	switch {
	case s.Max.Lent > s.Max.To:
		return begin + fmt.Sprintf("the guardian has made nf_conntrack_max %s for the time being, which would be cut to %s with %s entries in the table. "+
			"Wait until it has taken that back.", Number(s.Max.Lent), Number(s.Max.To), Number(z.Now.Count))
	case s.Buckets.Lent > s.Buckets.To:
		return begin + fmt.Sprintf("the guardian has made nf_conntrack_buckets %s for the time being, and to shrink them stalls all packets. "+
			"Wait until the trouble is over.", Number(s.Buckets.Lent))
	case z.Now.Count > s.Max.To:
		return begin + fmt.Sprintf("there are %s entries, and with more than %s every new connection is refused.", Number(z.Now.Count), Number(s.Max.To))
	case s.Max.Lent > 0 || s.Buckets.Lent > 0:
		return begin + "the guardian has raised it for the time being, and would take the new value for somebody else's. Wait until it has taken that back."
	}
	return ""
}

// A sizing is one in the making.
type sizing struct {
	*SizingInput
	Seen
}

// entryBytes is the kernel memory of one entry.
func (in *SizingInput) entryBytes() int {
	if in.EntryBytes > 0 {
		return in.EntryBytes
	}
	return in.Config.Memory.EntryBytes
}

// notes say what the figures leave open.
func (z *sizing) notes() []string {
	list := []string{}
	note := func(format string, args ...any) { list = append(list, fmt.Sprintf(format, args...)) }
	if z.Provisional {
		note("Less than a day was seen (%s): all figures are provisional. The busiest hour of a day, "+
			"and of a week, may be still to come.", Span(z.span()))
	} else if z.Hours < week {
		note("Less than a week was seen (%d hours): busier days may be still to come.", z.Hours)
	}
	if z.Full > 0 || z.Refused > 0 {
		note("In the flight record the table was full for %s, and %s packets of new connections were refused or "+
			"had another entry evicted. More was wanted than the peaks show: size it again a day after the new value is in force.",
			Span(z.Full), Number(int(z.Refused)))
	}
	if n, rest := z.outstanding(); n > 0 {
		note("%d of the hours stand out, with more than %d times the entries of the usual one. If that was an attack or an "+
			"accident: all others stay under %s entries, for which %s would do.",
			n, standsOut, Number(rest), Number(roundUp(int(z.Headroom*float64(rest)))))
	}
	if z.quiet() {
		note("The census is of a quiet hour (%s entries, %s at the peak): timeouts, source ports and what needs no "+
			"tracking are as they are now, and should be looked at in a busy one.", Number(z.Table), Number(z.Peak))
	}
	return list
}
