package stat

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
)

// A parser reads the text of /proc/net/stat/nf_conntrack: a header with the
// columns' names and below it one row of hexadecimal numbers per CPU. It
// remembers the header, so that a text with the same one as the last, and no
// more rows than any before, allocates nothing.
type parser struct {
	header  []byte
	columns []Column // of each position in a row, ignored where the name is not one of ours
	rows    []row
}

const ignored Column = -1

var (
	errNoColumns = errors.New("no known column in the header")
	errNoRows    = errors.New("no row below the header")
	errWidth     = errors.New("not as many numbers as the header has names")
	errNumber    = errors.New("not a hexadecimal number of 32 bits")
)

// parse returns a row per CPU, valid until the next call. A column that the
// header does not name is zero.
func (p *parser) parse(text []byte) ([]row, error) {
	header, rest, _ := bytes.Cut(text, []byte("\n"))
	if err := p.learn(header); err != nil {
		return nil, fmt.Errorf("%w: %.200q", err, header)
	}
	p.rows = p.rows[:0]
	for len(rest) > 0 {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		p.rows = append(p.rows, row{})
		if err := p.line(line, &p.rows[len(p.rows)-1]); err != nil {
			return nil, fmt.Errorf("%w: %.200q", err, line)
		}
	}
	if len(p.rows) == 0 {
		return nil, errNoRows
	}
	return p.rows, nil
}

// learn finds the columns' places by their names.
func (p *parser) learn(header []byte) error {
	if p.columns != nil && bytes.Equal(header, p.header) {
		return nil
	}
	p.columns = nil
	var found []Column
	known := false
	for name := range bytes.FieldsSeq(header) {
		column := Column(slices.Index(names[:], string(name)))
		if column != ignored && slices.Contains(found, column) {
			return fmt.Errorf("%s named twice in the header", column)
		}
		known = known || column != ignored
		found = append(found, column)
	}
	if !known {
		return errNoColumns
	}
	p.header, p.columns = append(p.header[:0], header...), found
	return nil
}

// line parses one row.
func (p *parser) line(line []byte, into *row) error {
	position := 0
	for {
		line = bytes.TrimLeft(line, " ")
		if len(line) == 0 {
			break
		}
		var field []byte
		field, line, _ = bytes.Cut(line, []byte(" "))
		if position == len(p.columns) {
			return errWidth
		}
		if column := p.columns[position]; column != ignored {
			value, ok := hex(field)
			if !ok {
				return errNumber
			}
			into[column] = value
		}
		position++
	}
	if position != len(p.columns) {
		return errWidth
	}
	return nil
}

// missing lists the columns that the header does not have.
func (p *parser) missing() (list []string) {
	for column, name := range names {
		if !slices.Contains(p.columns, Column(column)) {
			list = append(list, name)
		}
	}
	return list
}

// hex parses one to eight hexadecimal digits.
func hex(digits []byte) (value uint32, ok bool) {
	if len(digits) == 0 || len(digits) > 8 {
		return 0, false
	}
	for _, c := range digits {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		value = value<<4 | uint32(c)
	}
	return value, true
}
