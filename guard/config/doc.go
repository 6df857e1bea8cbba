// Package config reads the operator's policy file: TOML in, a [policy.Config]
// or every problem of the file out.
//
//	config.go   File and its default
//	files.go    Load, Read: a policy file and its drop-ins
//	reading.go  Parse, ParseAll: the way from texts to a File
//	sources.go  where each value stands, as it would be written
//	warn.go     what is no mistake and yet rarely meant
//	schema.go   each key of the file once: its field, its kind, its bounds
//	kind.go     the kinds of value: durations, ratios, whole numbers, modes, ...
//	list.go     lists of values, and where each value stands
//	address.go  addresses and prefixes
//	protocol.go protocols and ports
//	timeouts.go the table of each timeout, and what [shorten_timeouts] must hold
//	flow.go     the table of each flow, [bypass.NAME], and what it must hold
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
//   - No measure may act whose ceiling or rate isn't written in the file, and no
//     timeout be shortened whose floor isn't. A program's default is nobody's approval.
//     A flow that is written is approved by that.
//   - No text makes Parse panic or take longer than a moment.
package config
