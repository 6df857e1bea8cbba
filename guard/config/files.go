package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const (
	// maxSize is the size in bytes of the largest file of a policy: several times that
	// of guardian.toml.example, and little enough that no text takes the parser long.
	maxSize = 64 << 10
	// maxDropIns is more than anybody oversees.
	maxDropIns = 64
	// dropInDir is the directory of drop-ins, beside the policy file.
	dropInDir = "guardian.d"
)

// A Text is one file of a policy.
type Text struct {
	Name    string // as it stands in problems
	Content []byte
}

// Load reads the policy file at path and its drop-ins. The error wraps
// [fs.ErrNotExist] when there is neither, and is [Problems] when there are some with
// mistakes; on every error the File is [Default].
func Load(path string) (File, error) {
	texts, err := Read(path)
	if err != nil {
		return Default(), err
	}
	f, problems := ParseAll(texts)
	if len(problems) > 0 {
		return f, problems
	}
	return f, nil
}

// Read returns the text of the policy file at path, and after it those of its
// drop-ins: what is called *.toml in guardian.d beside it, in lexical order. The
// error wraps [fs.ErrNotExist] when there is neither.
func Read(path string) ([]Text, error) {
	names, err := DropIns(path)
	if err != nil {
		return nil, fmt.Errorf("read policy: %w", err)
	}
	main, err := read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && len(names) > 0:
		return nil, fmt.Errorf("read policy: there is %s, but no %s: write it, with version = %d at least", names[0], path, Version)
	case err != nil:
		return nil, fmt.Errorf("read policy: %w", err)
	}
	texts := []Text{{path, main}}
	for _, name := range names {
		content, err := read(name)
		if err != nil {
			// Not as a cause: that one drop-in is not there is not that there is no policy.
			return nil, fmt.Errorf("read policy: %v", err)
		}
		texts = append(texts, Text{name, content})
	}
	return texts, nil
}

// DropInDir is where the drop-ins of the policy file at path are.
func DropInDir(path string) string { return filepath.Join(filepath.Dir(path), dropInDir) }

// DropIns are the paths of the drop-ins beside the policy file at path, in the order
// in which they count.
func DropIns(path string) (names []string, err error) {
	dir := DropInDir(path)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for _, e := range entries {
		// An editor's lock, backup or swap file has a dot before or something behind.
		if name := e.Name(); filepath.Ext(name) == ".toml" && !strings.HasPrefix(name, ".") {
			names = append(names, filepath.Join(dir, name))
		}
	}
	if len(names) > maxDropIns {
		return nil, fmt.Errorf("%s holds %d drop-ins: join some, %d are allowed", dir, len(names), maxDropIns)
	}
	return names, nil
}

// Hash names the content of a policy in hexadecimal: of one file as sha256sum does,
// of several it is that of sha256sum's list of them, in their order and with their
// names as seen from the first one's directory. Of none it is "".
func Hash(texts []Text) string {
	switch len(texts) {
	case 0:
		return ""
	case 1:
		return sum(texts[0].Content)
	}
	var list strings.Builder
	for i, t := range texts {
		name := filepath.Base(t.Name)
		if i > 0 {
			name = filepath.Join(dropInDir, name)
		}
		fmt.Fprintf(&list, "%s  %s\n", sum(t.Content), name)
	}
	return sum([]byte(list.String()))
}

func sum(content []byte) string {
	h := sha256.Sum256(content)
	return hex.EncodeToString(h[:])
}

// read returns the content of a regular file. It opens without blocking: a FIFO
// that nobody writes would otherwise hold the daemon for ever.
func read(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is a %s, not a regular file", path, typeOf(info.Mode()))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxSize {
		return nil, fmt.Errorf("%s: %w", path, errTooLarge)
	}
	return text, nil
}

var errTooLarge = fmt.Errorf("larger than %d KiB, which no policy needs", maxSize>>10)

func typeOf(m os.FileMode) string {
	switch {
	case m.IsDir():
		return "directory"
	case m&os.ModeNamedPipe != 0:
		return "named pipe"
	case m&os.ModeCharDevice != 0:
		return "character device"
	case m&os.ModeDevice != 0:
		return "block device"
	}
	return "special file"
}
