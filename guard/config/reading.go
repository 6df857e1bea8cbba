package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/BurntSushi/toml"
)

// Parse reads a policy from its text; name stands for the file in problems. With
// problems the File is [Default].
func Parse(name string, text []byte) (File, Problems) { return ParseAll([]Text{{name, text}}) }

// ParseAll reads a policy from several texts. Of a setting that stands in more than
// one the last counts. With problems in any of them, and without texts, the File is
// [Default].
func ParseAll(texts []Text) (File, Problems) {
	if len(texts) == 0 {
		return Default(), nil
	}
	r := newReading(texts)
	whole := true
	for i, t := range texts {
		whole = r.take(i, t.Content) && whole
	}
	if whole { // else what stands in one may answer what another lacks
		r.check()
	}
	if problems := r.found(); len(problems) > 0 {
		return Default(), problems
	}
	r.file.Hash = Hash(texts)
	r.file.Sources = r.sources()
	return r.file, nil
}

// A reading is one pass over the texts of a policy.
type reading struct {
	texts      []Text
	file       File
	drafts     []*draft          // of the texts
	seen       map[string]value  // the settings that are written, by name
	bad        map[string]bool   // the settings and tables with a problem, also of their name
	flows      map[string]place  // where each flow stands first, by name
	lacks      map[string]string // what a mode would need for "act", by its name
	hasVersion bool              // in the first text
	problems   []Problems        // of each text
}

// A value is what a setting was given and where.
type value struct {
	any
	at place
}

func newReading(texts []Text) *reading {
	return &reading{
		texts: texts, file: Default(), problems: make([]Problems, len(texts)),
		seen: map[string]value{}, bad: map[string]bool{}, flows: map[string]place{}, lacks: map[string]string{},
	}
}

// top is where what is missing should stand.
var top = place{line: 1, col: 1}

func (r *reading) report(at place, key, message string) {
	r.problems[at.text] = append(r.problems[at.text], Problem{r.texts[at.text].Name, at.line, at.col, printable(key), printable(message)})
}

// found are all problems, in the order of the texts.
func (r *reading) found() Problems {
	for i := range r.problems {
		r.problems[i].sort()
	}
	return slices.Concat(r.problems...)
}

// take reads all settings of a text, and reports whether that could be done. One for
// a newer program is not read beyond its version: what it says may mean something
// else by then.
func (r *reading) take(text int, content []byte) bool {
	if len(content) > maxSize {
		r.report(top.in(text), syntaxKey, errTooLarge.Error())
		return false
	}
	d := newDraft(string(content))
	r.drafts = append(r.drafts, d)
	entries, err := d.repair()
	for _, f := range d.faults {
		r.report(f.at.in(text), f.key, f.describe(entries))
	}
	if err != nil {
		r.report(top.in(text), syntaxKey, err.Error())
		return false
	}
	v := version(entries)
	r.hasVersion = r.hasVersion || text == 0 && v >= 0
	if newer(entries) {
		entries = entries[v : v+1]
	}
	for _, e := range entries {
		e.start, e.at = e.start.in(text), e.at.in(text)
		r.set(e)
	}
	return !newer(entries)
}

// set puts one entry of the text into the File.
func (r *reading) set(e entry) {
	name := e.key.String()
	put := r.setter(e.key)
	switch {
	case put != nil:
		r.seen[name] = value{e.value, e.at}
		if err := put(e.value); err != nil {
			r.bad[name] = true
			r.refuse(e, err)
		}
	case !isTable(e.key):
		r.report(e.start, name, r.unknown(e.key))
	default:
		r.setTable(e)
	}
}

// setter is what sets the setting of this key, nil if there is none.
func (r *reading) setter(key toml.Key) func(v any) error {
	if inFlow(key) {
		if s, ok := flowSettings[key[2:].String()]; ok {
			return func(v any) error { return s.set(r.flow(key[1]), v) }
		}
		return nil
	}
	if s, ok := settings[key.String()]; ok {
		return func(v any) error { return s.set(&r.file, v) }
	}
	return nil
}

// refuse reports what is wrong with a value, or with each of those in a list.
func (r *reading) refuse(e entry, err error) {
	var items itemErrors
	if !errors.As(err, &items) {
		r.report(e.at, e.key.String(), err.Error())
		return
	}
	for _, item := range items {
		r.report(e.item(item.index), e.key.String(), item.err.Error())
	}
}

// setTable takes what stands for a table.
func (r *reading) setTable(e entry) {
	name := e.key.String()
	switch _, ok := e.value.(map[string]any); {
	case !ok:
		r.bad[name] = true
		r.report(e.start, name, notTable(e.key, e.value))
	case isFlow(e.key):
		r.addFlow(e)
	}
}

// notTable says how a table is written in whose place something else stands.
func notTable(key toml.Key, v any) string {
	write := fmt.Sprintf("[%s] on a line of its own", key)
	switch {
	case key.String() == bypassTable:
		write = fmt.Sprintf("[%s] on a line of its own, with a name of yours", flowTable(anyFlow))
	case isFlow(key):
		if _, ok := flowSettings[key[1]]; ok {
			return fmt.Sprintf("belongs to a flow: write [%s] above it, with a name of yours", flowTable(anyFlow))
		}
	case len(key) > 1:
		write = writeFloor(v)
	}
	return fmt.Sprintf("is a table: want %s, got %s", write, describe(v))
}
