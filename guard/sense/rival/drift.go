package rival

import (
	"path"
	"strconv"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A Drift is a value of ours that reads another.
type Drift struct {
	// Key is that of the ledger: sysctl:net.netfilter.nf_conntrack_max, timeout:udp_timeout,
	// timeout:udp_timeout@/run/netns/x, or limit:, drop:, bypass: with anything behind for a
	// lease whose table was taken away. A bare sysctl's name will do as well.
	Key string
	// Ours and Found are as the kernel prints them; empty where there is no number, as
	// for leases.
	Ours, Found string
}

// A drift is one of a sysctl.
type drift struct {
	key         string // net.netfilter.nf_conntrack_max
	ours, found string
}

// parseDrifts tells the values from the leases. A key that is neither is left out.
func parseDrifts(all []Drift) (values []drift, tables bool) {
	for _, d := range all {
		kind, name, ok := strings.Cut(d.Key, ":")
		if !ok {
			kind, name = "sysctl", d.Key
		}
		switch kind {
		case "limit", "drop", "bypass":
			tables = true
		case "timeout":
			name, _, _ = strings.Cut(name, "@")
			c, known := timeout.ByName(name)
			if !known {
				continue
			}
			name = c.Key()
			fallthrough
		case "sysctl":
			values = append(values, drift{key: name, ours: strings.TrimSpace(d.Ours), found: strings.TrimSpace(d.Found)})
		}
	}
	return values, tables
}

// prefix is that of all keys of ours.
const prefix = "net.netfilter.nf_conntrack_"

// The keys about which more is known than their name.
const (
	keyMax     = prefix + "max"
	keyBuckets = prefix + "buckets"
)

// oldMax is another name of keyMax (nf_ct_netfilter_table).
const oldMax = "net.nf_conntrack_max"

// is reports whether a key of a file, with dots or slashes, names the value. A glob is
// one of sysctl.d(5).
func (d drift) is(key string) (match, exact bool) {
	dotted := strings.ReplaceAll(key, "/", ".")
	if dotted == oldMax {
		dotted = keyMax
	}
	if dotted == d.key {
		return true, true
	}
	match, err := path.Match(strings.ReplaceAll(dotted, ".", "/"), strings.ReplaceAll(d.key, ".", "/"))
	return match && err == nil, false
}

// reads reports whether a value of a file is the one found.
func (d drift) reads(value string) bool {
	value = strings.TrimSpace(value)
	if value == d.found {
		return value != ""
	}
	a, errA := strconv.ParseInt(value, 0, 64) // the kernel takes hex and octal, too (strtoul_lenient)
	b, errB := strconv.ParseInt(d.found, 10, 64)
	return errA == nil && errB == nil && a == b
}

// lowered reports whether less was found than our value.
func (d drift) lowered() bool {
	ours, errOurs := strconv.Atoi(d.ours)
	found, errFound := strconv.Atoi(d.found)
	return errOurs == nil && errFound == nil && found < ours
}

// short is the last part of the key, by which scripts and command lines name it.
func (d drift) short() string { return d.key[strings.LastIndexByte(d.key, '.')+1:] }
