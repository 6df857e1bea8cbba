package policy

import "time"

// A Snapshot is one complete reading of the kernel together with the changes
// the guardian has in force. It is everything a decision may rest on.
type Snapshot struct {
	// Wall names an episode for people. What is decided never depends on the hour.
	Wall time.Time

	Count   int // entries in the guarded namespace (nf_conntrack_count)
	Max     int // nf_conntrack_max; 0 means the kernel keeps no limit
	Buckets int // nf_conntrack_buckets

	// Losses holds what the kernel counted since the previous snapshot.
	Losses Counters

	// Timeouts are those in force in seconds, 0 for one that this kernel does not have.
	Timeouts [Timeouts]int

	// Census is the newest census, the zero one while there is none.
	Census Census

	// Allowed are the sources that are never limited, and Unlisted is why they are not
	// known, empty when they are.
	Allowed  []Allowed
	Unlisted string

	// Flows are what was last seen of the flows that may bypass tracking.
	Flows []FlowSight

	// Leases are what the kernel says of those in force.
	Leases []Lease

	// MemAvailable is /proc/meminfo's MemAvailable in bytes.
	MemAvailable int64

	// Changes are the changes of this boot that are in force and those that ended
	// lately, oldest first. What the policy knows of its own acts it knows from
	// here, so a daemon that was killed goes on where it was.
	Changes []Change

	// Approved is the advice that an operator has approved and that was neither done nor
	// refused yet.
	Approved []Approval

	// Paused says that an operator wants nothing changed for a while, until when and who,
	// empty while nobody does. What the policy no longer allows is taken back all the same:
	// the operator wants that, too.
	Paused string

	// Unable says why no change can be made at present (the ledger can't be
	// written), empty when one can.
	Unable string
}

// Utilization is Count/Max, 0 when the kernel keeps no limit.
func (s *Snapshot) Utilization() float64 {
	if s.Max <= 0 {
		return 0
	}
	return float64(s.Count) / float64(s.Max)
}

// Counters are increments of /proc/net/stat/nf_conntrack columns over one
// interval, summed over the CPUs.
type Counters struct {
	Found        uint64 `json:"found,omitempty"`         // lookups that hit; explodes in a SNAT port search
	Invalid      uint64 `json:"invalid,omitempty"`       // packets that fit no entry
	InsertFailed uint64 `json:"insert_failed,omitempty"` // entry refused at confirmation
	Drop         uint64 `json:"drop,omitempty"`          // packet dropped: table full, no memory, clash
	EarlyDrop    uint64 `json:"early_drop,omitempty"`    // unassured entry evicted to make room in a full table
	ChainTooLong uint64 `json:"chain_too_long,omitempty"`
	ClashResolve uint64 `json:"clash_resolve,omitempty"`
}

// ChangeState is how far a change has come, as the policy needs to know it.
type ChangeState string

// The states of a change that the policy is shown.
const (
	Applied ChangeState = "applied" // in force: the kernel holds our value, or should
	Failed  ChangeState = "failed"  // the kernel refused it
	Yielded ChangeState = "yielded" // somebody else took the key
	Undone  ChangeState = "undone"  // taken back by us
)

// A Change is one of our changes to the kernel: to one number, or to some timeouts.
type Change struct {
	ID      int
	Measure Measure
	State   ChangeState
	Episode string
	Cause   Cause // it was made for
	// Before and After are the kernel's value before our write and as we wrote it. Of
	// ShortenTimeouts they are the levels.
	Before, After int
	// Timeouts are those that the change has shortened and that are still ours, Lost
	// those that somebody else has taken (ShortenTimeouts).
	Timeouts [Timeouts]TimeoutEdit
	Lost     [Timeouts]bool
	// Walk is what came of treating the existing entries likewise (ShortenTimeouts), or of
	// deleting those of a limited source (LimitSource).
	Walk Walk
	// Terms are those of a lease (LimitSource, Bypass). Before and After are levels then:
	// 0, and Limited, Dropped or 1.
	Terms Terms
	// ApprovedBy is the operator who approved it, empty where the policy did, and
	// RolledBack that an operator has taken it back.
	ApprovedBy string
	RolledBack bool
	Replaces   int // id of the lease that it has made again on other terms, 0 for none
	// Made is when the change was made, and At when it reached its present state, on the
	// boot clock.
	Made, At time.Duration
	// Outcome is what its effect was judged to be, empty while it is not judged.
	Outcome Outcome
}

// A Walk is what came of the existing entries of shortened timeouts.
type Walk struct {
	Running bool // they are being dealt with
	Done    bool // all of them were dealt with
	Deleted int  // were older than their new timeout
	Retimed int  // now end earlier
}

// Outcome is the judgement on a change's effect.
type Outcome string

// The outcomes.
const (
	Helped     Outcome = "helped"             // the losses it was meant to end have ended, or never began
	NotEnough  Outcome = "helped, not enough" // it took effect, and the trouble has outgrown it
	DidNotHelp Outcome = "did not help"       // losses go on for another reason; not repeated in this episode
)

// An Approval is an operator's word for one piece of advice.
type Approval struct {
	ID string        // of the Decision
	By string        // who, for people
	At time.Duration // boot clock when it was given
}
