package guard

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions"
	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config/watch"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// The timeouts of the kernel for tests.
const (
	timeWait = "net.netfilter.nf_conntrack_tcp_timeout_time_wait"
	udp      = "net.netfilter.nf_conntrack_udp_timeout"
)

var kernelTimeouts = map[string]string{timeWait: "120", udp: "30"}

const thisBoot = "11111111-2222-3333-4444-555555555555"

// A gateway is a guard on a kernel for tests, with a ledger on a real disk and a
// clock that moves by the pauses that the guard asks for.
type gateway struct {
	*Guard
	t      *testing.T
	dir    string
	kernel *actionstest.Kernel
	leased *actionstest.LeaseKernel
	refuse float64 // packets that every limit refuses in a second
	now    time.Duration
	want   int   // entries that the traffic would have
	others int   // entries in another table that shares max
	err    error // why the kernel can't be read
	gone   int   // seconds of a TIME_WAIT that can be sensed, but not read or written otherwise
	lines  *lines
}

func newGateway(t *testing.T) *gateway {
	w := &gateway{t: t, dir: t.TempDir(), kernel: actionstest.New(65536), leased: actionstest.NewLeases(), now: time.Minute, lines: &lines{}}
	for name, value := range kernelTimeouts {
		w.kernel.Set(name, value)
	}
	w.start()
	return w
}

// start begins a run of the daemon on what the last one left.
func (w *gateway) start() {
	w.t.Helper()
	// The ledger stamps its records with the guard's clock.
	l, err := ledger.OpenWith(w.dir, thisBoot, ledger.Options{Now: func() (time.Time, time.Duration) { return time.Now(), w.now }})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	cfg := policy.Default()
	cfg.Mode, cfg.RaiseMax.Ceiling, cfg.RaiseMax.Hold = policy.Act, 262144, time.Minute
	w.Guard = &Guard{
		Writable: func() error { return nil }, Source: func() string { return "a test" },
		Sensor: w, Log: slog.New(w.lines), Clock: func() time.Duration { return w.now }, Config: cfg, Ledger: l,
	}
	w.Leases = &refusals{w.kernelLeases(), w}
	targets := map[string]actions.Target{"sysctl": &actions.Sysctl{
		ReadKey: w.kernel.Read, WriteKey: w.kernel.Write, Count: w.kernel.Entries,
	}, "timeout": &actions.Timeouts{ReadKey: w.kernel.ReadIn, WriteKey: w.kernel.WriteIn, Gone: w.kernel.Gone}}
	maps.Copy(targets, w.Leases.(*refusals).Targets())
	w.Actions = actions.New(l, targets)
	w.Start()
}

// reload has the loop take in a policy as it was read, or why it was not.
func (w *gateway) reload(load func() (config.File, error)) {
	file, err := load()
	_ = w.take(watch.Loaded{File: file, Err: err, Order: w.Guard.reload.order + 1})
}

// kill ends the run as kill -9 does: nothing is written, the lock is let go.
func (w *gateway) kill() {
	w.Ledger.Close()
	w.leased.Kill()
}

// Read implements Sensor.
func (w *gateway) Read(s *policy.Snapshot) error {
	w.leased.Advance(w.now - w.leased.Now())
	if w.err != nil {
		return w.err
	}
	s.Max, s.Buckets = w.value(actions.MaxName), w.value(actions.BucketsName)
	s.Count, s.MemAvailable = min(w.want, s.Max), 4<<30
	s.Timeouts[policy.TCPTimeWait], s.Timeouts[policy.UDP] = w.gone, w.value(udp)
	if w.gone == 0 {
		s.Timeouts[policy.TCPTimeWait] = w.value(timeWait)
	}
	s.Wall = time.Unix(0, int64(w.now))
	w.kernel.SetEntries(max(s.Count, w.others))
	return nil
}

