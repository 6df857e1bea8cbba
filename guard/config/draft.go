package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// The parser stops at the first syntax fault. A draft takes the faulty lines out
// of the text one after the other, leaving the line numbers as they are, until
// the rest parses, so that one reading shows all faults.
type draft struct {
	lines  []string
	lost   []string // the lines taken out
	faults []fault
	// hopeless is why nothing can be read, or nil.
	hopeless error
	// again holds sections whose table exists already: each a text by itself,
	// since their keys may have mistakes too.
	again []*draft
}

const (
	// maxFaults is how many syntax faults are worth telling.
	maxFaults = 20
	// maxLine and maxBrackets keep a text from being slow on purpose: the parser's
	// time grows with the square of the parts of a dotted key and of the depth
	// of inline tables (10,000 levels take 17 s, a key of 20,000 parts 31 s).
	maxLine     = 1024
	maxBrackets = 256
	// maxOpen is how many lines back the start of an open string or list is
	// looked for.
	maxOpen = 200
)

var (
	starts   = regexp.MustCompile(`^\s*(\[{1,2}[^\[\],]+\]{1,2}\s*(#.*)?$|["'\w.-]+\s*=)`) // a line that begins something
	header   = regexp.MustCompile(`^\s*\[+\s*["']?([\w-]+)["']?(\s*\.\s*["']?([\w-]+))?`)
	unquoted = regexp.MustCompile(`^[\w./:%+-]*([A-Za-z/:%]|\d-\d|\.\d+\.)[\w./:%+-]*$`) // a text, not a number
	notValue = regexp.MustCompile(`^(expected|[Ii]nvalid (float|integer|datetime))`)
	twice    = regexp.MustCompile(`^Key '(.+)' (has already been defined|was already created)`)
)

// newDraft takes out the lines that the parser could not place or would be long
// about.
func newDraft(text string) *draft {
	text = strings.TrimPrefix(text, "\ufeff")
	d := &draft{lines: strings.Split(strings.ReplaceAll(text, "\r\n", "\n"), "\n")}
	if strings.HasPrefix(text, "\xff\xfe") || strings.HasPrefix(text, "\xfe\xff") {
		d.hopeless = errUTF16
		return d
	}
	brackets := 0
	for i, line := range d.lines {
		brackets += strings.Count(line, "{") + strings.Count(line, "[")
		col, message := misfit(line)
		if message == "" && brackets > maxBrackets {
			col, message = 1, fmt.Sprintf("more than %d brackets in one file", maxBrackets)
		}
		if message != "" {
			d.faults = append(d.faults, fault{place{line: i + 1, col: col}, syntaxKey, message})
			d.blank(i, i+1)
		}
		if len(d.faults) == maxFaults {
			d.hopeless = errGaveUp
			return d
		}
	}
	return d
}

// misfit says what makes a line none of TOML's, and in which column.
func misfit(line string) (col int, message string) {
	if len(line) > maxLine {
		return maxLine + 1, fmt.Sprintf("the line is longer than %d bytes", maxLine)
	}
	for i, c := range line {
		switch _, size := utf8.DecodeRuneInString(line[i:]); {
		case c == utf8.RuneError && size == 1:
			return i + 1, fmt.Sprintf("byte 0x%02x is not UTF-8", line[i])
		case unicode.IsControl(c) && c != '\t' && c < 0x80:
			return i + 1, fmt.Sprintf("control character 0x%02x", c)
		}
	}
	return 0, ""
}

var (
	errUTF16 = errors.New("the file is UTF-16: save it as UTF-8")
	// errGaveUp says that the text has so little shape that nothing more can be
	// said of it.
	errGaveUp = errors.New("the syntax is too faulty to look at the values")
)

// A fault is a place where the text isn't TOML.
type fault struct {
	at      place
	key     string
	message string
}

// describe is the fault's message; one of a key that stands twice tells where
// the other one is.
func (f fault) describe(entries []entry) string {
	if f.key == syntaxKey {
		return f.message
	}
	for _, e := range entries {
		if e.key.String() == f.key && e.start.before(f.at) {
			return fmt.Sprintf("stands twice, first on line %d", e.start.line)
		}
	}
	return "stands twice"
}

// repair takes faulty lines out until the draft parses.
func (d *draft) repair() ([]entry, error) {
	if d.hopeless != nil {
		return nil, d.hopeless
	}
	for range maxFaults {
		entries, err := parse(strings.Join(d.lines, "\n"))
		if err == nil {
			return d.join(entries)
		}
		if err := d.fix(err); err != nil {
			return nil, err
		}
	}
	return nil, errGaveUp
}

// join adds the entries and faults of the sections that stand by themselves.
func (d *draft) join(entries []entry) ([]entry, error) {
	for _, section := range d.again {
		more, err := section.repair()
		d.faults = append(d.faults, section.faults...)
		d.lost = append(d.lost, section.lost...)
		if err != nil {
			return nil, err
		}
		entries = append(entries, more...)
	}
	return entries, nil
}

