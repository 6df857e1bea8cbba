package actions

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/conntrack-guardian/conntrack-guardian/actions/actionstest"
	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
)

// An effect is one thing that happens to the disk or the kernel. p is what is
// written to the disk, do has the effect.
type effect struct {
	name string
	p    []byte
	do   func(p []byte) error
}

// killed is what a test panics with where the process is to die.
type killed struct{}

// A fault is what happens instead of an effect, and from then on.
type fault struct {
	name string
	hit  func(x effect) error
	// full: every later effect on the disk fails.
	full bool
}

func half(x effect) error { return x.do(x.p[:len(x.p)/2]) }

func die(error) error { panic(killed{}) }

var faults = []fault{
	{name: "fails, no effect", hit: func(effect) error { return syscall.EIO }},
	{name: "fails, took effect", hit: func(x effect) error { return errors.Join(x.do(x.p), syscall.EIO) }},
	{name: "fails half-way", hit: func(x effect) error { return errors.Join(half(x), syscall.ENOSPC) }},
	{name: "killed before", hit: func(effect) error { return die(nil) }},
	{name: "killed after", hit: func(x effect) error { return die(x.do(x.p)) }},
	{name: "killed half-way", hit: func(x effect) error { return die(half(x)) }},
	{name: "disk full from here", hit: func(effect) error { return syscall.ENOSPC }, full: true},
}

// A world is a rig whose effects are counted and hit.
type world struct {
	*rig
	t     *testing.T
	seen  []string
	nth   int // effect to hit, -1 none
	fault fault
	full  bool
	story func(w *world)
	// refusing is a kernel that takes no writes.
	refusing bool
	// What is written and not synced yet: to the ledger, to the file that is to
	// replace it, of the directory.
	pending, tempPending, dirPending bool
	// diesAt is the kernel write, from 1, at which the process dies, 0 never.
	diesAt, writes int
}

func newWorld(t *testing.T, story func(*world), opt ledger.Options, nth int, f fault) *world {
	w := &world{t: t, story: story, nth: nth, fault: f}
	opt.Around = func(e ledger.Effect, p []byte, do func([]byte) error) error {
		return w.happens(effect{name: string(e), p: p, do: do})
	}
	w.rig = offRig(t.TempDir(), opt)
	w.kernel.SetAround(func(name, value string, do func() error) error {
		w.writeAhead(name, value)
		if w.refusing {
			return syscall.EACCES
		}
		if w.writes++; w.writes == w.diesAt {
			panic(killed{})
		}
		return w.happens(effect{name: "write kernel", do: func([]byte) error { return do() }})
	})
	w.leased.SetAround(w.aroundLeases)
	return w
}

func (w *world) happens(x effect) error {
	w.order(x)
	if do := x.do; ledger.Effect(x.name) == ledger.Rename {
		x.do = func(p []byte) error {
			err := do(p)
			w.dirPending = w.dirPending || err == nil
			return err
		}
	}
	n := len(w.seen)
	w.seen = append(w.seen, x.name)
	disk := x.name != "write kernel"
	if n == w.nth {
		w.full = w.fault.full
	}
	var err error
	switch {
	case n == w.nth && (disk || !w.full):
		err = w.fault.hit(x)
	case w.full && disk:
		err = syscall.ENOSPC
	default:
		err = x.do(x.p)
	}
	if err == nil {
		w.synced(x)
	}
	return err
}

// order fails when an effect comes before what must be on the disk by then.
func (w *world) order(x effect) {
	switch ledger.Effect(x.name) {
	case ledger.Append:
		if w.dirPending {
			w.t.Error("appended to a file whose name is not on the disk")
		}
		w.pending = true
	case ledger.WriteTemp:
		w.tempPending = true
	case ledger.Rename:
		if w.tempPending {
			w.t.Error("the ledger was replaced by a file that is not on the disk")
		}
	}
}

func (w *world) synced(x effect) {
	switch ledger.Effect(x.name) {
	case ledger.Sync, ledger.Truncate:
		w.pending = false
	case ledger.SyncTemp:
		w.tempPending = false
	case ledger.SyncDir:
		w.pending, w.dirPending = false, false
	}
}

