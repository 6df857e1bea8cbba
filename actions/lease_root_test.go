package actions

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// A holder is an executor with leases in the running kernel.
type holder struct {
	*Executor
	leases    *Leases
	namespace string
}

func holderOn(t testing.TB, dir, namespace string) *holder {
	t.Helper()
	l, err := ledger.Open(dir, boot)
	if err != nil {
		t.Fatal(err)
	}
	leases := KernelLeases()
	t.Cleanup(func() { leases.Close(); l.Close() })
	leases.Bounds(32, 64, []Flow{dns})
	return &holder{New(l, leases.Targets()), leases, namespace}
}

// few are leases of each kind, for so long.
func few(namespace string, length time.Duration) []Lease {
	all := []Lease{limited("10.0.0.5/32"), limited("2001:db8:0:1::/64"), dropped("10.0.0.5/32"), bypassed()}
	for i := range all {
		all[i].Namespace, all[i].For = namespace, length
	}
	return all
}

func (h *holder) lease(t testing.TB, all ...Lease) {
	t.Helper()
	for _, l := range all {
		if c, err := h.Do(leaseChange(l)); err != nil || c.State != applied {
			t.Fatalf("%s: %s %q, %v", l.key(), c.State, c.Note, err)
		}
	}
}

// kernelHolds fails unless exactly these leases are in force in a namespace, as any
// process reads it.
func kernelHolds(t testing.TB, namespace string, want ...Lease) {
	t.Helper()
	got, err := KernelLeases().Held(namespace)
	if err != nil {
		t.Fatal(err)
	}
	texts := map[string]string{}
	for _, h := range got {
		texts[h.Key] = h.Text
	}
	for _, l := range want {
		if texts[l.key()] != l.text() {
			t.Errorf("%s reads %q, want %q", l.key(), texts[l.key()], l.text())
		}
		delete(texts, l.key())
	}
	if len(texts) > 0 {
		t.Errorf("in force: %v", texts)
	}
}

func TestRootLeasesAreMadeProlongedAndEnded(t *testing.T) {
	namespace, other := netnstest.New(t), netnstest.New(t)
	all := few(namespace, 3*time.Second)
	h := holderOn(t, t.TempDir(), namespace)
	h.lease(t, all...)
	kernelHolds(t, namespace, all...)
	kernelHolds(t, other)
	flushRuleset(t, namespace) // owned tables stand that
	for range 10 {
		time.Sleep(500 * time.Millisecond)
		if restored, ended, err := h.Renew(); err != nil || restored != nil || ended != nil {
			t.Fatal(restored, ended, err)
		}
	}
	kernelHolds(t, namespace, all...)
	for id := range all {
		if moved, err := h.Undo(id+1, "calm"); err != nil || len(moved) != 1 || moved[0].State != undone || moved[0].Note != "calm" {
			t.Fatal(moved, err)
		}
		kernelHolds(t, namespace, all[id+1:]...)
	}
	if n := tablesOf(t, namespace); n != 0 {
		t.Errorf("%d tables are left", n)
	}
}

func TestRootLeasesLapse(t *testing.T) {
	namespace := netnstest.New(t)
	all := few(namespace, time.Second)
	h := holderOn(t, t.TempDir(), namespace)
	h.lease(t, all...)
	time.Sleep(1100 * time.Millisecond)
	kernelHolds(t, namespace)
	_, ended, err := h.Renew()
	if err != nil || len(ended) != len(all) {
		t.Fatal(ended, err)
	}
	for _, c := range ended {
		if c.State != undone || c.Note != LapsedNote {
			t.Errorf("%+v", c)
		}
	}
	h.lease(t, all...)
	kernelHolds(t, namespace, all...)
}

