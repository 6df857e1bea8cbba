package policy

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// past is a baseline of complete hours, oldest first.
func past(lows ...int32) (b Baseline) {
	for _, low := range lows {
		b.add(Hour{Low: low, High: 2 * low, Rate: float32(low) / 10})
	}
	return b
}

func TestBaselineLearnsByTheHour(t *testing.T) {
	var b Baseline
	for i := range 2*3600 + 1800 {
		b.learn(1000+i%100, float64(i%7), time.Second)
	}
	if b.Hours() != 2 || b.hour(0) != (Hour{1000, 1099, 6}) || b.seen != 30*time.Minute {
		t.Errorf("%d hours, the newest %+v, and %s", b.Hours(), b.hour(0), b.seen)
	}
}

func TestBaselineKeepsAWeek(t *testing.T) {
	var b Baseline
	for i := range 3 * week {
		b.add(Hour{Low: int32(i), High: int32(i)})
	}
	if b.Hours() != week || b.hour(0).Low != 3*week-1 || b.hour(week-1).Low != 2*week {
		t.Errorf("%d hours from %d to %d", b.Hours(), b.hour(week-1).Low, b.hour(0).Low)
	}
}

// What happens in fewer than a quarter of the hours is not ordinary.
func TestOrdinaryRate(t *testing.T) {
	var b Baseline
	for i := range 48 {
		if _, known := b.ordinary(); known != (i >= fewestHours) {
			t.Errorf("known after %d hours: %v", i, known)
		}
		h := Hour{Low: 5, High: 6, Rate: 300}
		if i%24 < 5 {
			h.Rate = 90_000
		}
		b.add(h)
	}
	if rate, _ := b.ordinary(); rate != 300 {
		t.Errorf("ordinary is %g/s, want 300", rate)
	}
	for i := range week { // of work
		h := Hour{Low: 5, High: 6, Rate: 40}
		if i < 5*24 && i%24 >= 8 && i%24 < 18 {
			h.Rate = 300
		}
		b.add(h)
	}
	if rate, _ := b.ordinary(); rate != 300 {
		t.Errorf("in a working week %g/s are ordinary, want the 300 of the working hours", rate)
	}
	if rate, _ := new(Baseline).ordinary(); rate != 1 {
		t.Errorf("ordinary is %g/s without a past, want 1: it is divided by", rate)
	}
}

func TestRising(t *testing.T) {
	// Six days of a daily course from 10,000 to 40,000 until some hour of the last one,
	// each day higher by some.
	course := func(daily int32, until int) (lows []int32) {
		for i := range int32(5*24 + until) {
			lows = append(lows, 10_000+daily*i/24+30_000*min(i%24, 24-i%24)/12)
		}
		return lows
	}
	level := slices.Repeat([]int32{1000}, 99)
	for name, tc := range map[string]struct {
		lows  []int32
		count int
		want  int
	}{
		"no past":                         {nil, 5, 0},
		"one hour":                        {[]int32{5}, 5, 0},
		"nothing":                         {[]int32{0, 0}, 0, 0},
		"level":                           {[]int32{1000, 1000, 1001, 1000, 1000}, 1000, 0},
		"rising":                          {[]int32{1000, 1100, 1200, 1300}, 1300, 4},
		"rising with a wobble":            {[]int32{1000, 1100, 1090, 1300}, 1300, 4},
		"falling slowly, then rising":     {[]int32{1060, 1040, 1020, 1000, 1300}, 1300, 2},
		"long level, risen at last":       {append(level, 1300), 1300, 2},
		"rising by little of what is":     {[]int32{1000, 1100, 1200, 1300}, 9000, 0},
		"rising to where it has been":     {[]int32{5000, 1000, 1100, 1200}, 1200, 0},
		"rising to where it nearly was":   {[]int32{1200, 1000, 1100, 1250}, 1250, 0},
		"rising to where it never was":    {[]int32{1200, 1000, 1100, 1400}, 1400, 3},
		"dropped":                         {[]int32{1000, 1100, 1200, 900}, 900, 0},
		"the same every day, evening":     {course(0, 24), 12_500, 0},
		"the same every day, noon":        {course(0, 12), 40_000, 0},
		"higher every day, evening":       {course(3000, 24), 40_000, 6 * 24},
		"higher every day, noon":          {course(3000, 12), 55_000, 5 * 24},
		"higher every day since it fell":  {append(course(3000, 24), course(3000, 24)[:72]...), 22_000, 3 * 24},
		"a night a little above the last": {append(course(0, 24), course(500, 24)[:24]...), 40_000, 0},
	} {
		b := past(tc.lows...)
		if got := b.rising(tc.count); got != tc.want {
			t.Errorf("%s: rising for %d hours, want %d", name, got, tc.want)
		}
	}
}

