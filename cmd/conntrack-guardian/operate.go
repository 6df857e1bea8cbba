package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/conntrack-guardian/conntrack-guardian/guard"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config/watch"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/rival"
)

// An operation is what stands between the daemon and its operators: the policy file that
// they edit, the socket by which they command it, and the record that they read.
type operation struct {
	watcher  *watch.Watcher
	server   *control.Server
	recorder *record.Recorder // nil where none is kept
	log      *slog.Logger
}

// operate gives a guard its operators. The policy is that in force.
func (f *flags) operate(g *guard.Guard, policy config.File, log *slog.Logger) (*operation, error) {
	access, err := control.Resolve(policy.Control.Group, policy.Control.ReadAll)
	if err != nil {
		return nil, fmt.Errorf("%w ([control] group, policy from %s)", err, f.source(policy))
	}
	accuse(g)
	op := &operation{log: log}
	g.Desk = guard.NewDesk()
	if op.server, err = control.Listen(f.socket, g.Desk, access, log); err != nil {
		return nil, err
	}
	if op.recorder, err = openRecord(f.stateDir, policy); err != nil {
		g.NoRecord = err
		log.Warn("readings are not recorded: " + err.Error())
	} else if op.recorder != nil {
		g.Record = op.recorder
	}
	path := f.policy
	if path == "" {
		path = defaultPolicy
	}
	op.watcher = watch.Start(path, watch.Options{
		Optional: f.policy == "", InForce: policy.Hash,
		Fault: func(err error) { log.Warn("changes of the policy file are noticed late: " + err.Error()) },
	})
	inForce := policy
	g.Source = func() string { return f.source(inForce) }
	g.Load = op.watcher.Now
	g.Admit = func(next config.File) error {
		if err := op.permit(next.Control, inForce.Control); err != nil {
			return err
		}
		if next.Record != inForce.Record {
			log.Info("the new [record] of the policy counts from the next start of the daemon")
		}
		inForce = next
		return nil
	}
	return op, nil
}

// permit lets in whom a policy lets in. A group that can't be found any more is no reason
// to refuse a policy that has nothing new about it.
func (op *operation) permit(next, inForce config.Control) error {
	access, err := control.Resolve(next.Group, next.ReadAll)
	switch {
	case err == nil:
		op.server.Permit(access)
	case next != inForce:
		return fmt.Errorf("[control] of the policy: %w", err)
	default:
		op.log.Warn("who may use the control socket stays as it was: " + err.Error())
	}
	return nil
}

func (op *operation) close() {
	op.watcher.Close()
	errs := []error{op.server.Close()}
	if op.recorder != nil {
		errs = append(errs, op.recorder.Close())
	}
	if err := errors.Join(errs...); err != nil {
		op.log.Warn("at the end: " + err.Error())
	}
}

// recordDir is where the flight record is, in a state directory.
func recordDir(stateDir string) string { return filepath.Join(stateDir, record.DirName) }

// openRecord opens the flight record, nil where the policy keeps none.
func openRecord(stateDir string, policy config.File) (*record.Recorder, error) {
	if policy.Record.Size == 0 {
		return nil, nil
	}
	id, err := boot.ID()
	if err != nil {
		return nil, err
	}
	return record.Open(recordDir(stateDir), record.Options{
		Size: policy.Record.Size, Boot: id, Values: func() map[string]string { return kernelValues(policy.Namespace) },
	})
}

// kernelValues are the sysctls of conntrack in a namespace, by name. What can't be read is
// left out.
func kernelValues(namespace string) map[string]string {
	const dir, prefix = "/proc/sys/net/netfilter", "net.netfilter."
	values := map[string]string{}
	_ = netns.Do(namespace, func() error { // of a namespace that is gone there are none
		files, err := os.ReadDir(dir)
		for _, f := range files {
			text, err := os.ReadFile(filepath.Join(dir, f.Name()))
			if err == nil && strings.HasPrefix(f.Name(), "nf_conntrack_") {
				values[prefix+f.Name()] = strings.TrimSpace(string(text))
			}
		}
		return err
	})
	return values
}

// accuse has a guard find out who may have written its values on this machine.
func accuse(g *guard.Guard) {
	var module atomic.Pointer[rival.Module] // as it was when something of ours was written last
	g.Remember = func() {
		m := rival.Loaded(rival.Root{})
		module.Store(&m)
	}
	g.Remember()
	g.Suspects = func(ctx context.Context, drifts ...rival.Drift) []rival.Suspect {
		return rival.Suspects(ctx, rival.Root{Module: *module.Load()}, drifts...)
	}
}
