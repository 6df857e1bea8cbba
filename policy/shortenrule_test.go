package policy

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A pressing is a table of churn in trouble, with changes of ours.
type pressing struct {
	st  State
	s   Snapshot
	c   Config
	now time.Duration
}

func newPressing() *pressing {
	p := &pressing{c: Default(), now: time.Hour, s: Snapshot{Count: 58_000, Max: 65_536, Timeouts: kernelTimeouts}}
	p.c.Mode = Act
	p.st.Episode.Name = "e"
	p.st.Now = Assessment{Utilization: 0.885, Cause: TableFilling, Census: Census{At: p.now}}
	p.st.Now.Census.Classes[TCPTimeWait] = sampled(0.7)
	return p
}

// made adds a change of some minutes ago that took a timeout to seconds at a level.
func (p *pressing) made(t Timeout, seconds, level int) *Change {
	from := 0
	if n := len(p.s.Changes); n > 0 {
		from = p.s.Changes[n-1].After
	}
	c := Change{
		ID: len(p.s.Changes) + 1, Measure: ShortenTimeouts, State: Applied, Episode: "e",
		Before: from, After: level, At: p.now - time.Minute, Made: p.now - time.Minute,
	}
	c.Timeouts[t] = TimeoutEdit{p.s.Timeouts[t], seconds}
	p.s.Timeouts[t] = seconds
	p.s.Changes = append(p.s.Changes, c)
	return &p.s.Changes[len(p.s.Changes)-1]
}

