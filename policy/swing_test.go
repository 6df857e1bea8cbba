package policy

import (
	"math"
	"testing"
	"time"
)

// What hovers at a mark is told once, not for days.
func TestDiagnosisDoesNotSwing(t *testing.T) {
	hover := func(mean, by float64) func(time.Duration) float64 {
		return func(at time.Duration) float64 { return mean + by*math.Sin(at.Hours()*7) }
	}
	always := func(share float64) func(time.Duration) float64 {
		return func(time.Duration) float64 { return share }
	}
	past := func(low, rise int32) (b Baseline) {
		for i := range int32(30) {
			b.add(Hour{Low: low + rise*i, High: low + rise*i, Rate: 500})
		}
		return b
	}
	for name, tc := range map[string]struct {
		past          Baseline
		count         func(time.Duration) float64
		closing, idle func(time.Duration) float64
		want          []Pattern
	}{
		"a half is over":       {past(50_000, 0), hover(55_000, 300), hover(0.505, 0.02), always(0.2), []Pattern{Chronic, Chronic, Churn}},
		"nearly full":          {past(50_000, 0), hover(62_300, 1500), always(0.3), always(0.2), []Pattern{Chronic, Chronic, Chronic}},
		"a leak near the mark": {past(20_000, 1000), hover(52_400, 900), always(0.1), always(0.8), []Pattern{Chronic, Leak}},
	} {
		m := newSim(Default())
		m.st.Baseline = tc.past
		var got []Pattern
		for start := m.now; m.now < start+24*time.Hour; {
			at := m.now - start
			m.mix = Census{Read: 20_000, Closing: sampled(tc.closing(at)), Idle: sampled(tc.idle(at))}
			for _, d := range m.step(time.Second, int(tc.count(at)), Counters{}) {
				switch d.Verb {
				case Open, Diagnose:
					got = append(got, d.Pattern)
				case Close:
					t.Errorf("%s: the episode ended, this shows nothing", name)
				}
			}
		}
		if len(got) > len(tc.want) || len(got) == 0 || got[len(got)-1] != tc.want[len(tc.want)-1] {
			t.Errorf("%s: told %q, want at most %q", name, got, tc.want)
		}
	}
}

// A census that the policy lets take a minute is one of the present when it is done.
func TestSlowCensusIsOfThePresent(t *testing.T) {
	cfg := Default()
	cfg.Census.Every, cfg.Census.Sample, cfg.Census.CPU = time.Second, 1_000_000, 0.05
	m := newSim(cfg)
	for range 70 {
		m.step(time.Second, 60_000, Counters{})
	}
	m.s.Census = Census{At: m.now - time.Minute, Read: 1_000_000, Closing: sampled(0.8)}
	if ds := m.step(time.Second, 60_000, Counters{}); len(ds) != 1 || ds[0].Verb != Diagnose || ds[0].Pattern != Churn {
		t.Errorf("decided %+v, want a diagnosis of churn", ds)
	}
}
