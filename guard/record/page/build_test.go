package page

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// The report says what was in the steps: counted here in the plainest way.
func TestReportSaysWhatHappened(t *testing.T) {
	for _, p := range pages {
		t.Run(p.name, func(t *testing.T) {
			g := p.make()
			r := reportOf(t, g)
			open, over := false, false
			var peak float64
			var lost uint64
			var done, undone, diagnoses, advice int
			for _, s := range g.steps {
				for _, d := range s.Decisions {
					open = open || d.Verb == policy.Open
					switch d.Verb {
					case policy.Do:
						done++
					case policy.Open, policy.Diagnose:
						diagnoses++
					case policy.Advised:
						advice++
					}
				}
				if open && !over {
					peak, lost = max(peak, s.Snapshot.Utilization()), lost+record.Lost(s.Snapshot.Losses)
				}
				for _, d := range s.Decisions {
					over = over || d.Verb == policy.Close
				}
			}
			for _, c := range g.s.Changes {
				if c.State == policy.Undone {
					undone++
				}
			}
			gotDone, gotUndone := r.Done()
			if r.Peak.Utilization != peak || r.Losses.Sum() != lost || gotDone != done || gotUndone != undone ||
				len(r.Diagnoses) != diagnoses || len(r.Advice) != advice || r.Open() {
				t.Errorf("peak %v, lost %d, done %d, undone %d, %d diagnoses, %d advised, open %v; want %v, %d, %d, %d, %d, %d, false",
					r.Peak.Utilization, r.Losses.Sum(), gotDone, gotUndone, len(r.Diagnoses), len(r.Advice), r.Open(),
					peak, lost, done, undone, diagnoses, advice)
			}
			for i, c := range r.Changes {
				if c.Reason == "" || c.Judged == "" || c.Ended == "" || c.Effect == nil {
					t.Errorf("change %d lacks why it was made, what came of it or why it was taken back: %+v", i+1, c)
				}
			}
		})
	}
}

// What was lost before a change and after it is told by the change, to the number.
func TestEffect(t *testing.T) {
	r := reportOf(t, flood())
	first, last := r.Changes[0], r.Changes[len(r.Changes)-1]
	want := Effect{Span: 10, LostBefore: r.Losses.Sum(), Before: 1, After: first.Effect.After}
	if diff := cmp.Diff(want, *first.Effect); diff != "" || first.Effect.After >= 0.8 {
		t.Errorf("after %v, (-want +got)\n%s", first.Effect.After, diff)
	}
	if last.Effect.Before >= last.Effect.After || last.Effect.LostAfter != 0 {
		t.Errorf("a raise in a growing flood: %+v", last.Effect)
	}
}

// ofSteps yields steps, and an error where one is given.
func ofSteps(list []record.Step, at int, err error) func(func(record.Step, error) bool) {
	return func(yield func(record.Step, error) bool) {
		for i, s := range list {
			if i == at && !yield(record.Step{}, err) || !yield(s, nil) {
				return
			}
		}
	}
}

func TestDamageIsToldAndTheRestAsWell(t *testing.T) {
	g := ports()
	r, err := Build(ofSteps(g.steps, 40, errors.New("bad frame at 1234")), "", nil, nil)
	if err != nil || r.Broken != "bad frame at 1234" || r.Open() {
		t.Fatalf("broken %q, open %v, %v", r.Broken, r.Open(), err)
	}
	if html := pageOf(t, r); !strings.Contains(html, "could not be read: bad frame at 1234") {
		t.Error("the page does not tell of the damage")
	}
	if _, err := Build(ofSteps(g.steps[:1], 0, errors.New("no record")), "", nil, nil); err != nil {
		t.Errorf("one step behind damage: %v", err)
	}
	if _, err := Build(func(yield func(record.Step, error) bool) { yield(record.Step{}, errors.New("no record")) }, "", nil, nil); err == nil || err.Error() != "no record" {
		t.Errorf("nothing but damage: %v", err)
	}
	if _, err := Build(ofSteps(nil, 0, nil), "", nil, nil); err == nil {
		t.Error("an empty record has a report")
	}
}

