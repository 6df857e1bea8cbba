package census

import (
	"math"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// fate says in seconds what becomes of an entry of a class: whether it is freed, or
// ends sooner. It is what Shorten counts, entry by entry, and a walk does.
func fate(left, seconds int, c *Class) (freed, sooner bool) {
	for _, whole := range append(append([]int{}, c.Others...), c.Timeout) {
		if left > whole {
			continue
		}
		if whole <= seconds {
			return false, false
		}
		age := whole - left - 1
		should := max(seconds-age, 3)
		return age >= seconds, age < seconds && left > should+1
	}
	return false, false
}

// countFates counts what becomes of entries, plainly.
func countFates(entries []ctnetlink.Entry, t timeout.Table, c *Class, seconds int) (all, alive [2]int) {
	rules := t.Rules()
	for i := range entries {
		e := &entries[i]
		if e.Offloaded || e.Status&ctnetlink.StatusFixedTimeout != 0 || rules.Class(e).Name() != c.Name {
			continue
		}
		of := &all
		if rules.Class(e) == timeout.TCPEstablished && e.Status&ctnetlink.StatusAssured != 0 {
			of = &alive
		}
		freed, sooner := fate(int(e.Timeout), seconds, c)
		if freed {
			of[0]++
		}
		if sooner {
			of[1]++
		}
	}
	return all, alive
}

// holds reports whether a figure's interval has a number in it.
func (f Figure) holds(n int) bool {
	return f.Low <= n && n <= f.High && f.Low <= f.Entries && f.Entries <= f.High
}

// A full census holds the truth within the bins, always.
func TestShortenHoldsTheTruth(t *testing.T) {
	entries := traffic(21, 3000)
	rapid.Check(t, func(t *rapid.T) {
		table := defaults()
		for c := timeout.None + 1; c < timeout.Classes; c++ {
			table.Of[c] = rapid.IntRange(0, 1<<rapid.IntRange(0, 20).Draw(t, "width")).Draw(t, c.Name())
		}
		table.MaxRetrans = rapid.IntRange(0, 400).Draw(t, "retrans")
		r := count(entries, table)
		for i := range r.Classes {
			c := &r.Classes[i]
			seconds := rapid.IntRange(0, c.Timeout+2).Draw(t, "new")
			all, alive := countFates(entries, table, c, seconds)
			got := r.Shorten(c, seconds)
			for i, f := range []Figure{got.Freed, got.Sooner, got.Established.Freed, got.Established.Sooner} {
				if want := [4]int{all[0], all[1], alive[0], alive[1]}[i]; !f.holds(want) {
					t.Errorf("%s, %d to %d s, %d: %+v, want %d", c.Name, c.Timeout, seconds, i, f, want)
				}
			}
		}
	})
}

// Samples hold it in 98 of 100.
func TestShortenOfASample(t *testing.T) {
	const table, runs = 40_000, 1000
	entries := traffic(22, table)
	rng := rand.New(rand.NewPCG(7, 9))
	for i := range entries {
		e := &entries[i]
		switch {
		case e.Proto == unix.IPPROTO_TCP && e.TCPState == ctnetlink.TCPTimeWait:
			e.Timeout = rng.Uint32N(120)
		case e.Proto == unix.IPPROTO_UDP:
			e.Timeout = rng.Uint32N(30)
		}
	}
	asked := []struct {
		class   string
		seconds int
	}{
		{"tcp_timeout_time_wait", 30},
		{"tcp_timeout_time_wait", 115},
		{"udp_timeout", 10},
		{"udp_timeout_stream", 29},
		{"tcp_timeout_established", 7440},
	}
	whole := count(entries, defaults())
	hit := make([][4]int, len(asked))
	tally := newTally(defaults())
	for run := range runs {
		n := []int{500, 2000, 20_000}[run%3]
		tally.reset()
		draw(rng, entries, n, tally.add)
		var r Report
		tally.fill(&r, scale{n, table})
		for i, ask := range asked {
			all, alive := countFates(entries, defaults(), class(t, &whole, ask.class), ask.seconds)
			got := r.Shorten(seenOrEmpty(t, &r, &whole, ask.class), ask.seconds)
			for k, f := range []Figure{got.Freed, got.Sooner, got.Established.Freed, got.Established.Sooner} {
				if f.holds([4]int{all[0], all[1], alive[0], alive[1]}[k]) {
					hit[i][k]++
				}
			}
		}
	}
	for i, ask := range asked {
		t.Logf("%-24s to %4d s: right in %v of %d", ask.class, ask.seconds, hit[i], runs)
		for _, n := range hit[i] {
			if n < runs*98/100 {
				t.Errorf("%s to %d s: right in %d of %d runs", ask.class, ask.seconds, n, runs)
			}
		}
	}
}

// seenOrEmpty is a class of a sample, an empty one if none of it was seen.
func seenOrEmpty(t testing.TB, sample, whole *Report, name string) *Class {
	for i := range sample.Classes {
		if sample.Classes[i].Name == name {
			return &sample.Classes[i]
		}
	}
	c := *class(t, whole, name)
	c.Remaining = nil
	return &c
}

// class finds a class of a report.
func class(t testing.TB, r *Report, name string) *Class {
	t.Helper()
	for i := range r.Classes {
		if r.Classes[i].Name == name {
			return &r.Classes[i]
		}
	}
	t.Fatalf("%s has no entries", name)
	return nil
}

// Where the bins leave nothing open, nothing is.
func TestShorten(t *testing.T) {
	entry := func(state uint8, status, seconds uint32) ctnetlink.Entry {
		return ctnetlink.Entry{Proto: unix.IPPROTO_TCP, TCPState: state, Status: status, Timeout: seconds}
	}
	assured := uint32(ctnetlink.StatusSeenReply | ctnetlink.StatusAssured)
	r := count([]ctnetlink.Entry{
		entry(ctnetlink.TCPTimeWait, assured, 30), entry(ctnetlink.TCPTimeWait, assured, 79), // old
		entry(ctnetlink.TCPTimeWait, assured, 100), entry(ctnetlink.TCPTimeWait, assured, 120), // young
		entry(ctnetlink.TCPTimeWait, assured, 121), entry(ctnetlink.TCPTimeWait, assured, 500), // somebody's policy
		entry(ctnetlink.TCPTimeWait, ctnetlink.StatusFixedTimeout, 10),
		{Proto: unix.IPPROTO_TCP, Offloaded: true},
		entry(ctnetlink.TCPEstablished, ctnetlink.StatusSeenReply, 200_000), // old
		entry(ctnetlink.TCPEstablished, assured, 200_000), entry(ctnetlink.TCPEstablished, assured, 100_000),
		entry(ctnetlink.TCPEstablished, assured, 431_999), // young
		entry(ctnetlink.TCPEstablished, assured, 200),     // may wait for an answer
	}, defaults())
	n := func(n int) Figure { return exactly(n, 13) }
	for _, c := range []struct {
		class   string
		seconds int
		want    Shortened
	}{
		{"tcp_timeout_time_wait", 40, Shortened{40, Fate{n(2), n(2)}, Fate{}}},
		{"tcp_timeout_time_wait", 119, Shortened{119, Fate{n(0), n(0)}, Fate{}}},
		{"tcp_timeout_time_wait", 115, Shortened{115, Fate{n(0), n(4)}, Fate{}}},
		{"tcp_timeout_time_wait", 120, Shortened{120, Fate{}, Fate{}}},
		{"tcp_timeout_time_wait", 9000, Shortened{9000, Fate{}, Fate{}}},
		{"tcp_timeout_established", 38_784, Shortened{38_784, Fate{n(1), n(0)}, Fate{n(2), n(1)}}},
	} {
		if got := r.Shorten(class(t, &r, c.class), c.seconds); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.class, got, c.want)
		}
	}
}

