package entries

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A simulated entry knows what the kernel does not tell.
type simulated struct {
	last, ends time.Duration // of its last packet; when it expires
	own        int           // the timeout that it keeps, of GRE
	retimed    bool
}

// A simulation is a kernel with one timeout, a ledger of the changes to it, and walks.
type simulation struct {
	class   timeout.Class
	table   timeout.Table
	now     time.Duration
	value   int
	rivals  int // of whose values the last is not in the ledger yet
	entries []*simulated
	changes []ledger.Change

	deleted, retimed, kept int
}

// kinds are entries of each class that is simulated.
var kinds = map[timeout.Class]ctnetlink.Entry{
	timeout.UDPStream:  {Use: 1, Proto: unix.IPPROTO_UDP, Status: ctnetlink.StatusAssured | ctnetlink.StatusSeenReply},
	timeout.TCPFinWait: {Use: 1, Proto: unix.IPPROTO_TCP, TCPState: ctnetlink.TCPFinWait, Status: ctnetlink.StatusAssured},
	timeout.GREStream:  {Use: 1, Proto: unix.IPPROTO_GRE, Status: ctnetlink.StatusAssured | ctnetlink.StatusSeenReply},
}

func newSimulation(t *rapid.T) *simulation {
	class := rapid.SampledFrom([]timeout.Class{timeout.UDPStream, timeout.TCPFinWait, timeout.GREStream}).Draw(t, "class")
	s := &simulation{class: class, now: 50_000 * time.Second, value: rapid.IntRange(20, 300).Draw(t, "normal")}
	s.table.MaxRetrans, s.table.Of[timeout.Unacknowledged], s.table.Of[timeout.GRE] = 300, 200, 30
	s.table.Of[class] = s.value
	return s
}

// pass lets time pass, up to so many milliseconds, and packets come in it.
func (s *simulation) pass(t *rapid.T, most int) {
	end := s.now + time.Duration(rapid.IntRange(0, most).Draw(t, "ms"))*time.Millisecond
	for range rapid.IntRange(0, 2).Draw(t, "packets") {
		s.now += (end - s.now) * time.Duration(rapid.IntRange(0, 100).Draw(t, "percent")) / 100
		s.packet(t)
	}
	s.now = end
	s.entries = slices.DeleteFunc(s.entries, func(e *simulated) bool { return e.ends <= s.now })
}

// packet is one of a new entry or of one that lives, which gets its timeout anew.
func (s *simulation) packet(t *rapid.T) {
	s.entries = slices.DeleteFunc(s.entries, func(e *simulated) bool { return e.ends <= s.now })
	i := rapid.IntRange(0, len(s.entries)).Draw(t, "entry")
	if i == len(s.entries) {
		s.entries = append(s.entries, &simulated{own: s.value})
	}
	e, seconds := s.entries[i], s.value
	switch other := rapid.SampledFrom([]int{0, 0, 0, 300, 200}).Draw(t, "unanswered"); {
	case s.class == timeout.GREStream:
		seconds = e.own
	case s.class == timeout.TCPFinWait && other != 0:
		seconds = min(seconds, other)
	}
	e.last, e.ends, e.retimed = s.now, s.now+time.Duration(seconds)*time.Second, false
}

func (s *simulation) aWhile(t *rapid.T) { s.pass(t, 120_000) }

// silence lets entries grow old.
func (s *simulation) silence(t *rapid.T) {
	s.now += time.Duration(rapid.IntRange(0, 200).Draw(t, "seconds")) * time.Second
}

func (s *simulation) aMoment(t *rapid.T) { s.pass(t, 3_000) }

// top is the newest change that is applied, nil if there is none. What a rival has taken
// is lost to all.
func (s *simulation) top() *ledger.Change {
	var top *ledger.Change
	for i := range s.changes {
		if s.changes[i].State == ledger.Applied {
			top = &s.changes[i]
		}
	}
	if top == nil || top.Edits[0].After == strconv.Itoa(s.value) {
		return top
	}
	for i := range s.changes {
		if c := &s.changes[i]; c.State == ledger.Applied {
			c.State, c.Since = ledger.Yielded, s.now
		}
	}
	return nil
}

