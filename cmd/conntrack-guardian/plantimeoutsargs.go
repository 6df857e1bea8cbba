package main

import (
	"slices"
	"strings"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A floorList is how far each class is to be shortened: seconds by the class's
// name. A class that is not there is left as it is.
type floorList map[string]int

// floorsOf are the floors that a policy allows. What the measure itself may do, and
// when, is left aside.
func floorsOf(m *policy.ShortenTimeoutsConfig) floorList {
	floors := floorList{}
	for t, f := range m.Floors {
		if f.Mode > policy.Off {
			floors[policy.Timeout(t).String()] = int(f.Floor / time.Second)
		}
	}
	return floors
}

// parseFloors reads arguments such as time_wait=30s.
func parseFloors(args []string) (floorList, error) {
	floors := floorList{}
	for _, arg := range args {
		word, value, found := strings.Cut(arg, "=")
		if !found {
			return nil, program.Misuse("%q is no CLASS=DURATION, such as tcp_timeout_time_wait=30s", arg)
		}
		class, err := classNamed(word)
		if err != nil {
			return nil, err
		}
		if _, twice := floors[class]; twice {
			return nil, program.Misuse("%s is given twice", class)
		}
		if floors[class], err = parseSeconds(class, value); err != nil {
			return nil, err
		}
	}
	return floors, nil
}

// parseSeconds reads a timeout, which the kernel has in whole seconds.
func parseSeconds(class, value string) (int, error) {
	d, err := time.ParseDuration(value)
	switch {
	case err != nil:
		return 0, program.Misuse("%s=%s: %q is no duration, such as 30s or 2h", class, value, value)
	case d < time.Second || d%time.Second != 0:
		return 0, program.Misuse("%s=%s: a timeout is whole seconds, 1s at least", class, value)
	}
	return int(d / time.Second), nil
}

// classNamed finds a class by its name, by that of its sysctl, or by a part of it
// that no other has: time_wait.
func classNamed(word string) (string, error) {
	plain := strings.TrimPrefix(strings.TrimPrefix(word, "net.netfilter."), "nf_conntrack_")
	var all, near, spoken []string
	for t := range policy.Timeouts {
		name := t.String()
		short := shortName(name)
		if plain == name || plain == short {
			return name, nil
		}
		if strings.HasSuffix(name, "_"+plain) {
			near = append(near, name)
		}
		all = append(all, name)
		spoken = append(spoken, name, short, lastPart(name))
	}
	switch len(near) {
	case 1:
		return near[0], nil
	case 0:
		return "", unknownClass(word, plain, all, spoken)
	}
	return "", program.Misuse("%q may be %s", word, strings.Join(near, " or "))
}

// shortName is a class's name without the word that all have.
func shortName(name string) string {
	return strings.Replace(strings.Replace(name, "_timeout", "", 1), "timeout_", "", 1)
}

// lastPart is what tells a class from others of its protocol, if there are any.
func lastPart(name string) string {
	_, part, found := strings.Cut(name, "timeout_")
	if !found {
		return name
	}
	return part
}

// unknownClass says what was meant, if it is a slip, and else what there is. A class
// that the kernel has is no slip of another.
func unknownClass(word, plain string, all, spoken []string) error {
	for c := timeout.None + 1; c < timeout.Classes; c++ {
		if name := c.Name(); plain == name || plain == shortName(name) || strings.HasSuffix(name, "_"+plain) {
			return program.Misuse("no policy can shorten %s, only %s", name, strings.Join(all, ", "))
		}
	}
	slices.Sort(spoken) // of several equally near ones, the first by name
	if near := config.Nearest(plain, spoken); near != "" {
		return program.Misuse("unknown class %q; did you mean %q?", word, near)
	}
	return program.Misuse("unknown class %q; it is one of %s", word, strings.Join(all, ", "))
}
