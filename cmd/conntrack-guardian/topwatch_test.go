package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

var errTransient = errors.New("try again")

// A watched run records what a watch does, and when.
type watched struct {
	topWatch[census.Report]
	log   []string
	began time.Time
}

func (w *watched) note(text string) {
	w.log = append(w.log, time.Since(w.began).String()+" "+text)
}

// newWatched makes a watch whose n-th census takes as long as said and ends with
// the error there.
func newWatched(every time.Duration, took []time.Duration, errs map[int]error) *watched {
	w := &watched{began: time.Now()}
	n := 0
	w.every = every
	w.patient = func(err error) bool { return errors.Is(err, errTransient) }
	w.take = func(ctx context.Context) (census.Report, error) {
		w.note("take")
		i := n
		n++
		select {
		case <-ctx.Done():
			return census.Report{}, ctx.Err()
		case <-time.After(took[min(i, len(took)-1)]):
		}
		return census.Report{Read: i}, errs[i]
	}
	w.show = func(now, before *census.Report) error {
		text := "first"
		if before != nil {
			text = "after " + string(rune('0'+before.Read))
		}
		w.note("show " + string(rune('0'+now.Read)) + " " + text)
		return nil
	}
	w.fail = func(err error) { w.note("fail " + err.Error()) }
	return w
}

func TestTopWatch(t *testing.T) {
	for name, tc := range map[string]struct {
		took []time.Duration
		errs map[int]error
		end  time.Duration
		want []string
	}{
		"beginnings are an interval apart": {
			[]time.Duration{time.Second},
			nil, 10500 * time.Millisecond,
			[]string{"0s take", "1s show 0 first", "5s take", "6s show 1 after 0", "10s take"},
		},
		"half an interval is left after a long census": {
			[]time.Duration{4 * time.Second, 9 * time.Second},
			nil, 18500 * time.Millisecond,
			[]string{"0s take", "4s show 0 first", "6.5s take", "15.5s show 1 after 0", "18s take"},
		},
		"a failure is told and skipped": {
			[]time.Duration{0},
			map[int]error{1: errors.New("broken")},
			11 * time.Second,
			[]string{"0s take", "0s show 0 first", "5s take", "5s fail broken", "10s take", "10s show 2 after 0"},
		},
		"the first may fail by bad luck": {
			[]time.Duration{0},
			map[int]error{0: errTransient},
			6 * time.Second,
			[]string{"0s take", "0s fail try again", "5s take", "5s show 1 first"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), tc.end)
				defer cancel()
				w := newWatched(5*time.Second, tc.took, tc.errs)
				if err := w.run(ctx); err != nil {
					t.Error(err)
				}
				if !slices.Equal(w.log, tc.want) {
					t.Errorf("did\n%s\nwant\n%s", strings.Join(w.log, "\n"), strings.Join(tc.want, "\n"))
				}
			})
		})
	}
}

func TestTopWatchEndsAtOnce(t *testing.T) {
	broken := errors.New("broken")
	for name, tc := range map[string]struct {
		change func(*watched)
		errs   map[int]error
	}{
		"when the first census fails":    {func(*watched) {}, map[int]error{0: broken}},
		"when the output can't be shown": {func(w *watched) { w.show = func(_, _ *census.Report) error { return broken } }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWatched(time.Second, []time.Duration{0}, tc.errs)
				tc.change(w)
				if err := w.run(t.Context()); !errors.Is(err, broken) || len(w.log) != 1 {
					t.Errorf("ended with %v after %q", err, w.log)
				}
			})
		})
	}
}

func TestPrinterOfJSON(t *testing.T) {
	var out bytes.Buffer
	one := &top{flags: &flags{json: true}}
	show := printer(one, &out, one.censuses())
	for range 2 {
		if err := show(bigReport(3), nil); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(out.String()) {
		var r census.Report
		if err := json.Unmarshal([]byte(line), &r); err != nil || len(r.Sources) != 3 {
			t.Errorf("%v: %q", err, line)
		}
	}
	if n := strings.Count(out.String(), "\n"); n != 2 {
		t.Errorf("%d lines for two reports", n)
	}
}

func TestPrinterOfText(t *testing.T) {
	v, _ := viewBy("source")
	var out bytes.Buffer
	one := &top{flags: &flags{}, view: v}
	show := printer(one, &out, one.censuses())
	first := bigReport(30)
	if err := errors.Join(show(first, nil), show(bigReport(30), first)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "\x1b") {
		t.Error("control sequences in what is no terminal")
	}
	_, second, ok := strings.Cut(out.String(), "10 more listed\n\n")
	if !ok || !strings.Contains(second, "CHANGE/S") || strings.HasPrefix(second, "\n") {
		t.Errorf("no second report below a blank line:\n%s", out.String())
	}
}
