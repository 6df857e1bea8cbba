package sysctl

import (
	"errors"
	"io/fs"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
)

// nf_conntrack_max can be written in the initial namespace only.
func TestRootWritable(t *testing.T) {
	const key = "net.netfilter.nf_conntrack_max"
	if err := Writable(key); err != nil {
		t.Error(err)
	}
	path := netnstest.New(t)
	err := netns.Do(path, func() error { return Writable(key) })
	if !errors.Is(err, fs.ErrPermission) {
		t.Errorf("in another namespace: %v, want permission denied", err)
	}
	if err := Writable("net.netfilter.none_of_that_name"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a key that is not there: %v", err)
	}
}
