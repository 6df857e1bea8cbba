package guard

import (
	"log/slog"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A Recorder keeps what was read and decided. It never waits for the disk.
// *record.Recorder is the real one.
type Recorder interface {
	// Policy tells the policy in force, at the start and after each reload.
	Policy(c *policy.Config)
	// Add takes in one step: the state before it, what was read, and what was decided.
	Add(before *policy.State, s *policy.Snapshot, c *policy.Config, now time.Duration, ds []policy.Decision)
	// Err is why nothing is recorded at present, nil while it is.
	Err() error
}

// record keeps the newest step, before what was decided has changed anything.
func (g *Guard) record(decisions []policy.Decision, now time.Duration) {
	if g.Record == nil {
		return
	}
	g.Record.Add(&g.before, &g.snapshot, &g.Config, now, decisions)
	g.reportUnrecorded(g.Record.Err())
}

func (g *Guard) recordPolicy() {
	if g.Record != nil {
		g.Record.Policy(&g.Config)
	}
}

// reportUnrecorded reports when nothing can be recorded, when the reason is new, and when
// it can again.
func (g *Guard) reportUnrecorded(err error) {
	why := ""
	if err != nil {
		why = err.Error()
	}
	switch {
	case why == g.unrecorded:
		return
	case why == "":
		g.log(slog.LevelInfo, eventUnrecorded, "the flight record is whole again")
	default:
		g.log(slog.LevelWarn, eventUnrecorded, "flight record: "+why, slog.String("ERROR", why))
	}
	g.unrecorded = why
}
