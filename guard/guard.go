package guard

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config/watch"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	// blindPause is the time between two attempts to read a kernel that can't be read.
	blindPause = time.Second
	// retryEvery is the time between two attempts at what failed: an undo that the
	// kernel refuses, a ledger that can't be written.
	retryEvery = 10 * time.Second
)

// A Sensor takes readings. *sense.Sensor is the real one.
type Sensor interface {
	// Read fills in what the kernel says. It fails with sense.ErrAbsent while
	// nf_conntrack is not loaded.
	Read(*policy.Snapshot) error
}

// A Guard watches one namespace's table. All its methods belong to one goroutine.
type Guard struct {
	Sensor  Sensor
	Actions *actions.Executor
	Ledger  *ledger.Ledger // that of Actions
	// NoLedger is why there is no ledger: Actions and Ledger are nil then, and the
	// guard only advises.
	NoLedger  error
	Log       *slog.Logger
	Clock     func() time.Duration // the boot clock
	Version   string               // of the program, for people
	Namespace string               // path of the guarded namespace, empty for our own
	Config    policy.Config
	Hash      string        // of the policy file, empty for the built-in policy
	Source    func() string // where the policy came from, for people
	// Writable is why the kernel's values can't be written, nil when they can.
	Writable func() error
	// Named is why the guarded namespace has no name any more, nil when it has. What can
	// be read then is what was there.
	Named func() error
	// Scout is who looks what fills the table, nil for nobody.
	Scout Scout
	// Walk deals with the existing entries of shortened timeouts, nil for nobody.
	Walk Walk
	// Leases are the restrictions that the kernel holds, nil for none.
	Leases Leases
	// Allow tells the sources that are never limited, nil if that is not known.
	Allow Allowlist
	// Prune deletes what a source has in the table of a namespace without a reply, nil for
	// nobody. It is called as Walk is.
	Prune Prune
	// Loosen looks after the connections that a flow had before it bypasses tracking, nil
	// for nobody. It is called as Walk is.
	Loosen Loosen
	// Suspects tells who may have written a value of ours, nil for nobody. Remember is
	// called when one has been written, so that what happens from then on can be told.
	Suspects Suspects
	Remember func()
	// Load reads the policy file because somebody asks for it. It is called by one
	// goroutine at a time, which is not the loop's.
	Load func() watch.Loaded
	// Admit refuses a policy that can't be put in force for a reason outside of it; what
	// is not the loop's to do it puts in force. Nil admits all.
	Admit func(config.File) error
	// Desk is where operators are heard, nil for nowhere.
	Desk *Desk
	// Record keeps every reading, nil for nobody.
	Record Recorder
	// NoRecord is why there is none although the policy wants one.
	NoRecord error
	// StateDir is where what was learned of the table is kept, empty for nowhere.
	StateDir string

	scouting  scouting
	walking   walking
	leasing   leasing
	pruning   errand                  // of Prune
	stopPrune context.CancelCauseFunc // ends it
	loosening loosening
	accusing  accusing
	later     []func()        // what operators want that must wait for an errand
	living    context.Context // ends when the daemon stops, for the scout and the walk
	leave     func()
	saved     time.Duration // when the baseline was saved
	saving    chan error    // what comes of saving it, nil when it is not being saved
	forgot    string        // why it could not be kept, empty when it could

	nameless   string // why the guarded namespace has no name, empty when it has
	unrecorded string // why readings are not recorded, empty when they are

	snapshot  policy.Snapshot
	state     policy.State
	before    policy.State // the newest decisions
	reload    reloading
	approvals []*pending
	paused    paused
	soon      bool          // the next reading is wanted at once
	ticked    time.Duration // when the newest was taken
	hour      hour
	started   time.Time // wall clock
	recalled  recalled
	blind     string              // why the last reading failed, empty when it did not
	unable    string              // why nothing can be done, empty when it can
	unsettled bool                // changes of an earlier run could not be settled yet
	probed    time.Duration       // when what failed was last tried again
	failed    map[attempt]failure // what went wrong and has not gone right since
}

// An attempt is what was tried: a measure, or something about a change.
type attempt struct {
	verb    policy.Verb
	measure policy.Measure
	change  int    // 0 for a new one
	about   string // the source or flow of a lease
}

