package entries

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// keys is what the names of the keys begin with.
const keys = "net.netfilter.nf_conntrack_"

// datagram is how many bytes of entries are received at once, some 35 entries: an entry
// that is freed and made again for the same tuple may have the same id, so that between
// dump and delete there must be little time.
const datagram = 8 << 10

// checkEvery is how many receives pass until table and count are looked at again. That
// takes some microseconds.
const checkEvery = 16

// A walker is a walk under way, over all its attempts.
type walker struct {
	plan  *Plan
	pace  pace
	judge judge

	count, buckets *sysctl.File
	size           int // of the hash table in buckets, when the attempt began
	table          int // entries then

	sender   *sender
	load     *load // being filled
	recent   recent
	receives int
	began    time.Duration // of the receive before
	fresh    bool          // no entry of the present datagram was judged yet
	before   int           // entries read by former attempts

	read             int
	deleted, retimed tally
	gone, refused    int
	refusal          error
	kept             [verdicts]int
}

// attempt walks the table once. It returns ErrResized if the table was not the same
// throughout, whatever else went wrong.
func (w *walker) attempt(ctx context.Context) (err error) {
	if err := w.open(ctx); err != nil {
		return err
	}
	err = w.pass(ctx)
	resized := w.checkSize()
	failed := w.close()
	switch {
	case resized != nil:
		return resized
	case err != nil:
		return err
	}
	return failed
}

// open reads what the attempt rests on.
func (w *walker) open(ctx context.Context) (err error) {
	w.before, w.receives, w.kept, w.recent = w.read, 0, [verdicts]int{}, recent{}
	if w.buckets, err = sysctl.Open(keys + "buckets"); err != nil {
		return absent(err)
	}
	if w.count, err = sysctl.Open(keys + "count"); err != nil {
		w.buckets.Close()
		return absent(err)
	}
	w.size, err = w.buckets.Int()
	if err == nil {
		w.table, err = w.count.Int()
	}
	if err == nil {
		w.sender, err = newSender(ctx, w.plan.Beside)
	}
	if err != nil {
		w.buckets.Close()
		w.count.Close()
	}
	if err != nil {
		return absent(err)
	}
	w.load = w.sender.first()
	return nil
}

// close counts what is on the way, and closes what was only read.
func (w *walker) close() error {
	w.buckets.Close()
	w.count.Close()
	w.sender.end()
	var errs []error
	for _, l := range w.sender.all {
		errs = append(errs, w.settle(l))
	}
	w.sender.close()
	return errors.Join(errs...)
}

// pass reads all entries.
func (w *walker) pass(ctx context.Context) error {
	conn, err := ctnetlink.OpenSized(datagram)
	if err != nil {
		return err
	}
	defer conn.Close() // only read
	w.began = boot.Now()
	w.judge.at, w.fresh = moment{from: w.began}, true
	_, err = conn.Walk(ctx, ctnetlink.Query{}, w.each, func(int) error { return w.between(ctx) })
	if err != nil {
		return err
	}
	return w.sendAll(ctx)
}

// each judges an entry and queues what is to be done with it.
func (w *walker) each(e *ctnetlink.Entry) bool {
	w.read++
	if w.fresh {
		w.judge.at.to, w.fresh = boot.Now(), false
	}
	v, class, left := w.judge.of(e)
	if v >= toRetime && w.recent.has(e.ID) {
		v = isYoung
	}
	switch v {
	case toDelete:
		w.queued(w.load.batch.Delete(e), &w.load.deletes[class])
	case toRetime:
		w.recent.add(e.ID)
		w.queued(w.load.batch.Retime(e, left), &w.load.remade[class])
	default:
		w.kept[v]++
	}
	return true
}

// queued counts what was queued, or that it was not: an entry that can't be named to
// the kernel for certain is left alone.
func (w *walker) queued(err error, as *int) {
	if err != nil {
		w.refused++
		w.refusal = err
		return
	}
	*as++
}

// between is what is done between two receives. What is received next was dumped
// during the receive before, at the earliest.
func (w *walker) between(ctx context.Context) error {
	if err := w.send(ctx); err != nil {
		return err
	}
	w.receives++
	if w.receives%checkEvery == 0 {
		if err := w.look(); err != nil {
			return err
		}
		if w.plan.Progress != nil {
			read := w.read - w.before
			w.plan.Progress(read, max(w.table, read))
		}
	}
	err := w.wait(ctx)
	w.judge.at.from, w.began, w.fresh = w.began, boot.Now(), true
	return err
}

// wait sleeps as long as the pace wants it, with nothing left to send.
func (w *walker) wait(ctx context.Context) error {
	if w.pace.owes() < shortest {
		return nil
	}
	if err := w.sendAll(ctx); err != nil {
		return err
	}
	return pause(ctx, w.pace.owes())
}

// A load is sent with as many changes, or when it is as old. That is a few datagrams at
// most: to send each one's alone costs more.
const (
	loadSize = 64
	loadAge  = time.Millisecond
)

// send sends what is queued, if it is enough or time for it.
func (w *walker) send(ctx context.Context) error {
	n, now := w.load.batch.Len(), boot.Now()
	if n == 0 || w.load.since == 0 {
		w.load.since = now
	}
	if n == 0 || n < loadSize && now-w.load.since < loadAge {
		return nil
	}
	return w.sendAll(ctx)
}

// sendAll sends what is queued.
func (w *walker) sendAll(ctx context.Context) error {
	if w.load.batch.Len() == 0 {
		return nil
	}
	w.pace.spend(w.load.batch.Len())
	w.load = w.sender.next(ctx, w.load)
	return w.settle(w.load)
}

// settle counts what became of a load, which is empty from then on.
func (w *walker) settle(l *load) error {
	w.deleted.add(&l.deletes, l.deletes.sum()-l.sent.Deleted)
	w.retimed.add(&l.remade, l.remade.sum()-l.sent.Retimed)
	w.gone += l.sent.Gone
	w.refused += l.sent.Refused
	if l.sent.Refused > 0 {
		w.refusal = l.sent.Refusal
	}
	w.pace.beside += l.cpu
	err := l.err
	*l = load{batch: l.batch}
	return err
}

// look returns ErrResized if the table is not the one that the attempt began with, and
// errEnough if it holds few enough entries.
func (w *walker) look() error {
	if err := w.checkSize(); err != nil {
		return err
	}
	if w.plan.Until == 0 {
		return nil
	}
	now, err := w.count.Int()
	if err == nil && now <= w.plan.Until {
		return fmt.Errorf("%w: %d entries are left", errEnough, now)
	}
	return absent(err)
}

func (w *walker) checkSize() error {
	now, err := w.buckets.Int()
	if err != nil {
		return absent(err)
	}
	if now != w.size {
		return fmt.Errorf("%w (%d, then %d)", ErrResized, w.size, now)
	}
	return nil
}

// ErrAbsent is what Walk returns while conntrack is not loaded: there is no table.
var ErrAbsent = errors.New("conntrack is not loaded")

// absent marks err as ErrAbsent if it says that a key does not exist.
func absent(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w", ErrAbsent, err)
	}
	return err
}

// recent are the ids of the entries that were re-timed last. A dump whose place in a
// bucket has gone begins the bucket again: what comes twice has the time left that it
// was just given, which tells nothing of its age.
type recent struct {
	ids [64]uint32 // more than a chain is long
	n   int
}

func (r *recent) add(id uint32) {
	r.ids[r.n%len(r.ids)] = id
	r.n++
}

func (r *recent) has(id uint32) bool {
	return r.n > 0 && slices.Contains(r.ids[:min(r.n, len(r.ids))], id)
}
