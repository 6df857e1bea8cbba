package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Warnings are what is no mistake and yet rarely meant.
func (f *File) Warnings() (all Problems) {
	warn := func(key, message string) {
		if i := slices.IndexFunc(f.Sources, func(s Setting) bool { return s.Name == key }); i >= 0 && f.Sources[i].File != "" {
			s := f.Sources[i]
			all = append(all, Problem{s.File, s.Line, s.Col, key, message})
		}
	}
	f.warnIdle(warn)
	if p, ok := everybody(f.Policy.LimitSource.Allow); ok {
		warn("limit_source.allow", fmt.Sprintf("%s is everybody: nobody is limited", p))
	}
	for _, flow := range f.Policy.Bypass {
		if p, ok := everybody(flow.From); ok && flow.Lifeline && flow.Mode > policy.Off {
			warn(flowTable(flow.Name)+".from", fmt.Sprintf(
				"%s is everybody: when the table is full, anybody can open connections to these ports past it; name the networks that you administer from", p))
		}
	}
	return all
}

// everybody is the prefix among them that holds all addresses of a family.
func everybody(all []netip.Prefix) (netip.Prefix, bool) {
	i := slices.IndexFunc(all, func(p netip.Prefix) bool { return p.Bits() == 0 })
	if i < 0 {
		return netip.Prefix{}, false
	}
	return all[i], true
}

// warnIdle finds what is written in vain, one setting for each table.
func (f *File) warnIdle(warn func(key, message string)) {
	if f.Policy.Mode == policy.Off {
		warn("mode", `no measure is considered, whatever its own mode`)
		return
	}
	for _, m := range f.Measures() {
		for _, s := range f.Sources {
			table, name := cutLast(s.Name)
			inside := table == m.Table || strings.HasPrefix(table, m.Table+".")
			if m.Mode == policy.Off && inside && m.Table != bypassTable && name != "mode" && s.File != "" {
				warn(s.Name, fmt.Sprintf("does nothing: [%s] has mode \"off\"", m.Table))
				break
			}
		}
	}
}

// A MeasureMode is how far a measure may go, by its own mode, its approval and the
// global mode.
type MeasureMode struct {
	Measure policy.Measure
	Table   string // in the file
	Mode    policy.Mode
	Lacks   string // what it needs to act, where the global mode lets it
}

// Measures are all measures with the modes that count.
func (f *File) Measures() []MeasureMode {
	p := &f.Policy
	floors, flows := policy.Off, policy.Off
	for _, floor := range p.ShortenTimeouts.Floors {
		floors = max(floors, floor.Mode)
	}
	for _, flow := range p.Bypass {
		flows = max(flows, flow.Mode)
	}
	all := []MeasureMode{
		{Measure: policy.RaiseMax, Table: "raise_max", Mode: p.RaiseMax.Mode},
		{Measure: policy.GrowBuckets, Table: "grow_buckets", Mode: p.GrowBuckets.Mode},
		{Measure: policy.ShortenTimeouts, Table: timeoutsTable, Mode: min(p.ShortenTimeouts.Mode, floors)},
		{Measure: policy.LimitSource, Table: "limit_source", Mode: p.LimitSource.Mode},
		{Measure: policy.Bypass, Table: bypassTable, Mode: flows},
	}
	for i := range all {
		m := &all[i]
		m.Mode = min(m.Mode, p.Mode)
		asked := slices.IndexFunc(f.Sources, func(s Setting) bool { return s.Name == m.Table+".mode" })
		if p.Mode == policy.Act && asked >= 0 {
			m.Lacks = f.Sources[asked].Lacks
		}
	}
	return all
}
