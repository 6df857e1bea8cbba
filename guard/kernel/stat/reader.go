package stat

import (
	"errors"
	"io/fs"
)

// A Reader reads the counters of one network namespace again and again. It has
// one user at a time. When conntrack is unloaded reading fails for good: close
// it then and open another. An open Reader keeps its namespace alive.
type Reader struct {
	source source
	since  increments
}

// source is where the rows come from. They are valid until the next call.
type source interface {
	rows() ([]row, error)
	missing() []string
	Close() error
}

// Open opens the counters of the network namespace of the calling thread.
// Conntrack must be loaded: where the kernel has no file for the counters,
// asking for them over netlink makes it load conntrack.
func Open() (*Reader, error) {
	file, err := openFile()
	if err == nil {
		return &Reader{source: file}, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	socket, err := openSocket()
	if err != nil {
		return nil, err
	}
	return &Reader{source: socket}, nil
}

// Read returns what was counted since the previous Read, zero at the first.
// After the first it allocates nothing, unless the counters come over netlink.
func (r *Reader) Read() (Counters, error) {
	rows, err := r.source.rows()
	if err != nil {
		return Counters{}, err
	}
	return r.since.next(rows), nil
}

// Missing lists the counters that this kernel does not tell, which always read
// as zero. It is known after the first Read.
func (r *Reader) Missing() []string { return r.source.missing() }

// Close closes the reader.
func (r *Reader) Close() error { return r.source.Close() }
