// Command guardian-lab makes disposable NAT gateways in network namespaces,
// troubles them and shows what becomes of well-behaved clients. It needs root.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs one command line. Signals end it through its context, so that
// everything is put back: also SIGHUP, and SIGPIPE when the output is piped into
// a program that ends early, which then is a failed write.
func execute(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	pipe := make(chan os.Signal, 1)
	signal.Notify(pipe, unix.SIGPIPE)
	defer signal.Stop(pipe)

	code := program.Execute(ctx, newRoot(), args, stdout, stderr)
	if ctx.Err() != nil {
		fmt.Fprintf(stderr, "guardian-lab: %v; what the lab had changed is put back\n", context.Cause(ctx))
	}
	return code
}

func newRoot() *cobra.Command {
	root := program.Root("guardian-lab", "Disposable NAT gateways, their traffic and their trouble")
	root.AddCommand(demoCommand(), fillCommand(), floodCommand(), benchCommand(), cleanupCommand())
	return root
}

// needRoot says at once what would come out as one refusal or another.
func needRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: it works with network namespaces and nf_conntrack_max")
	}
	return nil
}
