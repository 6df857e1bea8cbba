package record

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Whatever is in a reading comes back, whatever was in the one before.
func TestReadingsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var out, in newest
		now := time.Duration(0)
		s := policy.Snapshot{}
		for range rapid.IntRange(1, 6).Draw(t, "readings") {
			s = next(t, s)
			now += time.Duration(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "pause"))
			var ds []policy.Decision
			var c *policy.Config
			if rapid.Bool().Draw(t, "decisions") {
				ds = []policy.Decision{*drawn[policy.Decision](t), *drawn[policy.Decision](t)}
			}
			if rapid.IntRange(0, 4).Draw(t, "reload") == 0 {
				c = drawn[policy.Config](t)
			}
			payload := out.append(nil, &s, now, ds, c)
			want := Step{Now: now, Snapshot: s, Decisions: ds}
			got, read, err := in.parse(payload[1:])
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want, got, byValue); d != "" {
				t.Fatalf("(-want +got):\n%s", d)
			}
			if d := cmp.Diff(c, read, byValue); d != "" {
				t.Fatalf("policy (-want +got):\n%s", d)
			}
		}
	})
}

// next is a reading of which some parts are as they were.
func next(t *rapid.T, was policy.Snapshot) policy.Snapshot {
	s, is := *drawn[policy.Snapshot](t), reflect.ValueOf(&was).Elem()
	for i := range is.NumField() {
		if rapid.IntRange(0, 3).Draw(t, "same") > 0 {
			reflect.ValueOf(&s).Elem().Field(i).Set(is.Field(i))
		}
	}
	// A ledger changes by a few.
	s.Changes = slices.Clone(was.Changes)
	switch rapid.IntRange(0, 4).Draw(t, "ledger") {
	case 0:
		s.Changes = append(s.Changes, *drawn[policy.Change](t), *drawn[policy.Change](t))
	case 1:
		if n := len(s.Changes); n > 0 {
			s.Changes[rapid.IntRange(0, n-1).Draw(t, "which")].State = policy.Undone
		}
	case 2:
		if n := len(s.Changes); n > 0 {
			s.Changes = slices.Delete(s.Changes, 0, rapid.IntRange(1, n).Draw(t, "gone"))
		}
	case 3:
		s.Changes = nil
	}
	return s
}

// What a reading that was cut or altered gives is an error or a reading, and no panic.
func FuzzReading(f *testing.F) {
	g := newGateway(acting(262_144))
	g.run(20*time.Second, time.Second, 20_000)
	var l newest
	for _, st := range g.steps {
		f.Add(l.append(nil, &st.Snapshot, st.Now, st.Decisions, st.Config)[1:])
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var l newest
		st, c, err := l.parse(payload)
		if err != nil {
			return
		}
		// What was read is written so that it is read again.
		var out, in newest
		again, d, err := in.parse(out.append(nil, &st.Snapshot, st.Now, st.Decisions, c)[1:])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(st, again, byValue, byBits); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
		if diff := cmp.Diff(c, d, byValue, byBits); diff != "" {
			t.Fatalf("policy (-first +second):\n%s", diff)
		}
	})
}

// A list that says it is larger than it is costs no memory.
func TestBoundsOfReadings(t *testing.T) {
	for name, payload := range map[string][]byte{
		"nothing":         {},
		"cut":             {hasCount, 0},
		"unknown parts":   {0x80, 0x80, 0x80, 0x08, 0, 0},
		"too many leases": {hasLeases, 0, 0, 0xff, 0xff, 0xff, 0x7f},
		"cut leases":      {hasLeases, 0, 0, 5, 2},
		"too long a blob": {0x40, 0, 0, 0xff, 0xff, 0x03, '['},
		"too many bytes":  {0, 0, 0, 0},
		"runs of nothing": {hasChanges, 0, 0, 3, 1, 1},
	} {
		var l newest
		if st, _, err := l.parse(payload); err == nil {
			t.Errorf("%s: %+v", name, st)
		}
	}
}
