package page

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what is printed as what is wanted")

func textOf(t *testing.T, r *Report, ascii bool) string {
	t.Helper()
	var b strings.Builder
	if err := r.Text(&b, ascii); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// The text of an episode, as it was read by a person and found good.
func TestText(t *testing.T) {
	for _, p := range pages[:2] {
		t.Run(p.name, func(t *testing.T) {
			got := textOf(t, reportOf(t, p.make()), false)
			file := filepath.Join("testdata", p.name+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// Eighty columns hold the text, and where letters beyond ASCII do not show there are none.
func TestTextFitsTheTerminal(t *testing.T) {
	for _, p := range pages {
		r := reportOf(t, p.make())
		for _, ascii := range []bool{false, true} {
			for _, line := range strings.Split(textOf(t, r, ascii), "\n") {
				if n := utf8.RuneCountInString(line); n > pageColumns {
					t.Errorf("%s: %d columns: %s", p.name, n, line)
				}
				if i := strings.IndexFunc(line, func(c rune) bool { return c >= utf8.RuneSelf }); ascii && i >= 0 {
					t.Errorf("%s: not ASCII: %s", p.name, line)
				}
			}
		}
	}
}

// A record can't steer a terminal.
func TestTextIsClean(t *testing.T) {
	r := reportOf(t, ports())
	r.Diagnoses[0].Evidence = "\x1b]0;title\a\x9b2J\xff\r\nnot a line"
	for _, ascii := range []bool{false, true} {
		if got := textOf(t, r, ascii); !utf8.ValidString(got) || strings.ContainsAny(got, "\x1b\a\r\u009b\ufffd") {
			t.Errorf("control characters in %q", got)
		}
	}
}
