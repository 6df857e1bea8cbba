package journald

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/slogtest"
	"time"
)

var at = time.Date(2026, 3, 1, 9, 30, 0, 125e6, time.UTC)

func TestText(t *testing.T) {
	for _, c := range []struct {
		head  head
		level slog.Level
		msg   string
		attrs []any
		want  string
	}{
		{withTime, slog.LevelInfo, "table is calm", nil, "2026-03-01T09:30:00.125Z table is calm\n"},
		{withTime, slog.LevelWarn, "filling", []any{"u", 0.5}, "2026-03-01T09:30:00.125Z warning: filling u=0.5\n"},
		{withNothing, slog.LevelError, "failed", []any{"err", errors.New("no such file")}, "error: failed err=\"no such file\"\n"},
		{withPriority, LevelCritical, "failed", nil, "<2>failed\n"},
		{withNothing, LevelNotice, "raised", []any{MessageID, "0123", "max", 5, "in", 1500 * time.Microsecond}, "notice: raised max=5 in=1.5ms\n"},
		{withNothing, slog.LevelInfo, "two\nlines \x1b[31m", nil, `"two\nlines \x1b[31m"` + "\n"},
		{withNothing, slog.LevelInfo, "bytes \x9b", nil, `"bytes \x9b"` + "\n"},
		{withNothing, slog.LevelInfo, `says "hi"`, []any{"a", "b\nc"}, `says "hi" a="b\nc"` + "\n"},
		// What the message says is not said again.
		{withNothing, slog.LevelInfo, "up: 9 of 10", []any{"REASON", "9 of 10", "N", "9", "E", "9 of 9"}, "up: 9 of 10 N=9 E=\"9 of 9\"\n"},
		// Only what the handler itself adds is dropped.
		{withNothing, slog.LevelInfo, "m", []any{"msg", "mine", "level", 3, slog.Group("g", MessageID, 1)}, "m msg=mine level=3 g.MESSAGE_ID=1\n"},
	} {
		var out bytes.Buffer
		r := slog.NewRecord(at, c.level, c.msg, 0)
		r.Add(c.attrs...)
		if err := newText(&out, slog.LevelDebug, c.head).Handle(t.Context(), r); err != nil {
			t.Error(err)
		}
		if out.String() != c.want {
			t.Errorf("wrote %q, want %q", out.String(), c.want)
		}
	}
}

func TestTextIsASlogHandler(t *testing.T) {
	var out bytes.Buffer
	slogtest.Run(t, func(*testing.T) slog.Handler {
		out.Reset()
		return newText(&out, slog.LevelInfo, withTime)
	}, func(*testing.T) map[string]any { return parseLine(out.String()) })
}

var begin = regexp.MustCompile(`^(\d{4}-\S+ )?(\w+: )?(\S+)`)

// parseLine reads a line whose message and values are single words.
func parseLine(line string) map[string]any {
	parts := begin.FindStringSubmatch(line)
	tree := map[string]any{slog.LevelKey: parts[2], slog.MessageKey: parts[3]}
	if parts[1] != "" {
		tree[slog.TimeKey] = parts[1]
	}
	for _, pair := range strings.Fields(line[len(parts[0]):]) {
		name, value, _ := strings.Cut(pair, "=")
		groups := strings.Split(name, ".")
		put(tree, groups[:len(groups)-1], groups[len(groups)-1], value)
	}
	return tree
}

func TestTextReportsAFailedWrite(t *testing.T) {
	r, w := io.Pipe()
	r.CloseWithError(errors.New("gone"))
	err := newText(w, slog.LevelInfo, withTime).Handle(t.Context(), slog.NewRecord(at, slog.LevelInfo, "x", 0))
	if err == nil || err.Error() != "gone" {
		t.Errorf("got %v", err)
	}
}

func TestNewStampsFilesOnly(t *testing.T) {
	t.Setenv("JOURNAL_STREAM", "")
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, out := range []*os.File{file, w} {
		slog.New(New(out, slog.LevelInfo)).Info("hello", "n", 1)
	}
	w.Close()
	piped, err := io.ReadAll(r)
	if err != nil || string(piped) != "hello n=1\n" {
		t.Errorf("into a pipe: %q, %v", piped, err)
	}
	filed, err := os.ReadFile(file.Name())
	if err != nil || !regexp.MustCompile(`^\d{4}-\d\d-\d\dT\S+ hello n=1\n$`).Match(filed) {
		t.Errorf("into a file: %q, %v", filed, err)
	}
}

type named struct{ name string }

func (n *named) String() string { return n.name }

func TestValueText(t *testing.T) {
	for _, c := range []struct {
		value any
		want  string
	}{
		{0.0, "0"},
		{0.834, "0.834"},
		{0.83412345, "0.8341"},
		{1.0, "1"},
		{123.456, "123.5"},
		{123456.7, "123457"},
		{-2.5, "-2.5"},
		{0.00012346, "0.0001235"},
		{0.000012345, "1.234e-05"},
		{9.99999, "10"},
		{1e300, "1e+300"},
		{math.Inf(-1), "-Inf"},
		{math.NaN(), "NaN"},
		{2*time.Hour + 123456*time.Microsecond, "2h0m0.123s"},
		{1234567 * time.Nanosecond, "1.235ms"},
		{7 * time.Nanosecond, "7ns"},
		{time.Duration(math.MinInt64), "-2562047h47m16.854775808s"},
		{at, "2026-03-01T09:30:00.125Z"},
		{[]byte("raw"), "raw"},
		{&named{"n"}, "n"},
		{(*named)(nil), "<nil>"},
		{struct{ A int }{1}, "{A:1}"},
		{nil, "<nil>"},
		{true, "true"},
		{uint64(math.MaxUint64), "18446744073709551615"},
	} {
		if got := text(slog.AnyValue(c.value)); got != c.want {
			t.Errorf("text(%v) = %q, want %q", c.value, got, c.want)
		}
	}
}
