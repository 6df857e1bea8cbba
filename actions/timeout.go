package actions

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// timeoutKind is the kind of the keys of timeouts.
const timeoutKind = "timeout:"

// TimeoutKey is the key of a ledger edit on the timeout of a class in the network
// namespace at a path, empty for our own: each namespace has timeouts of its own.
func TimeoutKey(namespace string, c timeout.Class) string {
	if namespace == "" {
		return timeoutKind + c.Name()
	}
	return timeoutKind + c.Name() + "@" + namespace
}

// ParseTimeoutKey is the inverse of TimeoutKey; ok is false for any other key.
func ParseTimeoutKey(key string) (namespace string, c timeout.Class, ok bool) {
	name, ok := strings.CutPrefix(key, timeoutKind)
	if !ok {
		return "", timeout.None, false
	}
	return parseTimeout(name)
}

func parseTimeout(name string) (namespace string, c timeout.Class, ok bool) {
	class, namespace, elsewhere := strings.Cut(name, "@")
	c, ok = timeout.ByName(class)
	return namespace, c, ok && elsewhere == (namespace != "")
}

// Timeouts is the target of kind "timeout": how long entries of a class live
// without a packet, in seconds. Its fields are the way to the kernel; an empty
// namespace is our own.
type Timeouts struct {
	ReadKey  func(namespace, key string) (string, error)
	WriteKey func(namespace, key, value string) error
	// Gone reports whether there is no such namespace any more.
	Gone func(namespace string) bool
}

// KernelTimeouts are the timeouts of the running kernel.
func KernelTimeouts() *Timeouts {
	return &Timeouts{
		ReadKey: func(namespace, key string) (value string, err error) {
			err = netns.Do(namespace, func() error {
				value, err = sysctl.Read(key)
				return err
			})
			return value, err
		},
		WriteKey: func(namespace, key, value string) error {
			return netns.Do(namespace, func() error { return sysctl.Write(key, value) })
		},
		Gone: func(namespace string) bool {
			_, err := os.Stat(namespace)
			return errors.Is(err, fs.ErrNotExist)
		},
	}
}

// Read implements Target.
func (t *Timeouts) Read(name string) (string, error) {
	namespace, c, err := knownTimeout(name)
	if err != nil {
		return "", err
	}
	value, err := t.ReadKey(namespace, c.Key())
	return value, t.orGone(namespace, err)
}

// Write implements Target.
func (t *Timeouts) Write(name, value string) error {
	namespace, c, err := knownTimeout(name)
	if err != nil {
		return err
	}
	if _, err := parse(name, value); err != nil {
		return err
	}
	return t.orGone(namespace, t.WriteKey(namespace, c.Key(), value))
}

// Allow implements Target. A timeout may always be written: a shorter one changes
// no entry by itself, a longer one is what was there before.
func (t *Timeouts) Allow(_, name, _, to string) error {
	if _, _, err := knownTimeout(name); err != nil {
		return err
	}
	_, err := parse(name, to)
	return err
}

// orGone marks err as ErrGone if the namespace is not there to ask.
func (t *Timeouts) orGone(namespace string, err error) error {
	if err != nil && namespace != "" && t.Gone(namespace) {
		return fmt.Errorf("%w: %w", ErrGone, err)
	}
	return err
}

func knownTimeout(name string) (namespace string, c timeout.Class, err error) {
	namespace, c, ok := parseTimeout(name)
	if !ok {
		return "", c, fmt.Errorf("%q is no timeout of ours and is not touched", name)
	}
	return namespace, c, nil
}
