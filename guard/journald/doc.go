// Package journald is where log records go: to the journal with each attribute
// a field of its own, or to standard error as one line of text.
//
// Neither journald's absence nor its hanging stops the program. A record that
// journald refuses, or does not take within patience, is written as text
// instead; of one that it takes after all there are two copies then.
package journald

import (
	"io"
	"log/slog"
	"os"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/term"
)

// Levels between and above those of slog.
const (
	LevelNotice   = slog.LevelInfo + 1  // normal but significant
	LevelCritical = slog.LevelError + 1 // the guardian can't do its task
)

// MessageID is the key of the attribute, outside of any group, that names the
// kind of a message for journald's catalog. Text does not show it.
const MessageID = "MESSAGE_ID"

// New returns a handler of records of at least level. They go to the journal if
// that is where the process's standard error goes (JOURNAL_STREAM), else to w.
func New(w io.Writer, level slog.Leveler) slog.Handler {
	if yes, err := journal.StderrIsJournalStream(); err == nil && yes {
		// journald understands the priority at the beginning of a line of text.
		return newJournal(journal.Send, newText(w, level, withPriority), level)
	}
	if keepsLines(w) {
		return newText(w, level, withTime)
	}
	return newText(w, level, withNothing)
}

// keepsLines reports whether nobody behind w knows when a line came: w is a
// terminal or a plain file. A supervisor behind a pipe adds the time itself.
func keepsLines(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	if term.IsTerminal(int(f.Fd())) {
		return true
	}
	stat, err := f.Stat()
	return err == nil && stat.Mode().IsRegular()
}

// priority is the syslog priority of a level.
func priority(level slog.Level) journal.Priority {
	switch {
	case level > slog.LevelError:
		return journal.PriCrit
	case level == slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level > slog.LevelInfo:
		return journal.PriNotice
	case level == slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
