// Package config reads the operator's policy file: TOML in, a [policy.Config]
// or every problem of the file out.
//
//	config.go   File, Load, Parse: the way through the package
//	schema.go   each key of the file once: its field, its kind, its bounds
//	kind.go     the kinds of value: durations, ratios, whole numbers, modes, ...
//	timeouts.go the table of each timeout, and what [shorten_timeouts] must hold
//	check.go    what one value alone can't show: order, approval, version
//	entries.go  a text that parses -> its keys, values and places
//	draft.go    a text that doesn't parse -> its syntax faults and one that does
//	problem.go  file:line:col: key: message
//	nearest.go  what an unknown word was meant to be
//
// What holds here:
//
//   - A File comes either with no problem or not at all: with problems the
//     caller gets the defaults, which touch nothing.
//   - All problems of a file are found in one reading, in the order of the file,
//     and none that merely follows from another.
//   - No measure may act whose ceiling isn't written in the file, and no timeout be
//     shortened whose floor isn't. A program's default is nobody's approval.
//   - No text makes Parse panic or take longer than a moment.
package config
