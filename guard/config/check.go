package config

import (
	"fmt"
	"slices"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const versionKey = "version"

func setVersion(_ *File, v any) error {
	switch n, ok := v.(int64); {
	case !ok || n < 1:
		return fmt.Errorf("want %d, got %s", Version, describe(v))
	case n > Version:
		return fmt.Errorf("%d is newer than this program understands (%d)", n, Version)
	}
	return nil
}

// version is the index of the version among the entries, -1 without one.
func version(entries []entry) int {
	return slices.IndexFunc(entries, func(e entry) bool { return e.key.String() == versionKey })
}

func newer(entries []entry) bool {
	i := version(entries)
	if i < 0 {
		return false
	}
	n, _ := entries[i].value.(int64)
	return n > Version
}

// versioned reports whether the main file has a version, which speaks for the others,
// too.
func (r *reading) versioned() bool {
	return r.hasVersion || r.bad[versionKey] || r.drafts[0].mentions(versionKey)
}

// check asks what no value shows alone.
func (r *reading) check() {
	if !r.versioned() {
		r.report(top, versionKey, fmt.Sprintf("missing: write version = %d at the top", Version))
	}
	p := &r.file.Policy
	if p.Watch.Low >= p.Watch.High {
		r.conflict("watch.low", "watch.high", fmt.Sprintf("low (%s) must be below high (%s)",
			figure(p.Watch.Low), figure(p.Watch.High)))
	}
	r.outlasts("raise_max", p.RaiseMax.Hold, p.RaiseMax.Check)
	r.outlasts("grow_buckets", p.GrowBuckets.Hold, p.GrowBuckets.Check)
	r.outlasts("limit_source", p.LimitSource.Hold, p.LimitSource.Check)
	r.approve("raise_max", "ceiling", &p.RaiseMax.Mode)
	r.approve("grow_buckets", "ceiling", &p.GrowBuckets.Mode)
	r.approve("limit_source", "rate", &p.LimitSource.Mode)
	r.checkTimeouts()
	r.checkFlows()
}

// outlasts refuses a change that would be undone before its effect is judged.
func (r *reading) outlasts(table string, hold, check span) {
	if hold < check {
		r.conflict(table+".hold", table+".check", fmt.Sprintf("hold (%s) must not be shorter than check (%s)",
			policy.Short(hold), policy.Short(check)))
	}
}

// conflict reports two settings that can't both stand, at the later one written.
// It is silent when one of them has a problem of its own.
func (r *reading) conflict(a, b, message string) {
	if r.bad[a] || r.bad[b] || r.lost(a) || r.lost(b) {
		return
	}
	at, key := top, a
	for _, name := range []string{a, b} {
		if v, ok := r.seen[name]; ok && at.before(v.at) {
			at, key = v.at, name
		}
	}
	r.report(at, key, message)
}

// approve holds a measure to its approval, which is a bound of its written in the
// file.
func (r *reading) approve(table, bound string, own *policy.Mode) {
	if key := table + "." + bound; !r.written(key) && !r.bad[table] {
		r.unapproved(table, own, key, "a "+bound+" in ["+table+"]")
	}
}

// unapproved makes what the table is about advise at most. A file that asks it in
// so many words to act is refused, whatever the global mode says today.
func (r *reading) unapproved(table string, own *policy.Mode, key, lacks string) {
	asked := table + ".mode"
	if *own < policy.Act || r.bad[asked] {
		return
	}
	*own = policy.Advise
	r.lacks[asked] = lacks
	if v, ok := r.seen[asked]; ok {
		r.report(v.at, key, fmt.Sprintf(`mode "act" needs %s: it is the approval, and the default is not yours`, lacks))
	}
}

// written reports whether a setting stands in the file, right or wrong, by a name
// that was meant to be its, or in a line that could not be read.
func (r *reading) written(name string) bool {
	_, seen := r.seen[name]
	return seen || r.bad[name] || r.lost(name)
}

// lost reports whether a line that could not be read may have held the setting.
func (r *reading) lost(name string) bool {
	return slices.ContainsFunc(r.drafts, func(d *draft) bool { return d.mentions(name) })
}
