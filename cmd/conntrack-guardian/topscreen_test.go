package main

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// bigReport has as many sources as said.
func bigReport(sources int) *census.Report {
	r := &census.Report{Full: true, Read: sources, Table: sources, Max: 1000}
	addr := netip.MustParseAddr("10.0.0.1")
	for range sources {
		r.Sources = append(r.Sources, census.Source{Prefix: netip.PrefixFrom(addr, 32), Figure: census.Figure{Entries: 1, Low: 1, High: 1}})
		addr = addr.Next()
	}
	return r
}

// drawn is what a screen of some size shows of a page, line by line.
func drawn(t *testing.T, width, height int, p *topPage, most int, note string) []string {
	t.Helper()
	var out bytes.Buffer
	s := &screen{out: &out, size: func() (int, int) { return width, height }}
	if err := s.draw(p, most); err != nil {
		t.Fatal(err)
	}
	if note != "" {
		out.Reset()
		s.say(note)
	}
	picture, below, ok := strings.Cut(out.String(), clearBelow)
	if !ok || !strings.HasPrefix(picture, home) {
		t.Fatalf("%q does not clear what was there before", out.String())
	}
	if _, last, _ := strings.Cut(below, "H"); last != note {
		t.Errorf("note %q, want %q", last, note)
	}
	picture = strings.NewReplacer(home, "", bold, "", plain, "").Replace(picture)
	lines := strings.Split(picture, clearRight+"\r\n")
	return lines[:len(lines)-1]
}

func TestScreenFits(t *testing.T) {
	for _, tc := range []struct {
		width, height, sources, limit int
		rows                          int
		last                          string
	}{
		{80, 24, 3, 0, 3, "10.0.0.3"},
		{80, 24, 16, 0, 16, "10.0.0.16"}, // 7 lines above, and the note
		{80, 24, 17, 0, 15, "2 more"},
		{80, 24, 300, 0, 15, "285 more"},
		{80, 24, 300, 2, 2, "298 more"},
		{80, 200, 300, 0, 191, "109 more"},
		{20, 24, 300, 0, 15, "285 more"},
		{80, 5, 300, 0, 0, ""},
		{1, 1, 300, 0, 0, ""},
	} {
		v, _ := viewBy("source")
		lines := drawn(t, tc.width, tc.height, &topPage{view: v, now: bigReport(tc.sources), watch: true}, tc.limit, "")
		rows := 0
		for _, l := range lines {
			if utf8.RuneCountInString(l) > tc.width {
				t.Errorf("%+v: %q is too wide", tc, l)
			}
			if strings.HasPrefix(l, "10.0.0.") {
				rows++
			}
		}
		if rows != tc.rows || len(lines) > tc.height-1 {
			t.Errorf("%+v: %d rows in %d lines", tc, rows, len(lines))
		}
		if tc.last != "" && !strings.HasPrefix(lines[len(lines)-1], tc.last) {
			t.Errorf("%+v: ends with %q", tc, lines[len(lines)-1])
		}
	}
}

func TestScreenNote(t *testing.T) {
	v, _ := viewBy("source")
	lines := drawn(t, 80, 24, &topPage{view: v, now: bigReport(1), watch: true}, 0, "no luck")
	if len(lines) == 0 || !strings.HasPrefix(lines[len(lines)-1], "10.0.0.1 ") {
		t.Errorf("a note took the page away: %q", lines)
	}
	var out bytes.Buffer
	s := &screen{out: &out, size: func() (int, int) { return 10, 2 }}
	s.say("two\nlines that are long")
	if !strings.HasSuffix(out.String(), "\x1b[2Htwo; lines") {
		t.Errorf("%q", out.String())
	}
}

// A closed screen is nobody's to draw on.
func TestScreenClose(t *testing.T) {
	var out bytes.Buffer
	restored := errors.New("restored")
	s := &screen{out: &out, size: func() (int, int) { return 80, 24 }, restore: func() error { return restored }}
	if err := s.close(); !errors.Is(err, restored) {
		t.Errorf("the terminal's state was not put back: %v", err)
	}
	s.say("late")
	if out.String() != leave {
		t.Errorf("%q after the end", out.String())
	}
}

func TestWaitForQuit(t *testing.T) {
	for keys, rest := range map[string]string{"xyqz": "z", "Q": "", "a\x03b": "b", "x": ""} {
		r := strings.NewReader(keys)
		quits := 0
		waitForQuit(r, func() { quits++ })
		left, _ := io.ReadAll(r)
		if quits != 1 || string(left) != rest {
			t.Errorf("%q: %d quits, %q not read", keys, quits, left)
		}
	}
}