// A second process can do nothing about a living one's leases, nor has it to do
// anything about a dead one's.
func TestRootLeasesOfAnotherGuardian(t *testing.T) {
	namespace, dir, copied := netnstest.New(t), t.TempDir(), t.TempDir()
	all := few(namespace, time.Minute)
	h := holderOn(t, dir, namespace)
	h.lease(t, all...)
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	second := holderOn(t, copied, namespace)
	if moved, err := second.Recover(); err != nil || moved != nil {
		t.Fatal(moved, err)
	}
	for id := range all {
		if _, err := second.Undo(id+1, "rolled back"); !errors.Is(err, nft.ErrOwned) {
			t.Errorf("undo %d: %v", id+1, err)
		}
	}
	foreign := limited("10.0.0.6/32")
	foreign.Namespace = namespace
	if c, err := second.Do(leaseChange(foreign)); err != nil || c.State != failed {
		t.Errorf("%s: %v", c.State, err)
	}
	kernelHolds(t, namespace, all...)
	if err := h.leases.Close(); err != nil {
		t.Fatal(err)
	}
	kernelHolds(t, namespace)
	if moved, err := second.Recover(); err != nil || len(moved) != len(all) || moved[0].State != undone {
		t.Error(moved, err)
	}
}

// heldBy is set for a process that holds leases until it is killed.
const heldBy = "CONNTRACK_GUARDIAN_TEST_HOLDS_IN"

func TestMain(m *testing.M) {
	if namespace := os.Getenv(heldBy); namespace != "" {
		holdUntilKilled(namespace, os.Args[1])
	}
	os.Exit(m.Run())
}

// holdUntilKilled makes leases, says so on standard output and waits.
func holdUntilKilled(namespace, dir string) {
	l, err := ledger.Open(dir, boot)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	leases := KernelLeases()
	leases.Bounds(32, 64, []Flow{dns})
	e := New(l, leases.Targets())
	for _, lease := range few(namespace, time.Minute) {
		if c, err := e.Do(leaseChange(lease)); err != nil || c.State != applied {
			fmt.Println(c, err)
			os.Exit(1)
		}
	}
	fmt.Println("held")
	select {}
}

func TestRootLeasesOfAKilledProcess(t *testing.T) {
	namespace, dir := netnstest.New(t), t.TempDir()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe, dir)
	child.Env = append(os.Environ(), heldBy+"="+namespace)
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "held\n" {
		t.Fatalf("the child says %q", line)
	}
	all := few(namespace, time.Minute)
	kernelHolds(t, namespace, all...)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	kernelHolds(t, namespace) // long before they would lapse
	h := holderOn(t, dir, namespace)
	moved, err := h.Recover()
	if err != nil || len(moved) != len(all) {
		t.Fatal(moved, err)
	}
	for _, c := range moved {
		if c.State != undone || c.Note != LapsedNote {
			t.Errorf("%+v", c)
		}
	}
	h.lease(t, all...)
	kernelHolds(t, namespace, all...)
}

