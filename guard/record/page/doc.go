// Package page tells an episode to people: as text for a terminal and as one HTML
// page that can be attached to a report of the incident.
//
// Both are made of a Report, which is built in one pass over the steps of a record
// and is bounded in size however long the record is. The HTML page stands alone: it
// loads nothing, runs no script, and its content security policy allows its own
// style sheet and nothing else.
//
// The way through the package:
//
//	build.go    the steps of a record -> a Report
//	follow.go   what became of each change
//	effect.go   what was lost before and after each
//	series.go   the readings, reduced to as many points as are of use
//	lost.go     the kernel's counters, each loss counted once
//	window.go   which part of the record a plot shows
//	lanes.go    where changes are marked above a plot
//	text*.go    the report for a terminal
//	html*.go    the report as a page; plot*.go its plots
package page
