package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// syntaxKey stands for the key in a problem of the text's form, where no key is
// known.
const syntaxKey = "syntax"

// A Problem is one mistake in a policy file.
type Problem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`    // from 1
	Col     int    `json:"col"`     // from 1, in bytes
	Key     string `json:"key"`     // dotted; "syntax" where the text isn't TOML
	Message string `json:"message"` // one line
}

// String is the problem as editors and people read it.
func (p Problem) String() string {
	return fmt.Sprintf("%s:%d:%d: %s: %s", p.File, p.Line, p.Col, p.Key, p.Message)
}

// Problems are all mistakes of a file in its order. As an error it is one
// problem per line.
type Problems []Problem

func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i, problem := range p {
		lines[i] = problem.String()
	}
	return strings.Join(lines, "\n")
}

func (p *Problems) sort() {
	slices.SortStableFunc(*p, func(a, b Problem) int {
		return cmp.Or(
			cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Message, b.Message))
	})
	*p = slices.Compact(*p)
}

// printable keeps a problem on one line and its terminal unharmed, whatever the
// file holds.
func printable(s string) string {
	const enough = 300 // runes
	runes := []rune(s)
	if len(runes) > enough {
		runes = append(runes[:enough], '…')
	}
	for i, c := range runes {
		if !unicode.IsPrint(c) {
			runes[i] = unicode.ReplacementChar
		}
	}
	return string(runes)
}
