package record

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// DirName is what the directory is called in the state directory.
	DirName = "record"
	// EpisodeSuffix is that of an episode's file, which is named by the id.
	EpisodeSuffix = ".episode"
	segmentSuffix = ".segment"
	partSuffix    = ".part" // of an episode's file that is being written anew
)

// A dir is the directory of a record. It may belong to somebody who is trusted with less
// than we are: nothing outside it is touched, whatever is put there.
type dir struct {
	path string
	root *os.Root
}

func openDir(path string) (*dir, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open the record %s: %w", path, err)
	}
	return &dir{path, root}, nil
}

func (d *dir) full(name string) string { return filepath.Join(d.path, name) }

// open opens a regular file: a pipe that is put there is not waited for.
func (d *dir) open(name string, flag int) (*os.File, error) {
	f, err := d.root.OpenFile(name, flag|unix.O_NONBLOCK, 0o640)
	if err != nil {
		return nil, err
	}
	return regular(f)
}

// regular closes what is no regular file.
func regular(f *os.File) (*os.File, error) {
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: not a regular file", f.Name())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// A stored is a file of a record.
type stored struct {
	name string
	size int64
}

// block is what a file takes at least, and a multiple of what it takes: of many small ones
// that is most.
const block = 4096

// room is how much of the disk it takes.
func (f stored) room() int64 { return (f.size + block - 1) / block * block }

// list lists the files with a suffix, by name. Those that go meanwhile are not there.
func (d *dir) list(suffix string) ([]stored, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", d.path, err)
	}
	var found []stored
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) || !e.Type().IsRegular() {
			continue
		}
		info, err := e.Info()
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", d.path, err)
		}
		found = append(found, stored{e.Name(), info.Size()})
	}
	slices.SortFunc(found, func(a, b stored) int { return strings.Compare(a.name, b.name) })
	return found, nil
}

// reason is why a file can't be used, without which file it was that it came to light by:
// the same for the same reason.
func reason(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// failed says why the record can't be kept.
func (d *dir) failed(err error) error {
	return fmt.Errorf("keep the record %s: %w", d.path, reason(err))
}

func segmentName(seq uint64) string { return fmt.Sprintf("%012d%s", seq, segmentSuffix) }

// seqOf is the number of a segment by its name, 0 for another file.
func seqOf(name string) uint64 {
	n, err := strconv.ParseUint(strings.TrimSuffix(name, segmentSuffix), 10, 64)
	if err != nil || segmentName(n) != name {
		return 0
	}
	return n
}

// segments lists the ring, oldest first.
func (d *dir) segments() ([]stored, error) {
	found, err := d.list(segmentSuffix)
	return slices.DeleteFunc(found, func(f stored) bool { return seqOf(f.name) == 0 }), err
}

var episodeName = regexp.MustCompile(`^\d{8}T\d{6}Z$`)

// episodeIDs lists the episodes, oldest first.
func (d *dir) episodes() ([]stored, error) {
	found, err := d.list(EpisodeSuffix)
	return slices.DeleteFunc(found, func(f stored) bool { return !episodeName.MatchString(strings.TrimSuffix(f.name, EpisodeSuffix)) }), err
}

// remove takes a file away, if it is there.
func (d *dir) remove(name string) error {
	if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", d.full(name), err)
	}
	return nil
}

// sync has the names in the directory outlast a power cut.
func (d *dir) sync() error {
	f, err := d.root.Open(".")
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}
