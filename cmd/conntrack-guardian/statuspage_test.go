package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// Each archive of testdata/status holds a status as the socket gives it, when it is looked
// at, why there is no newer one where there is none, and what is printed: the screen, and
// the exit code and line of --check.
func TestStatusPages(t *testing.T) {
	local := time.Local
	time.Local = time.UTC
	t.Cleanup(func() { time.Local = local })
	files, err := filepath.Glob("testdata/status/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) { compareStatus(t, file) })
	}
}

func compareStatus(t *testing.T, file string) {
	archive, err := txtar.ParseFile(file)
	if err != nil {
		t.Fatal(err)
	}
	given := readSight(t, archive)
	printed := 0
	for i := range archive.Files {
		f := &archive.Files[i]
		var got string
		switch f.Name {
		case "screen":
			got = screenOf(t, given)
		case "check":
			got = checkOf(t, given)
		default:
			continue
		}
		printed++
		if *update {
			f.Data = []byte(got)
		}
		if diff := cmp.Diff(string(f.Data), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", f.Name, diff)
		}
	}
	if printed == 0 {
		t.Error("nothing is printed")
	}
	if *update {
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readSight(t *testing.T, archive *txtar.Archive) sight {
	t.Helper()
	given := sight{status: new(control.Status)}
	for _, f := range archive.Files {
		var err error
		switch f.Name {
		case "status":
			d := json.NewDecoder(bytes.NewReader(f.Data))
			d.DisallowUnknownFields()
			err = d.Decode(given.status)
		case "now":
			given.now, err = time.Parse(time.RFC3339, strings.TrimSpace(string(f.Data)))
		case "failed":
			given.failed = errors.New(strings.TrimSpace(string(f.Data)))
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	return given
}

// screenOf is what a file gets. No line is wider than the screen.
func screenOf(t *testing.T, given sight) string {
	t.Helper()
	var b strings.Builder
	if err := printLines(&b, (&statusPage{given, false}).lines(allRows), false); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(b.String()) {
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > statusWidth {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	return b.String()
}

func checkOf(t *testing.T, given sight) string {
	t.Helper()
	v := &statusView{flags: &flags{}, clock: func() time.Time { return given.now }}
	var b strings.Builder
	err := v.checkLine(&b, given.status, given.failed)
	if failed := err != nil; failed != (v.exit != 0) {
		t.Errorf("exit code %d with the error %v", v.exit, err)
	}
	return fmt.Sprintf("%d\n%s", v.exit, b.String())
}
