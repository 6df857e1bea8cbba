package lab

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestTally(t *testing.T) {
	const ms = time.Millisecond
	ok := func(at int) attempt { return attempt{began: time.Duration(at) * ms, took: 2 * ms} }
	slow := func(at int) attempt { return attempt{began: time.Duration(at) * ms, took: 1002 * ms} }
	lost := func(at int) attempt { return attempt{began: time.Duration(at) * ms, took: 2000 * ms, failed: true} }
	for name, tc := range map[string]struct {
		in   tally
		want Tally
	}{
		"none": {},
		"all well": {
			in:   tally{ok(0), ok(5), ok(10)},
			want: Tally{Attempted: 3, Median: 2 * ms, Slowest: 2 * ms},
		},
		"an outage, sorted by beginning": {
			in: tally{ok(0), ok(40), slow(35), lost(10), lost(20), lost(30), lost(50), ok(55)},
			want: Tally{
				Attempted: 8, Failed: 4, Slow: 1, LongestOutage: 25 * ms,
				FirstFailure: 10 * ms, LastFailure: 50 * ms, Median: 2 * ms, Slowest: 1002 * ms,
			},
		},
		"an outage to the end": {
			in: tally{ok(0), lost(5), lost(10)},
			want: Tally{
				Attempted: 3, Failed: 2, LongestOutage: 2005 * ms,
				FirstFailure: 5 * ms, LastFailure: 10 * ms, Median: 2 * ms, Slowest: 2 * ms,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, tc.in.count()); d != "" {
				t.Error(d)
			}
		})
	}
}
