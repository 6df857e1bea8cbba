package ledger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Options are the ledger's seams and bounds. The zero value is what the daemon
// uses.
type Options struct {
	Around Around                            // nil: straight to the disk
	Now    func() (time.Time, time.Duration) // wall clock and CLOCK_BOOTTIME; nil: the machine's
	Bound  int64                             // bytes from which the file is compacted; 0: 1 MiB
	Keep   int                               // closed changes that a compaction keeps; 0: 500
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = clocks
	}
	if o.Bound == 0 {
		o.Bound = 1 << 20
	}
	if o.Keep == 0 {
		o.Keep = 500
	}
	return o
}

// clocks reads the wall clock and the boot clock. CLOCK_BOOTTIME can't fail on
// a kernel that has conntrack statistics.
func clocks() (time.Time, time.Duration) {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts)
	return time.Now(), time.Duration(ts.Nano())
}

// A Ledger is the open write-ahead record of one state directory.
type Ledger struct {
	dir  *directory
	boot string
	opt  Options

	file *os.File // nil until it could be opened for writing
	good int64    // bytes of whole, synced records; appends go here
	tail []byte   // found behind them on opening, not yet kept aside

	book      book
	gen       uint64
	compactAt int64
	replacing bool // a rewrite has begun and not ended: the file may be ours and yet another
	doubtful  bool // a sync has failed: what the file holds may not be on the disk
	err       error
	notices   []string
}

// Open opens the ledger in the state directory dir, which must exist and be on
// a local file system, and holds it until Close. boot is the kernel's boot_id. It fails with *HeldError
// when another process holds the ledger and with *DamagedError when it can't
// be trusted. A ledger that can be read but not written at present opens: see
// Err.
func Open(dir, boot string) (*Ledger, error) { return OpenWith(dir, boot, Options{}) }

// OpenWith is Open with other than the default options.
func OpenWith(dir, boot string, opt Options) (*Ledger, error) {
	if boot == "" {
		return nil, errors.New("open ledger: no boot id")
	}
	d, err := openDirectory(dir)
	if err != nil {
		return nil, err
	}
	l := &Ledger{dir: d, boot: boot, opt: opt.withDefaults()}
	if err := l.load(); err != nil {
		d.Close()
		return nil, err
	}
	for _, left := range []string{tempName, probeName} { // by a process killed on the way
		_ = d.remove(left)
	}
	if l.err = l.begin(); l.err == nil {
		l.compact()
	}
	return l, nil
}

// load takes the lock and reads the file.
func (l *Ledger) load() error {
	if err := l.dir.lock(); err != nil {
		return err
	}
	s, f, err := l.dir.load(os.O_RDWR)
	if err != nil && (errors.Is(err, unix.EROFS) || errors.Is(err, fs.ErrPermission)) {
		// Undoing must work when the disk has gone read-only. Should it be writable
		// again, the file is replaced.
		if s, f, err = l.dir.load(os.O_RDONLY); f != nil {
			f.Close()
			f = nil
		}
	}
	if err != nil {
		return err
	}
	l.file, l.book, l.good, l.tail = f, s.book, s.good, s.tail
	l.book.next = max(l.book.next, 1)
	l.compactAt = l.opt.Bound
	return nil
}

// begin makes sure of what was read: it may come from a process that was killed
// before its sync.
func (l *Ledger) begin() error {
	if l.file != nil {
		if err := l.sync(); err != nil {
			return err
		}
	}
	return l.ready()
}

// Close lets go of the ledger. Nothing is pending: every append was synced.
func (l *Ledger) Close() error {
	var err error
	if l.file != nil {
		err = l.file.Close()
	}
	return errors.Join(err, l.dir.Close())
}

// Boot is the boot id that the ledger was opened with.
func (l *Ledger) Boot() string { return l.boot }

// Changes returns the recorded changes by rising ID. The slice is shared and
// must not be modified; it stays as it is when the ledger moves on.
func (l *Ledger) Changes() []Change { return l.book.changes }

