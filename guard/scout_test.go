package guard

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A scout for tests finds what it is told, and takes its time.
type scout struct {
	sight sense.Sight
	err   error
	takes time.Duration
	looks int
	rests int
	away  int // looks at this moment
	most  int // at any moment
	clock func() time.Duration
	newly []policy.Counting // what it was to count at each look

	translated string // an entry of every flow
}

func (s *scout) Look(ctx context.Context, c policy.Config) (sense.Sight, error) {
	s.looks++
	s.newly = append(s.newly, c.Census.CountNew)
	s.away++
	s.most = max(s.most, s.away)
	defer func() { s.away-- }()
	found := s.sight
	found.Census.At = s.clock()
	select {
	case <-ctx.Done():
		return sense.Sight{}, context.Cause(ctx)
	case <-time.After(s.takes):
	}
	return found, s.err
}

func (s *scout) Rest() error { s.rests++; return nil }

// Inspect finds each flow that is asked for as it is told.
func (s *scout) Inspect(ctx context.Context, c policy.Config) (found []policy.FlowSight, err error) {
	for _, f := range c.Bypass {
		found = append(found, policy.FlowSight{Flow: f.Name, Mark: f.Mark(), At: s.clock(), Seen: 1, NAT: s.translated})
	}
	return found, s.err
}

// scouted runs a test with a guard and its scout in a bubble of time, for a flood
// that ends a minute before the end.
func scouted(t *testing.T, s *scout, flood, calm time.Duration, check func(w *gateway)) {
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		w.Scout, s.clock = s, w.Clock
		w.want = 1000
		w.ticks(10 * time.Second)
		w.want = 60000
		w.ticks(flood)
		w.want = 1000
		w.ticks(calm)
		w.dismiss()
		check(w)
	})
}

// ticks runs the guard in a bubble of time, in which its scout moves, too.
func (w *gateway) ticks(span time.Duration) {
	for end := w.now + span; w.now < end; {
		pause, _ := w.Tick()
		time.Sleep(pause)
		synctest.Wait() // the scout has looked at the clock
		w.now += pause
	}
}

func churning() sense.Sight {
	return sense.Sight{Counting: true, Census: policy.Census{Read: 20_000, Table: 60_000, Closing: policy.Share{Share: 0.8, Low: 0.79, High: 0.81}}}
}

// A census is taken for the episode, reported with the diagnosis, and the nft table
// goes with the episode.
func TestCensusTellsThePattern(t *testing.T) {
	s := &scout{sight: churning(), takes: 1200 * time.Millisecond}
	scouted(t, s, 20*time.Second, 10*time.Minute, func(w *gateway) {
		if s.looks != 1 || s.rests != 1 {
			t.Errorf("%d looks and %d rests, want one each", s.looks, s.rests)
		}
		w.wantLines(eventOpened, 1)
		for _, line := range w.wantLines(eventDiagnosed, 1) {
			for _, want := range []string{
				"table-filling (churn, 79 % sure): ", "connections that are over hold 80 %", "closing TCP 80.0 ± 1.0 %",
				`PATTERN="churn"`, `CONFIDENCE="0.79"`, `CAUSE="table-filling"`,
			} {
				if !strings.Contains(line, want) {
					t.Errorf("no %q in %s", want, line)
				}
			}
		}
		w.wantLines(eventCounting, 1)
		w.wantLines(eventNotCounting, 1)
	})
}

// However slow a census is there is only one, and no tick waits for it.
func TestCensusIsAloneAndBlocksNoTick(t *testing.T) {
	s := &scout{sight: churning(), takes: 2 * time.Minute}
	scouted(t, s, 10*time.Second, 5*time.Minute, func(w *gateway) {
		// The pauses between ticks are all the time that has passed, but for the looks
		// that the end waited for.
		if s.most != 1 || s.looks == 0 {
			t.Errorf("%d looks, %d of them at a time", s.looks, s.most)
		}
		w.wantLines(eventDone, 1)
	})
}

func TestCensusNotMoreOftenThanAllowed(t *testing.T) {
	s := &scout{sight: churning(), takes: time.Second}
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		w.Scout, s.clock = s, w.Clock
		w.Config.Mode = policy.Advise // nothing ends the trouble
		w.want = 60000
		w.ticks(5 * time.Minute)
		w.dismiss()
		if s.looks != 10 {
			t.Errorf("%d looks in 5 minutes at one in 30 s", s.looks)
		}
		w.wantLines(eventDiagnosed, 1)
	})
}

// A census that fails is reported once and does not keep the guardian from acting.
func TestCensusFails(t *testing.T) {
	s := &scout{err: errors.New("no such luck")}
	scouted(t, s, 2*time.Minute, 5*time.Minute, func(w *gateway) {
		if s.looks < 4 {
			t.Errorf("%d looks, want it tried again", s.looks)
		}
		if lines := w.wantLines(eventUnseen, 1); len(lines) == 1 && !strings.Contains(lines[0], "no such luck") {
			t.Error(lines)
		}
		w.wantLines(eventDiagnosed, 0)
		w.wantLines(eventDone, 1)
	})
}

