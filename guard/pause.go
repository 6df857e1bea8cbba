package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/guard/journald"
)

const (
	// pauseFile is in the state directory: a pause outlives the daemon, but not the boot.
	pauseFile = "pause.json"
	pauseSize = 4 << 10
)

// A paused guard changes nothing: it neither acts nor takes anything back. Leases in force
// are renewed. Its zero value is none.
type paused struct {
	Boot  string        `json:"boot"`
	Until time.Duration `json:"until"` // boot clock
	By    string        `json:"by"`
	Text  string        `json:"text"` // for people
}

// pause has nothing changed for a while, or for another while.
func (g *Guard) pause(r control.Request) (*control.Answer, error) {
	p := paused{Until: g.Clock() + r.For, By: r.By}
	until := g.wall(p.Until)
	p.Text = fmt.Sprintf("paused by %s until %s", r.By, clock(until))
	note := g.keepPause(p)
	g.paused, g.soon = p, true
	g.haltWalk(errPaused) // what has begun ends, too
	if g.pruning.away() {
		g.stopPrune(errPaused)
	}
	message := "nothing is changed until " + clock(until)
	g.log(journald.LevelNotice, eventPaused, fmt.Sprintf("paused by %s: %s", r.By, message), slog.String("BY", r.By), slog.Time("UNTIL", until))
	return &control.Answer{Message: message, Until: &until, Lines: note}, nil
}

// resume ends a pause.
func (g *Guard) resume(r control.Request) (*control.Answer, error) {
	if g.paused == (paused{}) {
		return nil, &control.Refusal{Code: control.Blocked, Message: "there is no pause to end"}
	}
	note := g.endPause("resumed by "+r.By, slog.String("BY", r.By))
	g.soon = true
	return &control.Answer{Message: "the policy is in force again, mode " + g.Config.Mode.String(), Lines: note}, nil
}

// pausing is why nothing is changed now, empty where nobody has asked for a pause.
func (g *Guard) pausing(now time.Duration) string {
	if g.paused != (paused{}) && now >= g.paused.Until {
		g.endPause("the pause that " + g.paused.By + " asked for is over")
	}
	return g.paused.Text
}

func (g *Guard) endPause(why string, attrs ...slog.Attr) (note []string) {
	g.paused = paused{}
	g.log(journald.LevelNotice, eventResumed, why, attrs...)
	if g.StateDir == "" {
		return nil
	}
	return g.reportPauseFile("forget", removeState(g.StateDir, pauseFile))
}

// keepPause saves a pause. What can't be saved holds until the daemon ends.
func (g *Guard) keepPause(p paused) (note []string) {
	if g.StateDir == "" || g.NoLedger != nil { // which knows the boot
		return nil
	}
	p.Boot = g.Ledger.Boot()
	text, err := json.Marshal(p)
	if err == nil {
		err = writeState(g.StateDir, pauseFile, append(text, '\n'))
	}
	return g.reportPauseFile("keep", err)
}

// recallPause takes up a pause of this boot.
func (g *Guard) recallPause() {
	if g.StateDir == "" || g.NoLedger != nil {
		return
	}
	text, err := readState(g.StateDir, pauseFile, pauseSize)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var p paused
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	g.reportPauseFile("recall", err)
	now := g.Clock()
	if err == nil && p.Boot == g.Ledger.Boot() && p.Until > now && p.Until <= now+control.MaxPause {
		p.Boot = ""
		g.paused = p
	}
}

// reportPauseFile reports what went wrong with the file, and returns it for the operator.
func (g *Guard) reportPauseFile(what string, err error) (note []string) {
	if err == nil {
		return nil
	}
	text := fmt.Sprintf("could not %s the pause in %s: %v; a restart of the daemon would not know of it", what, filepath.Join(g.StateDir, pauseFile), err)
	g.log(slog.LevelWarn, eventFailed, text, slog.String("ERROR", err.Error()))
	return []string{text}
}

// clock is a moment as the operator's clock shows it.
func clock(t time.Time) string { return t.Local().Format(time.DateTime) }
