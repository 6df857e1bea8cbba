package config

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/BurntSushi/toml"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Version is the version of the policy file's language.
const Version = 1

// maxSize is the size in bytes of the largest policy file: several times that of
// guardian.toml.example, and little enough that no text takes the parser long.
const maxSize = 64 << 10

// A File is a policy file that was read and found right.
type File struct {
	Policy    policy.Config
	Namespace string // path of the guarded network namespace, "" for our own
	Record    Record
	Control   Control
	Hash      string // SHA-256 of the text in hexadecimal, "" without a file
}

// Record bounds the flight record.
type Record struct {
	Size int64 // bytes on disk in all, 0 for no record
}

// Control says who may use the control socket beside root and the daemon's own user.
type Control struct {
	ReadAll bool   // everybody may read
	Group   string // whose members may read and change, "" for the daemon's own group
}

// Default is the policy in force when there is no file.
func Default() File { return File{Policy: policy.Default(), Record: Record{Size: 64 * mebibyte}} }

// Load reads the policy file at path. The error wraps [io/fs.ErrNotExist] when
// there is none, and is [Problems] when there is one with mistakes; on every
// error the File is [Default].
func Load(path string) (File, error) {
	text, err := read(path)
	if err != nil {
		return Default(), fmt.Errorf("read policy: %w", err)
	}
	f, problems := Parse(path, text)
	if len(problems) > 0 {
		return f, problems
	}
	return f, nil
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

// Parse reads a policy from its text; name stands for the file in problems. With
// problems the File is [Default].
func Parse(name string, text []byte) (File, Problems) {
	r := reading{name: name, file: Default(), seen: map[string]value{}, bad: map[string]bool{}, flows: map[string]place{}}
	if len(text) > maxSize {
		r.report(place{1, 1}, syntaxKey, errTooLarge.Error())
		return Default(), r.problems
	}
	r.take(newDraft(string(text)))
	if len(r.problems) > 0 {
		r.problems.sort()
		return Default(), r.problems
	}
	sum := sha256.Sum256(text)
	r.file.Hash = hex.EncodeToString(sum[:])
	return r.file, nil
}

// A reading is one pass over a policy text.
type reading struct {
	name     string
	file     File
	draft    *draft
	seen     map[string]value // the settings that are written, by name
	bad      map[string]bool  // the settings and tables with a problem, also of their name
	flows    map[string]place // where each flow stands, by name
	problems Problems
}

// A value is what a setting was given and where.
type value struct {
	any
	at place
}

func (r *reading) report(at place, key, message string) {
	r.problems = append(r.problems, Problem{r.name, at.line, at.col, printable(key), printable(message)})
}

// take reads all settings of the draft. A file for a newer program is not read
// beyond its version: what it says may mean something else by then.
func (r *reading) take(d *draft) {
	r.draft = d
	entries, err := d.repair()
	for _, f := range d.faults {
		r.report(f.at, f.key, f.describe(entries))
	}
	if err != nil {
		r.report(place{1, 1}, syntaxKey, err.Error())
		return
	}
	if newer(entries) {
		r.set(entries[version(entries)])
		return
	}
	for _, e := range entries {
		r.set(e)
	}
	r.check()
}

// set puts one entry of the text into the File.
func (r *reading) set(e entry) {
	name := e.key.String()
	put := r.setter(e.key)
	switch {
	case put != nil:
		r.seen[name] = value{e.value, e.at}
		if err := put(e.value); err != nil {
			r.bad[name] = true
			r.refuse(e, err)
		}
	case !isTable(e.key):
		r.report(e.start, name, r.unknown(e.key))
	default:
		r.setTable(e)
	}
}

// setter is what sets the setting of this key, nil if there is none.
func (r *reading) setter(key toml.Key) func(v any) error {
	if inFlow(key) {
		if s, ok := flowSettings[key[2:].String()]; ok {
			return func(v any) error { return s.set(r.flow(key[1]), v) }
		}
		return nil
	}
	if s, ok := settings[key.String()]; ok {
		return func(v any) error { return s.set(&r.file, v) }
	}
	return nil
}

// refuse reports what is wrong with a value, or with each of those in a list.
func (r *reading) refuse(e entry, err error) {
	var items itemErrors
	if !errors.As(err, &items) {
		r.report(e.at, e.key.String(), err.Error())
		return
	}
	for _, item := range items {
		r.report(e.item(item.index), e.key.String(), item.err.Error())
	}
}

// setTable takes what stands for a table.
func (r *reading) setTable(e entry) {
	name := e.key.String()
	switch _, ok := e.value.(map[string]any); {
	case !ok:
		r.bad[name] = true
		r.report(e.start, name, notTable(e.key, e.value))
	case isFlow(e.key):
		r.addFlow(e)
	}
}

// notTable says how a table is written in whose place something else stands.
func notTable(key toml.Key, v any) string {
	write := fmt.Sprintf("[%s] on a line of its own", key)
	switch {
	case key.String() == bypassTable:
		write = fmt.Sprintf("[%s] on a line of its own, with a name of yours", flowTable(anyFlow))
	case isFlow(key):
		if _, ok := flowSettings[key[1]]; ok {
			return fmt.Sprintf("belongs to a flow: write [%s] above it, with a name of yours", flowTable(anyFlow))
		}
	case len(key) > 1:
		write = writeFloor(v)
	}
	return fmt.Sprintf("is a table: want %s, got %s", write, describe(v))
}
