package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"strconv"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
)

// A contender is one way to read the table.
type contender struct {
	Name string `json:"name"`
	What string `json:"what"`
	// Missing says what to install, for what is not on this machine.
	Missing string `json:"missing"`

	script string   // for the shell, with its arguments
	args   []string // of the script
	read   func(out []byte) (benchAnswer, error)
	check  func(got, want benchAnswer) error
}

// The contenders' names.
const (
	theFloor    = "floor"
	theFull     = "full"
	theSample   = "sample"
	theProgram  = "program"
	theLibrary  = "ti-mo"
	thePipeline = "pipeline"
)

// contenders are all of them, the floor first.
func (b *bench) contenders() []benchRow {
	reader := func(name, what string, check func(got, want benchAnswer) error) contender {
		return ours(b.self, "read", name, what, check)
	}
	return rowsOf(
		reader(theFloor, "receive and discard, the floor", checkFloor),
		reader(theFull, "our full census", checkAll),
		reader(theSample, "our sample of 20,000", checkSample),
		b.programContender(),
		reader(theLibrary, "ti-mo/conntrack `Dump`, Go maps", checkAll),
		pipelineContender(),
	)
}

// rowsOf are rows without a run.
func rowsOf(all ...contender) (rows []benchRow) {
	for _, c := range all {
		rows = append(rows, benchRow{contender: c, Runs: []benchUsage{}})
	}
	return rows
}

// ours is a contender that this program plays itself, by a sub-command of bench.
func ours(self, command, name, what string, check func(got, want benchAnswer) error) contender {
	return contender{
		Name: name, What: what, script: oneProgram, args: []string{self, "bench", command, name},
		read: readAnswer, check: check,
	}
}

// oneProgram has the shell start a program and end without waiting for it.
const oneProgram = `"$@" &`

func (b *bench) programContender() contender {
	c := contender{
		Name: theProgram, What: "`conntrack-guardian top --full --json`", script: oneProgram,
		// It is started inside the namespace; a policy file's must not count.
		args: []string{b.program, "top", "--full", "--json", "--namespace", ""},
		read: readProgram, check: checkAll,
	}
	if b.program == "" {
		c.Missing = "not built: make"
	}
	return c
}

// pipelineContender is how it is done by hand. sort has the C locale, in which it
// is fastest.
func pipelineContender() contender {
	c := contender{
		Name: thePipeline, What: "`conntrack -L | awk | sort | uniq -c | sort -rn | head`, sources only",
		script: `conntrack -L | awk -F'src=' '{ split($2, a, " "); print a[1] }' | sort | uniq -c | sort -rn | head &`,
		read:   readPipeline, check: checkSource,
	}
	for _, needed := range []struct{ program, debian string }{{"awk", "mawk"}, {"conntrack", "conntrack"}} {
		if _, err := exec.LookPath(needed.program); err != nil {
			c.Missing = "not installed: apt install " + needed.debian
		}
	}
	return c
}

// take has the contender do its work once.
func (r *benchRow) take(ctx context.Context, inside func(func() error) error, truth benchAnswer) error {
	used, out, err := measure(ctx, inside, r.script, r.args...)
	if err != nil {
		return fmt.Errorf("%s: %w", r.What, err)
	}
	got, err := r.read(out)
	if err != nil {
		return fmt.Errorf("%s: understand %.200q: %w", r.What, out, err)
	}
	if err := r.check(got, truth); err != nil {
		return fmt.Errorf("%s: %w", r.What, err)
	}
	r.Runs = append(r.Runs, used)
	return nil
}

// readAnswer reads what `bench read` and `bench prune` printed.
func readAnswer(out []byte) (a benchAnswer, err error) {
	return a, json.Unmarshal(out, &a)
}

func readProgram(out []byte) (a benchAnswer, err error) {
	var r census.Report
	if err := json.Unmarshal(out, &r); err != nil {
		return a, err
	}
	return answerOf(r)
}

// answerOf is what a census says of its largest source.
func answerOf(r census.Report) (a benchAnswer, err error) {
	if len(r.Sources) == 0 {
		return a, errors.New("a census without a source")
	}
	first := r.Sources[0]
	return benchAnswer{Entries: r.Read, Source: first.Prefix.Addr(), Count: first.Entries}, nil
}

// readPipeline reads the first line of uniq -c: a count and a source.
func readPipeline(out []byte) (a benchAnswer, err error) {
	fields := strings.Fields(string(out))
	if len(fields) < 2 {
		return a, errors.New("no line with a count and a source")
	}
	if a.Count, err = strconv.Atoi(fields[0]); err != nil {
		return a, err
	}
	a.Source, err = netip.ParseAddr(fields[1])
	return a, err
}

// checkFloor compares what can be without looking at any entry: none is dumped in
// less than 100 bytes.
func checkFloor(got, want benchAnswer) error {
	if got.Bytes < 100*want.Entries {
		return fmt.Errorf("%d bytes are not a dump of %d entries", got.Bytes, want.Entries)
	}
	return nil
}

func checkAll(got, want benchAnswer) error {
	if got.Entries != want.Entries {
		return fmt.Errorf("%d entries read, the table has %d", got.Entries, want.Entries)
	}
	return checkSource(got, want)
}

func checkSource(got, want benchAnswer) error {
	if got.Source != want.Source || got.Count != want.Count {
		return fmt.Errorf("found %d entries of %s, the largest source is %s with %d", got.Count, got.Source, want.Source, want.Count)
	}
	return nil
}

// checkSample wants the share of the hog to a fifth of it, which is eight standard
// deviations of a sample.
func checkSample(got, want benchAnswer) error {
	if read := min(benchSample, want.Entries); got.Entries != read {
		return fmt.Errorf("%d entries read, the sample is %d", got.Entries, read)
	}
	if off := got.Count - want.Count; got.Source != want.Source || max(off, -off) > want.Count/5 {
		return fmt.Errorf("found about %d entries of %s, the largest source is %s with %d", got.Count, got.Source, want.Source, want.Count)
	}
	return nil
}