// Classes together are what they are one by one, known better than their bounds
// added up.
func TestShortenAll(t *testing.T) {
	entries := traffic(23, 40_000)
	tally := newTally(defaults())
	for i := range entries[:5000] {
		tally.add(&entries[i])
	}
	var r Report
	tally.fill(&r, scale{5000, 40_000})
	to := map[string]int{"tcp_timeout_time_wait": 30, "udp_timeout": 10, "udp_timeout_stream": 40, "tcp_timeout_established": 7440}
	total := r.ShortenAll(to)
	var sum Shortened
	add := func(to *Figure, f Figure) {
		to.Entries, to.Low, to.High = to.Entries+f.Entries, to.Low+f.Low, to.High+f.High
	}
	for i := range r.Classes {
		if seconds, ok := to[r.Classes[i].Name]; ok {
			one := r.Shorten(&r.Classes[i], seconds)
			add(&sum.Freed, one.Freed)
			add(&sum.Sooner, one.Sooner)
			add(&sum.Established.Freed, one.Established.Freed)
		}
	}
	for i, f := range [][2]Figure{{total.Freed, sum.Freed}, {total.Sooner, sum.Sooner}, {total.Established.Freed, sum.Established.Freed}} {
		if got, sum := f[0], f[1]; math.Abs(float64(got.Entries-sum.Entries)) > 16 || got.Entries == 0 || i < 2 && (got.Low <= sum.Low || got.High >= sum.High) {
			t.Errorf("%d: together %+v, one by one %+v", i, got, sum)
		}
	}
	if none := r.ShortenAll(nil); none != (Shortened{}) {
		t.Errorf("nothing is asked: %+v", none)
	}
}
