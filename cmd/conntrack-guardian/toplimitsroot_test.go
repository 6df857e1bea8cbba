package main

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
)

// An upholder holds real leases in a gateway, with a ledger, in the daemon's place.
type upholder struct {
	*site
	leases   *actions.Leases
	executor *actions.Executor
	book     *ledger.Ledger
}

const leaseSpan = time.Minute // longer than these tests take

var resolver = actions.Flow{Mark: "1a2b3c4d", Flow: nft.Flow{
	Name: "dns", Proto: unix.IPPROTO_UDP, Ports: []nft.Ports{{Low: 53, High: 53}},
	From: []netip.Prefix{netip.MustParsePrefix("10.77.0.0/16")}, To: []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")},
}}

// newUpholder makes a gateway without touching nf_conntrack_max.
func newUpholder(t *testing.T) *upholder {
	t.Helper()
	g, err := lab.NewGateway(lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	u := &upholder{site: &site{T: t, gateway: g, dir: t.TempDir()}, leases: actions.KernelLeases()}
	u.write("guardian.toml", fmt.Sprintf("version = 1\nnamespace = %q\n", g.Router.Path()))
	u.leases.Bounds(32, 64, []actions.Flow{resolver})
	t.Cleanup(u.end)
	id, err := boot.ID()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(u.path("state"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(u.path("state"), id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	u.book, u.executor = l, actions.New(l, u.leases.Targets())
	return u
}

// end ends all leases, as the death of the daemon does.
func (u *upholder) end() {
	u.Helper()
	if err := u.leases.Close(); err != nil {
		u.Error(err)
	}
}

// hold puts a lease in force in the gateway.
func (u *upholder) hold(l actions.Lease, reason string) {
	u.Helper()
	l.Namespace, l.For = u.gateway.Router.Path(), leaseSpan
	measure := "limit-source"
	if l.Kind == nft.Bypass {
		measure = "bypass"
	}
	c, err := u.executor.Do(ledger.Change{
		Measure: measure, Cause: "table-full", Reason: reason, Namespace: l.Namespace, Edits: []ledger.Edit{actions.LeaseEdit(l)},
	})
	if err != nil || c.State != ledger.Applied {
		u.Fatalf("%s: %s %q, %v", actions.LeaseEdit(l).Key, c.State, c.Note, err)
	}
}

// limits runs top --limits on the gateway.
func (u *upholder) limits(args ...string) string {
	u.Helper()
	return u.top(append([]string{"--limits", "--state-dir", u.path("state")}, args...)...)
}

func (u *upholder) limitsReport(args ...string) (r limitsReport) {
	u.Helper()
	text := u.limits(append(args, "--json")...)
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		u.Fatalf("%v: %s", err, text)
	}
	return r
}

// Who is limited, what that refuses and until when is told from the kernel, with what
// the ledger knows; when it has ended, both commands know that from the kernel alone.
func TestRootTopLimits(t *testing.T) {
	u := newUpholder(t)
	if text := u.limits(); text != "No source is limited or dropped, and no flow bypasses tracking.\n" {
		t.Fatalf("before: %q", text)
	}
	f := lab.Flood{Pattern: lab.HalfOpen, Rate: 4000, Count: 4000, Sources: 1}
	offender, quiet := f.Source(0), netip.MustParsePrefix("10.77.200.1/32")
	u.hold(actions.Lease{Kind: nft.Limit, Source: quiet, Rate: 50, Burst: 100}, "it came first")
	u.hold(actions.Lease{Kind: nft.Limit, Source: offender, Rate: 50, Burst: 100}, "it floods")
	u.hold(actions.Lease{Kind: nft.Bypass, Flow: "dns", Mark: resolver.Mark}, "the table is full")
	sent, err := u.gateway.Flood(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	passed, err := u.gateway.Count()
	if err != nil {
		t.Fatal(err)
	}

	r := u.limitsReport()
	if len(r.Leases) != 3 || r.Namespace != u.gateway.Router.Path() || r.Unexplained != "" {
		t.Fatalf("%+v", r)
	}
	first := r.Leases[0]
	if first.Source != offender.String() || first.Refused+uint64(passed) < uint64(sent.Sent) || first.Refused > uint64(sent.Sent)-100 {
		t.Errorf("%+v, of %d connections %d came through", first, sent.Sent, passed)
	}
	for i, want := range []string{
		"limit " + offender.String() + " 50 100 2 it floods", "limit " + quiet.String() + " 50 100 1 it came first", "bypass dns 0 0 3 the table is full",
	} {
		row := r.Leases[i]
		if row.Change == nil || row.Held == nil || row.Since == nil {
			t.Fatalf("nothing of the ledger in %+v", row)
		}
		if got := fmt.Sprint(row.Kind, " ", row.Source, row.Flow, " ", row.Rate, " ", row.Burst, " ", *row.Change, " ", row.Reason); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if row.Lease != leaseSpan.Seconds() || row.Left <= 0 || row.Left > row.Lease || *row.Held < row.Lease-row.Left-1 || *row.Held > patience.Seconds() {
			t.Errorf("%g s of %g s left after %g s", row.Left, row.Lease, *row.Held)
		}
	}

	text := u.limits()
	for _, want := range []string{
		`\A2 sources limited, 1 flow untracked; [\d,]+ packets refused\n\nSOURCE OR FLOW .* REASON\n`,
		`(?m)^` + offender.Addr().String() + ` +50/s, burst 100 +[3-4],\d\d\d +\d+s +1m +\d{4}-\d\d-\d\d \d\d:\d\d:\d\d +2  it floods$`,
		`(?m)^10\.77\.200\.1 +50/s, burst 100 +0 +\d+s +1m .* 1  it came first$`,
		`(?m)^dns +untracked +- +\d+s +1m .* 3  the table is full$`,
	} {
		if !regexp.MustCompile(want).MatchString(text) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	u.byAnotherPath()
	u.asActions(first.Refused)

	u.end()
	if text := u.limits(); !strings.HasPrefix(text, "No source is limited") {
		t.Errorf("after the end: %s", text)
	}
	if _, out, errs := u.command("actions"); strings.Count(out, "  over\n") != 3 || errs != "" {
		t.Errorf("after the end:\n%s%s", out, errs)
	}
}

// byAnotherPath asks for the same namespace by another path than the ledger has, and
// without a policy that can be used.
func (u *upholder) byAnotherPath() {
	u.Helper()
	f, err := os.Open(u.gateway.Router.Path())
	if err != nil {
		u.Fatal(err)
	}
	defer f.Close()
	u.write("broken.toml", "vershun = 1\n")
	r := u.limitsReport("--namespace", fmt.Sprintf("/proc/self/fd/%d", f.Fd()), "--policy", u.path("broken.toml"))
	if len(r.Leases) != 3 || r.Leases[0].Change == nil || *r.Leases[0].Change != 2 {
		u.Errorf("%+v", r)
	}
	r = u.limitsReport("--state-dir", u.path("elsewhere"))
	if len(r.Leases) != 3 || r.Leases[0].Change != nil || r.Leases[0].Refused == 0 || !strings.Contains(r.Unexplained, "elsewhere/ledger.jsonl") {
		u.Errorf("without the ledger: %+v", r)
	}
}

// asActions asserts what actions says of the same leases.
func (u *upholder) asActions(refused uint64) {
	u.Helper()
	_, list, errs := u.command("actions")
	if !regexp.MustCompile(`(?m)^2 .* limit 10\.\S+/32 +none +50/s, burst 100, lease 1m +applied +- +\d+s left, [3-4],\d\d\d refused$`).MatchString(list) ||
		!regexp.MustCompile(`(?m)^3 .* bypass dns +none +untracked, lease 1m +applied +- +\d+s left$`).MatchString(list) || errs != "" {
		u.Errorf("%s%s", list, errs)
	}
	_, one, errs := u.command("actions", "1")
	if !regexp.MustCompile(`(?m)^lease +\d+s left, 0 refused$`).MatchString(one) || errs != "" {
		u.Errorf("%s%s", one, errs)
	}
	_, text, _ := u.command("actions", "2", "--json")
	var c toldChange
	if err := json.Unmarshal([]byte(text), &c); err != nil || c.Left == nil || *c.Left <= 0 || *c.Left > leaseSpan.Seconds() || *c.Refused != refused || c.ID != 2 {
		u.Errorf("%v: %s", err, text)
	}
}

// A watch says how many packets are refused a second, one report a line.
func TestRootTopLimitsWatch(t *testing.T) {
	u := newUpholder(t)
	f := lab.Flood{Pattern: lab.HalfOpen, Rate: 2000, Sources: 1}
	u.hold(actions.Lease{Kind: nft.Limit, Source: f.Source(0), Rate: 50, Burst: 100}, "it floods")
	flood := u.flood(f)
	u.until("packets are refused", func() bool { return u.limitsReport().Leases[0].Refused > 100 })
	w := u.watchTop("--limits", "--watch=2s", "--json", "--state-dir", u.path("state"))
	var reports []limitsReport
	for range 2 {
		var r limitsReport
		if err := json.Unmarshal([]byte(w.line()), &r); err != nil || len(r.Leases) != 1 {
			t.Fatalf("%v, %+v", err, r)
		}
		reports = append(reports, r)
	}
	w.stop(unix.SIGTERM)
	flood.stop(t)
	rate := reports[1].Leases[0].PerSecond
	if reports[0].Leases[0].PerSecond != nil || rate == nil || *rate < 1000 || *rate > 2500 {
		t.Errorf("%+v", reports)
	}
}

// A rollback without the daemon ends what old kernels leave, and says of what has ended
// already that it had.
func TestRootRollbackOfLapsedLeases(t *testing.T) {
	u := newUpholder(t)
	u.hold(actions.Lease{Kind: nft.Limit, Source: netip.MustParsePrefix("10.77.200.1/32"), Rate: 50, Burst: 100}, "it floods")
	u.end()
	if err := u.book.Close(); err != nil {
		t.Fatal(err)
	}
	code, out, errs := u.command("rollback", "--restrictions")
	if want := "change 1 undone: limit 10.77.200.1/32 50/s, burst 100, lease 1m → none\n  its lease had ended\n"; code != program.Done || out != want || errs != "" {
		t.Errorf("exit code %d, %q%q, want %q", code, out, errs, want)
	}
}

// Without CAP_NET_ADMIN the ledger is printed all the same, and what is missing said.
func TestRootActionsWithoutPrivileges(t *testing.T) {
	u := newUpholder(t)
	c := leased(0, limit4)
	c.Edits[0].Key = "limit:10.0.0.5/32" // of our own namespace
	if _, err := u.book.Intend(ledger.Change{Measure: c.Measure, Edits: c.Edits}); err != nil {
		t.Fatal(err)
	}
	type result struct {
		code      int
		out, errs string
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		if err := drop(unix.CAP_NET_ADMIN); err != nil {
			done <- result{errs: err.Error()}
			return
		}
		var r result
		r.code, r.out, r.errs = u.command("actions")
		done <- r
	}()
	r := <-done
	if r.code != program.Done || !strings.Contains(r.out, "limit 10.0.0.5/32  none  50/s") || strings.Contains(r.out, "LEASE") ||
		!strings.HasPrefix(r.errs, "What is left of leases can't be read: ") || !strings.Contains(r.errs, "CAP_NET_ADMIN is needed") {
		t.Errorf("%+v", r)
	}
}
