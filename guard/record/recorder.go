package record

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

const (
	// segmentTime is how long a segment is written to at most.
	segmentTime = 10 * time.Minute
	// segmentSize is how large a segment becomes, but for one reading.
	segmentSize = 1 << 20
	// smallest is the least that a record may take.
	smallest = 1 << 20
	// leadIn is how much of what was before is kept of an episode.
	leadIn = time.Minute
	// retryAfter is when it is tried again to write to a disk that has failed, and twice as
	// long after each further failure, up to retryEvery: one that has hardly any room is
	// not said to be full and not full in turn.
	retryAfter, retryEvery = 10 * time.Second, 160 * time.Second
	// recordedAgain is for how long readings must have been written again until there is
	// nothing to be said: on a disk with hardly any room a few are, now and then.
	recordedAgain = time.Minute
	// mostPending is how much waits for a disk that does not answer.
	mostPending = 4 << 20
)

// Options are how a record is kept.
type Options struct {
	Size int64  // bytes in all: about half for the ring, half for episodes
	Boot string // the kernel's boot_id
	// Values tells the values of sysctls. It is asked by Add when an episode begins and when
	// it ends, so that they are those before anything is done; nil for nobody.
	Values func() map[string]string
}

// segmentBytes is where a segment ends: the ring is at least sixteen of them.
func (o *Options) segmentBytes() int64 { return min(segmentSize, o.Size/32) }

// A Recorder keeps the flight record. All its methods but Err and Dropped belong to one
// goroutine.
type Recorder struct {
	o      Options
	run    string
	writer *writer

	config   *policy.Config // put in force by a reload, and not yet written
	force    *policy.Config // in force
	newest   newest
	frames   framer
	payload  []byte
	frame    []byte
	seq      uint64        // of the segment that is being written
	begun    time.Duration // boot clock when it was begun
	last     time.Duration // boot clock of the newest reading, 0 before the first
	known    int           // largest id of a change in it
	size     int64         // bytes of it
	open     bool          // there is one
	pause    time.Duration // before the newest attempt after a failure, 0 if there was none lately
	reported uint64        // dropped readings that a segment has told
	episode  summary       // that is being recorded, the zero one for none
	left     summary       // by an earlier run, until it is taken up

	mu      sync.Mutex
	pending batch
	writing bool          // the writer has a batch that is not done
	broken  bool          // the writer has given up, and waits for a new segment
	retry   time.Duration // boot clock before which it is not tried again, 0 if to be set
	dropped uint64        // readings that were not written
	err     error         // why readings are not written, or were not until lately
	works   bool          // they have been since
	since   time.Duration // boot clock of the newest attempt
	wake    chan struct{}
	closing chan struct{}

	episodeErr error // why the file of an episode is not
	syncErr    error // why what is written may not outlast a power cut
	unsynced   time.Time
}

// Open opens the record in a directory, which is made if its parent is there, and holds
// it until Close. What a process that was killed has left is put in order: a frame cut
// short is cut off, an episode left open is closed.
func Open(path string, o Options) (*Recorder, error) {
	if o.Size < smallest {
		return nil, fmt.Errorf("open the record %s: %d bytes are too few, it takes %d", path, o.Size, smallest)
	}
	if err := os.Mkdir(path, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("make the record: %w", err)
	}
	d, err := openDir(path)
	if err != nil {
		return nil, err
	}
	r := &Recorder{
		o: o, run: strconv.FormatInt(time.Now().UnixNano(), 36),
		wake: make(chan struct{}, 1), closing: make(chan struct{}),
	}
	r.writer, err = newWriter(r, d)
	if err != nil {
		d.root.Close()
		return nil, err
	}
	r.seq, r.left = r.writer.newest, r.writer.left
	go r.writer.work()
	return r, nil
}

// Policy takes note of the policy in force: once at the start and at every reload.
func (r *Recorder) Policy(c *policy.Config) {
	kept := *c // its slices are made anew by every reload
	if r.force != nil {
		r.config = &kept
	}
	r.force = &kept
}

