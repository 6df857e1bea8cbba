package rival

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// A Root says where to look. The zero value is this machine.
type Root struct {
	Files string // what stands before /etc, /run, /usr and /var
	Proc  string // instead of /proc
	Sys   string // instead of /sys
	// Module is nf_conntrack as it was while the values were ours. The zero value
	// does not know it: that the module was loaded anew can't be told then.
	Module Module

	anybody bool // processes count that could not have done it, too: for tests
}

func (r Root) file(path string) string { return filepath.Join("/", r.Files, path) }

func (r Root) proc(path string) string {
	if r.Proc == "" {
		return filepath.Join("/proc", path)
	}
	return filepath.Join(r.Proc, path)
}

func (r Root) sys(path string) string {
	if r.Sys == "" {
		return filepath.Join("/sys", path)
	}
	return filepath.Join(r.Sys, path)
}

// The bounds of a search.
const (
	mostProcesses = 4096
	mostFiles     = 1000
	mostBytes     = 64 << 10 // of a file
)

// A search is one call of Suspects.
type search struct {
	ctx       context.Context
	root      Root
	drifts    []drift
	filesLeft int
	processes []process // from run, which asks once
	looked    bool
}

// over reports that the search has had its time.
func (s *search) over() bool { return s.ctx.Err() != nil }

// read reads the beginning of a file, empty if it can't be read or enough was.
func (s *search) read(path string) []byte {
	if s.over() || s.filesLeft == 0 {
		return nil
	}
	s.filesLeft--
	return readSome(s.root.file(path))
}

// same reports whether two paths are one file.
func (s *search) same(a, b string) bool {
	fileA, errA := os.Stat(s.root.file(a))
	fileB, errB := os.Stat(s.root.file(b))
	return errA == nil && errB == nil && os.SameFile(fileA, fileB)
}

// list are the paths of the files of a directory.
func (s *search) list(dir string) (paths []string) {
	if s.over() || s.filesLeft == 0 {
		return nil
	}
	f, err := os.Open(s.root.file(dir))
	if err != nil {
		return nil
	}
	defer f.Close()
	names, _ := f.Readdirnames(mostFiles)
	for _, name := range names {
		paths = append(paths, filepath.Join(dir, name))
	}
	return paths
}

// readSome reads the lines of a regular file that end within mostBytes.
func readSome(path string) []byte {
	// O_NONBLOCK: a FIFO in its place must not hang us.
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	if at, err := f.Stat(); err != nil || !at.Mode().IsRegular() {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(f, mostBytes+1))
	if len(text) > mostBytes {
		text = text[:bytes.LastIndexByte(text[:mostBytes], '\n')+1]
	}
	return text
}

// plain is a name from outside as it may stand in a journal's line.
func plain(name string) string {
	const most = 128
	if len(name) > most {
		name = name[:most] + "…"
	}
	for _, r := range name {
		if r == ' ' || r == ';' || !strconv.IsPrint(r) || r == '�' {
			return strconv.Quote(name)
		}
	}
	return name
}

// readLine reads the first mostBytes of a file of /proc, of whatever lines.
func readLine(path string) []byte {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer f.Close()
	text, _ := io.ReadAll(io.LimitReader(f, mostBytes))
	return text
}