// fix notes the fault and takes its line out.
func (d *draft) fix(err error) error {
	var fault toml.ParseError
	if !errors.As(err, &fault) {
		return err
	}
	at := locate(strings.Join(d.lines, "\n"), fault.Position.Start)
	first, ok := d.opening(at.line - 1)
	if !ok || strings.TrimSpace(d.lines[first]) == "" {
		d.note(at, at.line-1, fault.Message)
		return errGaveUp
	}
	d.note(at, first, fault.Message)
	switch {
	case header.MatchString(d.lines[first]) || strings.HasPrefix(strings.TrimSpace(d.lines[first]), "["):
		d.fixSection(first)
	case first < at.line-1:
		d.blank(first, d.next(first+1, starts.MatchString))
	default:
		d.blank(first, first+1)
	}
	return nil
}

// note records a fault found at a place, of something that begins on line first.
func (d *draft) note(at place, first int, message string) {
	f := fault{at, syntaxKey, message}
	text := bareText(d.lines[at.line-1], at.col, first < at.line-1)
	switch again := twice.FindStringSubmatch(message); {
	case again != nil:
		f.key = again[1]
	case text != "" && notValue.MatchString(message):
		f.message = fmt.Sprintf("text needs quotes: write %q", text)
	case first < at.line-1:
		f.at = place{line: first + 1, col: 1 + valueIn(d.lines[first])}
		f.message = fmt.Sprintf("what begins here isn't closed, or goes wrong on line %d: %s", at.line, message)
	}
	d.faults = append(d.faults, f)
}

// bareText is the value without quotes around a column of a line, or "". inside says
// that the line is in a list which began before it.
func bareText(line string, col int, inside bool) string {
	const within = "=[, \t"
	at := min(col-1, len(line))
	begin := 1 + strings.LastIndexAny(line[:at], within)
	end := len(line)
	if i := strings.IndexAny(line[begin:], ",]}# \t"); i >= 0 {
		end = begin + i
	}
	before, after := strings.TrimSpace(line[:begin]), strings.TrimSpace(line[end:])
	follows := inside && before == "" || (inside || strings.Contains(before, "=")) && strings.ContainsAny(before[max(0, len(before)-1):], within)
	ends := after == "" || strings.Contains(",]}#", after[:1])
	if !follows || !ends || !unquoted.MatchString(line[begin:end]) {
		return ""
	}
	return line[begin:end]
}

// valueIn is the index of the value in a line, or 0.
func valueIn(line string) int {
	i := strings.IndexByte(line, '=') + 1
	return i + len(line[i:]) - len(strings.TrimLeft(line[i:], " \t"))
}

// opening returns the line in which what is wrong on the given one begins: the
// line itself unless a string, list or inline table stands open above it. All
// lines before that one parse.
func (d *draft) opening(line int) (int, bool) {
	for first := line; first >= max(0, line-maxOpen); first-- {
		if _, err := decode(strings.Join(d.lines[:first], "\n"), &map[string]any{}); err == nil {
			return first, true
		}
	}
	return 0, false
}

// fixSection mends a header that can be guessed. Otherwise its keys would fall
// to the table before, so they are set apart, or lost when nobody knows whose
// they are.
func (d *draft) fixSection(first int) {
	end := d.next(first+1, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), "[") })
	name := tableIn(d.lines[first])
	if !isTable(name) {
		d.blank(first, end)
		return
	}
	d.lines[first] = "[" + name.String() + "]"
	if _, err := decode(strings.Join(d.lines[:first+1], "\n"), &map[string]any{}); err == nil {
		return
	}
	section := append(make([]string, first), slices.Clone(d.lines[first:end])...)
	d.again = append(d.again, &draft{lines: section})
	clear(d.lines[first:end])
}

// tableIn is the name of a table in its header, which may be faulty.
func tableIn(line string) toml.Key {
	m := header.FindStringSubmatch(line)
	switch {
	case m == nil:
		return nil
	case m[3] == "":
		return toml.Key{m[1]}
	}
	return toml.Key{m[1], m[3]}
}

// next is the first line from i on that is as wanted, or the end.
func (d *draft) next(i int, wanted func(string) bool) int {
	for i < len(d.lines) && !wanted(d.lines[i]) {
		i++
	}
	return i
}

// blank takes lines out and keeps in mind what they said.
func (d *draft) blank(from, to int) {
	d.lost = append(d.lost, slices.Clone(d.lines[from:to])...)
	clear(d.lines[from:to])
}

// mentions reports whether a line that was taken out may have held the setting.
func (d *draft) mentions(name string) bool {
	_, key := cutLast(name)
	word := regexp.MustCompile(`\b` + regexp.QuoteMeta(key) + `\b`)
	return slices.ContainsFunc(d.lost, word.MatchString)
}
