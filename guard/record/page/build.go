package page

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Build makes the report of an episode from the steps of its record; an empty id
// stands for the first that opens. begin and end are the kernel's values when it
// opened and when it closed, nil where they are not known. Where a part of the record
// can't be read, the rest is told.
func Build(steps iter.Seq2[record.Step, error], id string, begin, end map[string]string) (*Report, error) {
	b := builder{r: &Report{ID: id}, follow: followed{byID: map[int]*Change{}}}
	for s, err := range steps {
		if err != nil {
			b.damage(err)
			continue
		}
		b.add(&s)
	}
	if !b.begun {
		return nil, cmp.Or(b.first, errors.New("the record has no reading"))
	}
	b.finish()
	b.r.compare(begin, end)
	return b.r, nil
}

// A builder makes a report as the steps pass by.
type builder struct {
	r      *Report
	follow followed

	begun  bool
	first  error         // why a part of the record could not be read
	base   time.Duration // boot clock at the first step
	now    time.Duration // boot clock at the newest
	at     time.Duration // of the newest, since the first
	count  int           // at the newest
	opened bool
	closed bool
	config *policy.Config
	paused string
	census policy.Census
	seen   time.Duration // when the census was begun
}

// damage notes that a part of the record could not be read, the first such part by
// its error.
func (b *builder) damage(err error) {
	if b.first == nil {
		b.first, b.r.Broken = err, err.Error()
	}
}

// mostEvents bounds the account of an episode that goes on for weeks.
const mostEvents = 500

func (b *builder) add(s *record.Step) {
	if !b.begun {
		b.begin(s)
	}
	b.heedGap(s)
	at := s.Now - b.base
	b.heedPolicy(s, at)
	for _, d := range s.Decisions {
		b.open(d, at)
	}
	b.resume(s, at)
	lost := lossesOf(s.Snapshot.Losses)
	b.r.series.add(at, s.Snapshot.Count, s.Snapshot.Max, s.Snapshot.Utilization(), lost)
	b.follow.see(&s.Snapshot, b.r.ID, b.base, at)
	b.follow.effects.see(at, &s.Snapshot, lost.Sum())
	if b.opened && !b.closed {
		b.measure(s, at, lost)
	}
	for _, d := range s.Decisions {
		b.hear(d, at)
	}
	b.at, b.count, b.r.last, b.now = at, s.Snapshot.Count, at, s.Now
}

func (b *builder) begin(s *record.Step) {
	b.begun, b.base, b.now, b.r.origin = true, s.Now, s.Now, s.Snapshot.Wall.UTC()
	b.paused = s.Snapshot.Paused
}

// mostGaps bounds how many are listed.
const mostGaps = 50

// heedGap takes in a time without readings. Where the boot clock has gone back the
// machine was started anew: the wall clock says when, and no change has outlasted it.
func (b *builder) heedGap(s *record.Step) {
	if s.Now < b.now {
		at := max(s.Snapshot.Wall.Sub(b.r.origin), b.at+time.Millisecond)
		b.base = s.Now - at
		b.follow.void(at)
	}
	at := s.Now - b.base
	if b.at > 0 && (s.Gap != "" || at-b.at > gap) && len(b.r.Gaps) < mostGaps {
		b.r.Gaps = append(b.r.Gaps, Gap{b.r.wall(b.at), b.r.wall(at), s.Gap})
	}
}

// heedPolicy takes in the policy in force and whether it is.
func (b *builder) heedPolicy(s *record.Step, at time.Duration) {
	if s.Config != nil && s.Config != b.config {
		if b.config != nil {
			b.event(at, "", "another policy is in force")
		}
		b.config = s.Config
		b.follow.effects.window = s.Config.Watch.Window
		b.r.watch = s.Config.Watch
		if m := &s.Config.RaiseMax; min(s.Config.Mode, m.Mode) > policy.Off {
			b.r.ceiling = m.Ceiling
		}
	}
	if p := s.Snapshot.Paused; p != b.paused {
		b.event(at, "", cmp.Or(p, "no longer paused"))
		b.paused = p
	}
}

// open looks for the episode's beginning.
func (b *builder) open(d policy.Decision, at time.Duration) {
	if b.opened || d.Episode == "" || b.r.ID != "" && d.Episode != b.r.ID || b.r.ID == "" && d.Verb != policy.Open {
		return
	}
	b.begins(d.Episode, at)
}

func (b *builder) begins(id string, at time.Duration) {
	b.opened, b.r.ID, b.r.opened = true, id, at
	if b.config != nil {
		b.r.Policy = policyText(b.config)
	}
}

// IDForm is the form of an episode's id: the time of its beginning, in UTC.
const IDForm = "20060102T150405Z"

