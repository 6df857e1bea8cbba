package program

import (
	"bytes"
	"testing"
)

func TestLineOffTerminal(t *testing.T) {
	var out bytes.Buffer
	l := NewLine(&faithful{w: &out})
	l.Show("first", false)
	l.Show("too soon", false)
	l.Show("urgent", true)
	l.End()
	if got, want := out.String(), "first\nurgent\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestLineOnTerminal(t *testing.T) {
	var out bytes.Buffer
	l := Line{w: &out, terminal: true}
	l.Show("first", false)
	l.Show("too soon", false)
	l.Show("urgent", true)
	l.End()
	l.End()
	if got, want := out.String(), "\rfirst\x1b[K\rurgent\x1b[K\r\x1b[K"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
