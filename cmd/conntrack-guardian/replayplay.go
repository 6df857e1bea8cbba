package main

import (
	"reflect"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A played is a record that was decided again.
type played struct {
	Record string       `json:"record"`
	Policy string       `json:"policy,omitempty"` // its file, left out if as recorded
	Steps  []playedStep `json:"steps"`            // those with decisions, or before which readings are missing
	Then   playedSum    `json:"then"`
	Now    playedSum    `json:"now"`
	// Readings is how many there are, Span from the first to the newest, and Same how many
	// decisions are the same.
	Readings int     `json:"readings"`
	Span     float64 `json:"seconds"`
	Same     int     `json:"same"`
	// Unlisted is how many decisions there are beside those of the steps.
	Unlisted int `json:"unlisted,omitempty"`
	// Parted is when something else is done for the first time.
	Parted time.Time `json:"parted,omitzero"`
	Damage []string  `json:"damage,omitempty"`

	listed int // decisions in the steps
}

// mostPlayed is how many decisions, and steps, are kept: those of weeks of incidents.
const mostPlayed = 20_000

// A playedStep is a reading with what was decided of it.
type playedStep struct {
	At        time.Time         `json:"at"`
	Then      []policy.Decision `json:"then"`
	Now       []policy.Decision `json:"now"`
	Same      bool              `json:"same"`
	Parted    bool              `json:"parted,omitempty"`
	Estimated bool              `json:"estimated,omitempty"`
	Gap       string            `json:"gap,omitempty"`
	Doubt     string            `json:"doubt,omitempty"`
}

// A playedSum is what it came to.
type playedSum struct {
	Decisions int     `json:"decisions"`
	Peak      float64 `json:"peak"`    // utilization
	Entries   int     `json:"entries"` // at most
	Max       int     `json:"max"`     // the largest
	Lost      uint64  `json:"lost"`
}

func (u *playedSum) add(s *policy.Snapshot, ds []policy.Decision) {
	u.Decisions += len(ds)
	u.Peak, u.Entries, u.Max = max(u.Peak, s.Utilization()), max(u.Entries, s.Count), max(u.Max, s.Max)
	u.Lost += record.Lost(s.Losses)
}

// play decides a record again, and keeps what there is to say.
func play(r *record.Record, c *policy.Config) *played {
	p := &played{Record: r.Path(), Steps: []playedStep{}}
	var first time.Time
	for pair, err := range record.Replay(r, c) {
		if err != nil {
			p.Damage = append(p.Damage, err.Error())
			continue
		}
		if p.Readings++; p.Readings == 1 {
			first = pair.Snapshot.Wall
		}
		p.Span = pair.Snapshot.Wall.Sub(first).Seconds()
		p.add(&pair)
	}
	return p
}

func (p *played) add(pair *record.Pair) {
	p.Then.add(&pair.Snapshot, pair.Decisions)
	p.Now.add(&pair.Seen, pair.Replayed)
	for _, row := range beside(pair.Decisions, pair.Replayed) {
		if row.mark == sameMark {
			p.Same++
		}
	}
	if pair.Parted && p.Parted.IsZero() {
		p.Parted = pair.Snapshot.Wall
	}
	if len(pair.Decisions)+len(pair.Replayed) == 0 && pair.Gap == "" && pair.Doubt == "" {
		return
	}
	if len(p.Steps) > 0 && p.listed+len(pair.Decisions)+len(pair.Replayed) > mostPlayed || len(p.Steps) == mostPlayed {
		p.Unlisted += len(pair.Decisions) + len(pair.Replayed)
		return
	}
	p.listed += len(pair.Decisions) + len(pair.Replayed)
	p.Steps = append(p.Steps, playedStep{
		At: pair.Snapshot.Wall, Then: append([]policy.Decision{}, pair.Decisions...), Now: append([]policy.Decision{}, pair.Replayed...),
		Same: pair.Same, Parted: pair.Parted, Estimated: pair.Estimated, Gap: pair.Gap, Doubt: pair.Doubt,
	})
}

// The marks of two decisions side by side.
const (
	sameMark      = "="
	reasonMark    = "~"
	otherwiseMark = "!"
	thenMark      = "-"
	nowMark       = "+"
)

// A both is a decision of then beside one of now; one of them may be nil.
type both struct {
	then, now *policy.Decision
	mark      string
}

// beside puts those side by side that are the same, then those about the same.
func beside(then, now []policy.Decision) (rows []both) {
	used := make([]bool, len(now))
	find := func(like func(a, b *policy.Decision) bool, d *policy.Decision) *policy.Decision {
		for i := range now {
			if !used[i] && like(d, &now[i]) {
				used[i] = true
				return &now[i]
			}
		}
		return nil
	}
	for i := range then {
		rows = append(rows, both{then: &then[i], now: find(identical, &then[i]), mark: sameMark})
	}
	for i := range rows {
		r := &rows[i]
		if r.now != nil {
			continue
		}
		switch r.now = find(alike, r.then); {
		case r.now == nil:
			r.mark = thenMark
		case shortly(r.then) == shortly(r.now):
			r.mark = reasonMark
		default:
			r.mark = otherwiseMark
		}
	}
	for i := range now {
		if !used[i] {
			rows = append(rows, both{now: &now[i], mark: nowMark})
		}
	}
	return rows
}

func identical(a, b *policy.Decision) bool { return reflect.DeepEqual(a, b) }

// alike reports whether two decisions are about the same.
func alike(a, b *policy.Decision) bool {
	about := func(d *policy.Decision) policy.Terms {
		if d.Terms == nil {
			return policy.Terms{}
		}
		return policy.Terms{Source: d.Terms.Source, Flow: d.Terms.Flow}
	}
	return a.Verb == b.Verb && a.Measure == b.Measure && about(a) == about(b)
}
