// Package meminfo reads how much memory could be had without swapping.
package meminfo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
)

const path = "/proc/meminfo"

var name = []byte("MemAvailable:")

// A File is /proc/meminfo, kept open. It has one user at a time.
type File struct {
	file *os.File
	// text holds the beginning of the file. MemAvailable is its third line, so the
	// length of the whole (1.5 kB, growing with kernels) does not matter.
	text [512]byte
}

// Open opens /proc/meminfo.
func Open() (*File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open memory statistics: %w", err)
	}
	return &File{file: file}, nil
}

// Available reads MemAvailable in bytes. It allocates nothing.
func (f *File) Available() (int64, error) {
	n, err := f.file.ReadAt(f.text[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, fmt.Errorf("read memory statistics: %w", err)
	}
	available, ok := parse(f.text[:n])
	if !ok {
		return 0, fmt.Errorf("read memory statistics: no MemAvailable in kB in %s: %.120q", path, f.text[:n])
	}
	return available, nil
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }

// parse finds the line "MemAvailable:   <digits> kB".
func parse(text []byte) (available int64, ok bool) {
	for len(text) > 0 {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		if value, is := bytes.CutPrefix(line, name); is && ended {
			return kilobytes(bytes.TrimLeft(value, " "))
		}
		text = rest
	}
	return 0, false
}

// kilobytes reads "<digits> kB" and returns bytes.
func kilobytes(value []byte) (n int64, ok bool) {
	digits, is := bytes.CutSuffix(value, []byte(" kB"))
	if !is || len(digits) == 0 {
		return 0, false
	}
	for _, c := range digits {
		if c < '0' || c > '9' || n > math.MaxInt64/1024/10-1 {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n * 1024, true
}