// An episode that goes on, one whose beginning is not in the record, and one after
// another in the same record.
func TestWhichEpisode(t *testing.T) {
	g := flood()
	opened := 0
	for i, s := range g.steps {
		for _, d := range s.Decisions {
			if d.Verb == policy.Open {
				opened = i
			}
		}
	}
	id := g.steps[opened].Decisions[0].Episode
	r, err := Build(ofSteps(g.steps[:opened+60], -1, nil), id, nil, nil)
	if err != nil || !r.Open() || r.Lasted() <= 0 || r.Losses.Sum() == 0 {
		t.Errorf("going on: %v, open %v, %v", err, r.Open(), r.Lasted())
	}
	r, err = Build(ofSteps(g.steps[opened+20:], -1, nil), id, nil, nil)
	if err != nil || r.Open() || r.ID != id || r.opened != 0 || r.Peak.Count == 0 {
		t.Errorf("without its beginning: %v, %+v", err, r.Peak)
	}
	g.run(20*time.Second, 9000, 60_000)
	g.run(10*time.Minute, 9000, 9000)
	second, err := Build(g.all(), g.st.Episode.Name, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	first, err := Build(g.all(), id, nil, nil)
	if err != nil || first.ID != id || !first.Ended.Before(first.Last) {
		t.Errorf("the first of two: %v, %v to %v of %v", err, first.Begun, first.Ended, first.Last)
	}
	if second.ID != id { // the first that opens, where none is named
		t.Errorf("%q was told of, want %q", second.ID, id)
	}
}

// A restart of the machine ends what was in force, and the plot goes on by the wall
// clock.
func TestRestartOfTheMachine(t *testing.T) {
	g := flood()
	half := len(g.steps) / 2
	id := ""
	steps := append([]record.Step(nil), g.steps...)
	for i := range steps {
		if len(steps[i].Decisions) > 0 && id == "" {
			id = steps[i].Decisions[0].Episode
		}
		if i < half {
			continue
		}
		s := &steps[i]
		s.Now -= 6 * time.Hour
		s.Snapshot.Wall = s.Snapshot.Wall.Add(2 * time.Minute)
		s.Snapshot.Changes, s.Decisions = nil, nil
		if i == half {
			s.Gap = "the machine was started anew"
		}
	}
	r, err := Build(ofSteps(steps, -1, nil), id, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Changes {
		if c.State != Void && c.State != policy.Undone {
			t.Errorf("change %d is %s", c.ID, c.State)
		}
	}
	if len(r.Gaps) != 1 || r.Gaps[0].Why == "" || r.Gaps[0].To.Sub(r.Gaps[0].From) < 2*time.Minute {
		t.Errorf("gaps %+v", r.Gaps)
	}
	if p := r.drawing(r.whole(), wide, ""); len(p.Gaps) != 1 || p.Gaps[0].Width <= 0 {
		t.Errorf("the plot has the gaps %v", p.Gaps)
	}
	if want := steps[len(steps)-1].Snapshot.Wall; !r.Last.Equal(want) {
		t.Errorf("the newest reading is of %v, want %v", r.Last, want)
	}
}

// What a file from anywhere is full of is told up to a bound, and that there is more.
func TestReportOfTooMuch(t *testing.T) {
	const id = "20260506T070809Z"
	wall := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	r, err := Build(func(yield func(record.Step, error) bool) {
		for i := range 20 {
			s := policy.Snapshot{Wall: wall.Add(time.Duration(i) * time.Second), Count: 1, Max: 2}
			var ds []policy.Decision
			for j := range 300 {
				s.Changes = append(s.Changes, policy.Change{ID: 300*i + j + 1, Measure: policy.RaiseMax, State: policy.Applied, Episode: id})
				verb := []policy.Verb{policy.Open, policy.Diagnose, policy.Advised, policy.Do}[j%4]
				ds = append(ds, policy.Decision{Verb: verb, Measure: policy.RaiseMax, Episode: id, ID: string(verb)})
			}
			if !yield(record.Step{Now: time.Hour + time.Duration(i)*time.Second, Snapshot: s, Decisions: ds}, nil) {
				return
			}
		}
	}, id, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Changes) != mostChanges || len(r.Diagnoses) != mostEvents || len(r.Advice) != mostEvents || len(r.Events) != mostEvents ||
		!strings.Contains(r.Broken, "more than the 2000 changes") {
		t.Errorf("%d changes, %d diagnoses, %d advised, %d events: %q", len(r.Changes), len(r.Diagnoses), len(r.Advice), len(r.Events), r.Broken)
	}
}