// Find returns the change with that identifier.
func (l *Ledger) Find(id int) (Change, bool) {
	i, ok := l.book.find(id)
	if !ok {
		return Change{}, false
	}
	return l.book.changes[i], true
}

// Generation rises whenever Changes returns something else.
func (l *Ledger) Generation() uint64 { return l.gen }

// Err is why the ledger could not be written last time, nil when it could.
func (l *Ledger) Err() error { return l.err }

// Notices returns, once, what happened to the file that an operator should
// know: a torn tail cut off, a file written anew.
func (l *Ledger) Notices() []string {
	n := l.notices
	l.notices = nil
	return n
}

func (l *Ledger) notice(format string, args ...any) {
	l.notices = append(l.notices, fmt.Sprintf(format, args...))
}

// Probe tries to become writable again after a failure, and returns what Err
// then returns. It writes nothing when nothing has failed.
func (l *Ledger) Probe() error {
	if l.err == nil {
		return nil
	}
	if l.err = l.ready(); l.err == nil {
		l.err = l.tryWrite()
	}
	return l.err
}

// Intend records a new change at Intended. It gives the change its identifier,
// boot and times, and returns it once the record is on the disk.
func (l *Ledger) Intend(c Change) (Change, error) {
	wall, since := l.opt.Now()
	wall = wall.UTC().Round(0)
	c.ID, c.State, c.Boot = l.book.next, Intended, l.boot
	c.Created, c.Changed, c.Since, c.Made = wall, wall, since, since
	c.Note, c.Outcome, c.Yielded, c.Walk = "", "", nil, nil
	return l.append(c.ID, record{Change: &c})
}

// Step records that a change has come to a state, and why. yielded are keys
// that somebody else has taken; they add to those lost before.
func (l *Ledger) Step(id int, to State, note string, yielded ...string) (Change, error) {
	wall, since := l.opt.Now()
	s := step{ID: id, State: to, Note: note, Yielded: yielded, Boot: l.boot, Wall: wall.UTC().Round(0), Since: since}
	return l.append(id, record{Step: &s})
}

// Judge records whether a change helped.
func (l *Ledger) Judge(id int, outcome string) (Change, error) {
	return l.append(id, record{Judged: &verdict{ID: id, Outcome: outcome}})
}

// append records r on the disk, then in memory, and returns change id.
func (l *Ledger) append(id int, r record) (Change, error) {
	line, err := encode(r)
	if err != nil {
		return Change{}, err
	}
	if r, err = decode(line[:len(line)-1]); err != nil { // what will be read, not what was meant
		return Change{}, fmt.Errorf("encode ledger record: %w", err)
	}
	next := l.book.clone()
	if err := next.fold(r); err != nil {
		return Change{}, fmt.Errorf("append to ledger: %w", err)
	}
	if l.err = l.write(line); l.err != nil {
		return Change{}, fmt.Errorf("append to ledger: %w", l.err)
	}
	// From here the record is on the disk and nothing can fail.
	l.book = next
	l.gen++
	c, _ := l.Find(id)
	l.compact()
	return c, nil
}

// write appends one line and returns when it is on the disk. After a failure
// l.good is as before, and ready cuts off what was left behind it.
func (l *Ledger) write(line []byte) error {
	if err := l.ready(); err != nil {
		return err
	}
	err := l.effect(Append, line, func(p []byte) error { _, err := l.file.WriteAt(p, l.good); return err })
	if err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	if _, inPlace, err := l.inspect(); err != nil || !inPlace {
		return errors.Join(err, fmt.Errorf("%s was removed while a record was written to it", l.dir.name(FileName)))
	}
	l.good += int64(len(line))
	return nil
}

// compact drops old closed changes once the file is large. That it could not
// is no failure of the append before it: the long file is as good.
func (l *Ledger) compact() {
	if l.good < l.compactAt {
		return
	}
	if err := l.rewrite(l.book.pruned(l.opt.Keep)); err != nil {
		l.notice("the ledger could not be compacted, which is tried again later: %v", err)
		l.compactAt = l.good + l.opt.Bound/4
		return
	}
	l.gen++
	l.compactAt = max(l.opt.Bound, 2*l.good)
}