// Another namespace of the same name is not the one that leases were made in, and the
// old one is rid of them.
func TestRootLeasesOfNamespaceMadeAnew(t *testing.T) {
	old := netnstest.New(t)
	name, unmount, _ := named(t, old)
	h := holderOn(t, t.TempDir(), name)
	all := few(name, time.Minute)
	h.lease(t, all...)
	unmount()
	anew := netnstest.New(t)
	if err := unix.Mount(anew, name, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	restored, ended, err := h.Renew()
	if err != nil || restored != nil || len(ended) != len(all) {
		t.Fatal(restored, ended, err)
	}
	for _, c := range ended {
		if c.State != ledger.Void {
			t.Errorf("%+v", c)
		}
	}
	kernelHolds(t, old)
	h.lease(t, all...)
	kernelHolds(t, name, all...)
	unmount()
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	if moved, err := h.Recover(); err != nil || len(moved) != len(all) || moved[0].State != ledger.Void {
		t.Error(moved, err)
	}
}

// TestRootFakeLeasesRefuseAlike holds the kernel that the other tests use against the
// real one.
func TestRootFakeLeasesRefuseAlike(t *testing.T) {
	terms := nft.Terms{Rate: 50, Burst: 100, IPv4Bits: 32, IPv6Bits: 64, Flows: []nft.Flow{dns.Flow}}
	ask := func(l Lease) nft.Request { return nft.Request{Lease: l.held(), Text: l.text()} }
	odd := ask(limited("10.0.0.5/32"))
	odd.Text = ""
	unknown := bypassed()
	unknown.Flow = "ntp"
	fast, wide, bare := terms, terms, terms
	fast.Rate, wide.IPv4Bits, bare.Flows = 60, 24, nil
	idle := terms
	idle.Rate = 0
	steps := []struct {
		name  string
		terms nft.Terms
		lease time.Duration
		of    []nft.Request
	}{
		{"limit", terms, span, []nft.Request{ask(limited("10.0.0.5/32"))}},
		{"of a moment", terms, time.Millisecond, []nft.Request{ask(limited("10.0.0.5/32"))}},
		{"without a text", terms, span, []nft.Request{odd}},
		{"not one source", terms, span, []nft.Request{ask(limited("10.0.0.0/24"))}},
		{"unknown flow", terms, span, []nft.Request{ask(unknown)}},
		{"no rate", idle, span, []nft.Request{ask(limited("10.0.0.6/32"))}},
		{"another rate", fast, span, []nft.Request{ask(limited("10.0.0.6/32"))}},
		{"another rate of another family", fast, span, []nft.Request{ask(limited("2001:db8::/64"))}},
		{"another rate of all", fast, span, []nft.Request{ask(limited("10.0.0.5/32")), ask(limited("10.0.0.6/32"))}},
		{"drop", terms, span, []nft.Request{ask(dropped("10.0.0.5/32")), ask(bypassed())}},
		{"no flows", bare, span, []nft.Request{ask(dropped("10.0.0.5/32"))}},
		{"wider sources", wide, span, []nft.Request{ask(dropped("10.0.0.0/24"))}},
	}
	namespace, fake := netnstest.New(t), actionstest.NewLeases()
	real, err := KernelLeases().Open(namespace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { real.Close() })
	double, err := fake.Open("")
	if err != nil {
		t.Fatal(err)
	}
	refused := 0
	for _, s := range steps {
		_, realErr := real.Hold(s.terms, s.lease, s.of...)
		_, fakeErr := double.Hold(s.terms, s.lease, s.of...)
		if (realErr == nil) != (fakeErr == nil) || errors.Is(realErr, nft.ErrTerms) != errors.Is(fakeErr, nft.ErrTerms) {
			t.Errorf("%s: the kernel says %v, the fake %v", s.name, realErr, fakeErr)
		}
		if realErr != nil {
			refused++
		}
		alikeLeases(t, s.name, real, double)
	}
	if refused != 8 {
		t.Errorf("%d of %d are refused", refused, len(steps))
	}
	for _, end := range []nft.Lease{steps[0].of[0].Lease, steps[0].of[0].Lease, {Kind: nft.Bypass, Flow: "ntp"}} {
		if err := errors.Join(real.End(end), double.End(end)); err != nil {
			t.Error(err)
		}
		alikeLeases(t, "end", real, double)
	}
	rival, err := KernelLeases().Open(namespace)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rival.Close() })
	rivalDouble, err := fake.Open("")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []LeaseSocket{rival, rivalDouble} {
		if _, err := s.Hold(terms, span, ask(limited("10.0.0.9/32"))); !errors.Is(err, nft.ErrOwned) {
			t.Errorf("a rival is told %v", err)
		}
	}
}

// alikeLeases compares what two kernels hold.
func alikeLeases(t *testing.T, what string, a, b LeaseSocket) {
	t.Helper()
	texts := func(s LeaseSocket) string {
		all, err := s.Read()
		if err != nil {
			t.Fatal(err)
		}
		held := map[string]string{}
		for _, h := range all {
			of := leaseOf("", h.Lease)
			held[of.key()] = h.Text
		}
		return fmt.Sprint(held)
	}
	if texts(a) != texts(b) {
		t.Errorf("after %s: the kernel holds %s, the fake %s", what, texts(a), texts(b))
	}
}

// flushRuleset is nft flush ruleset by another process.
func flushRuleset(t testing.TB, namespace string) {
	t.Helper()
	err := netns.Do(namespace, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		c.FlushRuleset()
		return c.Flush()
	})
	if err != nil {
		t.Fatal(err)
	}
}

func tablesOf(t testing.TB, namespace string) (n int) {
	t.Helper()
	err := netns.Do(namespace, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		all, err := c.ListTables()
		n = len(all)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
