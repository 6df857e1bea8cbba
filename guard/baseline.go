package guard

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	// baselineFile is in the state directory.
	baselineFile = "baseline.json"
	// baselineSize is far more than a week of hours takes.
	baselineSize = 64 << 10
	// baselineEvery is how often what was learned is saved: a crash loses as much.
	baselineEvery = time.Hour
)

// LoadBaseline reads what an earlier run has learned of the table. Without a file
// it is nothing, and no error.
func LoadBaseline(dir string) (policy.Baseline, error) {
	var b policy.Baseline
	text, err := readState(dir, baselineFile, baselineSize)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &b)
	}
	if err != nil {
		return b, fmt.Errorf("read the learned baseline %s: %w", filepath.Join(dir, baselineFile), err)
	}
	return b, nil
}

// recallBaseline takes up what was learned. What can't be read is learned anew.
func (g *Guard) recallBaseline() {
	g.saved = g.Clock()
	if g.StateDir == "" {
		return
	}
	b, err := LoadBaseline(g.StateDir)
	g.state.Baseline = b
	g.reportForgotten(err)
}

// keepBaseline saves what was learned now and then. The loop does not wait for the
// disk.
func (g *Guard) keepBaseline(now time.Duration) {
	select {
	case err := <-g.saving: // never, of a nil channel
		g.saving = nil
		g.reportForgotten(err)
	default:
	}
	if g.StateDir == "" || g.saving != nil || now-g.saved < baselineEvery {
		return
	}
	saving := make(chan error, 1) // so that it never waits for us
	g.saved, g.saving = now, saving
	go func(b policy.Baseline) { saving <- saveBaseline(g.StateDir, b) }(g.state.Baseline)
}

// keepBaselineNow saves what was learned at the end.
func (g *Guard) keepBaselineNow() {
	if g.StateDir == "" {
		return
	}
	if g.saving != nil {
		<-g.saving
	}
	g.reportForgotten(saveBaseline(g.StateDir, g.state.Baseline))
}

func saveBaseline(dir string, b policy.Baseline) error {
	text, err := json.Marshal(b)
	if err == nil {
		err = writeState(dir, baselineFile, append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("save the learned baseline %s: %w", filepath.Join(dir, baselineFile), err)
	}
	return nil
}