// A calm table is not looked at.
func TestNoCensusInCalm(t *testing.T) {
	s := &scout{sight: churning()}
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		w.Scout, s.clock = s, w.Clock
		w.run(10*time.Minute, 1000)
		w.dismiss()
		if s.looks+s.rests != 0 {
			t.Errorf("%d looks and %d rests in calm", s.looks, s.rests)
		}
	})
}

// What the policy no longer wants is taken out of the kernel though the trouble goes
// on and nobody looks.
func TestReloadTakesTheCounterAway(t *testing.T) {
	s := &scout{sight: churning(), takes: time.Second}
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		w.Scout, s.clock = s, w.Clock
		w.want = 60000
		w.ticks(10 * time.Second)
		w.wantLines(eventCounting, 1)
		w.Config.Mode = policy.Advise
		w.ticks(2 * time.Second)
		if s.rests != 1 || w.state.Episode.Name == "" {
			t.Errorf("%d rests in mode advise, episode %q", s.rests, w.state.Episode.Name)
		}
		w.wantLines(eventNotCounting, 1)
		w.ticks(10 * time.Second)
		if s.rests != 1 {
			t.Errorf("%d rests", s.rests)
		}
		w.dismiss()
	})
}

// A census that never ends does not keep the daemon from ending.
func TestCensusThatNeverEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newGateway(t)
		end := make(chan struct{})
		w.Scout = stuck{end}
		w.want = 60000
		for range 5 {
			w.Tick()
			w.now += time.Second
		}
		before := time.Now()
		w.dismiss()
		if took := time.Since(before); took > time.Minute {
			t.Errorf("ended after %s", took)
		}
		w.wantLines(eventUnseen, 1)
		close(end)
	})
}

// A stuck scout hears nothing until its end.
type stuck struct{ end chan struct{} }

func (s stuck) Look(context.Context, policy.Config) (sense.Sight, error) {
	<-s.end
	return sense.Sight{}, nil
}

func (s stuck) Inspect(context.Context, policy.Config) ([]policy.FlowSight, error) {
	<-s.end
	return nil, nil
}

func (s stuck) Rest() error { panic("called while Look is") }

// What was learned is there after a restart, however the run ended an hour later.
func TestBaselineSurvivesRestart(t *testing.T) {
	w := newGateway(t)
	w.StateDir = w.dir
	w.Start()
	w.run(3*time.Hour+time.Minute, 1000)
	w.kept()
	w.kill()
	w.start()
	w.StateDir = w.dir
	w.Start()
	if n := w.state.Baseline.Hours(); n != 2 && n != 3 {
		t.Errorf("%d hours learned after a restart, want about 3", n)
	}
	w.wantLines(eventForgotten, 0)
}

// Why it can't be saved is said once, not every hour anew.
func TestBaselineUnwritable(t *testing.T) {
	w := newGateway(t)
	w.StateDir = w.dir
	path := filepath.Join(w.dir, baselineFile)
	w.run(time.Minute, 1000)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		w.run(time.Hour, 1000)
		w.kept()
	}
	if lines := w.wantLines(eventForgotten, 1); len(lines) == 1 && !strings.Contains(lines[0], path+": ") {
		t.Errorf("no %s in %s", path, lines[0])
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	w.run(2*time.Hour, 1000)
	w.kept()
	left, err := filepath.Glob(filepath.Join(w.dir, ".*"))
	if b, loading := LoadBaseline(w.dir); loading != nil || b.Hours() == 0 || len(left) > 0 || err != nil {
		t.Errorf("%d hours, %v; left %q, %v", b.Hours(), loading, left, err)
	}
	w.wantLines(eventForgotten, 1)
}

// kept waits until what was learned is saved.
func (w *gateway) kept() {
	if w.saving != nil {
		w.reportForgotten(<-w.saving)
		w.saving = nil
	}
}

func TestBaselineUnreadable(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"garbage":   func(path string) error { return os.WriteFile(path, []byte("{"), 0o600) },
		"too large": func(path string) error { return os.WriteFile(path, make([]byte, baselineSize+1), 0o600) },
		"directory": func(path string) error { return os.Mkdir(path, 0o700) },
		"link out":  func(path string) error { return os.Symlink("/etc/passwd", path) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newGateway(t)
			w.StateDir = w.dir
			path := filepath.Join(w.dir, baselineFile)
			if err := spoil(path); err != nil {
				t.Fatal(err)
			}
			w.Start()
			if lines := w.wantLines(eventForgotten, 1); len(lines) == 1 && !strings.Contains(lines[0], path) {
				t.Errorf("no %s in %s", path, lines[0])
			}
			w.run(3*time.Hour, 1000)
			if w.state.Baseline.Hours() == 0 {
				t.Error("nothing is learned")
			}
		})
	}
}