// settling is the attempt to settle what an earlier run left open.
var settling = attempt{verb: "settle"}

// A failure is an attempt that did not succeed.
type failure struct {
	retry  time.Duration // boot clock before which it is not tried again
	reason string        // as reported, empty when it was not
}

// recalled keeps the policy's view of the ledger while the ledger does not change.
type recalled struct {
	generation uint64
	known      bool
	changes    []policy.Change
}

// Start settles what an earlier run left open and reports it. Call it once,
// before the first tick. What can't be settled yet is tried again.
func (g *Guard) Start() {
	g.failed = map[attempt]failure{}
	g.live()
	g.bound()
	g.snapshot.Unlisted = unlisted
	g.recallBaseline()
	g.recallPause()
	g.started, g.reload.at = time.Now(), time.Now()
	g.recordPolicy()
	if g.NoLedger != nil {
		return
	}
	g.settle(g.Actions.Recover)
	g.forgetWalks()
	if g.pausing(g.Clock()) == "" {
		g.liftElsewhere(g.Clock())
	}
}

// settle reports changes that were found open and have come further.
func (g *Guard) settle(recover func() ([]ledger.Change, error)) {
	changes, err := recover()
	for _, c := range changes {
		g.reportSettled(c)
	}
	g.unsettled = err != nil
	switch {
	case err == nil:
		delete(g.failed, settling)
	case g.Ledger.Err() == nil:
		g.reportUnsettled(err)
	}
}

// Tick takes one reading and does what it calls for. It returns how long to wait
// for the next, and whether the tick was complete: the kernel was read, or is
// known to have no conntrack yet.
func (g *Guard) Tick() (pause time.Duration, complete bool) {
	now := g.Clock()
	g.ticked = now
	g.meetWalk()
	g.loosening.meet()
	g.resumeLater() // which takes no reading
	if err := g.Sensor.Read(&g.snapshot); err != nil {
		g.reportBlind(err)
		g.refuseAll(g.blind)
		g.haltWalk(errUnwatched)
		return blindPause, errors.Is(err, sense.ErrAbsent)
	}
	g.reportSeeing()
	g.reportNamed()
	g.tryLedger(now)
	g.pruning.meet()
	g.meetSuspects()
	g.snapshot.Changes = g.changes()
	g.readLeases(now)
	g.snapshot.Unable, g.snapshot.Paused, g.snapshot.Approved = g.unable, g.pausing(now), g.approved()
	g.scouting.meet()
	g.hour.add(now, g.snapshot.Utilization())
	g.before = g.state
	var decisions []policy.Decision
	g.state, decisions = policy.Decide(g.state, g.snapshot, g.Config, now)
	g.record(decisions, now)
	for _, d := range decisions {
		g.carryOut(d, now)
	}
	g.answerRefused(decisions, now)
	if g.snapshot.Paused == "" {
		g.liftElsewhere(now)
	}
	g.renew()
	g.sendOut(now)
	g.snapshot.Changes = g.changes() // as the decisions have left them
	g.walk(now)
	g.keepBaseline(now)
	return policy.Pause(&g.snapshot, &g.Config), true
}

// changes is the ledger as the policy needs to see it, made anew only when the
// ledger has changed.
func (g *Guard) changes() []policy.Change {
	if g.NoLedger != nil {
		return nil
	}
	if gen := g.Actions.Generation(); !g.recalled.known || gen != g.recalled.generation {
		g.recalled = recalled{generation: gen, known: true, changes: Recall(g.Actions.Changes(), g.Ledger.Boot(), g.Namespace)}
	}
	return g.recalled.changes
}

// tryLedger keeps up whether changes can be recorded. After a failure it asks
// again now and then, and settles what could not be recorded meanwhile.
func (g *Guard) tryLedger(now time.Duration) {
	if g.NoLedger != nil {
		g.reportUnable(g.NoLedger)
		return
	}
	if due := now-g.probed >= retryEvery; due && (g.unsettled || g.Actions.Err() != nil) {
		g.probed = now
		retry := g.Actions.Recover
		if g.Actions.Err() != nil {
			retry = g.Actions.Probe
		}
		g.settle(retry)
	}
	g.reportUnable(g.Actions.Err())
	g.reportNotices()
}
