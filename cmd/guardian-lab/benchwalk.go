package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A walkBench is one run of `bench walk`.
type walkBench struct {
	size, rounds int
	json         bool

	self      string // path of this program, which plays most contenders
	conntrack string // path of conntrack(8)
	line      *program.Line
}

// The contenders' names.
const (
	theWalk    = "walk"
	theSingles = "ti-mo-delete"
	theTool    = "conntrack"
)

func benchWalkCommand(b *walkBench) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "walk",
		Short: "Measure what taking half of the table away costs",
		Long: `Fill a gateway's table, half of it connections in TIME_WAIT that are older than a
new timeout, and delete those in several ways, each a process of its own: our walk
as the daemon does it; ti-mo/conntrack, which reads all entries and deletes one after
the other; and conntrack -D by state. With them goes a dump of the whole table that
looks at nothing and deletes nothing, which is the least that finding them can cost.

In each round all of them take a turn, each round in another order, and what one
deleted is made again for the next. Printed are the medians of the rounds: CPU time,
kernel and user; wall time, the start of the process included; the medians of their
ratios to the floor's in the same round; and the greatest peak of resident memory.
Each must delete all of them and nothing else, or the benchmark fails.

It needs conntrack(8). The machine's nf_conntrack_max and nf_conntrack_buckets are
262,144 for the run, or more where the table needs it, and are put back.`,
		Args: program.Args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.understand(); err != nil {
				return err
			}
			return b.run(cmd)
		},
	}
	cmd.Flags().IntVar(&b.size, "size", 1<<20, "entries in the table")
	cmd.Flags().IntVar(&b.rounds, "rounds", 5, "how often each has its turn")
	program.JSONFlag(cmd, &b.json)
	return cmd
}

// understand checks the command line and what the machine has before anything is
// changed.
func (b *walkBench) understand() (err error) {
	if b.rounds < 1 {
		return program.Misuse("%d rounds: there must be one", b.rounds)
	}
	if b.size < benchSmallest {
		return program.Misuse("a table of %d entries: at least %d are needed", b.size, benchSmallest)
	}
	if err := lab.Check(walkMix(b.size)...); err != nil {
		return program.Misuse("a table of %d entries: %w", b.size, err)
	}
	if err := needRoot(); err != nil {
		return err
	}
	if err := findSelf(&b.self); err != nil {
		return err
	}
	if b.conntrack, err = exec.LookPath("conntrack"); err != nil {
		return errors.New("conntrack(8), which this compares with, is not installed: apt install conntrack")
	}
	return checkMemory(b.size)
}

// Seconds. Nothing expires while it is measured, and no entry is older than the
// machine is up.
const (
	walkNormal = walkLeft + 20 // the timeout that is shortened
	walkLeft   = 12 * 3600     // what entries have left of it, see benchPart
	walkShort  = 10            // what it is shortened to
)

// walkMix is a table that churn has filled: half of it, which comes first, is long
// closed. It has no entries of the same class that are to stay.
func walkMix(size int) []lab.Entries {
	dead := benchPart(lab.Entries{Proto: unix.IPPROTO_TCP, State: lab.TimeWait, Assured: true})
	dead.Sources = benchSources
	established, halfOpen := dead, dead
	established.State, halfOpen.State, halfOpen.Assured = lab.Established, lab.SynSent, false
	udp := dead
	udp.Proto, udp.State, udp.Assured, udp.Replied = unix.IPPROTO_UDP, 0, false, true
	udp.Destinations, udp.Ports = benchDestinations/10, []uint16{53}

	dead.Count, udp.Count, halfOpen.Count = size/2, size*15/100, size*5/100
	established.Count = size - dead.Count - udp.Count - halfOpen.Count
	return []lab.Entries{dead, established, udp, halfOpen}
}

func (b *walkBench) run(cmd *cobra.Command) error {
	r := walkResult{newBenchResult(b.rounds, walkLimits)}
	b.line = program.NewLine(cmd.ErrOrStderr())
	err := eachWithGateway(cmd, []int{b.size}, benchSizes, func(ctx context.Context, g *lab.Gateway, size int) error {
		rows, err := b.table(ctx, g)
		r.Sizes = append(r.Sizes, benchSize{size, rows})
		return err
	})
	return conclude(cmd, b.line, err, b.json, &r)
}

// table lets everybody prune the table.
func (b *walkBench) table(ctx context.Context, g *lab.Gateway) ([]benchRow, error) {
	if err := g.SetTimeouts(map[string]int{"tcp_timeout_time_wait": walkShort}); err != nil {
		return nil, err
	}
	rows := b.contenders()
	b.line.Show(policy.Number(b.size)+" entries: filling the table", true)
	if err := fillWhole(ctx, g, walkMix(b.size)...); err != nil {
		return nil, err
	}
	err := takeTurns(b.rounds, len(rows), func(round, i int) error {
		row := &rows[i]
		b.line.Show(fmt.Sprintf("%s entries, round %d of %d: %s", policy.Number(b.size), round+1, b.rounds, row.What), false)
		return b.turn(ctx, g, row)
	})
	return rows, summarized(rows, b.size, err)
}

// turn has one prune the table, once what the one before deleted is made again, and
// looks what is left.
func (b *walkBench) turn(ctx context.Context, g *lab.Gateway, row *benchRow) error {
	missing := walkMix(b.size)[0]
	truth := benchAnswer{Entries: b.size}
	if row.Name != theFloor {
		truth.Deleted = missing.Count
	}
	there, err := g.Count()
	if err != nil {
		return err
	}
	missing.Count = b.size - there
	if err := fillWhole(ctx, g, missing); err != nil {
		return err
	}
	if err := row.take(ctx, g.Router.Do, truth); err != nil {
		return err
	}
	left, err := g.Count()
	if want := truth.Entries - truth.Deleted; err == nil && left != want {
		err = fmt.Errorf("%s: %s entries are left, not %s", row.What, policy.Number(left), policy.Number(want))
	}
	return err
}

// contenders are all of them, the floor first.
func (b *walkBench) contenders() []benchRow {
	return rowsOf(
		ours(b.self, "read", theFloor, "receive and discard, the floor", checkFloor),
		ours(b.self, "prune", theWalk, "our walk", checkDeleted),
		ours(b.self, "prune", theSingles, "ti-mo/conntrack `Dump`, `Delete` each", checkDeleted),
		contender{
			Name: theTool, What: "`conntrack -D -p tcp --state TIME_WAIT`",
			// It prints what it deletes; how many these were it says on standard error.
			script: `"$@" 2>&1 >/dev/null &`, args: []string{b.conntrack, "-D", "-p", "tcp", "--state", "TIME_WAIT"},
			read: readTool, check: checkDeleted,
		},
	)
}

// toolSays is the last that conntrack -D says.
var toolSays = regexp.MustCompile(`(\d+) flow entries have been deleted`)

func readTool(out []byte) (a benchAnswer, err error) {
	says := toolSays.FindSubmatch(out)
	if says == nil {
		return a, errors.New("no number of entries deleted")
	}
	a.Deleted, err = strconv.Atoi(string(says[1]))
	return a, err
}

func checkDeleted(got, want benchAnswer) error {
	if got.Deleted != want.Deleted {
		return fmt.Errorf("%d entries deleted, %d were to be", got.Deleted, want.Deleted)
	}
	return nil
}
