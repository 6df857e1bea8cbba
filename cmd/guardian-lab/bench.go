package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/meminfo"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// benchSmallest is the least table that the hog stands out of.
const benchSmallest = 1000

// benchMemory is what an entry needs at most in bytes: 400 in the kernel, and as
// many as ti-mo/conntrack makes of it in the hungriest contender.
const benchMemory = 2400

// bench is one run of `bench census`.
type bench struct {
	sizes   []int
	rounds  int
	program string // path of conntrack-guardian
	json    bool

	self string // path of this program, which plays most contenders
	line *program.Line
}

func benchCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what reading the table costs, pruning it, and limiting sources",
		Args:  program.Args(cobra.NoArgs),
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(benchCensusCommand(&bench{}), benchReadCommand())
	cmd.AddCommand(benchForwardingCommand(newForwardBench()), benchGuardCommand())
	cmd.AddCommand(benchWalkCommand(&walkBench{}), benchPruneCommand())
	cmd.AddCommand(benchLeasesCommand(newLeaseBench()))
	return cmd
}

func benchCensusCommand(b *bench) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "census",
		Short: "Compare ways to find out who fills the table",
		Long: `Fill a gateway's table and read it in several ways, each a process of its own:
receiving all of it and looking at nothing, which is the least that reading can
cost; our census, full and as a sample; the same in conntrack-guardian itself;
ti-mo/conntrack with Go's maps; and the pipeline of conntrack(8), awk, sort and
uniq, for one question of many.

In each round all of them take a turn, each round in another order. Printed are the
medians of the rounds: CPU time, kernel and user; the median of its ratio to the
floor's in the same round; wall time, the start of the process included; and the
greatest peak of resident memory. Each must name the source that holds a tenth of
the table and count it right, or the benchmark fails.

The table is IPv4, all of it translated: 60 % established TCP, 20 % in TIME_WAIT,
15 % UDP, 5 % half-open, from 4,096 sources to 8,000 destinations. The machine's
nf_conntrack_max and nf_conntrack_buckets are 262,144 for the run, or more where
the table needs it, and are put back.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.understand(cmd); err != nil {
				return err
			}
			return b.run(cmd)
		},
	}
	cmd.Flags().IntSliceVar(&b.sizes, "sizes", []int{1 << 16, 1 << 18, 1 << 20}, "entries in the table, `N,...`")
	cmd.Flags().IntVar(&b.rounds, "rounds", 5, "how often each has its turn")
	cmd.Flags().StringVar(&b.program, "program", "", "`PATH` of conntrack-guardian (default: beside this program, if it is there)")
	program.JSONFlag(cmd, &b.json)
	return cmd
}

// understand checks the command line and what the machine has before anything is
// changed.
func (b *bench) understand(cmd *cobra.Command) (err error) {
	if len(b.sizes) == 0 || b.rounds < 1 {
		return program.Misuse("%d sizes, %d rounds: there must be one of each", len(b.sizes), b.rounds)
	}
	for _, size := range b.sizes {
		if size < benchSmallest {
			return program.Misuse("a table of %d entries: at least %d are needed", size, benchSmallest)
		}
		if err := lab.Check(benchMix(size)...); err != nil {
			return program.Misuse("a table of %d entries: %w", size, err)
		}
	}
	if err := needRoot(); err != nil {
		return err
	}
	if err := findSelf(&b.self); err != nil {
		return err
	}
	if err := b.findProgram(cmd.Flags().Changed("program")); err != nil {
		return err
	}
	return checkMemory(b.sizes...)
}

// findSelf finds this program, unless a test plays it.
func findSelf(self *string) (err error) {
	if *self == "" {
		if *self, err = os.Executable(); err != nil {
			return fmt.Errorf("find this program: %w", err)
		}
	}
	return nil
}

// findProgram looks for conntrack-guardian. It may be missing, unless it was named.
func (b *bench) findProgram(named bool) error {
	if !named {
		b.program = filepath.Join(filepath.Dir(b.self), "conntrack-guardian")
	}
	_, err := os.Stat(b.program)
	if errors.Is(err, fs.ErrNotExist) && !named {
		b.program = ""
		return nil
	}
	if err != nil {
		return fmt.Errorf("find conntrack-guardian: %w", err)
	}
	b.program, err = filepath.Abs(b.program)
	return err
}

// checkMemory refuses what would end with the kernel out of memory.
func checkMemory(sizes ...int) error {
	f, err := meminfo.Open()
	if err != nil {
		return err
	}
	defer f.Close()
	available, err := f.Available()
	if err != nil {
		return err
	}
	for _, size := range sizes {
		if need := int64(size) * benchMemory; need > available {
			return fmt.Errorf("%s entries and those who read them need %s MB of memory, %s are available: ask for less",
				policy.Number(size), policy.Number(int(need/megabyte)), policy.Number(int(available/megabyte)))
		}
	}
	return nil
}

func (b *bench) run(cmd *cobra.Command) error {
	r := newBenchResult(b.rounds, censusLimits)
	b.line = program.NewLine(cmd.ErrOrStderr())
	err := eachWithGateway(cmd, b.sizes, benchSizes, func(ctx context.Context, g *lab.Gateway, size int) error {
		rows, err := b.table(ctx, g, size)
		r.Sizes = append(r.Sizes, benchSize{size, rows})
		return err
	})
	return conclude(cmd, b.line, err, b.json, &r)
}

// table fills the gateway's table and lets everybody read it.
func (b *bench) table(ctx context.Context, g *lab.Gateway, size int) ([]benchRow, error) {
	b.line.Show(policy.Number(size)+" entries: filling the table", true)
	if err := fillWhole(ctx, g, benchMix(size)...); err != nil {
		return nil, err
	}
	truth, err := benchTruth(size)
	if err != nil {
		return nil, err
	}
	rows := b.contenders()
	err = takeTurns(b.rounds, len(rows), func(round, i int) error {
		row := &rows[i]
		if row.Missing != "" {
			return nil
		}
		b.line.Show(fmt.Sprintf("%s entries, round %d of %d: %s", policy.Number(size), round+1, b.rounds, row.What), false)
		return row.take(ctx, g.Router.Do, truth)
	})
	return rows, summarized(rows, size, err)
}

// summarized works out the figures of all rows, the first of which is the floor, if
// their turns went well.
func summarized(rows []benchRow, size int, err error) error {
	if err != nil {
		return fmt.Errorf("%s entries: %w", policy.Number(size), err)
	}
	for i := range rows {
		rows[i].summarize(rows[0].Runs)
	}
	return nil
}

// fillWhole fills a table with all of a mix.
func fillWhole(ctx context.Context, g *lab.Gateway, mix ...lab.Entries) error {
	want := 0
	for _, e := range mix {
		want += e.Count
	}
	r, err := g.Fill(ctx, mix...)
	if err == nil && r.Created != want {
		err = fmt.Errorf("fill the table: %d entries of %d made, refused: %v", r.Created, want, r.Failed)
	}
	return err
}

// benchSizes are the machine's values for a table: those that Linux takes itself
// with 4 GB of memory or more, or what the table needs.
func benchSizes(size int) lab.Sizes {
	const usual = 1 << 18
	return lab.Sizes{Max: max(usual, size+size/16), Buckets: max(usual, size)}
}
