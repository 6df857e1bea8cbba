package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A survey is what an advice rests on.
type survey struct {
	ctx      context.Context
	line     *program.Line // shows how the census goes
	options  census.Options
	config   policy.Config
	stateDir string
	wall     time.Time

	baseline policy.Baseline
	record   policy.Peaks
	now      policy.Snapshot
	report   *census.Report // nil without a census
	services []policy.ServiceUse
	builtIn  bool // conntrack is no module
	entry    int  // bytes, 0 if not known
	notes    []string
}

// survey begins one with what files say: the policy, what was learned, and which of the
// kernel's values are the guardian's for the time being.
func (a *adviseArgs) survey(cmd *cobra.Command, f *flags) (*survey, error) {
	file, err := f.loadPolicy()
	if err != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "%v\nThe policy file can't be used: %s.\n", err, standIn(a.namespace != ""))
		file = config.Default()
	}
	if !cmd.Flags().Changed("namespace") {
		a.namespace = file.Namespace
	}
	found := &survey{
		ctx: cmd.Context(), config: file.Policy, stateDir: f.stateDir, wall: time.Now(),
		options: census.Options{Namespace: a.namespace, Sample: a.sample, CPU: file.Policy.Census.CPU},
	}
	if a.full {
		found.options.Sample = 0
	}
	found.line = program.NewLine(cmd.ErrOrStderr())
	found.baseline, err = guard.LoadBaseline(f.stateDir)
	return found, err
}

// look finds all else: in the state directory, and in the kernel.
func (f *survey) look() error {
	defer f.line.End()
	if err := errors.Join(f.recall(), f.read()); err != nil {
		return err
	}
	f.replay()
	f.count()
	f.entry = entryBytes(slabPath)
	f.builtIn = builtIn(modulePath)
	return nil
}

// recall finds the guardian's changes in force.
func (f *survey) recall() error {
	changes, err := ledger.Read(f.stateDir)
	if err != nil {
		return err
	}
	id, err := boot.ID()
	f.now.Changes = guard.Recall(changes, id, f.options.Namespace)
	return err
}

// read takes a reading.
func (f *survey) read() error {
	sensor, err := sense.Open(f.options.Namespace)
	if err != nil {
		return err
	}
	defer sensor.Close()
	return sensor.Read(&f.now)
}

// replay goes through the flight record, if there is one. What is damaged is left out.
func (f *survey) replay() {
	r, err := record.Read(recordDir(f.stateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil {
		f.note("The flight record could not be read: %v.", err)
		return
	}
	var damage error // the first
	for step, err := range r.Steps() {
		if err != nil {
			damage = cmp.Or(damage, err)
			continue
		}
		f.record.Add(&step.Snapshot, step.Now)
	}
	if damage != nil {
		f.note("Not all of the flight record could be read: %v.", damage)
	}
}

// count takes a census, and looks which services need no tracking.
func (f *survey) count() {
	began := time.Now()
	f.options.Progress = func(read, table int) {
		if time.Since(began) >= topSlow {
			f.line.Show(progressText(read, table), false)
		}
	}
	r, err := census.Take(f.ctx, f.options)
	if err != nil {
		f.note("There is no census, so that nothing is said of timeouts, source ports and untracked services: %v.", err)
		return
	}
	f.report = &r
	if r.Table == 0 {
		f.note("The table is empty now: of timeouts, source ports and untracked services it tells nothing. Look again in a busy hour.")
	}
	if f.services, err = untranslated(f.ctx, &r, f.options.Namespace, f.config); err != nil {
		f.note("What needs no tracking is not known: %v.", err)
	}
}

// note says what is not known, and why.
func (f *survey) note(format string, args ...any) {
	f.notes = append(f.notes, fmt.Sprintf(format, args...))
}

// advice makes of a survey what is printed.
func (f *survey) advice(headroom float64) (*advice, error) {
	in := policy.SizingInput{
		Baseline: &f.baseline, Record: f.record, Now: &f.now, Config: &f.config, Headroom: headroom, EntryBytes: f.entry,
		Services: f.services,
	}
	a := &advice{
		Time: f.wall, StateDir: f.stateDir, Namespace: f.options.Namespace, Headroom: headroom, Census: noCensus, BuiltIn: f.builtIn,
		Files: []string{},
	}
	if r := f.report; r != nil {
		in.Table, in.Classes, in.Pools = r.Table, classUses(r), poolUses(r)
		a.Census = censusText(r)
	}
	var err error
	a.Sizing, err = policy.Size(&in)
	a.Notes = append(a.Notes, f.notes...)
	return a, err
}

// noCensus is said of a census that there is none.
const noCensus = "none"

// censusText says what the figures of a census rest on.
func censusText(r *census.Report) string {
	if r.Full {
		return "all " + entriesText(r.Table)
	}
	return fmt.Sprintf("%s of %s", policy.Number(r.Read), entriesText(r.Table))
}

// classUses are what a census found of the timeouts.
func classUses(r *census.Report) (uses [policy.Timeouts]policy.ClassUse) {
	for i := range r.Classes {
		c := &r.Classes[i]
		t, ok := policy.TimeoutNamed(c.Name)
		if !ok {
			continue
		}
		uses[t] = policy.ClassUse{Entries: c.Entries, Least: c.Low}
		if to := policy.Lasting(t); 0 < to && to < c.Timeout {
			short := r.Shorten(c, to)
			uses[t].Older = short.Freed.Entries + short.Established.Freed.Entries
		}
	}
	return uses
}

// poolUses are what it found of the source ports for NAT.
func poolUses(r *census.Report) (uses []policy.PoolUse) {
	for _, p := range r.Pools {
		uses = append(uses, policy.PoolUse{
			NAT: p.NAT, Dst: p.Dst, Port: p.Port, Proto: p.Proto, Used: p.Entries, Lowest: p.Lowest, Highest: p.Highest,
		})
	}
	return uses
}