func (p *pressing) decide(limit int) string {
	p.st.acts = actsOf(&p.s, &p.c, p.now)
	var out []string
	for _, d := range p.st.shortenTimeouts(&p.s, &p.c, p.now, limit) {
		text := fmt.Sprintf("%s %d->%d", d.Verb, d.From, d.To)
		for _, e := range d.Timeouts {
			text += fmt.Sprintf(" %s %d->%d", e.Name, e.From, e.To)
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

func TestShortenTimeouts(t *testing.T) {
	const level2, top = "do 0->2 tcp_timeout_time_wait 120->65", "do 0->4 tcp_timeout_time_wait 120->10"
	for name, tc := range map[string]struct {
		set  func(p *pressing)
		want string
	}{
		"by the law":            {func(*pressing) {}, level2},
		"no room will be left":  {func(p *pressing) { p.st.Now.FillRate = 5000 }, top},
		"full and refusing":     {func(p *pressing) { p.st.Now.Utilization, p.st.Now.lost.full = 0.951, 1 }, top},
		"refused, room again":   {func(p *pressing) { p.st.Now.lost.full = 1 }, level2},
		"without memory":        {func(p *pressing) { p.st.Now.Cause, p.s.Count = MemoryShort, 1000 }, top},
		"no ports":              {func(p *pressing) { p.st.Now.Cause = SNATPorts }, ""},
		"no trouble":            {func(p *pressing) { p.st.Now.Cause = None }, ""},
		"off":                   {func(p *pressing) { p.c.ShortenTimeouts.Mode = Off }, ""},
		"advice":                {func(p *pressing) { p.c.Mode = Advise }, strings.Replace(level2, "do", "advise", 1)},
		"advice for the class":  {func(p *pressing) { p.c.ShortenTimeouts.Floors[TCPTimeWait].Mode = Advise }, strings.Replace(level2, "do", "advise", 1)},
		"no such timeout":       {func(p *pressing) { p.s.Timeouts[TCPTimeWait] = 0 }, ""},
		"not worth it":          {func(p *pressing) { p.st.Now.Census.Classes[TCPTimeWait] = sampled(0.04) }, ""},
		"what acts goes first":  {func(p *pressing) { p.hasUDP(Advise) }, level2},
		"two classes":           {func(p *pressing) { p.hasUDP(Act) }, level2 + " udp_timeout 30->20"},
		"another class, later":  {func(p *pressing) { p.made(TCPTimeWait, 10, 4); p.hasUDP(Act) }, "do 4->4 udp_timeout 30->10"},
		"the next level":        {func(p *pressing) { p.made(TCPTimeWait, 93, 1) }, "do 1->2 tcp_timeout_time_wait 93->65"},
		"not worth it any more": {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.st.Now.Census = Census{} }, "do 1->2 tcp_timeout_time_wait 93->65"},
		"the last a moment ago": {func(p *pressing) { p.made(TCPTimeWait, 93, 1).At = p.now - time.Second }, ""},
		"at its floor":          {func(p *pressing) { p.made(TCPTimeWait, 10, 4); p.loses() }, ""},
		"at its floor, judged":  {func(p *pressing) { p.made(TCPTimeWait, 10, 4).Outcome = NotEnough; p.loses() }, "bounded 4->4"},
		"nothing to shorten":    {func(p *pressing) { p.st.Now.Census.Classes = [Timeouts]Share{}; p.loses() }, "bounded 0->0"},
		"nobody has looked":     {func(p *pressing) { p.st.Now.Census = Census{}; p.loses() }, ""},
		"did not help":          {func(p *pressing) { c := p.made(TCPTimeWait, 93, 1); c.Outcome = DidNotHelp }, "bounded 1->1"},
		"did not help, earlier": {func(p *pressing) {
			p.made(TCPTimeWait, 93, 1).Outcome = DidNotHelp
			p.st.Episode.phase = p.now - time.Second
		}, "do 1->2 tcp_timeout_time_wait 93->65"},
		"somebody has written it":    {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.s.Timeouts[TCPTimeWait] = 100 }, ""},
		"somebody has taken it":      {func(p *pressing) { p.lost(time.Minute) }, ""},
		"somebody had taken it once": {func(p *pressing) { p.lost(2 * time.Hour) }, "do 0->2 tcp_timeout_time_wait 100->55"},
		"given back a moment ago":    {func(p *pressing) { p.undone(time.Minute) }, ""},
		"given back, and it loses":   {func(p *pressing) { p.undone(time.Minute); p.loses() }, level2},
		"given back long ago":        {func(p *pressing) { p.undone(11 * time.Minute) }, level2},
	} {
		p := newPressing()
		tc.set(p)
		if got := p.decide(p.s.Max); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	p := newPressing()
	if got := p.decide(2 * p.s.Max); got != "" {
		t.Errorf("with room on its way: %q", got)
	}
}

// A timeout that somebody raises is left alone until the entries that began with the
// shorter one are gone: they would look older than they are.
func TestRaisedTimeoutIsLeftAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		raise func(p *pressing)
		after time.Duration
		acts  bool
	}{
		"just raised":        {func(p *pressing) { p.s.Timeouts[TCPTimeWait] = 240 }, time.Second, false},
		"raised long ago":    {func(p *pressing) { p.s.Timeouts[TCPTimeWait] = 240 }, 123 * time.Second, true},
		"lowered":            {func(p *pressing) { p.s.Timeouts[TCPTimeWait] = 60 }, time.Second, true},
		"another one raised": {func(p *pressing) { p.s.Timeouts[UDP] = 240 }, time.Second, true},
		"given back by us": {func(p *pressing) {
			p.undone(11 * time.Minute)
			p.s.Changes[0].Timeouts[TCPTimeWait] = TimeoutEdit{240, 120}
			p.s.Timeouts[TCPTimeWait] = 240
		}, time.Second, true},
	} {
		p := newPressing()
		p.st.heed(&p.s, p.now)
		tc.raise(p)
		p.st.heed(&p.s, p.now+time.Second)
		p.now += tc.after
		p.st.heed(&p.s, p.now)
		if acts := p.decide(p.s.Max) != ""; acts != tc.acts {
			t.Errorf("%s: acts %v", name, acts)
		}
	}
}

// Without a limit there is nothing to guard, and what was shortened is given back.
func TestNoLimitGivesBack(t *testing.T) {
	p := newPressing()
	p.made(TCPTimeWait, 10, 4).Made = 0
	p.s.Max, p.st.Now.Cause, p.st.Now.Utilization = 0, None, 0
	got := ""
	for range 25 * 60 {
		p.now += time.Second
		if got = p.decide(0); got != "" {
			break
		}
	}
	if got != "undo 4->0 tcp_timeout_time_wait 10->120" {
		t.Errorf("%q", got)
	}
}

func (p *pressing) hasUDP(mode Mode) {
	p.st.Now.Census.Classes[UDP] = sampled(0.2)
	p.c.ShortenTimeouts.Floors[UDP].Mode = mode
}

func (p *pressing) loses() { p.st.Now.Cause, p.st.Now.lost.full = TableFull, 1 }

// lost adds a change that somebody else has taken.
func (p *pressing) lost(ago time.Duration) {
	p.s.Timeouts[TCPTimeWait] = 100
	c := Change{ID: 1, Measure: ShortenTimeouts, State: Yielded, At: p.now - ago, Made: p.now - ago}
	c.Lost[TCPTimeWait] = true
	p.s.Changes = append(p.s.Changes, c)
}

