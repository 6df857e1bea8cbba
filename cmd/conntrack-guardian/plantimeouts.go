package main

import (
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// givenFloors is the origin of floors that the command line has.
const givenFloors = "given"

// A whatIf is one run of plan --timeouts: what shorter timeouts would free.
type whatIf struct {
	top              // how the census is taken
	floors floorList // given ones
	asked  bool
	// timeouts reads those of a namespace; nil is from the kernel. A census has
	// only those of classes that have entries.
	timeouts func(namespace string) (timeout.Table, error)
}

func (w *whatIf) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&w.asked, "timeouts", false, "print what shorter timeouts would free now, by default the floors of the policy")
	cmd.Flags().BoolVar(&w.full, "full", false, "with --timeouts, read all entries")
	cmd.Flags().IntVar(&w.sample, "sample", topSample, "with --timeouts, read `N` entries")
	cmd.Flags().StringVar(&w.namespace, "namespace", "", "with --timeouts, `PATH` of the network namespace (default that of the policy)")
	_ = cmd.MarkFlagFilename("namespace") // fails only for a flag that is not there
}

// understand checks the command line.
func (w *whatIf) understand(cmd *cobra.Command, args []string) (err error) {
	sampled := cmd.Flags().Changed("sample")
	switch {
	case !w.asked && len(args) > 0:
		return program.Misuse("unexpected argument %q (a timeout is given with --timeouts)", args[0])
	case !w.asked && (w.full || sampled || cmd.Flags().Changed("namespace")):
		return program.Misuse("--full, --sample and --namespace are for --timeouts")
	case w.full && sampled:
		return program.Misuse("--sample and --full exclude each other")
	case w.sample < 1:
		return program.Misuse("--sample must be 1 at least, got %d", w.sample)
	}
	w.floors, err = parseFloors(args)
	return err
}

// run takes a census, of the policy's namespace unless one was named, and prints what
// it says.
func (w *whatIf) run(cmd *cobra.Command) error {
	file, err := w.loadPolicy()
	origin := w.flags.source(file)
	named := cmd.Flags().Changed("namespace")
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%v\nThe policy file can't be used: %s.\n", err, standIn(named))
		origin = "the built-in default"
	}
	if !named {
		w.namespace = file.Namespace
	}
	line := program.NewLine(cmd.ErrOrStderr())
	r, err := w.census(cmd.Context(), line.Show)
	line.End()
	if err != nil {
		return err
	}
	if r.Classes, err = w.withAsked(r.Classes); err != nil {
		return err
	}
	answer := w.answer(&r, &file.Policy.ShortenTimeouts, origin)
	out := cmd.OutOrStdout()
	if w.json {
		return program.PrintJSON(out, answer)
	}
	return printLines(out, answer.lines(), cleverTerminal(out) != nil)
}

// standIn says what stands for a policy that can't be used.
func standIn(named bool) string {
	const builtIn = "the built-in policy stands for it"
	if named {
		return builtIn
	}
	return "this is the table of our own network namespace; --namespace names another; and " + builtIn
}

// withAsked adds the classes that were asked for and have no entries, by name, with
// the timeout that is in force.
func (w *whatIf) withAsked(classes []census.Class) ([]census.Class, error) {
	names := missing(w.floors, classes)
	if len(names) == 0 {
		return classes, nil
	}
	read := w.timeouts
	if read == nil {
		read = timeoutsOf
	}
	now, err := read(w.namespace)
	if err != nil {
		return nil, fmt.Errorf("read the timeouts in force: %w", err)
	}
	for _, name := range names {
		c, _ := timeout.ByName(name)
		classes = append(classes, census.Class{Name: name, Timeout: now.Of[c]})
	}
	return classes, nil
}

// timeoutsOf are a namespace's timeouts.
func timeoutsOf(namespace string) (now timeout.Table, err error) {
	err = netns.Do(namespace, func() (err error) {
		now, err = timeout.Read()
		return err
	})
	return now, err
}

