package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

const (
	readyWithin = 10 * time.Second // from its start to READY=1
	stopWithin  = 10 * time.Second // from SIGTERM to its end
)

// A guardian is a running conntrack-guardian.
type guardian struct {
	program, dir string

	notify *net.UnixConn // stands in for the service manager
	ready  chan struct{} // closed with READY=1
	ended  chan struct{} // closed with the process
	err    error         // why it ended; read after ended

	process *os.Process // nil once it was stopped
}

// startGuardian runs the program under a policy and waits until it is ready.
func startGuardian(ctx context.Context, program, dir, policy string) (*guardian, error) {
	g := &guardian{program: program, dir: dir, ready: make(chan struct{}), ended: make(chan struct{})}
	if err := os.WriteFile(g.path("policy.toml"), []byte(policy), 0o600); err != nil {
		return nil, fmt.Errorf("write the policy: %w", err)
	}
	if err := g.listen(); err != nil {
		return nil, err
	}
	if err := g.run(); err != nil {
		return nil, errors.Join(err, g.notify.Close())
	}
	if err := g.waitReady(ctx); err != nil {
		_ = g.stop() // what it could add is in err
		return nil, err
	}
	return g, nil
}

func (g *guardian) path(name string) string { return filepath.Join(g.dir, name) }

// listen receives what the guardian tells the service manager, sd_notify(3).
func (g *guardian) listen() (err error) {
	g.notify, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: g.path("notify"), Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("listen for readiness: %w", err)
	}
	go func() {
		var once sync.Once
		buf := make([]byte, 4096)
		for {
			n, err := g.notify.Read(buf)
			if err != nil {
				return // closed
			}
			for line := range bytes.Lines(buf[:n]) {
				if string(bytes.TrimSpace(line)) == "READY=1" {
					once.Do(func() { close(g.ready) })
				}
			}
		}
	}()
	return nil
}

// run starts the process. It dies with the lab: a guardian whose lab was killed
// would go on changing the machine's values under Cleanup's hands. The kernel
// watches the starting thread, not the process (PR_SET_PDEATHSIG), so that thread
// waits for the end.
func (g *guardian) run() error {
	log, err := os.Create(g.path("log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(g.program, "run", "--policy", g.path("policy.toml"), "--state-dir", g.path("state"))
	cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+g.path("notify"), "RUNTIME_DIRECTORY="+g.dir)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig: syscall.SIGKILL,
		Setpgid:   true, // Ctrl-C is for the lab, which then stops the guardian
	}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			g.err = cmd.Wait()
			close(g.ended)
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start the guardian: %w", err)
	}
	g.process = cmd.Process
	return nil
}

func (g *guardian) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	select {
	case <-g.ready:
		return nil
	case <-g.ended:
		return fmt.Errorf("the guardian ended before it was ready:\n%s", g.log())
	case <-ctx.Done():
		return fmt.Errorf("wait for the guardian to be ready: %w\n%s", ctx.Err(), g.log())
	}
}

// stop asks the guardian to end as the service manager would. It fails if the
// guardian had ended before, did not end in time, or says it failed. A second
// call does nothing.
func (g *guardian) stop() error {
	if g.process == nil {
		return nil
	}
	process := g.process
	g.process = nil
	defer g.notify.Close()
	select {
	case <-g.ended:
		return fmt.Errorf("the guardian had ended by itself: %w\n%s", orExited(g.err), g.log())
	default:
	}
	_ = process.Signal(syscall.SIGTERM)
	select {
	case <-g.ended:
	case <-time.After(stopWithin):
		_ = process.Kill()
		<-g.ended
		return fmt.Errorf("the guardian did not end within %s of SIGTERM:\n%s", stopWithin, g.log())
	}
	if g.err != nil {
		return fmt.Errorf("the guardian failed: %w\n%s", g.err, g.log())
	}
	return nil
}

func orExited(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// log is the end of what the guardian printed.
func (g *guardian) log() string {
	text, err := os.ReadFile(g.path("log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// changes asks the guardian for the ledger's account, as an operator would.
func (g *guardian) changes(ctx context.Context) ([]ledger.Change, error) {
	ctx, cancel := context.WithTimeout(ctx, stopWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, g.program, "actions", "--json", "--state-dir", g.path("state"))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	text, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("read the ledger's account: %w: %s", err, errs.String())
	}
	var all []ledger.Change
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("read the ledger's account: %w", err)
	}
	return all, nil
}
