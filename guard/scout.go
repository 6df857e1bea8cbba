package guard

import (
	"context"
	"errors"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Scout goes and looks who fills the table. It is called by one goroutine at a
// time, which is not the loop's: looking takes a second and more.
// *sense.Scout is the real one.
type Scout interface {
	// Look takes a census as the policy bounds it. It returns soon after ctx has ended.
	Look(ctx context.Context, c policy.Config) (sense.Sight, error)
	// Inspect looks for the flows that may bypass tracking. After an error it tells what
	// is certain all the same. It returns soon after ctx has ended.
	Inspect(ctx context.Context, c policy.Config) ([]policy.FlowSight, error)
	// Rest takes away what Look has put into the kernel.
	Rest() error
}

// An Allowlist tells the sources that are never limited. It is used as a Scout is.
// *sense.Allowlist is the real one.
type Allowlist interface {
	// Read tells them as the policy has it. After an error it tells those that are known.
	Read(ctx context.Context, c policy.Config) ([]policy.Allowed, error)
}

// unlisted is why nobody is limited before the allowlist has been read.
const unlisted = "who is never to be limited is not known yet"

// scouting is what the loop knows of its scout.
type scouting struct {
	errand
	asked  time.Duration // when it was last sent to look, 0 for never
	out    bool          // Look has been called since Rest was
	last   time.Duration // when it was last sent to rest
	unseen string        // why the newest census failed, empty when it did not

	inspected time.Duration // when it was last sent for the flows, 0 for never
	blurred   string        // why not all is known of them, empty when it is
	listing   bool          // the allowlist is to be read by itself: the daemon has started, or the policy is another
	listed    time.Duration // when it was last read, 0 for never
	misread   string        // why it could not be read whole, empty when it could

	counting  bool   // new connections are being counted
	uncounted string // why they are not though they should be, empty otherwise
}

// takeIn takes in what a look has shown.
func (g *Guard) takeIn(s sense.Sight, err error) {
	if err != nil {
		g.reportUnseen(err)
		return
	}
	g.snapshot.Census = s.Census
	g.reportSeen()
	g.reportCounting(s.Counting, s.Uncounted)
}

// takeFlows takes in what was seen of the flows.
func (g *Guard) takeFlows(found []policy.FlowSight, err error) {
	g.snapshot.Flows = found
	g.reportBlurred(err)
}

// takeList takes in the allowlist.
func (g *Guard) takeList(list []policy.Allowed, err error) {
	g.snapshot.Allowed = list
	switch {
	case err == nil:
		g.snapshot.Unlisted = ""
	case g.snapshot.Unlisted != "": // it was never whole
		g.snapshot.Unlisted, g.scouting.listing = "who is never to be limited is not known: "+err.Error(), true
	}
	g.reportMisread(err)
}

// sendOut sends the scout to look when the policy wants to know, and to rest when
// the trouble is over. There is only one: while it is away nothing is asked.
func (g *Guard) sendOut(now time.Duration) {
	s := &g.scouting
	switch {
	case g.Scout == nil || s.away():
	case g.wantsList(now):
		s.listing, s.listed = false, now
		ctx, config := g.living, g.Config
		s.send(func() (takeIn func()) { return g.list(ctx, config) })
	case g.state.WantsCensus(&g.Config, s.asked, now):
		s.asked, s.listed, s.out = now, now, true
		ctx, config := g.living, g.Config
		if g.state.Episode.Name == "" { // an undo asks what is in the table, not who fills it
			config.Census.CountNew = policy.CountNever
		}
		s.send(func() (takeIn func()) {
			sight, err := g.Scout.Look(ctx, config)
			list := g.list(ctx, config)
			return func() { g.takeIn(sight, err); list() }
		})
	case g.state.WantsFlows(&g.snapshot, &g.Config, s.inspected, now):
		s.inspected = now
		ctx, config := g.living, g.Config
		s.send(func() (takeIn func()) {
			found, err := g.Scout.Inspect(ctx, config)
			return func() { g.takeFlows(found, err) }
		})
	case s.out && g.mayRest() && now-s.last >= retryEvery:
		s.last = now
		s.send(func() (takeIn func()) {
			err := g.Scout.Rest()
			return func() {
				g.scouting.out = err != nil
				g.reportCounting(false, err)
			}
		})
	}
}

// mayRest reports whether the trouble is over, or the policy no longer wants what is
// in the kernel.
func (g *Guard) mayRest() bool {
	return g.state.Episode.Name == "" || g.scouting.counting && !g.Config.Counts()
}

// listEvery is how often the allowlist is read without a census. Who has long been
// connected when the trouble begins must be known then, and who must not be limited any
// more be let go.
const listEvery = time.Minute

// wantsList reports whether the allowlist is to be read without a census: at the start,
// with another policy, and now and then.
func (g *Guard) wantsList(now time.Duration) bool {
	s := &g.scouting
	if g.Allow == nil || min(g.Config.Mode, g.Config.LimitSource.Mode) == policy.Off || s.listed != 0 && now-s.listed < retryEvery {
		return false
	}
	return s.listing || now-s.listed >= listEvery
}

// list reads the allowlist where sources may be limited. It must be as new as what it is
// asked about, so it comes with every census.
func (g *Guard) list(ctx context.Context, c policy.Config) (takeIn func()) {
	if g.Allow == nil || min(c.Mode, c.LimitSource.Mode) == policy.Off {
		return func() {}
	}
	list, err := g.Allow.Read(ctx, c)
	return func() { g.takeList(list, err) }
}

// lastWait is how long a scout may take to come back at the end: one deadline of a
// netlink call, and another for what it has to put away.
const lastWait = 10 * time.Second

// dismiss has the scout come back and rest. What it has put into the kernel goes
// with the process where it does not come back.
func (g *Guard) dismiss() {
	g.leave()
	if _, back := g.scouting.await(lastWait); !back {
		g.reportUnseen(errStuck)
		return
	}
	if g.scouting.out {
		g.reportCounting(false, g.Scout.Rest())
	}
}

var (
	// errStopping is why a census ends with the daemon.
	errStopping = errors.New("the daemon is stopping")
	errStuck    = errors.New("a census does not come to its end")
)

// live begins the time in which the scout may be away.
func (g *Guard) live() {
	ctx, cancel := context.WithCancelCause(context.Background())
	g.living, g.leave = ctx, func() { cancel(errStopping) }
}
