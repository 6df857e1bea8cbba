package sysctl

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

// A File is a key that is kept open to be read often. It has one user at a
// time. When the key's module is unloaded, or its namespace ends, reading fails
// for good (the kernel has unregistered the table that the descriptor refers
// to), also after the module is back: close it then and open it again.
type File struct {
	key  string
	file *os.File
	text [32]byte // more than the longest number
}

// Open opens key for reading.
func Open(key string) (*File, error) {
	path, err := Path(key)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", key, reason(err))
	}
	return &File{key: key, file: file}, nil
}

// Int reads the present value, one number of 0 or more. It allocates nothing.
func (f *File) Int() (int, error) {
	// Reading at offset 0 makes the kernel format the value anew.
	n, err := f.file.ReadAt(f.text[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read %s: %w", f.key, reason(err))
	}
	value, ok := parse(f.text[:n])
	if !ok {
		return 0, fmt.Errorf("read %s: %q is not a number of 0 or more", f.key, f.text[:n])
	}
	return value, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// parse reads decimal digits with at most one newline after them, and nothing
// else: no sign, no space, no more than an int holds.
func parse(text []byte) (value int, ok bool) {
	if n := len(text); n > 0 && text[n-1] == '\n' {
		text = text[:n-1]
	}
	for _, c := range text {
		if c < '0' || c > '9' {
			return 0, false
		}
		digit := int(c - '0')
		if value > (math.MaxInt-digit)/10 {
			return 0, false
		}
		value = value*10 + digit
	}
	return value, len(text) > 0
}