// resume begins an episode without a word of it, a second after its name: it was taken
// up after a restart, or its beginning could not be read.
func (b *builder) resume(s *record.Step, at time.Duration) {
	if b.opened {
		return
	}
	named, err := time.Parse(IDForm, b.r.ID)
	if err == nil && s.Snapshot.Wall.Sub(named) > time.Second {
		b.begins(b.r.ID, at)
	}
}

// measure takes in the figures of a reading of the episode.
func (b *builder) measure(s *record.Step, at time.Duration, lost Losses) {
	r, n := b.r, &s.Snapshot
	r.Losses = r.Losses.plus(lost)
	r.Counters = countersPlus(r.Counters, n.Losses)
	u := n.Utilization()
	if r.Peak.At.IsZero() || u > r.Peak.Utilization || u == r.Peak.Utilization && n.Count > r.Peak.Count {
		r.Peak = Peak{r.wall(at), n.Count, n.Max, u, at}
	}
	if span := (at - b.at).Seconds(); span > 0 {
		if rate := float64(n.Count-b.count) / span; rate > r.Fastest.Rate {
			r.Fastest = Fastest{r.wall(at), rate}
		}
	}
	if lost.Sum() > 0 || u >= r.watch.High {
		r.troubled = at
	}
	if k := &n.Census; k.At != 0 && k.At != b.seen && (k.Table > b.census.Table || b.seen == 0) {
		b.census = *k
	}
	b.seen = max(b.seen, n.Census.At)
}

// hear takes in a decision.
func (b *builder) hear(d policy.Decision, at time.Duration) {
	r := b.r
	b.follow.hear(d, at)
	if d.Episode != r.ID && (!b.opened || b.closed) {
		return
	}
	b.event(at, d.Verb, guard.Sentence(d))
	switch d.Verb {
	case policy.Open, policy.Diagnose:
		if d.Episode != r.ID {
			return
		}
		if len(r.Diagnoses) < mostEvents {
			r.Diagnoses = append(r.Diagnoses, Diagnosis{r.wall(at), d.Cause, d.Pattern, d.Confidence, d.Reason, at})
		}
		r.troubled = at
	case policy.Do:
		r.Advice = slices.DeleteFunc(r.Advice, func(a Advice) bool { return a.ID == d.ID }) // it is done
		r.troubled = at
	case policy.Advised, policy.Observed:
		if len(r.Advice) < mostEvents {
			r.Advice = append(r.Advice, Advice{r.wall(at), d.ID, d.Measure, guard.Act(d), d.Reason, d.Verb == policy.Observed, at})
		}
		r.troubled = at
	case policy.Close:
		if d.Episode == r.ID {
			b.closed, r.closed, r.Ended = true, at, r.wall(at)
		}
	}
}

func (b *builder) event(at time.Duration, v policy.Verb, text string) {
	if len(b.r.Events) == mostEvents {
		b.r.Unlisted++
		return
	}
	b.r.Events = append(b.r.Events, Event{b.r.wall(at), v, text})
}

// finish puts together what could not be known before the end.
func (b *builder) finish() {
	r := b.r
	if !b.closed {
		r.closed = r.last
	}
	if b.follow.unlisted && r.Broken == "" {
		r.Broken = fmt.Sprintf("there are more than the %d changes that are told of", mostChanges)
	}
	r.Begun, r.Last = r.wall(r.opened), r.wall(r.last)
	r.troubled = max(r.troubled, r.opened)
	for _, c := range b.follow.list {
		if c.State != policy.Applied && c.since < r.opened { // it was over before
			continue
		}
		c.Made, c.Since = r.wall(c.made), r.wall(c.since)
		r.Changes = append(r.Changes, *c)
	}
	slices.SortStableFunc(r.Changes, func(a, b Change) int { return cmp.Compare(a.made, b.made) })
	if b.census.At != 0 {
		r.Census = b.tell(&b.census)
	}
	r.Readings = r.readings(r.whole(), 1000)
}

// readings are those of a window, n at most.
func (r *Report) readings(w window, n int) (out []Reading) {
	for _, c := range r.series.cells(w.from, w.to, n) {
		out = append(out, Reading{r.wall(c.from), c.low, c.high, c.limit, c.used, c.lost.Sum()})
	}
	return out
}

// compare lists what differs of the kernel's values.
func (r *Report) compare(begin, end map[string]string) {
	for name, before := range begin {
		after, ok := end[name]
		switch {
		case strings.HasSuffix(name, "nf_conntrack_count"): // a reading and no setting
		case ok && after != before:
			r.Values = append(r.Values, Value{name, before, after})
		case ok:
			r.Kept++
		}
	}
	slices.SortFunc(r.Values, func(a, b Value) int { return cmp.Compare(a.Name, b.Name) })
}
