package sense

import (
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// A script is a kernel for the sensor: each source that is opened plays the
// next of its acts.
type script struct {
	acts   []act
	opened int
	open   int // sources not closed
}

// An act is either a source that can't be opened, or the readings of one.
type act struct {
	refuse   error
	readings []reading
}

type reading struct {
	count int
	lost  uint64
	err   error
	moved bool // before this reading
}

type player struct {
	script   *script
	readings []reading
}

func (s *script) sensor() *Sensor {
	return &Sensor{open: func(string) (source, error) {
		a := s.acts[s.opened]
		s.opened++
		if a.refuse != nil {
			return nil, a.refuse
		}
		s.open++
		return &player{s, a.readings}, nil
	}}
}

func (p *player) read(into *policy.Snapshot) error {
	r := p.readings[0]
	p.readings = p.readings[1:]
	into.Count = r.count
	if r.err == nil {
		into.Losses.Drop = r.lost
	}
	return r.err
}

func (p *player) moved() bool { return len(p.readings) > 0 && p.readings[0].moved }

func (p *player) Close() error { p.script.open--; return nil }

var (
	errGone = fs.ErrNotExist
	errText = errors.New("read key: text")
)

func TestSensorReopens(t *testing.T) {
	s := &script{acts: []act{
		{readings: []reading{{count: 1}, {count: 2, lost: 5}, {count: 3, err: errGone}}},
		{refuse: absent(errGone)}, // unloaded
		{refuse: absent(errGone)},
		{readings: []reading{{count: 4}, {count: 5, lost: 6}, {err: errText}}}, // loaded again
		{readings: []reading{{count: 6}, {err: errText}}},                      // passing trouble
		{readings: []reading{{err: errText}}},                                  // lasting trouble
		{readings: []reading{{err: errGone}}},                                  // gone between open and read
	}}
	sensor := s.sensor()
	for n, want := range []struct {
		count int
		lost  uint64
		err   error
	}{
		{1, 0, nil},
		{2, 5, nil},
		{2, 5, ErrAbsent}, // the snapshot is as it was
		{2, 5, ErrAbsent},
		{4, 0, nil},
		{5, 6, nil},
		{6, 0, nil},
		{6, 0, errText},
		{6, 0, ErrAbsent},
	} {
		snapshot := policy.Snapshot{Count: 2, Losses: policy.Counters{Drop: 5}}
		if want.count == 6 {
			snapshot = policy.Snapshot{Count: 6}
		}
		err := sensor.Read(&snapshot)
		if !errors.Is(err, want.err) || snapshot.Count != want.count || snapshot.Losses.Drop != want.lost {
			t.Errorf("reading %d: count %d, %d lost, %v, want %+v", n, snapshot.Count, snapshot.Losses.Drop, err, want)
		}
		if snapshot.Wall.IsZero() != (err != nil) {
			t.Errorf("reading %d: taken at %v, %v", n, snapshot.Wall, err)
		}
	}
	if s.opened != len(s.acts) || s.open != 0 {
		t.Errorf("%d sources opened of %d, %d left open", s.opened, len(s.acts), s.open)
	}
}

// A namespace with another in its place is not read any more, even while the
// other can't be.
func TestSensorFollows(t *testing.T) {
	s := &script{acts: []act{
		{readings: []reading{{count: 1}, {count: 2, lost: 5}, {count: 3, moved: true}}},
		{refuse: errText},
		{readings: []reading{{count: 4}, {count: 5, lost: 6}}},
	}}
	sensor := s.sensor()
	for n, want := range []struct {
		count int
		lost  uint64
		err   error
	}{{1, 0, nil}, {2, 5, nil}, {0, 0, errText}, {4, 0, nil}, {5, 6, nil}} {
		var snapshot policy.Snapshot
		err := sensor.Read(&snapshot)
		if !errors.Is(err, want.err) || snapshot.Count != want.count || snapshot.Losses.Drop != want.lost {
			t.Errorf("reading %d: count %d, %d lost, %v, want %+v", n, snapshot.Count, snapshot.Losses.Drop, err, want)
		}
	}
	if s.opened != len(s.acts) || s.open != 1 {
		t.Errorf("%d sources opened of %d, %d open", s.opened, len(s.acts), s.open)
	}
}

func TestReadLeavesTheRestAlone(t *testing.T) {
	s := &script{acts: []act{{readings: []reading{{count: 7}}}}}
	sensor := s.sensor()
	snapshot := policy.Snapshot{Unable: "the ledger", Changes: []policy.Change{{ID: 3}}}
	if err := sensor.Read(&snapshot); err != nil {
		t.Fatal(err)
	}
	if snapshot.Unable != "the ledger" || len(snapshot.Changes) != 1 || snapshot.Changes[0].ID != 3 {
		t.Errorf("%+v", snapshot)
	}
	if ago := time.Since(snapshot.Wall); ago < 0 || ago > time.Minute {
		t.Errorf("taken %v ago", ago)
	}
	for range 2 {
		if err := sensor.Close(); err != nil || s.open != 0 {
			t.Errorf("close: %v, %d sources open", err, s.open)
		}
	}
}

func TestOpenRefusesWhatIsNoNamespace(t *testing.T) {
	for _, path := range []string{"/proc/self/ns/mnt", "/run/netns/not-there", "/dev/null"} {
		s, err := Open(path)
		if err == nil || errors.Is(err, ErrAbsent) {
			t.Errorf("Open(%s) = %v, %v, want an error that waiting does not help", path, s, err)
		}
	}
}