func TestAbove(t *testing.T) {
	b := past(10, 900, 1000, 1200)
	for count, want := range map[float64]int{0: 4, 900: 3, 1000: 2, 1201: 0} {
		if got := b.above(count); got != want {
			t.Errorf("not under %g for %d hours, want %d", count, got, want)
		}
	}
	b.learn(950, 0, time.Second)
	if got := b.above(1000); got != 0 {
		t.Errorf("not under 1000 for %d hours though it is now", got)
	}
}

func TestBaselineSurvivesJSON(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b, back Baseline
		for range rapid.IntRange(0, 2*week).Draw(t, "hours") {
			low := rapid.Int32Range(0, 1<<30).Draw(t, "low")
			b.add(Hour{low, low + 5, rapid.Float32Range(0, 1e6).Draw(t, "rate")})
		}
		b.learn(rapid.IntRange(0, 1<<30).Draw(t, "count"), 3, time.Duration(rapid.IntRange(0, 3599).Draw(t, "s"))*time.Second)
		text, err := json.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(back)
		if err != nil || string(again) != string(text) || back.rate != b.rate {
			t.Fatalf("%s became %s, %v", text, again, err)
		}
	})
}

func TestBaselineRefuses(t *testing.T) {
	hours := strings.TrimSuffix(strings.Repeat(`{"low":1,"high":2,"rate":3},`, week+1), ",")
	for text, want := range map[string]string{
		`[]`:                         "cannot unmarshal",
		`{}`:                         "version 0, want 1",
		`{"version":2}`:              "version 2, want 1",
		`{"version":1,"seen":-1}`:    "-1 seconds",
		`{"version":1,"seen":3600}`:  "3600 seconds",
		`{"version":1,"hours":[{}]}`: "",
		`{"version":1,"hours":[{"low":2,"high":1}]}`:          "hour 0: from 2 to 1",
		`{"version":1,"hours":[{"low":-2,"high":1}]}`:         "hour 0: from -2 to 1",
		`{"version":1,"part":{"rate":-1}}`:                    "at -1/s",
		`{"version":1,"hours":[{"low":1e99}]}`:                "cannot unmarshal",
		`{"version":1,"hours":[` + hours + `]}`:               "169 hours, want at most 168",
		`{"version":1,"hours":[{"low":1,"high":2,"rate":3}]}`: "",
	} {
		b := past(7, 8)
		err := json.Unmarshal([]byte(text), &b)
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
		if err != nil && b != past(7, 8) {
			t.Errorf("%.60s: changed to %+v", text, b)
		}
	}
}

// No text makes it panic, and what it takes can be used and saved.
func FuzzBaseline(f *testing.F) {
	for _, b := range []Baseline{{}, past(1, 2, 3)} {
		text, err := json.Marshal(b)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var b Baseline
		if json.Unmarshal(text, &b) != nil {
			return
		}
		b.learn(5, 5, time.Second)
		if rate, _ := b.ordinary(); !(rate >= 1) || b.rising(5) < 0 || b.above(0) > week {
			t.Errorf("ordinary %g/s, rising %d, above %d", rate, b.rising(5), b.above(0))
		}
		if _, err := json.Marshal(b); err != nil {
			t.Error(err)
		}
	})
}