func (w *gateway) value(name string) int {
	n, err := strconv.Atoi(w.kernel.Value(name))
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// run ticks for a while, with the traffic going evenly to want.
func (w *gateway) run(span time.Duration, want int) {
	from, start := w.want, w.now
	for w.now < start+span {
		w.want = from + int(float64(want-from)*float64(w.now-start)/float64(span))
		pause, _ := w.Tick()
		w.now += pause
	}
	w.want = want
}

// lines keeps what is logged.
type lines struct{ all []string }

func (*lines) Enabled(context.Context, slog.Level) bool { return true }
func (l *lines) WithAttrs([]slog.Attr) slog.Handler     { return l }
func (l *lines) WithGroup(string) slog.Handler          { return l }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	text := fmt.Sprintf("%s %s", r.Level, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		text += fmt.Sprintf(" %s=%q", a.Key, a.Value)
		return true
	})
	l.all = append(l.all, text)
	return nil
}

// of returns the lines of one kind.
func (l *lines) of(e event) (found []string) {
	for _, line := range l.all {
		if strings.Contains(line, fmt.Sprintf("MESSAGE_ID=%q", e.id)) {
			found = append(found, line)
		}
	}
	return found
}

func (w *gateway) wantLines(e event, n int) []string {
	w.t.Helper()
	found := w.lines.of(e)
	if len(found) != n {
		newest := w.lines.all[max(0, len(w.lines.all)-10):]
		w.t.Errorf("%d lines of %q, want %d; the newest of all:\n%s", len(found), e.action, n, strings.Join(newest, "\n"))
	}
	return found
}

func (w *gateway) wantMax(n int) {
	w.t.Helper()
	if got := w.value(actions.MaxName); got != n {
		w.t.Errorf("nf_conntrack_max = %d, want %d", got, n)
	}
}

func TestFloodIsAnsweredAndUndone(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(8*time.Second, 131072)
	w.wantMax(262144)
	w.run(20*time.Second, 131072)
	if got, want := w.Status(), "table-filling (spike): 131,072 of 262,144 (50 %), 2 changes active"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
	w.run(5*time.Second, 1000)
	w.run(5*time.Minute, 1000)
	w.wantMax(65536)
	w.wantLines(eventOpened, 1)
	w.wantLines(eventJudged, 2)
	w.wantLines(eventUndone, 2)
	w.wantLines(eventClosed, 1)
	w.wantLines(eventFailed, 0)
	done := w.wantLines(eventDone, 2)
	for _, field := range []string{
		"CHANGE_ID=", "EPISODE=", `CAUSE="table-filling"`, `TARGET="sysctl:net.netfilter.nf_conntrack_max"`,
		`BEFORE="65536"`, `AFTER="131072"`, "REASON=", "UTILIZATION=", "TIME_TO_FULL=",
	} {
		if len(done) > 0 && !strings.Contains(done[0], field) {
			t.Errorf("no %s in %s", field, done[0])
		}
	}
	if got, want := w.Status(), "healthy: 1,000 of 65,536 (2 %)"; got != want {
		t.Errorf("status %q, want %q", got, want)
	}
}

func TestAdviseTouchesNothing(t *testing.T) {
	w := newGateway(t)
	w.Config.Mode = policy.Advise
	w.run(10*time.Second, 1000)
	w.run(8*time.Second, 131072)
	w.run(2*time.Minute, 131072)
	if n := len(w.kernel.Writes()); n != 0 {
		t.Errorf("%d writes in mode advise", n)
	}
	w.wantLines(eventAdvised, 1)
}

