package stat

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// path is not /proc/net/stat/nf_conntrack: /proc/net is /proc/self/net, which
// is the namespace of the process's main thread, not of the calling one.
const path = "/proc/thread-self/net/stat/nf_conntrack"

// limit bounds the text: 8,192 CPUs, the most that Linux is built for, with 155
// bytes a row fill a third of it.
const limit = 4 << 20

// file is the source of kernels that have the file.
type file struct {
	parser
	file *os.File
	text []byte
}

func openFile() (*file, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open conntrack counters: %w", err)
	}
	return &file{file: f, text: make([]byte, 4096)}, nil
}

func (f *file) rows() ([]row, error) {
	text, err := f.read()
	if err != nil {
		return nil, fmt.Errorf("read conntrack counters: %w", err)
	}
	rows, err := f.parse(text)
	if err != nil {
		return nil, fmt.Errorf("read conntrack counters: %s: %w", f.file.Name(), err)
	}
	return rows, nil
}

// read reads the whole file. A read at offset 0 makes the kernel's seq_file
// begin anew; one read returns a page at most, and ReadAt goes on to the end.
func (f *file) read() ([]byte, error) {
	for {
		n, err := f.file.ReadAt(f.text, 0)
		if errors.Is(err, io.EOF) {
			return f.text[:n], nil
		}
		if err != nil {
			return nil, err
		}
		if len(f.text) >= limit {
			return nil, fmt.Errorf("%s is longer than %d bytes", f.file.Name(), limit)
		}
		f.text = make([]byte, 2*len(f.text))
	}
}

func (f *file) Close() error { return f.file.Close() }
