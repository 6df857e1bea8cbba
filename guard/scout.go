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
	// Rest takes away what Look has put into the kernel.
	Rest() error
}

// scouting is what the loop knows of its scout.
type scouting struct {
	back   chan sight    // from the scout on its way, nil when there is none
	asked  time.Duration // when it was last sent to look, 0 for never
	out    bool          // Look has been called since Rest was
	last   time.Duration // when it was last sent to rest
	unseen string        // why the newest census failed, empty when it did not

	counting  bool   // new connections are being counted
	uncounted string // why they are not though they should be, empty otherwise
}

// A sight is what the scout comes back with.
type sight struct {
	sense.Sight
	err    error
	rested bool // it was sent to rest, not to look
}

// meet takes in what the scout has found, if it is back.
func (g *Guard) meet() {
	select {
	case s := <-g.scouting.back: // never, of a nil channel
		g.scouting.back = nil
		g.takeIn(s)
	default:
	}
}

func (g *Guard) takeIn(s sight) {
	switch {
	case s.rested:
		g.scouting.out = s.err != nil
		g.reportCounting(false, s.err)
	case s.err != nil:
		g.reportUnseen(s.err)
	default:
		g.snapshot.Census = s.Census
		g.reportSeen()
		g.reportCounting(s.Counting, s.Uncounted)
	}
}

// sendOut sends the scout to look when the policy wants to know, and to rest when
// the trouble is over. There is only one: while it is away nothing is asked.
func (g *Guard) sendOut(now time.Duration) {
	s := &g.scouting
	switch {
	case g.Scout == nil || s.back != nil:
	case g.state.WantsCensus(&g.Config, s.asked, now):
		s.asked, s.out = now, true
		ctx, config := g.living, g.Config
		if g.state.Episode.Name == "" { // an undo asks what is in the table, not who fills it
			config.Census.CountNew = policy.CountNever
		}
		g.send(func() (back sight) {
			back.Sight, back.err = g.Scout.Look(ctx, config)
			return back
		})
	case s.out && g.mayRest() && now-s.last >= retryEvery:
		s.last = now
		g.send(func() sight { return sight{rested: true, err: g.Scout.Rest()} })
	}
}

// mayRest reports whether the trouble is over, or the policy no longer wants what is
// in the kernel.
func (g *Guard) mayRest() bool {
	return g.state.Episode.Name == "" || g.scouting.counting && !g.Config.Counts()
}

func (g *Guard) send(errand func() sight) {
	back := make(chan sight, 1) // so that it never waits for us
	g.scouting.back = back
	go func() { back <- errand() }()
}

// lastWait is how long a scout may take to come back at the end: one deadline of a
// netlink call, and another for what it has to put away.
const lastWait = 10 * time.Second

// dismiss has the scout come back and rest. What it has put into the kernel goes
// with the process where it does not come back.
func (g *Guard) dismiss() {
	g.leave()
	if g.scouting.back != nil {
		select {
		case <-g.scouting.back:
		case <-time.After(lastWait):
			g.reportUnseen(errStuck)
			return
		}
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
