package guard

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// breakLedger puts a directory in the place of the file: it can be neither
// written nor replaced.
func (w *gateway) breakLedger() (mend func()) {
	w.t.Helper()
	path := filepath.Join(w.dir, "ledger.jsonl")
	if err := errors.Join(os.Remove(path), os.MkdirAll(filepath.Join(path, "full"), 0o750)); err != nil {
		w.t.Fatal(err)
	}
	return func() {
		if err := os.RemoveAll(path); err != nil {
			w.t.Fatal(err)
		}
	}
}

func TestWithoutLedgerNothingIsDone(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	mend := w.breakLedger()
	w.run(3*time.Second, 60000)
	w.run(30*time.Second, 60000)
	if n := len(w.kernel.Writes()); n != 0 {
		t.Fatalf("%d writes that no ledger knows", n)
	}
	w.wantLines(eventUnable, 1)
	w.wantLines(eventFailed, 0)
	if !strings.Contains(w.Status(), "unable to act: ") {
		t.Errorf("status %q does not say so", w.Status())
	}
	mend()
	w.run(30*time.Second, 60000)
	w.wantMax(120832) // 60,000 entries at half of it
	w.wantLines(eventAble, 1)
}

// A ledger that breaks while a change is in force is said once; the change is
// still undone, and recorded when that is possible again.
func TestLedgerBreaksInTheEpisode(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	mend := w.breakLedger()
	w.run(time.Minute, 60000)
	w.run(5*time.Second, 1000)
	w.run(5*time.Minute, 1000)
	w.wantMax(65536)
	w.wantLines(eventUnable, 1)
	w.wantLines(eventFailed, 0)
	w.wantLines(eventUndone, 1)
	mend()
	w.run(30*time.Second, 1000)
	w.kill()
	w.start()
	if all := w.Actions.Changes(); len(all) != 1 || all[0].State != ledger.Undone {
		t.Errorf("after a restart the ledger has %+v, want the one change undone", all)
	}
}

// With a damaged ledger the guard watches and advises.
func TestDamagedLedger(t *testing.T) {
	w := newGateway(t)
	w.kill()
	w.Guard = &Guard{Sensor: w, Log: slog.New(w.lines), Clock: w.Clock, Config: w.Config, NoLedger: errors.New("ledger.jsonl:3: damaged")}
	w.Start()
	w.run(10*time.Second, 1000)
	w.run(30*time.Second, 60000)
	w.wantLines(eventUnable, 1)
	w.wantLines(eventAdvised, 1)
	if n := len(w.kernel.Writes()); n != 0 {
		t.Errorf("%d writes without a ledger", n)
	}
	if !strings.Contains(w.Status(), "unable to act: ledger.jsonl:3: damaged") {
		t.Errorf("status %q", w.Status())
	}
}

// What can't be settled at the start is said once, tried again, and is no reason
// to claim that nothing can be recorded.
func TestUnsettledAtTheStart(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	w.kill()
	value := w.kernel.Value(actions.MaxName)
	w.kernel.Remove(actions.MaxName)
	w.err = errors.New("no conntrack")
	w.start()
	w.err = nil
	w.kernel.Set(actions.MaxName, value)
	w.run(30*time.Second, 60000)
	w.wantLines(eventUnable, 0)
	w.wantLines(eventFailed, 1)
	if _, known := w.failed[settling]; w.unsettled || known {
		t.Error("not settled though it can be")
	}
	w.run(5*time.Second, 1000)
	w.run(5*time.Minute, 1000)
	w.wantMax(65536)
}

// An undo that was begun and not finished must not stand in the way of the room
// that the next flood needs.
func TestUnfinishedUndoGivesWay(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	w.run(5*time.Second, 1000)
	w.kernel.SetReadOnly(true)
	w.run(3*time.Minute, 1000) // the undo is refused again and again
	w.kill()
	w.start()
	w.run(2*time.Second, 60000)
	w.kernel.SetReadOnly(false)
	w.run(10*time.Second, 200000)
	w.wantMax(262144)
	for _, write := range w.kernel.Writes()[1:] {
		if len(write.New) < len(write.Old) || len(write.New) == len(write.Old) && write.New < write.Old {
			t.Errorf("max lowered from %s to %s on the way up", write.Old, write.New)
		}
	}
}

// Another table that shares max needs the room: the undo waits, and says so once
// though the count in the error differs each time.
func TestUndoWaitsForAnotherTable(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	w.run(5*time.Second, 1000)
	for i := range 30 {
		w.others = 60000 + i
		w.run(10*time.Second, 1000)
	}
	w.wantMax(131072)
	w.wantLines(eventFailed, 1)
	w.others = 0
	w.run(time.Minute, 1000)
	w.wantMax(65536)
}

// A change that an undo finds to be somebody else's is not reported as undone.
func TestEndedIsNotAlwaysUndone(t *testing.T) {
	w := newGateway(t)
	w.reportEnded(policy.Decision{Measure: policy.RaiseMax}, ledger.Change{ID: 1, State: ledger.Yielded, Note: "it is somebody else's now"})
	w.wantLines(eventYielded, 1)
	w.wantLines(eventUndone, 0)
}

func TestReloadedBoundsAreTheirOwn(t *testing.T) {
	w := newGateway(t)
	w.Config.RaiseMax.Ceiling = 70000
	w.run(10*time.Second, 1000)
	w.run(10*time.Second, 90000)
	w.wantMax(70000)
	w.Writable = func() error { return nil }
	file := config.File{Policy: w.Config}
	file.Policy.RaiseMax.Ceiling = 80000
	w.reload(func() (config.File, error) { return file, errors.New("first a mistake") })
	if !strings.Contains(w.Status(), "policy file rejected") {
		t.Errorf("status %q", w.Status())
	}
	w.reload(func() (config.File, error) { return file, nil })
	if strings.Contains(w.Status(), "policy file rejected") {
		t.Errorf("status %q after a good reload", w.Status())
	}
	w.run(10*time.Second, 90000)
	w.wantMax(80000)
	w.wantLines(eventBounded, 2)
}

// A change of mode leaves nothing behind: what was done is taken back in its time.
func TestModeChangedInTheEpisode(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	w.Config.Mode = policy.Off
	w.run(5*time.Second, 1000)
	w.run(5*time.Minute, 1000)
	w.wantMax(65536)
}
