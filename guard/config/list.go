package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// listOf is a list of at most so many values of a kind, such as the example. An empty
// one is nil.
func listOf[T any](most int, example string, kind func(any) (T, error)) func(any) ([]T, error) {
	return func(v any) (all []T, err error) {
		in, ok := v.([]any)
		switch {
		case !ok:
			return nil, notList(v, example, kind)
		case len(in) > most:
			return nil, fmt.Errorf("takes %d values at most, got %d", most, len(in))
		}
		var wrong itemErrors
		for i, v := range in {
			value, err := kind(v)
			if err != nil {
				wrong = append(wrong, itemError{i, err})
			}
			all = append(all, value)
		}
		if len(wrong) > 0 {
			return nil, wrong
		}
		return all, nil
	}
}

// notList says how the list is written in whose place something else stands.
func notList[T any](v any, example string, kind func(any) (T, error)) error {
	if _, err := kind(v); err == nil {
		text, _ := strings.CutPrefix(describe(v), "the number ")
		return fmt.Errorf("is a list: write [%s]", text)
	}
	return fmt.Errorf("want a list such as [%s], got %s", example, describe(v))
}

// some is a list that is not empty and no two values of which overlap: the kernel
// takes no such intervals in a set. clash is what is wrong with two values, nil if
// nothing is.
func some[T any](list func(any) ([]T, error), clash func(a, b T) error) func(any) ([]T, error) {
	return func(v any) ([]T, error) {
		all, err := list(v)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, errors.New("must not be empty")
		}
		var wrong itemErrors
		for i, a := range all {
			before := slices.IndexFunc(all[:i], func(b T) bool { return clash(a, b) != nil })
			if before >= 0 {
				wrong = append(wrong, itemError{i, clash(a, all[before])})
			}
		}
		if len(wrong) > 0 {
			return nil, wrong
		}
		return all, nil
	}
}

// An itemError is what is wrong with one value of a list.
type itemError struct {
	index int
	err   error
}

// itemErrors are all that is wrong with the values of a list, in its order.
type itemErrors []itemError

func (e itemErrors) Error() string { return e[0].err.Error() }

// token is what a list is made of: comments, texts, brackets and commas, and what
// stands between those.
var token = regexp.MustCompile(`(?s)#[^\n]*|""".*?"""|'''.*?'''|"(?:\\.|[^"\\])*"|'[^']*'|[][{},]|[^][{},#"'\s]+`)

// item is the place of a value in the list that the entry is, or that of the list.
func (e entry) item(index int) place {
	depth, next := 0, true
	for at := e.offset; ; {
		span := token.FindStringIndex(e.text[at:])
		if span == nil {
			return e.at
		}
		begin := at + span[0]
		at += span[1]
		switch c := e.text[begin]; {
		case c == '#':
		case c == ',' && depth == 1:
			next = true
		case depth == 1 && next && c != ']':
			if index == 0 {
				return locate(e.text, begin).in(e.at.text)
			}
			index, next = index-1, false
			depth += opens(c)
		default:
			depth += opens(c)
		}
		if depth < 0 {
			return e.at
		}
	}
}

// opens is by how much a byte takes lists and tables deeper.
func opens(c byte) int {
	switch c {
	case '[', '{':
		return 1
	case ']', '}':
		return -1
	}
	return 0
}