// do makes a change: recorded, written, recorded.
func (s *simulation) do(t *rapid.T) {
	s.top()
	after := rapid.IntRange(5, 200).Filter(func(n int) bool { return n != s.value }).Draw(t, "after")
	c := ledger.Change{
		ID: len(s.changes) + 1, State: ledger.Intended, Boot: thisBoot, Made: s.now, Since: s.now,
		Edits: []ledger.Edit{{Key: actions.TimeoutKey("", s.class), Before: strconv.Itoa(s.value), After: strconv.Itoa(after)}},
	}
	s.aMoment(t)
	s.value, s.rivals = after, 0
	s.aMoment(t)
	c.State, c.Since = ledger.Applied, s.now
	s.changes = append(s.changes, c)
}

func (s *simulation) undo(t *rapid.T) {
	c := s.top()
	if c == nil {
		return
	}
	c.State, c.Since = ledger.Undoing, s.now
	s.aMoment(t)
	s.value, _ = strconv.Atoi(c.Edits[0].Before)
	s.aMoment(t)
	c.State, c.Since = ledger.Undone, s.now
}

// rival writes a value, one that the ledger will come to know.
func (s *simulation) rival(t *rapid.T) {
	if s.rivals == 0 && len(s.changes) > 0 {
		s.rivals++
		s.value = rapid.IntRange(5, 300).Draw(t, "rival's")
		s.top()
	}
}

// walk judges every entry as a walk does, a while after it was dumped, and may be killed
// on its way.
func (s *simulation) walk(t *rapid.T) {
	c := s.top()
	if c == nil || s.rivals > 0 {
		return
	}
	p, err := PlanOf(s.changes, c.ID, thisBoot, s.now)
	if err != nil {
		t.Fatal(err)
	}
	c.Walk = &ledger.Walk{Running: true, Retimes: true}
	rule := p.Rules[s.class]
	table := s.table
	table.Of[s.class] = s.value
	j := &judge{classes: table.Rules(), rules: with(p.Rules, &table), retime: true}
	dies := rapid.IntRange(0, 40).Draw(t, "dies")
	for i, e := range slices.Clone(s.entries) {
		if i == dies {
			return
		}
		s.judge(t, j, e, rule.New)
	}
}

func (s *simulation) judge(t *rapid.T, j *judge, e *simulated, newest int) {
	if e.ends <= s.now {
		return
	}
	j.at.from = s.now
	s.now += time.Duration(rapid.IntRange(0, 300).Draw(t, "before the dump")) * time.Millisecond
	if e.ends <= s.now {
		return
	}
	entry := kinds[s.class]
	entry.Timeout = uint32((e.ends - s.now) / time.Second)
	age := s.now - e.last
	s.now += time.Duration(rapid.IntRange(0, 300).Draw(t, "after the dump")) * time.Millisecond
	j.at.to = s.now
	v, class, left := j.of(&entry)
	if class != s.class {
		t.Fatalf("taken for %s", class.Name())
	}
	life := time.Duration(newest) * time.Second
	switch v {
	case toDelete:
		s.deleted++
		if age < life {
			t.Fatalf("an entry of %v with %d s left is deleted at a timeout of %v", age, entry.Timeout, life)
		}
		s.entries = slices.DeleteFunc(s.entries, func(x *simulated) bool { return x == e })
	case toRetime:
		s.retimed++
		ends := s.now + time.Duration(left)*time.Second
		if ends < e.last+life {
			t.Fatalf("an entry of %v with %d s left gets %d s at a timeout of %v", age, entry.Timeout, left, life)
		}
		e.ends, e.retimed = ends, true
	default:
		s.kept++
	}
}

// Whatever timeouts there were and whatever walks: no entry ends sooner than under the
// timeout that is in force.
func TestNoEntryEndsTooSoon(t *testing.T) {
	deleted, retimed, kept := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := newSimulation(t)
		t.Repeat(map[string]func(*rapid.T){
			"pass": s.aWhile, "silence": s.silence, "moment": s.aMoment, "packet": s.packet, "packet again": s.packet,
			"do": s.do, "undo": s.undo, "rival": s.rival, "walk": s.walk, "walk again": s.walk,
		})
		deleted, retimed, kept = deleted+s.deleted, retimed+s.retimed, kept+s.kept
	})
	t.Logf("deleted %d, re-timed %d, kept %d", deleted, retimed, kept)
	if deleted == 0 || retimed == 0 || kept == 0 {
		t.Error("too few to tell")
	}
}
