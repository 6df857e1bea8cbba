package journald

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
)

// The fields that each entry has besides MESSAGE and PRIORITY.
const (
	identifierField = "SYSLOG_IDENTIFIER"
	identifier      = "conntrack-guardian"
	// timeField is when the record was made. The entry's own time is when journald
	// took it.
	timeField = "SYSLOG_TIMESTAMP"
)

// journalHandler sends records to journald. Its methods return changed copies.
type journalHandler struct {
	level  slog.Leveler
	wire   *wire
	text   slog.Handler // for what journald does not take
	fields []field      // of WithAttrs
	group  string       // of WithGroup: what the names of fields begin with, "DISK_"
}

// field is an attribute as journald gets it.
type field struct{ name, value string }

func newJournal(send sendFunc, text slog.Handler, level slog.Leveler) slog.Handler {
	return &journalHandler{level: level, wire: newWire(send), text: text}
}

func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	vars := map[string]string{identifierField: identifier}
	if !r.Time.IsZero() {
		vars[timeField] = r.Time.Format(time.RFC3339Nano)
	}
	fields := slices.Clip(h.fields)
	r.Attrs(func(a slog.Attr) bool {
		fields = appendFields(fields, h.group, a)
		return true
	})
	for _, f := range fields {
		vars[f.name] = f.value
	}
	if h.wire.deliver(r.Message, priority(r.Level), vars) == nil {
		return nil
	}
	return h.text.Handle(ctx, r)
}

func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.fields = slices.Clip(h.fields)
	for _, a := range attrs {
		with.fields = appendFields(with.fields, h.group, a)
	}
	with.text = h.text.WithAttrs(attrs)
	return &with
}

func (h *journalHandler) WithGroup(name string) slog.Handler {
	if name == "" {
		return h
	}
	with := *h
	with.group += name + "_"
	with.text = h.text.WithGroup(name)
	return &with
}

// appendFields appends an attribute, or those of a group.
func appendFields(fields []field, group string, a slog.Attr) []field {
	value := a.Value.Resolve()
	if value.Kind() != slog.KindGroup {
		if a.Equal(slog.Attr{}) {
			return fields // to be ignored, says slog.Handler
		}
		return append(fields, field{fieldName(group + a.Key), text(value)})
	}
	if a.Key != "" {
		group += a.Key + "_"
	}
	for _, member := range value.Group() {
		fields = appendFields(fields, group, member)
	}
	return fields
}

// longest is the most bytes that journald allows a field's name.
const longest = 64

// fieldName makes a name that journald accepts of any text: at most 64 of A–Z,
// 0–9 and _, the first of them a letter (journald reserves a leading _). Names of fields that the handler sets
// itself are taken. Different texts can end up with one name, and the last one
// given wins.
func fieldName(key string) string {
	name := make([]byte, 0, len(key))
	for _, c := range key {
		switch {
		case 'a' <= c && c <= 'z':
			c -= 'a' - 'A'
		case 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		default:
			c = '_'
		}
		name = append(name, byte(c))
	}
	if len(name) == 0 || name[0] < 'A' || name[0] > 'Z' || taken(string(name)) {
		name = append([]byte("X_"), name...)
	}
	return string(name[:min(len(name), longest)])
}

func taken(name string) bool {
	return name == "MESSAGE" || name == "PRIORITY" || name == identifierField || name == timeField
}

// sendFunc is the type of journal.Send.
type sendFunc = func(message string, p journal.Priority, vars map[string]string) error