// writeAhead holds every write to the kernel against what is on the disk at
// that moment: an open change that says so. Only taking back may go on without.
func (w *world) writeAhead(name, value string) {
	w.t.Helper()
	changes, err := ledger.Read(w.dir)
	if err != nil {
		w.t.Fatal(err)
	}
	prolonged := false
	said := slices.ContainsFunc(changes, func(c ledger.Change) bool {
		return c.State.Open() && slices.ContainsFunc(c.Edits, func(e ledger.Edit) bool {
			doing := c.State == intended && e.After == value
			takingBack := e.Before == value && (c.State != applied || w.ledger.Err() != nil)
			prolonged = kernelName(e.Key) == name && c.State == applied && e.Before == NoLease && e.After == value
			return kernelName(e.Key) == name && (doing || takingBack) || prolonged
		})
	})
	// What is prolonged was on the disk when it was made.
	if w.pending && w.ledger.Err() == nil && !prolonged {
		w.t.Errorf("%s was written to %s before the ledger was synced", value, name)
	}
	if !said {
		w.t.Errorf("%s was written to %s, and the ledger on disk does not say so", value, name)
	}
}

// kernelName is what the kernel calls the value of a key.
func kernelName(key string) string {
	if namespace, class, ok := ParseTimeoutKey(key); ok {
		return actionstest.In(namespace, class.Key())
	}
	kind, name, _ := strings.Cut(key, ":")
	if slices.Contains(slices.Collect(maps.Values(kindNames)), kind) {
		return key
	}
	return name
}

// play starts and goes through the story. It reports whether it was killed.
func (w *world) play() (dead bool) {
	defer func() {
		if p := recover(); p != nil {
			if _, dead = p.(killed); !dead {
				panic(p)
			}
		}
	}()
	w.start(w.t)
	w.story(w)
	return false
}

// mend goes on after a failure as the daemon does. What it can't mend now is
// mended after the restart.
func (w *world) mend(err error) {
	if err != nil {
		_, _ = w.Probe()
		_, _ = w.Recover()
	}
}

// stories are what is done and taken back in the fault tests.
var stories = map[string]func(w *world){
	"stack": stack, "undo given up": giveUp, "timeouts": shorten, "leases": lease, "plain leases": leasePlain, "taken leases": taken,
}

// stack does two changes, one on the other, and takes both back.
func stack(w *world) {
	first, err := w.Do(change(edit(MaxKey, "65536", "131072")))
	w.mend(err)
	_, err = w.Do(change(edit(MaxKey, "131072", "262144")))
	w.mend(err)
	if first.ID > 0 {
		_, err = w.Judge(first.ID, "helped")
		w.mend(err)
		_, err = w.Undo(first.ID, "calm")
		w.mend(err)
	}
}

// giveUp does a change on one whose undo the kernel has refused.
func giveUp(w *world) {
	first, err := w.Do(change(edit(MaxKey, "65536", "131072")))
	w.mend(err)
	if first.ID == 0 {
		return
	}
	w.refusing = true
	_, err = w.Undo(first.ID, "calm")
	w.refusing = false
	if !errors.Is(err, syscall.EACCES) {
		w.mend(err)
	}
	_, err = w.Do(change(edit(MaxKey, "131072", "262144")))
	w.mend(err)
	if c, open := w.find(first.ID); open && c.State == undoing {
		w.t.Errorf("%v, and the undo is neither given up nor finished", err)
	}
	_, err = w.Undo(first.ID, "calm")
	w.mend(err)
}

// rise starts a new process on what the old one has left, with a whole disk.
func (w *world) rise() {
	w.t.Helper()
	if w.Executor != nil { // else killed while opening
		w.stop(w.t)
	}
	dir := w.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(w.dir)); err != nil {
		w.t.Fatal(err)
	}
	w.dir, w.nth, w.full, w.diesAt, w.refusing = dir, -1, false, 0, false
	w.pending, w.tempPending, w.dirPending = false, false, false
	w.start(w.t)
	w.t.Cleanup(func() { w.ledger.Close() })
	if _, err := w.Recover(); err != nil {
		w.t.Errorf("recover: %v", err)
	}
}

