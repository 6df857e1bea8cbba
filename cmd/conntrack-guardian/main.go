// Command conntrack-guardian watches the connection-tracking table of a NAT
// gateway and, within the bounds of an approved policy, keeps it from filling up.
package main

import (
	"cmp"
	"context"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

func execute(args []string, stdout, stderr io.Writer) int {
	f := &flags{}
	code := program.Execute(context.Background(), newRoot(f), args, stdout, stderr)
	return cmp.Or(f.exit, code)
}

const (
	defaultPolicy   = "/etc/conntrack-guardian/guardian.toml"
	defaultStateDir = "/var/lib/conntrack-guardian"
)

// flags are those that several commands share.
type flags struct {
	policy   string
	stateDir string
	socket   string
	json     bool

	exit int // the exit code where it says more than program's do, else 0
}

const rootLong = `Keeps the connection-tracking table of a NAT gateway from filling up.

run is the daemon. To look: status, top, episodes, actions. To try a policy:
check, plan, replay. To have a say: approve, pause, resume, reload, rollback. To
size the table for good: advise.

status, approve, pause, resume and reload need a running daemon; rollback asks
it where there is one; all others work without it. Exit codes: 0 done, 1 failed,
2 usage, 3 the daemon is not running.`

func newRoot(f *flags) *cobra.Command {
	root := program.Root("conntrack-guardian", "Keeps the connection-tracking table of a NAT gateway from filling up")
	root.Long = rootLong
	// So that the descriptions of flags fit a terminal, too.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages ", ".FlagUsagesWrapped 80 "))
	root.AddCommand(runCommand(f), checkCommand(f), planCommand(f), topCommand(f), adviseCommand(f), actionsCommand(f), rollbackCommand(f),
		episodesCommand(f), replayCommand(f), statusCommand(f), approveCommand(f), reloadCommand(f), pauseCommand(f), resumeCommand(f), versionCommand(f))
	return root
}

func (f *flags) policyFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.policy, "policy", "", "policy `FILE` (default "+defaultPolicy+", or the built-in policy if there is none)")
	_ = cmd.MarkFlagFilename("policy", "toml") // fails only for a flag that is not there
}

func (f *flags) stateFlag(cmd *cobra.Command) {
	dir := os.Getenv("STATE_DIRECTORY") // set by systemd from StateDirectory=
	if dir == "" {
		dir = defaultStateDir
	}
	cmd.Flags().StringVar(&f.stateDir, "state-dir", dir, "`DIR` of the ledger, the flight record and what was learned")
	_ = cmd.MarkFlagDirname("state-dir")
}
