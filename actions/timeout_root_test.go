package actions

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// timeoutsOf are all timeouts of a namespace, as text.
func timeoutsOf(t *testing.T, namespace string) map[timeout.Class]string {
	t.Helper()
	all := map[timeout.Class]string{}
	err := netns.Do(namespace, func() error {
		table, err := timeout.Read()
		for c, seconds := range table.Of {
			if seconds == 0 {
				continue
			}
			text, err := sysctl.Read(timeout.Class(c).Key())
			if err != nil {
				return err
			}
			all[timeout.Class(c)] = text
		}
		return err
	})
	if err != nil || len(all) < 10 {
		t.Fatalf("%d timeouts of %s: %v", len(all), namespace, err)
	}
	return all
}

func onKernel(t *testing.T, dir string) *Executor {
	t.Helper()
	l, err := ledger.Open(dir, boot)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return New(l, map[string]Target{"timeout": KernelTimeouts()})
}

// down is a change of a namespace's timeouts from what they are.
func down(namespace string, from, to map[timeout.Class]string) ledger.Change {
	c := ledger.Change{Measure: "shorten-timeouts", Namespace: namespace, Level: 1}
	for class := range timeout.Classes {
		if after, ok := to[class]; ok {
			c.Edits = append(c.Edits, edit(TimeoutKey(namespace, class), from[class], after))
		}
	}
	return c
}

func overlaid(on, with map[timeout.Class]string) map[timeout.Class]string {
	all := maps.Clone(on)
	maps.Copy(all, with)
	return all
}

func holdsTimeouts(t *testing.T, what, namespace string, want map[timeout.Class]string) {
	t.Helper()
	if d := cmp.Diff(want, timeoutsOf(t, namespace)); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestRootTimeoutsDownAndBack(t *testing.T) {
	namespace, other := netnstest.New(t), netnstest.New(t)
	was, ours := timeoutsOf(t, namespace), timeoutsOf(t, "")
	first := map[timeout.Class]string{timeout.TCPTimeWait: "60", timeout.TCPFinWait: "50", timeout.UDP: "21", timeout.UDPStream: "70"}
	second := map[timeout.Class]string{timeout.TCPTimeWait: "30", timeout.ICMP: "11"}

	dir := t.TempDir()
	e := onKernel(t, dir)
	for _, to := range []map[timeout.Class]string{first, second} {
		c, err := e.Do(down(namespace, timeoutsOf(t, namespace), to))
		if err != nil || c.State != applied {
			t.Fatal(c, err)
		}
	}
	holdsTimeouts(t, "shortened", namespace, overlaid(overlaid(was, first), second))
	holdsTimeouts(t, "another namespace", other, was)
	holdsTimeouts(t, "our own namespace", "", ours)

	if err := e.ledger.Close(); err != nil { // the daemon is gone, the values stay
		t.Fatal(err)
	}
	e = onKernel(t, dir)
	if moved, err := e.Recover(); err != nil || moved != nil {
		t.Fatal(moved, err)
	}
	if moved, err := e.Undo(1, "calm"); err != nil || len(moved) != 2 || moved[0].State != undone || moved[1].State != undone {
		t.Fatal(moved, err)
	}
	holdsTimeouts(t, "given back", namespace, was)
}

func TestRootRivalTakesOneTimeout(t *testing.T) {
	namespace := netnstest.New(t)
	was := timeoutsOf(t, namespace)
	e := onKernel(t, t.TempDir())
	to := map[timeout.Class]string{timeout.TCPTimeWait: "60", timeout.TCPFinWait: "50", timeout.UDP: "21"}
	if c, err := e.Do(down(namespace, was, to)); err != nil || c.State != applied {
		t.Fatal(c, err)
	}
	if err := netns.Do(namespace, func() error { return sysctl.Write(timeout.TCPFinWait.Key(), "77") }); err != nil {
		t.Fatal(err)
	}
	moved, err := e.Undo(1, "calm")
	if err != nil || len(moved) != 1 || moved[0].State != undone {
		t.Fatal(moved, err)
	}
	if d := cmp.Diff([]string{TimeoutKey(namespace, timeout.TCPFinWait)}, moved[0].Yielded); d != "" {
		t.Error(d)
	}
	holdsTimeouts(t, "given back but one", namespace, overlaid(was, map[timeout.Class]string{timeout.TCPFinWait: "77"}))
}

// named gives a namespace a name, as ip-netns(8) does, and returns how that takes
// the name away: in two steps.
func named(t *testing.T, namespace string) (name string, unmount, remove func()) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "tenant")
	err := errors.Join(os.WriteFile(name, nil, 0o444), unix.Mount(namespace, name, "", unix.MS_BIND, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(name, unix.MNT_DETACH) })
	must := func(f func() error) func() {
		return func() {
			t.Helper()
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
	}
	return name, must(func() error { return unix.Unmount(name, unix.MNT_DETACH) }), must(func() error { return os.Remove(name) })
}

func TestRootTimeoutsOfGoneNamespaceAreVoid(t *testing.T) {
	holder, drop := netnstest.Hold(t)
	namespace, unmount, remove := named(t, holder)
	drop()
	e, was := onKernel(t, t.TempDir()), timeoutsOf(t, namespace)
	to := map[timeout.Class]string{timeout.TCPTimeWait: "60", timeout.UDP: "21"}
	if c, err := e.Do(down(namespace, was, to)); err != nil || c.State != applied {
		t.Fatal(c, err)
	}
	unmount()
	// The name is still there: something may yet be mounted on it.
	if moved, err := e.Recover(); err == nil || moved != nil || errors.Is(err, ErrGone) {
		t.Fatalf("a name without a namespace: %v, %v", moved, err)
	}
	remove()
	moved, err := e.Recover()
	if err != nil || len(moved) != 1 || moved[0].State != ledger.Void || moved[0].Note != "the namespace is gone" {
		t.Fatal(moved, err)
	}
	if _, err := e.Do(down(namespace, was, to)); !errors.Is(err, ErrGone) {
		t.Errorf("changed where nothing is: %v", err)
	}
}

// Another namespace of the same name is not the one that was changed.
func TestRootNamespaceMadeAnewIsNotOurs(t *testing.T) {
	namespace, unmount, _ := named(t, netnstest.New(t))
	e, was := onKernel(t, t.TempDir()), timeoutsOf(t, namespace)
	to := map[timeout.Class]string{timeout.TCPTimeWait: "60", timeout.UDP: "21"}
	if c, err := e.Do(down(namespace, was, to)); err != nil || c.State != applied {
		t.Fatal(c, err)
	}
	unmount()
	if err := unix.Mount(netnstest.New(t), namespace, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if moved, err := e.Undo(1, "calm"); err != nil || len(moved) != 1 || moved[0].State != yielded {
		t.Fatal(moved, err)
	}
	holdsTimeouts(t, "made anew", namespace, was)
}
