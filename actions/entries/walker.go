package entries

import (
	"context"
	"slices"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/boot"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// datagram is how many bytes of entries are received at once: an entry that is freed
// and made again for the same tuple may have the same id, so that between dump and
// delete there must be little time.
const datagram = 4 << 10 // some 19 entries

// checkEvery is how many receives pass until table and count are looked at again. That
// takes some microseconds.
const checkEvery = 16

// A walker is a walk under way, over all its attempts.
type walker struct {
	plan  *Plan
	pace  pace
	judge judge
	watch watch

	batch    *ctnetlink.Batch // what is to be done with the entries of one datagram
	deletes  tally            // what is in it
	remade   tally
	recent   recent
	receives int
	began    time.Duration // of the receive before
	fresh    bool          // no entry of the present datagram was judged yet

	read             int
	deleted, retimed tally
	gone, refused    int
	refusal          error
	kept             [verdicts]int
}

// attempt walks the table once. It returns ErrResized if the table was not the same
// throughout, whatever else went wrong.
func (w *walker) attempt(ctx context.Context) error {
	if err := w.watch.open(&w.plan.Rules); err != nil {
		return err
	}
	defer w.watch.close()
	err := w.pass(ctx)
	if resized := w.watch.resized(); resized != nil {
		return resized
	}
	return err
}

// pass reads all entries.
func (w *walker) pass(ctx context.Context) (err error) {
	conn, err := ctnetlink.OpenSized(datagram)
	if err != nil {
		return err
	}
	defer conn.Close() // only read
	if w.batch, err = ctnetlink.OpenBatch(); err != nil {
		return err
	}
	defer w.batch.Close() // what is in it is not to be sent
	w.receives, w.kept, w.recent, w.deletes, w.remade = 0, [verdicts]int{}, recent{}, tally{}, tally{}
	w.began = boot.Now()
	w.judge.at, w.fresh = moment{from: w.began}, true
	if _, err = conn.Walk(ctx, ctnetlink.Query{}, w.each, func(int) error { return w.between(ctx) }); err != nil {
		return err
	}
	return w.send(ctx)
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
		w.queued(w.batch.Delete(e), &w.deletes[class])
	case toRetime:
		w.recent.add(e.ID)
		w.queued(w.batch.Retime(e, left), &w.remade[class])
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
	if w.receives++; w.receives%checkEvery == 0 {
		if err := w.look(); err != nil {
			return err
		}
	}
	err := pause(ctx, w.pace.owes())
	w.judge.at.from, w.began, w.fresh = w.began, boot.Now(), true
	return err
}

// look looks whether the walk is to go on.
func (w *walker) look() error {
	if err := w.watch.resized(); err != nil {
		return err
	}
	if err := w.watch.ours(); err != nil {
		return err
	}
	return w.watch.enough(w.plan.Until)
}

// send sends what is queued. These entries were dumped before their timeouts are looked
// at here, so that none has its time from what anybody changes later.
func (w *walker) send(ctx context.Context) error {
	n := w.batch.Len()
	if n == 0 {
		return nil
	}
	for c := range w.deletes {
		if w.deletes[c]+w.remade[c] == 0 {
			continue
		}
		if err := w.watch.is(timeout.Class(c)); err != nil {
			return err
		}
	}
	sent, err := w.batch.Send(ctx)
	w.pace.spend(n)
	w.count(&sent)
	return err
}

// count counts what became of what was queued.
func (w *walker) count(sent *ctnetlink.Sent) {
	w.deleted.add(&w.deletes, w.deletes.sum()-sent.Deleted)
	w.retimed.add(&w.remade, w.remade.sum()-sent.Retimed)
	w.deletes, w.remade = tally{}, tally{}
	w.gone += sent.Gone
	w.refused += sent.Refused
	if sent.Refused > 0 {
		w.refusal = sent.Refusal
	}
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
