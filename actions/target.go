package actions

import (
	"errors"
	"fmt"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// A Target is one kind of kernel value, such as the sysctls. The ledger is
// input: a target writes nothing but the names it knows.
type Target interface {
	// Read returns the present value in the kernel's own text, without newline. It
	// fails with ErrGone if the value will never be there again.
	Read(name string) (string, error)
	// Write sets the value. That it returns nil does not mean it was taken.
	Write(name, value string) error
	// Allow says whether the write may be made at present. An error that wraps
	// ErrUnsafe may be overruled by an operator, any other may not. namespace
	// is the one that the change guards.
	Allow(namespace, name, from, to string) error
}

// What a caller may branch on.
var (
	// ErrUnsafe is a write that would hurt traffic at present.
	ErrUnsafe = errors.New("unsafe at present")
	// ErrStale is a change whose value before is not the kernel's any more.
	// Nothing was recorded or written: decide again on a new reading.
	ErrStale = errors.New("the kernel's value is not the expected one")
	// ErrGone is a value that has gone for good with its network namespace.
	ErrGone = errors.New("the namespace is gone")
	// ErrNotOpen is a change that is over or was never recorded.
	ErrNotOpen = errors.New("no open change")
)

// target returns the target of a key, "kind:name", and the name.
func (e *Executor) target(key string) (Target, string, error) {
	kind, name, ok := strings.Cut(key, ":")
	if !ok || name == "" {
		return nil, "", fmt.Errorf("key %q is not kind:name", key)
	}
	t, ok := e.targets[kind]
	if !ok {
		return nil, "", fmt.Errorf("key %q: no target of kind %q is known", key, kind)
	}
	return t, name, nil
}

func (e *Executor) read(key string) (string, error) {
	t, name, err := e.target(key)
	if err != nil {
		return "", err
	}
	value, err := t.Read(name)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", key, err)
	}
	return value, nil
}

func (e *Executor) write(key, value string) error {
	t, name, err := e.target(key)
	if err != nil {
		return err
	}
	if err := t.Write(name, value); err != nil {
		return fmt.Errorf("write %s to %s: %w", value, key, err)
	}
	return nil
}

// allow asks the target of a key whether it may be written. With force an
// unsafe write is allowed, an unknown one still not.
func (e *Executor) allow(c ledger.Change, key, from, to string, force bool) error {
	t, name, err := e.target(key)
	if err != nil {
		return err
	}
	err = t.Allow(c.Namespace, name, from, to)
	if force && errors.Is(err, ErrUnsafe) {
		return nil
	}
	return err
}
