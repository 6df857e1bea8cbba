package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
)

// systemDirs are where files come into force by themselves. What is advised is put there
// by the operator.
var systemDirs = []string{"/etc", "/usr", "/lib", "/run"}

// checkSizingDir refuses a directory that is, or would be, in one of those of the system.
func checkSizingDir(dir string) error {
	path, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	real, err := resolve(path)
	if err != nil {
		return fmt.Errorf("find %s: %w", dir, err)
	}
	for _, system := range systemDirs {
		within, err := resolve(system)
		if err != nil {
			return fmt.Errorf("find %s: %w", system, err)
		}
		if inside(real, within) {
			return program.Misuse("--write %s is in %s, where files come into force: choose another directory, look through them and copy them", dir, system)
		}
	}
	return nil
}

func inside(path, dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// resolve follows the links of as much of a path as there is.
func resolve(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, fs.ErrNotExist) && path != "/" {
		if _, dangling := os.Lstat(path); dangling == nil {
			return "", errors.New("a link that leads nowhere")
		}
		parent, err := resolve(filepath.Dir(path))
		return filepath.Join(parent, filepath.Base(path)), err
	}
	return real, err
}

// writeSizing writes files below a directory, and returns their paths. Without force none
// is written if one of them is there.
func writeSizing(dir string, files []sizingFile, force bool) ([]string, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", dir, err)
	}
	root, err := os.OpenRoot(dir) // no link leads out of it
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	defer root.Close()
	if err := checkOpened(root); err != nil {
		return nil, err
	}
	if !force {
		if err := absent(root, dir, files); err != nil {
			return nil, err
		}
	}
	var written []string
	for _, f := range files {
		path := filepath.Join(dir, f.path)
		if err := writeIn(root, f, force); err != nil {
			return written, fmt.Errorf("write %s: %w", path, err)
		}
		written = append(written, path)
	}
	return written, nil
}

// checkOpened refuses what was opened if it is one of those directories: a link may have
// been put in the way since it was asked for.
func checkOpened(root *os.Root) error {
	f, err := root.Open(".")
	if err != nil {
		return fmt.Errorf("open %s: %w", root.Name(), err)
	}
	defer f.Close()
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return fmt.Errorf("find %s: %w", root.Name(), err)
	}
	return checkSizingDir(path)
}

// absent returns an error if one of the files is there.
func absent(root *os.Root, dir string, files []sizingFile) error {
	for _, f := range files {
		_, err := root.Lstat(f.path)
		if err == nil {
			return fmt.Errorf("write %s: it is there already; --force replaces it", filepath.Join(dir, f.path))
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("look for %s: %w", filepath.Join(dir, f.path), err)
		}
	}
	return nil
}

// writeIn writes one file whole. Without force one that comes about meanwhile stays.
func writeIn(root *os.Root, f sizingFile, force bool) error {
	if err := root.MkdirAll(filepath.Dir(f.path), 0o755); err != nil {
		return err
	}
	if force {
		return renameio.WriteFile(f.path, []byte(f.text), 0o644, renameio.WithRoot(root))
	}
	file, err := root.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(f.text)
	return errors.Join(err, file.Close())
}
