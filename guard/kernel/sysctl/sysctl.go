// Package sysctl reads and writes kernel parameters by their dotted names.
//
// A name under "net." means the network namespace of the thread that opens it
// (the lookup in fs/proc/proc_sysctl.c asks the current task), so work on
// another namespace inside netns.Do. A File stays with the namespace it was
// opened in, but does not keep it alive.
//
// Errors name the key. A key that does not exist, because its module is not
// loaded, is recognised by errors.Is(err, fs.ErrNotExist).
package sysctl

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

const root = "/proc/sys/"

// Path is the file of a key: net.netfilter.nf_conntrack_max is
// /proc/sys/net/netfilter/nf_conntrack_max. Keys with an interface's name in
// them, which may hold dots of its own, have no dotted name here.
func Path(key string) (string, error) {
	for part := range strings.SplitSeq(key, ".") {
		if !valid(part) {
			return "", fmt.Errorf("%q is no sysctl key", key)
		}
	}
	return root + strings.ReplaceAll(key, ".", "/"), nil
}

// valid reports whether part is one name of a key: lower-case letters, digits,
// '_' and '-'. So no key leads out of /proc/sys.
func valid(part string) bool {
	for _, c := range []byte(part) {
		if !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return part != ""
}

// Read returns the value of key without the newline at its end.
func Read(key string) (string, error) {
	path, err := Path(key)
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, reason(err))
	}
	return strings.TrimSuffix(string(text), "\n"), nil
}

// ReadInt returns the value of a key that holds one number of 0 or more.
func ReadInt(key string) (int, error) {
	f, err := Open(key)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Int()
}

// Write sets key to value, one line. The kernel either takes the whole value or
// refuses it with an errno, which the error wraps. It may round what it takes:
// read it back.
func Write(key, value string) error {
	path, err := Path(key)
	if err != nil {
		return err
	}
	// A write of nothing succeeds and does nothing.
	if value == "" || strings.ContainsAny(value, "\n\x00") {
		return fmt.Errorf("write %s: %q is not one line of text", key, value)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("write %s: %w", key, reason(err))
	}
	defer f.Close()
	if _, err := f.WriteString(value + "\n"); err != nil {
		return fmt.Errorf("write %s to %s: %w", value, key, reason(err))
	}
	return nil
}

// reason takes the file's path off an error that is going to name the key.
func reason(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
