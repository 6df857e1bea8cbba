package journald

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/slogtest"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// A tape is a journald that keeps what it is sent.
type tape struct {
	entries []map[string]string
	fail    error
}

func (t *tape) send(message string, p journal.Priority, vars map[string]string) error {
	if t.fail != nil {
		return t.fail
	}
	entry := maps.Clone(vars)
	entry["MESSAGE"], entry["PRIORITY"] = message, strconv.Itoa(int(p))
	t.entries = append(t.entries, entry)
	return nil
}

func (t *tape) logger(text *bytes.Buffer) *slog.Logger {
	return slog.New(newJournal(t.send, newText(text, slog.LevelDebug, withPriority), slog.LevelDebug))
}

func TestJournalIsASlogHandler(t *testing.T) {
	var last *tape
	slogtest.Run(t, func(*testing.T) slog.Handler {
		last = &tape{}
		return last.logger(new(bytes.Buffer)).Handler()
	}, func(t *testing.T) map[string]any {
		if len(last.entries) != 1 {
			t.Fatalf("%d entries", len(last.entries))
		}
		return unfold(last.entries[0])
	})
}

// unfold undoes what the handler does to names: one-letter keys become lower
// case again, those of groups before them stay as they are.
func unfold(entry map[string]string) map[string]any {
	tree := map[string]any{}
	for name, value := range entry {
		switch name {
		case identifierField:
		case "MESSAGE":
			tree[slog.MessageKey] = value
		case "PRIORITY":
			tree[slog.LevelKey] = value
		case timeField:
			tree[slog.TimeKey] = value
		default:
			groups := strings.Split(name, "_")
			put(tree, groups[:len(groups)-1], strings.ToLower(groups[len(groups)-1]), value)
		}
	}
	return tree
}

func put(tree map[string]any, groups []string, key, value string) {
	for _, g := range groups {
		if tree[g] == nil {
			tree[g] = map[string]any{}
		}
		tree = tree[g].(map[string]any)
	}
	tree[key] = value
}

func TestEntry(t *testing.T) {
	var got tape
	log := got.logger(new(bytes.Buffer)).With("namespace", "/run/netns/a").WithGroup("table").With("max", 262144)
	at := time.Date(2026, 3, 1, 9, 30, 0, 125e6, time.UTC)
	r := slog.NewRecord(at, slog.LevelWarn, "table is filling\nquickly", 0)
	r.AddAttrs(
		slog.Float64("utilization", 0.83412345), slog.Duration("time-to-full", 4200*time.Millisecond),
		slog.Any("err", fmt.Errorf("write: %w", errors.ErrUnsupported)), slog.Group("at", slog.Time("boot", at)),
		slog.String("lines", "a\nb"), slog.Any("nothing", nil), slog.Bool("new", true),
	)
	if err := log.Handler().Handle(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"MESSAGE": "table is filling\nquickly", "PRIORITY": "4",
		"SYSLOG_IDENTIFIER": "conntrack-guardian", "SYSLOG_TIMESTAMP": "2026-03-01T09:30:00.125Z",
		"NAMESPACE": "/run/netns/a", "TABLE_MAX": "262144", "TABLE_UTILIZATION": "0.8341", "TABLE_TIME_TO_FULL": "4.2s",
		"TABLE_ERR": "write: unsupported operation", "TABLE_AT_BOOT": "2026-03-01T09:30:00.125Z",
		"TABLE_LINES": "a\nb", "TABLE_NOTHING": "<nil>", "TABLE_NEW": "true",
	}
	if len(got.entries) != 1 || !maps.Equal(got.entries[0], want) {
		t.Errorf("sent %q\nwant %q", got.entries, want)
	}
}

// Handlers derived from one another share nothing that either changes.
func TestDerivedHandlersAreApart(t *testing.T) {
	var got tape
	base := got.logger(new(bytes.Buffer)).With("a", 1).With("b", 2).With("c", 3)
	one, two := base.With("d", "one"), base.With("d", "two")
	one.Info("1")
	two.Info("2")
	base.Info("0")
	for i, want := range []string{"one", "two", ""} {
		if d := got.entries[i]["D"]; d != want || got.entries[i]["A"] != "1" {
			t.Errorf("entry %d: %q, want d = %q", i, got.entries[i], want)
		}
	}
}

func TestPriorities(t *testing.T) {
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "7", slog.LevelDebug + 1: "7", slog.LevelInfo: "6", LevelNotice: "5", slog.LevelInfo + 3: "5",
		slog.LevelWarn: "4", slog.LevelWarn + 3: "4", slog.LevelError: "3", LevelCritical: "2", slog.LevelError + 9: "2",
	} {
		var got tape
		got.logger(new(bytes.Buffer)).Log(t.Context(), level, "x")
		if got.entries[0]["PRIORITY"] != want {
			t.Errorf("level %v has priority %s, want %s", level, got.entries[0]["PRIORITY"], want)
		}
	}
}

func TestLevelIsALowerBound(t *testing.T) {
	var got tape
	level := new(slog.LevelVar)
	log := slog.New(newJournal(got.send, newText(new(bytes.Buffer), level, withPriority), level))
	log.Debug("no")
	level.Set(slog.LevelDebug)
	log.Debug("yes")
	if len(got.entries) != 1 || got.entries[0]["MESSAGE"] != "yes" {
		t.Errorf("sent %q", got.entries)
	}
}

func TestFieldName(t *testing.T) {
	for key, want := range map[string]string{
		"MESSAGE_ID": "MESSAGE_ID", "time-to-full": "TIME_TO_FULL", "nf.max": "NF_MAX", "größe": "GR__E",
		"": "X_", "_pid": "X__PID", "4xx": "X_4XX",
		// These are the handler's own, or would be taken for them.
		"message": "X_MESSAGE", "Priority": "X_PRIORITY", "syslog_identifier": "X_SYSLOG_IDENTIFIER",
		"syslog.timestamp":      "X_SYSLOG_TIMESTAMP",
		strings.Repeat("k", 70): strings.Repeat("K", 64),
	} {
		if got := fieldName(key); got != want {
			t.Errorf("fieldName(%q) = %q, want %q", key, got, want)
		}
	}
}

// The rules of journald (journal_field_valid): another name and the field, or
// the whole entry, is dropped.
func FuzzFieldName(f *testing.F) {
	valid := regexp.MustCompile(`^[A-Z][A-Z0-9_]{0,63}$`)
	f.Add("time-to-full")
	f.Add("\xff_")
	f.Fuzz(func(t *testing.T, key string) {
		if name := fieldName(key); !valid.MatchString(name) || taken(name) {
			t.Errorf("fieldName(%q) = %q", key, name)
		}
	})
}

func TestRefusedEntryBecomesText(t *testing.T) {
	var text bytes.Buffer
	away := tape{fail: errors.New("connection refused")}
	log := away.logger(&text).With("a", 1).WithGroup("g")
	log.Warn("table is filling", "b", 2)
	if want := "<4>table is filling a=1 g.b=2\n"; text.String() != want {
		t.Errorf("wrote %q, want %q", text.String(), want)
	}
	away.fail = nil
	log.Warn("again")
	if len(away.entries) != 1 || strings.Contains(text.String(), "again") {
		t.Errorf("sent %q, wrote %q", away.entries, text.String())
	}
}
