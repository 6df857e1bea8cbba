package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// A place is a position in the texts of a policy: line and column (in bytes) from 1,
// in which of the texts from 0.
type place struct{ line, col, text int }

func (p place) before(q place) bool {
	return cmp.Or(cmp.Compare(p.text, q.text), cmp.Compare(p.line, q.line), cmp.Compare(p.col, q.col)) < 0
}

// in is the place in another of the texts.
func (p place) in(text int) place {
	p.text = text
	return p
}

// locate is the place of a byte offset.
func locate(text string, offset int) place {
	above := text[:min(max(offset, 0), len(text))]
	return place{line: 1 + strings.Count(above, "\n"), col: len(above) - strings.LastIndexByte(above, '\n')}
}

// An entry is a key of the text: a setting, a table, or neither.
type entry struct {
	key    toml.Key
	value  any
	start  place  // of the key
	at     place  // of the value
	text   string // in which it stands
	offset int    // of the value in it
}

// parse returns the entries of a text in its order. Only what stands at the top
// or in a known table becomes an entry: an unknown table is one problem, not as
// many as it has keys.
func parse(text string) ([]entry, error) {
	top := map[string]toml.Primitive{}
	md, err := decode(text, &top)
	if err != nil {
		return nil, err
	}
	w := walker{text: text, md: md}
	w.walk(nil, top)
	slices.SortFunc(w.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.at.col, b.at.col),
			cmp.Compare(a.key.String(), b.key.String()))
	})
	return w.entries, nil
}

// decode is toml.Decode that returns the parser's own panics ("BUG: ...") as an
// error: a text must never stop the daemon.
func decode(text string, into any) (md toml.MetaData, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the parser can't read this: %v", r)
		}
	}()
	return toml.Decode(text, into)
}

type walker struct {
	text    string
	md      toml.MetaData
	entries []entry
}

func (w *walker) walk(table toml.Key, in map[string]toml.Primitive) {
	for name, p := range in {
		e := entry{key: append(slices.Clone(table), name), text: w.text}
		e.value, e.offset = w.look(p)
		e.find()
		w.entries = append(w.entries, e)
		if isTable(e.key) {
			w.walk(e.key, w.children(p))
		}
	}
}

// A peek is a decoding target that keeps the value and refuses it. The parser
// knows where each value stands but tells only in the error of a refusal.
type peek struct{ value any }

var errPeek = errors.New("refused to learn the position")

// UnmarshalTOML implements toml.Unmarshaler.
func (p *peek) UnmarshalTOML(v any) error {
	p.value = v
	return errPeek
}

// look returns a value and the offset where it stands: for a table that of its
// header; for one that only the dots of its keys make, that of its first key.
func (w *walker) look(p toml.Primitive) (any, int) {
	var got peek
	var refusal toml.ParseError
	errors.As(w.md.PrimitiveDecode(p, &got), &refusal)
	if refusal.Position.Line > 0 {
		return got.value, refusal.Position.Start
	}
	first := len(w.text)
	for _, child := range w.children(p) {
		_, offset := w.look(child)
		first = min(first, offset)
	}
	return got.value, first
}

// children are the keys of a table; a value that is none has none.
func (w *walker) children(p toml.Primitive) map[string]toml.Primitive {
	in := map[string]toml.Primitive{}
	if err := w.md.PrimitiveDecode(p, &in); err != nil {
		return nil
	}
	return in
}

// find turns the offset of a value as the parser gives it, after the opening quotes,
// bracket or brace, into the places of the value and of its key. What stands in an
// inline table has the place of its key alone.
func (e *entry) find() {
	for i := 0; i < 3 && e.offset > 0 && strings.IndexByte(`"'`, e.text[e.offset-1]) >= 0; i++ {
		e.offset--
	}
	if _, ok := e.value.([]any); ok && e.offset > 0 && e.text[e.offset-1] == '[' {
		e.offset--
	}
	line := strings.LastIndexByte(e.text[:e.offset], '\n') + 1
	before := e.text[line:e.offset]
	if outside, ok := strings.CutSuffix(before, "{"); ok && strings.Contains(outside, e.key[len(e.key)-1]) {
		before = outside
		e.offset--
	}
	e.at = locate(e.text, e.offset)
	e.start = e.at
	if strings.Contains(before, "=") && !strings.Contains(before, "{") {
		e.start.col = 1 + len(before) - len(strings.TrimLeft(before, " \t"))
	}
}
