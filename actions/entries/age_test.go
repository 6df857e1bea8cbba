package entries

import (
	"testing"
	"time"
)

const never = -1 // no age: somebody else's

func TestAge(t *testing.T) {
	const now = 10_000 * time.Second
	at := moment{now, now}
	ago := func(seconds float64) time.Duration { return now - time.Duration(seconds*float64(time.Second)) }
	first := []Was{{Timeout: 120, Until: now}, {Timeout: 40, Since: now}}
	walked := []Was{{Timeout: 120, Until: now}, {Timeout: 40, Since: now, Retimed: true}}
	settled := []Was{{Timeout: 120, Until: ago(30)}, {Timeout: 40, Since: ago(30)}}
	levels := []Was{{Timeout: 120, Until: ago(60)}, {Timeout: 90, Since: ago(60.2), Until: ago(1)}, {Timeout: 60, Since: ago(1.2)}}
	closing := []Was{{Timeout: 432_000, Until: now}, {Timeout: 7440, Since: now}, {Timeout: 300}, {Timeout: 10}}
	for _, tc := range []struct {
		name string
		was  []Was
		left int64
		want int64
	}{
		{"no timeout known", nil, 10, never},
		{"just begun", first, 120, 0},
		{"cut to whole seconds", first, 119, 0},
		{"young", first, 100, 19},
		{"at the new timeout", first, 80, 39},
		{"over it", first, 79, 40},
		{"old", first, 30, 89},
		{"about to end", first, 0, 119},
		{"more than any timeout", first, 121, never},
		{"far more", first, 1<<32 - 1, never},

		// The new timeout has been in force for nothing: an entry with a second or two of it
		// gone may have it.
		{"new timeout, whole", first, 40, 0},
		{"new timeout, a second gone", first, 39, 0},
		{"new timeout, what the clocks differ", first, 38, 1},
		{"not of the new timeout", first, 37, 82},

		// Where a walk has re-timed, all that the new timeout can give is as young as that.
		{"re-timed", walked, 37, 2},
		{"re-timed to the least", walked, 3, 36},
		{"not re-timed", walked, 41, 78},

		// 30 s later.
		{"of the new timeout", settled, 20, 19},
		{"of the new timeout, oldest", settled, 8, 31},
		{"of the old timeout", settled, 7, 112},
		{"too young for the old timeout", settled, 100, never},
		{"just old enough for it", settled, 91, 28},

		{"level 1, not yet 2", levels, 45, 44},
		{"level 1 is over for a second", levels, 89, 0},
		{"of level 2", levels, 58, 1},
		{"of level 1 or before it", levels, 30, 59},
		{"of before level 1", levels, 27, 92},

		{"ESTABLISHED, idle", closing, 400_000, 31_999},
		{"ESTABLISHED, unanswered or idle", closing, 300, 0},
		{"ESTABLISHED, unanswered or idle", closing, 11, 288},
		{"ESTABLISHED, after a reset", closing, 10, 0},
		{"ESTABLISHED, after a reset", closing, 2, 7},
		{"ESTABLISHED, long idle", closing, 301, 431_698},
	} {
		age, ok := (&Rule{Was: tc.was}).age(tc.left, at)
		if !ok {
			age = never
		}
		if age != tc.want {
			t.Errorf("%s: %d s left make an age of %d, want %d", tc.name, tc.left, age, tc.want)
		}
	}
}

// What is not known of when an entry was dumped makes it no older.
func TestAgeOfAnEntryDumpedAtSomeTime(t *testing.T) {
	begun := 1000 * time.Second
	r := Rule{Was: []Was{{Timeout: 120, Until: begun}, {Timeout: 40, Since: begun}}}
	for _, tc := range []struct {
		from, to time.Duration
		left     int64
		want     int64
	}{
		{begun + 10*time.Second, begun + 10*time.Second, 27, 92}, // 13 s are more than 10
		{begun + 10*time.Second, begun + 15*time.Second, 27, 12},
		{begun + 10*time.Second, begun + 15*time.Second, 111, 8},
		{begun + 15*time.Second, begun + 15*time.Second, 111, never}, // 9 s are less than 15
	} {
		age, ok := r.age(tc.left, moment{tc.from, tc.to})
		if !ok {
			age = never
		}
		if age != tc.want {
			t.Errorf("%d left between %v and %v: %d, want %d", tc.left, tc.from, tc.to, age, tc.want)
		}
	}
}

func TestByAge(t *testing.T) {
	rule := Rule{New: 40}
	for _, tc := range []struct {
		age, left int64
		want      verdict
		to        int64
	}{
		{0, 120, toRetime, 40},
		{19, 100, toRetime, 21},
		{39, 80, toRetime, 3},
		{40, 79, toDelete, 3},
		{500, 1, toDelete, 3},
		{0, 42, toRetime, 40},
		{0, 41, isYoung, 40},
		{10, 31, isYoung, 30},
		{38, 5, toRetime, 3},
		{38, 4, isYoung, 3},
		{38, 1, isYoung, 3},
	} {
		for _, retime := range []bool{true, false} {
			want := tc.want
			if want == toRetime && !retime {
				want = isYoung
			}
			if got := (&judge{retime: retime}).byAge(&rule, tc.age, tc.left); got != want || rule.left(tc.age) != tc.to {
				t.Errorf("age %d, %d left: %d, to %d, want %d, to %d", tc.age, tc.left, got, rule.left(tc.age), want, tc.to)
			}
		}
	}
}
