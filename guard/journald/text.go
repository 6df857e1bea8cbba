package journald

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// head is what a line of text begins with.
type head int

const (
	withNothing  head = iota
	withTime          // 2026-03-01T09:30:00.125Z
	withPriority      // <4>, for journald
)

// textHandler writes a record as one line: time, level if not info, message,
// key=value.
type textHandler struct {
	head  head
	out   *output
	attrs slog.Handler // appends "key=value …\n" to out.attrs
}

// output is what the copies of a textHandler share.
type output struct {
	mu    sync.Mutex // guards all fields
	w     io.Writer
	attrs bytes.Buffer
}

func newText(w io.Writer, level slog.Leveler, h head) slog.Handler {
	out := &output{w: w}
	attrs := slog.NewTextHandler(&out.attrs, &slog.HandlerOptions{Level: level, ReplaceAttr: plain})
	return &textHandler{head: h, out: out, attrs: attrs}
}

func (h *textHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.attrs.Enabled(ctx, level)
}

func (h *textHandler) Handle(ctx context.Context, r slog.Record) error {
	bare := slog.NewRecord(time.Time{}, r.Level, "", 0)
	r.Attrs(func(a slog.Attr) bool {
		if !told(r.Message, a) {
			bare.AddAttrs(a)
		}
		return true
	})

	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.attrs.Reset()
	if err := h.attrs.Handle(ctx, bare); err != nil {
		return err
	}
	line := h.begin(r) + oneLine(r.Message)
	if attrs := h.out.attrs.String(); attrs != "\n" {
		line += " " + attrs
	} else {
		line += attrs
	}
	_, err := io.WriteString(h.out.w, line)
	return err
}

// told reports whether the message contains the attribute's text already: a
// reason, an error. Single words and numbers are kept, they may be there by chance.
func told(message string, a slog.Attr) bool {
	return a.Value.Kind() == slog.KindString && strings.Contains(a.Value.String(), " ") && strings.Contains(message, a.Value.String())
}

func (h *textHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &textHandler{head: h.head, out: h.out, attrs: h.attrs.WithAttrs(attrs)}
}

func (h *textHandler) WithGroup(name string) slog.Handler {
	return &textHandler{head: h.head, out: h.out, attrs: h.attrs.WithGroup(name)}
}

// begin is what stands before the message.
func (h *textHandler) begin(r slog.Record) string {
	switch {
	case h.head == withPriority:
		return fmt.Sprintf("<%d>", priority(r.Level)) // says the level, too
	case h.head == withTime && !r.Time.IsZero():
		return r.Time.Format("2006-01-02T15:04:05.000Z07:00 ") + word(r.Level)
	}
	return word(r.Level)
}

// word names the levels other than info.
func word(level slog.Level) string {
	return [...]string{2: "critical: ", 3: "error: ", 4: "warning: ", 5: "notice: ", 6: "", 7: "debug: "}[priority(level)]
}

// oneLine quotes a message that would break the line or steer a terminal.
func oneLine(message string) string {
	control := func(c rune) bool { return !strconv.IsPrint(c) }
	if strings.ContainsFunc(message, control) || !utf8.ValidString(message) {
		return strconv.Quote(message)
	}
	return message
}

// plain drops what slog.TextHandler adds of its own and what text does not
// show, and gives values the text that they have in the journal.
func plain(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 {
		_, isLevel := a.Value.Any().(slog.Level)
		switch {
		case a.Key == MessageID,
			a.Key == slog.LevelKey && isLevel,
			a.Key == slog.MessageKey && a.Value.String() == "":
			return slog.Attr{}
		}
	}
	return slog.String(a.Key, text(a.Value))
}