// agree holds the kernel against the changes in memory and on the disk.
func (w *world) agree() {
	w.t.Helper()
	top := map[string]ledger.Edit{}
	for _, c := range w.Open() {
		if c.State != applied {
			w.t.Errorf("after recovery change %d is %s", c.ID, c.State)
		}
		for _, e := range c.Ours() {
			if below, ok := top[e.Key]; ok && e.Before != below.After {
				w.t.Errorf("change %d stands on %s, below it is %s", c.ID, e.Before, below.After)
			}
			top[e.Key] = e
		}
	}
	for key, e := range top {
		if got := w.kernel.Value(kernelName(key)) + w.leased.Value(key); got != e.After {
			w.t.Errorf("%s is applied with %s, the kernel reads %s", key, e.After, got)
		}
	}
	w.want(w.t, w.max(), statesOf(w.Changes())...)
	seen := map[actionstest.Write]bool{}
	for _, x := range w.kernel.Writes() {
		if x.Old == x.New || seen[x] {
			w.t.Errorf("%v was done twice: %v", x, w.kernel.Writes())
		}
		seen[x] = true
	}
}

// again recovers once more: nothing may be left to settle.
func (w *world) again() {
	w.t.Helper()
	gen, writes := w.Generation(), len(w.kernel.Writes())
	moved, err := w.Recover()
	if err != nil || moved != nil || w.Generation() != gen || len(w.kernel.Writes()) != writes {
		w.t.Errorf("recovering a second time moved %v, %v", moved, err)
	}
}

// rollback takes everything back that is open, each with what stands on it.
func (w *world) rollback() {
	w.t.Helper()
	for _, c := range slices.Clone(w.Open()) {
		if _, err := w.Undo(c.ID, "rollback"); err != nil && !errors.Is(err, ErrNotOpen) {
			w.t.Error(err)
		}
	}
	if open := w.Open(); len(open) > 0 {
		w.t.Errorf("open after rollback: %v", open)
	}
}

// asItWas fails unless the kernel has every value that it began with.
func (w *world) asItWas() {
	w.t.Helper()
	if d := cmp.Diff(offRig("", ledger.Options{}).kernel.Values(), w.kernel.Values()); d != "" {
		w.t.Errorf("all taken back (-want +got):\n%s", d)
	}
	w.inForce(w.t)
}

// bounds: one where the ledger never compacts and one where it does all the time.
var bounds = []ledger.Options{{}, {Bound: 500, Keep: 1}}

// TestEveryFaultAtEveryStep hits each effect that the disk and the kernel have
// in each story, the opening and compacting of the ledger
// included, with each fault; then a new process recovers, and takes all back.
func TestEveryFaultAtEveryStep(t *testing.T) {
	for name, story := range stories {
		for _, opt := range bounds {
			t.Run(fmt.Sprintf("%s/bound %d", name, opt.Bound), func(t *testing.T) { everyFault(t, story, opt) })
		}
	}
}

func everyFault(t *testing.T, story func(*world), opt ledger.Options) {
	clean := newWorld(t, story, opt, -1, fault{})
	clean.play()
	clean.asItWas()
	clean.rise()
	clean.agree()
	for n, name := range clean.seen {
		for _, f := range faults {
			t.Run(fmt.Sprintf("%d %s/%s", n, name, f.name), func(t *testing.T) { meet(t, story, opt, n, f, 0) })
		}
	}
}

// TestKilledOnFullDisk is the worst: the disk fills up at some effect, taking
// back goes on unrecorded, and the process is killed at a write to the kernel.
// A stack may then stay half up, but never with a change that claims a value
// which the kernel does not have.
func TestKilledOnFullDisk(t *testing.T) {
	opt := bounds[0]
	for name, story := range map[string]func(*world){"stack": stack, "timeouts": shorten, "leases": lease, "plain leases": leasePlain, "taken leases": taken} {
		clean := newWorld(t, story, opt, -1, fault{})
		clean.play()
		clean.rise()
		for n := range clean.seen {
			for write := 1; write <= clean.writes; write++ {
				t.Run(fmt.Sprintf("%s/full at %d, killed at write %d", name, n, write), func(t *testing.T) {
					meet(t, story, opt, n, faults[len(faults)-1], write)
				})
			}
		}
	}
}

func meet(t *testing.T, story func(*world), opt ledger.Options, nth int, f fault, diesAt int) {
	w := newWorld(t, story, opt, nth, f)
	w.diesAt = diesAt
	w.play()
	w.rise()
	w.agree()
	w.again()
	w.rollback()
	w.agree()
	if diesAt == 0 {
		w.asItWas()
	}
}
