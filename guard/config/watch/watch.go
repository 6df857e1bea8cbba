package watch

import (
	"errors"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
)

const (
	// quiet is how long nothing must have happened before the files are read: an editor
	// is done with all its steps in a few milliseconds.
	quiet = 250 * time.Millisecond
	// patience is how long reading may be put off by one event after the other, and how
	// long what is wrong must stay so before it is told.
	patience = 2 * time.Second
	// backstop is the time between two looks that nothing gave reason for. It is all
	// there is on filesystems that tell inotify nothing, such as NFS written elsewhere.
	backstop = 30 * time.Second
)

// Loaded is a policy as it was found on disk.
type Loaded struct {
	File config.File // [config.Default] beside an Err
	// Err is [config.Problems], or why there is nothing to read: it is [fs.ErrNotExist]
	// when the file was taken away. Without one the File can be put in force.
	Err  error
	Hash string // of all files, faulty ones too; "" where nothing could be read
	// Order rises from one to the next. What [Watcher.Now] returns can overtake what
	// came by [Watcher.C]: less than what was taken last is outdated.
	Order uint64
}

// Options say what a Watcher cannot know.
type Options struct {
	// Optional says that no policy file is the built-in policy, not an error, as long as
	// there has never been one: taking it away is no way to choose another policy.
	Optional bool
	// InForce is the hash of the File that is in force at the start.
	InForce string
	// Fault is told once, from another goroutine, that inotify does not work. Changes
	// are then noticed within 30 s. It may be nil.
	Fault func(error)
}

// A Watcher watches one policy file and its drop-ins.
type Watcher struct {
	path    string
	options Options
	out     chan Loaded
	ask     chan chan Loaded
	stop    chan struct{}
	done    chan struct{}

	open     func() (*fsnotify.Watcher, error)
	backstop time.Duration

	// What follows belongs to the goroutine.

	notify  *fsnotify.Watcher
	watched places
	faulted bool

	had     bool // a policy file
	order   uint64
	last    print  // of what was sent last, or is in force from the start
	pending *sight // what is to be sent
	doubt   sight  // what is wrong, but not yet for long
	doubted time.Time

	first, latest time.Time // of the events that no look has answered yet
	looked        time.Time // when the files were read last
}

// Start begins to watch the policy file at path, which need not be there.
func Start(path string, o Options) *Watcher {
	w := newWatcher(path, o)
	go w.run()
	return w
}

func newWatcher(path string, o Options) *Watcher {
	return &Watcher{
		path: path, options: o, last: print(o.InForce), had: o.InForce != "", open: fsnotify.NewWatcher, backstop: backstop,
		out: make(chan Loaded), ask: make(chan chan Loaded), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// C is where another policy comes, or what is wrong with it. One that was not taken
// yet is replaced by a newer one.
func (w *Watcher) C() <-chan Loaded { return w.out }

var errClosed = errors.New("read policy: nobody watches it any more")

// Now reads the policy at once, whether it is another or not, and without patience for
// what is wrong. It will not come by C as well.
func (w *Watcher) Now() Loaded {
	answer := make(chan Loaded, 1)
	select {
	case w.ask <- answer:
		return <-answer
	case <-w.done:
		return Loaded{File: config.Default(), Err: errClosed}
	}
}

// Close ends the watch and waits for that. It must be called once.
func (w *Watcher) Close() {
	close(w.stop)
	<-w.done
}

func (w *Watcher) run() {
	defer close(w.done)
	defer w.unwatch()
	w.watch() // from here on nothing is missed, and what was before is found by the first look
	w.looked = time.Now()
	w.touch(w.looked)
	timer := time.NewTimer(quiet)
	defer timer.Stop()
	for {
		select {
		case <-w.stop:
			return
		case w.outlet() <- w.offer():
			w.last, w.pending = w.pending.print, nil
		case answer := <-w.ask:
			answer <- w.now()
		case _, ok := <-w.events():
			if ok {
				w.touch(time.Now())
			}
		case <-w.errors():
			w.stumble()
		case <-timer.C:
			w.wake(time.Now())
		}
		timer.Reset(time.Until(w.due()))
	}
}

// outlet is where to send, nil without anything to send; offer is what.
func (w *Watcher) outlet() chan<- Loaded {
	if w.pending == nil {
		return nil
	}
	return w.out
}

func (w *Watcher) offer() Loaded {
	if w.pending == nil {
		return Loaded{}
	}
	return w.pending.Loaded
}

// touch notes that something has happened.
func (w *Watcher) touch(now time.Time) {
	if w.first.IsZero() {
		w.first = now
	}
	w.latest = now
}

// due is when to look next.
func (w *Watcher) due() time.Time {
	at := w.looked.Add(w.backstop)
	if !w.first.IsZero() {
		at = earlier(at, earlier(w.latest.Add(quiet), w.first.Add(patience)))
	}
	if !w.doubted.IsZero() {
		at = earlier(at, w.doubted.Add(patience))
	}
	return at
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// wake does what has become due.
func (w *Watcher) wake(now time.Time) {
	if now.Before(w.due()) {
		return
	}
	calm := w.first.IsZero() && w.doubted.IsZero()
	s := w.look(now)
	switch {
	case s.print == w.last:
		w.pending, w.doubted = nil, time.Time{}
	case calm: // nobody told of it, so it may be half written
		w.touch(now)
	default:
		w.judge(s, now)
	}
}