// Killed in the episode and started again: nothing is done twice and at the end
// everything is as before, also when the ledger's last line was damaged.
func TestKilledInTheEpisode(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"ledger whole":             func(b []byte) []byte { return b },
		"last line cut short":      func(b []byte) []byte { return b[:len(b)-9] },
		"last line overwritten":    func(b []byte) []byte { b[len(b)-9] ^= 0x55; return b },
		"garbage after the ledger": func(b []byte) []byte { return append(b, "\x00\x00\x00"...) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newGateway(t)
			w.run(10*time.Second, 1000)
			w.run(3*time.Second, 60000) // one raise, no effect judged yet
			w.wantMax(131072)
			w.kill()
			path := filepath.Join(w.dir, "ledger.jsonl")
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(bytes.Clone(b)), 0o640); err != nil {
				t.Fatal(err)
			}
			w.start()
			w.run(8*time.Second, 60000)
			w.wantMax(131072)
			w.run(5*time.Second, 1000)
			w.run(5*time.Minute, 1000)
			w.wantMax(65536)
			if n := len(w.kernel.Writes()); n != 2 {
				t.Errorf("%d writes, want one raise and its undo: %v", n, w.kernel.Writes())
			}
			w.wantLines(eventFailed, 0)
		})
	}
}

func TestRivalIsNeitherFoughtNorUndone(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	w.kernel.Set(actions.MaxName, "100000")
	w.run(2*time.Minute, 99000)
	w.run(10*time.Minute, 1000)
	w.wantMax(100000)
	if n := len(w.kernel.Writes()); n != 1 {
		t.Errorf("%d writes, want only the raise before the rival's: %v", n, w.kernel.Writes())
	}
	w.wantLines(eventYielded, 1)
}

// A rival who writes back the very value from before is one, too.
func TestRivalWritesTheFormerValue(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	w.kernel.Set(actions.MaxName, "65536")
	w.run(2*time.Minute, 60000)
	w.wantMax(65536)
	w.wantLines(eventYielded, 1)
}

func TestRefusedByTheKernel(t *testing.T) {
	w := newGateway(t)
	w.kernel.SetReadOnly(true)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	w.run(30*time.Second, 60000)
	w.wantLines(eventFailed, 1)
	w.wantLines(eventDone, 0)
	if n := w.active(); n != 0 {
		t.Errorf("%d changes active that the kernel refused", n)
	}
}

// An undo that the kernel refuses is tried again and again and said once.
func TestUndoRefusedByTheKernel(t *testing.T) {
	w := newGateway(t)
	w.run(10*time.Second, 1000)
	w.run(3*time.Second, 60000)
	w.kernel.SetReadOnly(true)
	tries := 0
	w.kernel.SetAround(func(_, _ string, do func() error) error { tries++; return do() })
	w.run(5*time.Second, 1000)
	w.run(5*time.Minute, 1000)
	if tries < 2 || tries > 40 {
		t.Errorf("tried %d times in five minutes, want every ten seconds", tries)
	}
	w.wantLines(eventFailed, 1)
	w.wantLines(eventUndone, 0)
	w.kernel.SetReadOnly(false)
	w.run(time.Minute, 1000)
	w.wantMax(65536)
	w.wantLines(eventUndone, 1)
}

func TestUnreadableKernel(t *testing.T) {
	w := newGateway(t)
	w.err = fmt.Errorf("open count: %w", sense.ErrAbsent)
	w.Writable = func() error { return fmt.Errorf("open max for writing: %w", fs.ErrNotExist) }
	w.reportStarted()
	w.wantLines(eventUnable, 0) // what is not there yet can't be refused
	if _, complete := w.Tick(); !complete {
		t.Error("waiting for the module is not complete: the service would never be ready")
	}
	if w.Status() != "waiting: conntrack is not loaded" {
		t.Errorf("status %q", w.Status())
	}
	w.err = errors.New("read count: input/output error")
	for range 3 {
		if _, complete := w.Tick(); complete {
			t.Error("a tick without a reading is complete")
		}
	}
	w.wantLines(eventBlind, 2)
	w.err = nil
	w.Writable = func() error { return errors.New("operation not permitted") } // as could not be known before
	w.Tick()
	w.wantLines(eventSeeing, 1)
	w.wantLines(eventUnable, 1)
}

func TestNoLimit(t *testing.T) {
	w := newGateway(t)
	w.kernel.Set(actions.MaxName, "0")
	w.run(10*time.Second, 0)
	if !strings.HasPrefix(w.Status(), "no limit") {
		t.Errorf("status %q", w.Status())
	}
}