// Add takes note of a step: the state and the snapshot that policy.Decide was given, and
// what it returned. It copies what it keeps.
func (r *Recorder) Add(before *policy.State, s *policy.Snapshot, c *policy.Config, now time.Duration, ds []policy.Decision) {
	if r.force == nil {
		r.Policy(c)
	}
	defer func() { r.last = now }()
	if !r.ready(now) {
		return
	}
	if r.due(now) {
		if r.open { // the one before was written to its end
			r.pause = 0
		}
		if err := r.begin(before, s, now); err != nil {
			r.drop(now, err)
			return
		}
	}
	r.payload = r.newest.append(r.payload[:0], s, now, ds, r.config)
	frame, err := r.frames.append(r.frame[:0], r.payload)
	if err != nil {
		r.drop(now, fmt.Errorf("record a reading: %w", err))
		return
	}
	r.config, r.frame, r.size = nil, frame, r.size+int64(len(frame))
	r.put(frame, 1)
	r.recover(now)
	r.follow(before, s, now, ds)
}

// errStalled is that the disk has not answered for thousands of readings.
var errStalled = errors.New("the disk does not answer")

// ready reports whether readings are taken at present; one that is not is counted.
func (r *Recorder) ready(now time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.pending.b) > mostPending && !r.broken {
		r.broken, r.works, r.err = true, false, r.writer.dir.failed(errStalled)
	}
	if !r.broken {
		return true
	}
	r.open, r.episode = false, summary{}
	switch {
	case r.retry == 0:
		r.pause = min(max(2*r.pause, retryAfter), retryEvery)
		r.retry = now + r.pause
		fallthrough
	case now < r.retry || r.writing || !r.pending.empty():
		r.dropped++
		return false
	}
	r.broken, r.works, r.retry, r.since = false, false, 0, now
	r.pending.then((*writer).beginAnew)
	return true
}

// drop counts a reading that can't be written at all. What follows can't rest on it.
func (r *Recorder) drop(now time.Duration, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped++
	r.err, r.works, r.since, r.open = err, false, now, false
}

// recover takes note that readings have been written again for long enough.
func (r *Recorder) recover(now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.works && now-r.since >= recordedAgain {
		r.err = nil
	}
}

// due reports whether a reading begins a new segment.
func (r *Recorder) due(now time.Duration) bool {
	return !r.open || now-r.begun >= segmentTime || r.size >= r.o.segmentBytes() || now < r.last
}

// begin begins a segment.
func (r *Recorder) begin(before *policy.State, s *policy.Snapshot, now time.Duration) error {
	dropped := r.Dropped()
	h := header{
		Format: format, Seq: r.seq + 1, Run: r.run, Boot: r.o.Boot, Wall: s.Wall.UTC().Round(0), Now: now,
		Dropped: dropped - r.reported, Config: appendPlain(nil, r.force, true),
	}
	if err := h.setState(before); err != nil {
		return fmt.Errorf("record the baseline: %w", err)
	}
	payload, err := h.payload()
	if err != nil {
		return fmt.Errorf("begin a segment of the record: %w", err)
	}
	frame, err := r.frames.append(append([]byte(nil), magic...), payload)
	if err != nil {
		return fmt.Errorf("begin a segment of the record: %w", err)
	}
	r.seq, r.begun, r.reported = h.Seq, now, dropped
	r.newest, r.size, r.open = newest{}, int64(len(frame)), true
	sum := r.episode
	r.then(func(w *writer) error { return w.begin(h.Seq, now, sum) })
	r.put(frame, 0)
	return nil
}

// put hands bytes to the writer.
func (r *Recorder) put(frame []byte, readings uint64) {
	r.mu.Lock()
	r.pending.b = append(r.pending.b, frame...)
	r.pending.readings += readings
	r.mu.Unlock()
	r.nudge()
}

// then has the writer do something behind what it was handed until now.
func (r *Recorder) then(do func(*writer) error) {
	r.mu.Lock()
	r.pending.then(do)
	r.mu.Unlock()
	r.nudge()
}

func (r *Recorder) nudge() {
	select {
	case r.wake <- struct{}{}:
	default: // it has been
	}
}

// Err is why readings are not written, the file of an episode is not, or what is written
// may not outlast a power cut: the first of these that there is, nil for none.
func (r *Recorder) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.err, r.episodeErr, r.syncErr)
}

// Dropped is how many readings could not be written.
func (r *Recorder) Dropped() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dropped
}

// Close writes what is pending and lets go of the record.
func (r *Recorder) Close() error {
	close(r.closing)
	<-r.writer.done
	return r.Err()
}

func lock(d *dir) (*os.File, error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("hold the record %s: %w", d.path, err)
	}
	return f, nil
}