// A shortAnswer is what plan --timeouts --json prints.
type shortAnswer struct {
	Time    time.Time  `json:"time"`
	Took    float64    `json:"took"` // seconds
	Full    bool       `json:"full"`
	Read    int        `json:"read"`
	Table   int        `json:"table"`
	Max     int        `json:"max"`
	Floors  string     `json:"floors"`      // where they are from
	Opted   bool       `json:"established"` // the policy allows to end assured connections in ESTABLISHED
	Retime  bool       `json:"retime"`      // it has existing entries end sooner
	Classes []shortRow `json:"classes"`
	Total   shortFates `json:"total"`

	report *census.Report
	least  float64 // share that a class has at least for the policy to shorten it, 0 for given floors
}

// A shortRow is one class. To is null where the timeout stays.
type shortRow struct {
	Class   string `json:"class"`
	Timeout int    `json:"timeout"` // seconds, 0 for a class without a sysctl
	To      *int   `json:"to"`      // seconds
	census.Figure
	shortFates
	asked int // seconds, 0 if nothing was asked for this class
}

// shortFates are what becomes of entries. Those kept are assured connections in
// ESTABLISHED, which without the policy's leave are not among the others.
type shortFates struct {
	Freed  census.Figure `json:"freed"`
	Sooner census.Figure `json:"sooner"`
	Kept   census.Fate   `json:"kept"`
}

// answer says what a report tells of the floors that were given, or else of the
// policy's.
func (w *whatIf) answer(r *census.Report, m *policy.ShortenTimeoutsConfig, origin string) *shortAnswer {
	if len(w.floors) == 0 {
		a := answerOf(r, m)
		a.Floors, a.least = origin, m.Share
		return a
	}
	a := emptyAnswer(m)
	a.Floors = givenFloors
	a.fill(r, w.floors)
	return a
}

// answerOf says what a report tells of a policy's floors.
func answerOf(r *census.Report, m *policy.ShortenTimeoutsConfig) *shortAnswer {
	a := emptyAnswer(m)
	a.fill(r, floorsOf(m))
	return a
}

// emptyAnswer has what a policy says of existing entries.
func emptyAnswer(m *policy.ShortenTimeoutsConfig) *shortAnswer {
	return &shortAnswer{Opted: m.Established(policy.Act), Retime: m.Retime}
}

// fill fills in what the report says.
func (a *shortAnswer) fill(r *census.Report, floors floorList) {
	a.Time, a.Took, a.Full, a.Read, a.Table, a.Max = r.Wall, r.Took, r.Full, r.Read, r.Table, r.Max
	a.report, a.Classes = r, []shortRow{}
	for i := range r.Classes {
		a.Classes = append(a.Classes, a.row(&r.Classes[i], floors))
	}
	a.Total = a.fates(r.ShortenAll(floors))
}

// missing are the classes of floors that have no entries, by name.
func missing(floors floorList, classes []census.Class) (names []string) {
	for name := range floors {
		if !slices.ContainsFunc(classes, func(c census.Class) bool { return c.Name == name }) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (a *shortAnswer) row(c *census.Class, floors floorList) shortRow {
	row := shortRow{Class: c.Name, Timeout: c.Timeout, Figure: c.Figure, asked: floors[c.Name]}
	if 0 < row.asked && row.asked < c.Timeout {
		row.To, row.shortFates = &row.asked, a.fates(a.report.Shorten(c, row.asked))
	}
	return row
}

// fates counts assured connections in ESTABLISHED among the others where the policy
// allows to end them.
func (a *shortAnswer) fates(s census.Shortened) shortFates {
	if !a.Opted {
		return shortFates{s.Freed, s.Sooner, s.Established}
	}
	return shortFates{Freed: together(s.Freed, s.Established.Freed), Sooner: together(s.Sooner, s.Established.Sooner)}
}

// together is the figure of two kinds of entries that have none in common.
func together(a, b census.Figure) census.Figure {
	return census.Figure{Entries: a.Entries + b.Entries, Low: a.Low + b.Low, High: a.High + b.High, Share: a.Share + b.Share}
}
