package entries

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// judged is a judge of all classes: their timeouts are the kernel's own, 10 times as long
// until just now.
func judged() *judge {
	table := timeout.Table{MaxRetrans: 300}
	for c := timeout.None + 1; c < timeout.Classes; c++ {
		table.Of[c] = 100
	}
	table.Of[timeout.TCPEstablished], table.Of[timeout.Unacknowledged] = 7440, 300
	begun := 50_000 * time.Second
	var rules [timeout.Classes]Rule
	for c := timeout.None + 1; c < timeout.Classes; c++ {
		rules[c] = Rule{New: table.Of[c], Was: []Was{{Timeout: 10 * table.Of[c], Until: begun}, {Timeout: table.Of[c], Since: begun}}}
	}
	return &judge{classes: table.Rules(), rules: with(rules, &table), retime: true, at: moment{begun, begun}}
}

// What is left alone is left alone for that reason, however old it is.
func TestJudge(t *testing.T) {
	const replied, assured = ctnetlink.StatusSeenReply, ctnetlink.StatusSeenReply | ctnetlink.StatusAssured
	tcp := func(state uint8, status, left uint32) ctnetlink.Entry {
		return ctnetlink.Entry{Family: unix.AF_INET, Proto: unix.IPPROTO_TCP, TCPState: state, Status: status, Timeout: left, Use: 1}
	}
	udp := func(status, left uint32) ctnetlink.Entry {
		return ctnetlink.Entry{Family: unix.AF_INET, Proto: unix.IPPROTO_UDP, Status: status, Timeout: left, Use: 1}
	}
	offloaded := tcp(0, assured, 0)
	offloaded.Offloaded = true
	offloadedUDP := udp(assured|ctnetlink.StatusOffload, 3)
	offloadedUDP.Offloaded = true
	parent := udp(assured, 10)
	parent.Use = 2
	childless, untold := parent, parent
	childless.Use, untold.Use = 1, 0
	for name, tc := range map[string]struct {
		entry       ctnetlink.Entry
		established bool
		want        verdict
	}{
		"offloaded":                  {offloaded, true, isOffloaded},
		"offloaded, of a class":      {offloadedUDP, true, isOffloaded},
		"fixed":                      {udp(ctnetlink.StatusFixedTimeout, 10), false, isFixed},
		"established":                {tcp(ctnetlink.TCPEstablished, assured, 5000), false, isEstablished},
		"established, opted in":      {tcp(ctnetlink.TCPEstablished, assured, 5000), true, toDelete},
		"established, young":         {tcp(ctnetlink.TCPEstablished, assured, 74_000), true, toRetime},
		"established, 300 s left":    {tcp(ctnetlink.TCPEstablished, assured, 300), true, isYoung},
		"established, 0 s left":      {tcp(ctnetlink.TCPEstablished, assured, 0), true, isYoung},
		"established, of another":    {tcp(ctnetlink.TCPEstablished, assured, 3000), true, isYoung}, // it was 3000
		"established, of no other":   {tcp(ctnetlink.TCPEstablished, assured, 3001), true, toDelete},
		"established, not assured":   {tcp(ctnetlink.TCPEstablished, replied, 5000), false, toDelete},
		"picked up, unanswered":      {tcp(ctnetlink.TCPEstablished, 0, 2000), false, toDelete},
		"TIME_WAIT, old":             {tcp(ctnetlink.TCPTimeWait, assured, 500), false, toDelete},
		"TIME_WAIT, unanswered":      {tcp(ctnetlink.TCPTimeWait, assured, 290), false, toRetime},
		"TIME_WAIT, young":           {tcp(ctnetlink.TCPTimeWait, assured, 990), false, toRetime},
		"more left than any timeout": {udp(0, 1001), false, isForeign},
		"far more left":              {udp(0, 1<<32-1), false, isForeign},
		"old":                        {udp(0, 600), false, toDelete},
		"of the new timeout":         {udp(0, 100), false, isYoung},
		"parent":                     {parent, false, isHeld},
		"childless":                  {childless, false, toDelete},
		"not told who holds it":      {untold, false, isHeld},
		"state without a name":       {tcp(77, assured, 50), false, isOther},
	} {
		j := judged()
		j.established = tc.established
		if got, _, _ := j.of(&tc.entry); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// A parent that is young is so before all.
func TestJudgeYoungParent(t *testing.T) {
	j := judged()
	e := ctnetlink.Entry{Family: unix.AF_INET, Proto: unix.IPPROTO_UDP, Timeout: 100, Use: 2}
	if got, _, _ := j.of(&e); got != isYoung {
		t.Errorf("%d, want %d", got, isYoung)
	}
}

func TestJudgeOfClassesNotInTheChange(t *testing.T) {
	j := judged()
	for c := range j.rules {
		j.rules[c].New = 0
	}
	for _, e := range []ctnetlink.Entry{
		{Proto: unix.IPPROTO_UDP, Timeout: 1},
		{Proto: unix.IPPROTO_TCP, TCPState: ctnetlink.TCPTimeWait, Timeout: 1},
		{Proto: unix.IPPROTO_UDP, Timeout: 1, Status: ctnetlink.StatusFixedTimeout},
	} {
		if got, _, _ := j.of(&e); got != isOther {
			t.Errorf("%+v: %d", e, got)
		}
	}
}

func TestJudgingAllocatesNothing(t *testing.T) {
	j := judged()
	entries := []ctnetlink.Entry{
		{Use: 1, Proto: unix.IPPROTO_UDP, Timeout: 500},
		{Proto: unix.IPPROTO_TCP, TCPState: ctnetlink.TCPTimeWait, Timeout: 500, Use: 1},
	}
	if n := testing.AllocsPerRun(100, func() {
		for i := range entries {
			j.of(&entries[i])
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// After a resize what the new timeout gives may have been given by the walk.
func TestBeginAgain(t *testing.T) {
	j := judged()
	before := j.rules[timeout.UDP].Was
	e := ctnetlink.Entry{Use: 1, Proto: unix.IPPROTO_UDP, Timeout: 60}
	if got, _, _ := j.of(&e); got != toDelete {
		t.Fatalf("at first %d", got)
	}
	j.beginAgain(&tally{timeout.UDP: 1})
	if got, _, _ := j.of(&e); got != isYoung {
		t.Errorf("again %d", got)
	}
	if before[1].Retimed {
		t.Error("the plan was changed")
	}
	e.Proto = unix.IPPROTO_ICMP
	if got, _, _ := j.of(&e); got != toDelete {
		t.Errorf("a class of which nothing was re-timed: %d", got)
	}
}

func TestRecent(t *testing.T) {
	var r recent
	if r.has(0) {
		t.Error("has 0 at first")
	}
	for id := range uint32(200) {
		r.add(id)
		if !r.has(id) || id >= 63 && !r.has(id-63) || id >= 64 && r.has(id-64) {
			t.Fatalf("after %d: %v", id, r.ids)
		}
	}
}

// What nothing came of is shared out, and no class is told of more or less than it asked.
func TestTallyShares(t *testing.T) {
	for _, tc := range []struct {
		asked  tally
		missed int
		want   tally
	}{
		{tally{1: 10}, 0, tally{1: 10}},
		{tally{1: 10}, 3, tally{1: 7}},
		{tally{1: 10, 5: 30}, 4, tally{1: 9, 5: 27}},
		{tally{1: 1, 5: 1}, 1, tally{5: 1}},
		{tally{1: 3, 5: 3, 6: 3}, 9, tally{}},
		{tally{}, 0, tally{}},
	} {
		var got tally
		if got.add(&tc.asked, tc.missed); got != tc.want {
			t.Errorf("%v without %d: %v, want %v", tc.asked, tc.missed, got, tc.want)
		}
	}
}

func TestPlanCheck(t *testing.T) {
	for name, p := range map[string]Plan{
		"budget": {Budget: -1}, "small budget": {Budget: LeastBudget - 1}, "until": {Until: -1},
	} {
		if r, err := Walk(t.Context(), p); err == nil || r.Done || r.Note != err.Error() {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
}

func TestResultForTheLedger(t *testing.T) {
	r := Result{Read: 5, Took: 0.5, Note: "cut", Classes: counts(&tally{timeout.UDP: 2}, &tally{timeout.UDP: 1, timeout.ICMP: 3})}
	w := r.Ledger()
	if w.Done || w.Note != "cut" || w.Read != 5 || w.Took != 0.5 || len(w.Classes) != 2 ||
		w.Classes[0].Class != "udp_timeout" || w.Classes[0].Deleted != 2 || w.Classes[0].Retimed != 1 || w.Classes[1].Retimed != 3 {
		t.Errorf("%+v", w)
	}
}