func (p *pressing) undone(ago time.Duration) {
	p.s.Changes = append(p.s.Changes, Change{ID: 1, Measure: ShortenTimeouts, State: Undone, At: p.now - ago, Made: p.now - time.Hour})
}

// The entries are dealt with for the newest change, once, and while there are many.
func TestWantsWalk(t *testing.T) {
	for name, tc := range map[string]struct {
		set            func(p *pressing)
		change, enough int
		ago            time.Duration // since the last walk
	}{
		"nothing of ours":      {func(*pressing) {}, 0, 0, time.Minute},
		"the newest":           {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.made(TCPTimeWait, 65, 2) }, 2, 32_768, time.Minute},
		"the newest is done":   {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.made(TCPTimeWait, 65, 2).Walk.Done = true }, 0, 0, time.Minute},
		"done, and full":       {func(p *pressing) { p.made(TCPTimeWait, 10, 4).Walk.Done = true; p.s.Count = 63_000 }, 1, 32_768, 4 * time.Second},
		"done a moment ago":    {func(p *pressing) { p.made(TCPTimeWait, 10, 4).Walk.Done = true; p.s.Count = 63_000 }, 0, 0, time.Second},
		"there is no need":     {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.s.Count = 54_000 }, 0, 0, time.Minute},
		"advice only":          {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.c.Mode = Advise }, 0, 0, time.Minute},
		"the measure is off":   {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.c.ShortenTimeouts.Mode = Off }, 0, 0, time.Minute},
		"somebody else has it": {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.s.Timeouts[TCPTimeWait] = 94 }, 0, 0, time.Minute},
		"no limit any more":    {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.s.Max = 0 }, 0, 0, time.Minute},
		"there will be need":   {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.s.Count, p.st.Now.FillRate = 54_000, 1000 }, 1, 32_768, time.Minute},
		"marks under low":      {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.c.Watch.Low = 0.9 }, 0, 0, time.Minute},
		"and no memory":        {func(p *pressing) { p.made(TCPTimeWait, 93, 1); p.s.Count, p.st.Now.Cause = 32_768, MemoryShort }, 1, 0, time.Minute},
		"given back meanwhile": {func(p *pressing) { p.made(TCPTimeWait, 93, 1).State = Undone }, 0, 0, time.Minute},
	} {
		p := newPressing()
		tc.set(p)
		if change, enough := p.st.WantsWalk(&p.s, &p.c, p.now-tc.ago, p.now); change != tc.change || enough != tc.enough {
			t.Errorf("%s: change %d down to %d entries, want %d and %d", name, change, enough, tc.change, tc.enough)
		}
	}
}

// The effect is judged when it is known what came of the entries, or after a minute.
func TestJudgedAfterTheWalk(t *testing.T) {
	for name, tc := range map[string]struct {
		walk Walk
		made time.Duration
		due  bool
	}{
		"not begun":           {Walk{}, 20 * time.Second, false},
		"under way":           {Walk{Running: true, Deleted: 100}, 20 * time.Second, false},
		"done":                {Walk{Done: true}, 20 * time.Second, true},
		"ended with room":     {Walk{Deleted: 100}, 20 * time.Second, true},
		"a long one":          {Walk{Running: true}, 2 * time.Minute, false},
		"done a moment ago":   {Walk{Done: true}, 0, false},
		"nothing after a min": {Walk{}, 2 * time.Minute, true},
	} {
		p := newPressing()
		c := p.made(TCPTimeWait, 10, 4)
		c.Walk, c.Made = tc.walk, p.now-tc.made
		p.st.judge(&p.s, &p.c, p.now)
		if tc.made > 0 {
			p.now += p.c.ShortenTimeouts.Check
		}
		if got := len(p.st.judge(&p.s, &p.c, p.now)) == 1; got != tc.due {
			t.Errorf("%s: judged %v", name, got)
		}
	}
}

func TestOutcomeOfWalk(t *testing.T) {
	some := Walk{Done: true, Deleted: 1000, Retimed: 10}
	for _, tc := range []struct {
		walk Walk
		lost losses
		want Outcome
	}{
		{some, losses{}, Helped},
		{some, losses{full: 1}, NotEnough},
		{some, losses{memory: 3, unknown: 50, snat: 50}, Helped},
		{some, losses{memory: 30}, NotEnough},
		{Walk{Done: true}, losses{full: 1}, DidNotHelp},
		{Walk{}, losses{}, Helped},
	} {
		if got, why := outcomeOfWalk(tc.walk, tc.lost, 10); got != tc.want {
			t.Errorf("%+v, %+v: %q (%s), want %q", tc.walk, tc.lost, got, why, tc.want)
		}
	}
}
