package main

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"net/netip"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// loadPolicy reads the policy file that was named, or the usual one, or falls
// back to the built-in policy where there is none. A file that has been read once
// is missed when it is gone: removing it is no way to approve the built-in policy.
func (f *flags) loadPolicy() (config.File, error) {
	if f.policy != "" {
		return config.Load(f.policy)
	}
	file, err := config.Load(defaultPolicy)
	if errors.Is(err, fs.ErrNotExist) {
		return config.Default(), nil
	}
	f.policy = defaultPolicy
	return file, err
}

// source says where a policy came from.
func (f *flags) source(policy config.File) string {
	switch {
	case policy.Hash == "":
		return "the built-in default (there is no " + defaultPolicy + ")"
	case f.policy == "":
		return defaultPolicy
	}
	return f.policy
}

// writable is why the daemon could not act, nil when it can.
func writable() error { return sysctl.Writable(actions.MaxName) }

// openLedger opens the ledger of a state directory and an executor on it that makes
// leases by the ones given.
func openLedger(dir string, leases *actions.Leases) (*ledger.Ledger, *actions.Executor, error) {
	id, err := boot.ID()
	if err != nil {
		return nil, nil, err
	}
	l, err := ledger.Open(dir, id)
	if err != nil {
		return nil, nil, err
	}
	targets := map[string]actions.Target{
		"sysctl":  &actions.Sysctl{ReadKey: sysctl.Read, WriteKey: sysctl.Write, Count: largestCount},
		"timeout": actions.KernelTimeouts(),
	}
	maps.Copy(targets, leases.Targets())
	return l, actions.New(l, targets), nil
}

// deleteUnreplied deletes what a source has in the table of a namespace without a reply.
func deleteUnreplied(ctx context.Context, namespace string, source netip.Prefix) (n int, err error) {
	err = netns.Do(namespace, func() error {
		n, err = ctnetlink.DeleteUnreplied(ctx, source)
		return err
	})
	return n, err
}

// largestCount is the larger count of a namespace's table and our own: one max
// bounds both. A namespace that is gone holds nothing.
func largestCount(namespace string) (int, error) {
	const key = "net.netfilter.nf_conntrack_count"
	ours, err := sysctl.ReadInt(key)
	if err != nil || namespace == "" {
		return ours, err
	}
	theirs := 0
	err = netns.Do(namespace, func() (err error) {
		theirs, err = sysctl.ReadInt(key)
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	return max(ours, theirs), nil
}
