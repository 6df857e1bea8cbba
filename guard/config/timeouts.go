package config

import (
	"fmt"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	timeoutsTable = "shorten_timeouts"
	belowRFCKey   = timeoutsTable + ".below_rfc"
)

// streamFloor is the least that RFC 4787, REQ-5, allows a NAT for UDP.
const streamFloor = 2 * time.Minute

// aFloor is the kind of a floor. A timeout of 0 would be none.
var aFloor = seconds(time.Second, month)

// timeoutTable is the name of one timeout's table.
func timeoutTable(t policy.Timeout) string { return timeoutsTable + "." + t.String() }

// timeoutSettings are the keys of all timeouts: each has a table of its own.
func timeoutSettings() (all []setting[File]) {
	for t := range policy.Timeouts {
		all = append(all,
			key(timeoutTable(t)+".floor", func(f *File) *span { return &f.Policy.ShortenTimeouts.Floors[t].Floor }, aFloor),
			key(timeoutTable(t)+".mode", func(f *File) *mode { return &f.Policy.ShortenTimeouts.Floors[t].Mode }, aMode))
	}
	return all
}

// seconds is a span from lo to hi as the kernel counts timeouts.
func seconds(lo, hi span) func(any) (span, error) {
	return func(v any) (span, error) {
		d, err := duration(lo, hi)(v)
		if err == nil && d%time.Second != 0 {
			return 0, fmt.Errorf("the kernel counts timeouts in whole seconds, got %s", describe(v))
		}
		return d, err
	}
}

// writeFloor says how the table of a timeout is written in whose place something else
// stands: on a line, with the floor that was meant if one was.
func writeFloor(v any) string {
	floor := "10s"
	n, _ := digits(v)
	text, _ := v.(string)
	for _, meant := range []string{text, n + "s"} {
		if _, err := aFloor(meant); err == nil {
			floor = meant
		}
	}
	return fmt.Sprintf("{ floor = %q }", floor)
}

// setBelowRFC takes what lets checkRFC pass and sets nothing: once the floors have
// been found right, nobody asks again.
func setBelowRFC(_ *File, v any) error {
	_, err := aFlag(v)
	return err
}

// checkTimeouts asks what no value of [shorten_timeouts] shows alone.
func (r *reading) checkTimeouts() {
	p := &r.file.Policy.ShortenTimeouts
	if p.Start >= p.End {
		r.conflict(timeoutsTable+".start", timeoutsTable+".end",
			fmt.Sprintf("start (%s) must be below end (%s)", figure(p.Start), figure(p.End)))
	}
	r.outlasts(timeoutsTable, p.Hold, p.Check)
	r.checkRFC(policy.TCPEstablished, policy.EstablishedFloor, "RFC 5382, REQ-5")
	r.checkRFC(policy.UDPStream, streamFloor, "RFC 4787, REQ-5")
	r.approveTimeouts()
}

// checkRFC refuses a floor below what an RFC requires of a NAT, unless the file
// says that it is meant.
func (r *reading) checkRFC(t policy.Timeout, least span, rfc string) {
	waived := r.seen[belowRFCKey].any == true || r.bad[belowRFCKey] || r.lost(belowRFCKey)
	if waived || r.file.Policy.ShortenTimeouts.Floors[t].Floor >= least {
		return
	}
	floor := timeoutTable(t) + ".floor"
	r.report(r.seen[floor].at, floor, fmt.Sprintf("%s, requires %s at least; less needs below_rfc = true in [%s]",
		rfc, policy.Short(least), timeoutsTable))
}

// approveTimeouts holds each timeout to its approval, which is its floor written
// in the file, and the measure to there being one.
func (r *reading) approveTimeouts() {
	p, approved := &r.file.Policy.ShortenTimeouts, false
	for t := range policy.Timeouts {
		table := timeoutTable(t)
		if r.bad[table] || r.written(table+".floor") {
			approved = true
			continue
		}
		r.unapproved(table, &p.Floors[t].Mode, table+".floor", "a floor beside it")
	}
	if !approved {
		r.unapproved(timeoutsTable, &p.Mode, timeoutsTable+".mode", "a timeout with a floor in ["+timeoutsTable+"]")
	}
}
