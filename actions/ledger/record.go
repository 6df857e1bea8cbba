package ledger

import (
	"slices"
	"time"
)

// State is how far a change has come.
//
//	intended → applied → undoing → undone
//	    ├→ failed   (the write was refused; the value before is still in force)
//	    ├→ yielded  (from applied or undoing: somebody else has changed the value)
//	    └→ void     (the change belongs to another boot)
//
// An undo that the kernel has not taken yet may be given up: undoing → applied.
type State string

// The states. Intended, Applied and Undoing are open: the kernel may hold a
// value of ours.
const (
	Intended State = "intended"
	Applied  State = "applied"
	Undoing  State = "undoing"
	Undone   State = "undone"
	Failed   State = "failed"
	Yielded  State = "yielded"
	Void     State = "void"
)

// Open reports whether the kernel may hold a value of ours.
func (s State) Open() bool { return s == Intended || s == Applied || s == Undoing }

// An Edit is one kernel value that a change replaces. Values are the kernel's
// own text without the newline.
type Edit struct {
	Key    string `json:"key"` // kind and name, "sysctl:net.netfilter.nf_conntrack_max"
	Before string `json:"before"`
	After  string `json:"after"`
}

// A Change is what the guardian did to the kernel and why. It is plain data:
// readable without the policy that asked for it.
type Change struct {
	ID        int    `json:"id"`
	Measure   string `json:"measure"`
	Episode   string `json:"episode,omitempty"`
	Cause     string `json:"cause,omitempty"`
	Reason    string `json:"reason,omitempty"`
	Namespace string `json:"namespace,omitempty"` // path of the guarded network namespace, empty for our own
	Level     int    `json:"level,omitempty"`     // of a measure that acts in levels, what this change brings it to
	Edits     []Edit `json:"edits"`
	// ApprovedBy is the operator who approved this change, empty where the policy did.
	ApprovedBy string `json:"approved_by,omitempty"`
	Replaces   int    `json:"replaces,omitempty"` // identifier of the lease that this one makes again on other terms

	// What follows is folded from the records.

	State   State     `json:"state"`
	Yielded []string  `json:"yielded,omitempty"` // keys of Edits that somebody else owns now
	Note    string    `json:"note,omitempty"`    // why it ended as it did
	Outcome string    `json:"outcome,omitempty"` // "helped", "helped, not enough", "did not help"
	Boot    string    `json:"boot"`              // /proc/sys/kernel/random/boot_id
	Created time.Time `json:"created"`           // wall clock of the first record
	Changed time.Time `json:"changed"`           // wall clock of the newest state
	// Since is the boot clock (CLOCK_BOOTTIME) at the newest state that was
	// reached in the boot named by Boot; comparable within that boot only.
	Since time.Duration `json:"since"`
	// Made is the boot clock at the first record, before anything was written to
	// the kernel. A ledger that lacks it gives the Since that it has.
	Made time.Duration `json:"made,omitempty"`
	// Walk is what the walks over the table for this change came to, nil before
	// the first has begun.
	Walk *Walk `json:"walk,omitempty"`
}

// Ours returns the edits whose keys nobody else has taken.
func (c *Change) Ours() []Edit {
	if len(c.Yielded) == 0 {
		return c.Edits
	}
	var ours []Edit
	for _, e := range c.Edits {
		if !slices.Contains(c.Yielded, e.Key) {
			ours = append(ours, e)
		}
	}
	return ours
}

// valid reports whether s is a state that this format knows.
func (s State) valid() bool {
	return s.Open() || s == Undone || s == Failed || s == Yielded || s == Void
}
