package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A directory is the state directory, held open. It may belong to another user
// than ours: root takes changes back in the directory of a daemon that is not
// root. So no name in it leads out of it (os.Root), nothing in it is opened but
// regular files under their own name, and no open waits for anybody.
type directory struct {
	path string
	root *os.Root
	self *os.File // to lock and to sync
}

func openDirectory(path string) (*directory, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	self, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open state directory %s: %w", path, err)
	}
	return &directory{path: path, root: root, self: self}, nil
}

// Close lets go of the directory and of its lock.
func (d *directory) Close() error { return errors.Join(d.self.Close(), d.root.Close()) }

// name is the path of a file for people to read.
func (d *directory) name(file string) string { return d.path + "/" + file }

// open opens an existing regular file.
func (d *directory) open(file string, flag int) (*os.File, error) {
	named, err := d.root.Lstat(file)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.name(file), reason(err))
	}
	if !named.Mode().IsRegular() {
		return nil, fmt.Errorf("open %s: it is a %s, not a regular file: find out who has put it there, then move it away",
			d.name(file), kind(named.Mode()))
	}
	// O_NONBLOCK: neither a FIFO that has just taken the name nor a lease on the
	// file may hold us up.
	f, err := d.root.OpenFile(file, flag|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", d.name(file), reason(err))
	}
	opened, err := f.Stat()
	if err == nil && !os.SameFile(named, opened) {
		err = errors.New("it was replaced at the same time")
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open %s: %w", d.name(file), err)
	}
	return f, nil
}

// create makes a new file in the place of whatever has the name.
func (d *directory) create(file string) (*os.File, error) {
	if err := d.remove(file); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(file, os.O_RDWR|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", d.name(file), reason(err))
	}
	if err := d.give(f); err != nil {
		f.Close()
		return nil, fmt.Errorf("give %s to the owner of its directory: %w", d.name(file), err)
	}
	return f, nil
}

// give makes a file that root has created the directory's owner's, who is to
// go on with it.
func (d *directory) give(f *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	dir, err := d.self.Stat()
	if err != nil {
		return err
	}
	own, err := f.Stat()
	if err != nil {
		return err
	}
	to, is := dir.Sys().(*syscall.Stat_t), own.Sys().(*syscall.Stat_t)
	if to.Uid == is.Uid && to.Gid == is.Gid {
		return nil
	}
	return f.Chown(int(to.Uid), int(to.Gid))
}

// write puts a new file with that content in the place of whatever has the name.
func (d *directory) write(file string, content []byte) error {
	f, err := d.create(file)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, f.Close())
}

// remove removes a file, should there be one.
func (d *directory) remove(file string) error {
	if err := d.root.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove %s: %w", d.name(file), reason(err))
	}
	return nil
}

func (d *directory) rename(from, to string) error { return d.root.Rename(from, to) }

// names reports whether a file is the one that has the name.
func (d *directory) names(file string, f os.FileInfo) (bool, error) {
	named, err := d.root.Lstat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil && os.SameFile(named, f), err
}

// inPlace fails when the path leads to another directory by now, or nowhere:
// what is written to ours nobody would find again.
func (d *directory) inPlace() error {
	ours, err := d.self.Stat()
	if err != nil {
		return fmt.Errorf("inspect state directory: %w", err)
	}
	theirs, err := os.Stat(d.path)
	if err == nil && os.SameFile(ours, theirs) {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("inspect state directory: %w", err)
	}
	return fmt.Errorf("the state directory %s was removed or replaced: put it back, or restart conntrack-guardian", d.path)
}

func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&fs.ModeSymlink != 0:
		return "symbolic link"
	case m&fs.ModeNamedPipe != 0:
		return "named pipe"
	}
	return "special file"
}

// reason takes the file's bare name off an error that is going to give its path.
func reason(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
