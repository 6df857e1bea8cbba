package record

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// segmentOf is a file with one segment and these payloads behind its header.
func segmentOf(t testing.TB, payloads ...[]byte) []byte {
	t.Helper()
	var f framer
	c := policy.Default()
	h := header{Format: format, Seq: 1, Run: "x", Boot: "b", Wall: time.Unix(0, 0).UTC(), Now: time.Hour, Config: appendPlain(nil, &c, true)}
	if err := h.setState(&policy.State{}); err != nil {
		t.Fatal(err)
	}
	first, err := h.payload()
	if err != nil {
		t.Fatal(err)
	}
	file := append([]byte(nil), magic...)
	for _, p := range append([][]byte{first}, payloads...) {
		if file, err = f.append(file, p); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

// readingOf is the payload of a reading with one part.
func readingOf(mask uint64, part []byte) []byte {
	b := binary.AppendUvarint([]byte{kindReading}, mask)
	return append(binary.AppendVarint(binary.AppendVarint(b, int64(time.Hour)), 0), part...)
}

func blobOf(text string) []byte { return append(binary.AppendUvarint(nil, uint64(len(text))), text...) }

func fileOf(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hostile"+EpisodeSuffix)
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A few bytes don't become hundreds of MiB.
func TestHostileMemory(t *testing.T) {
	many := func(n int) string { return "[" + strings.Repeat("{},", n-1) + "{}]" }
	fresh := func(n uint64, text string) []byte {
		return append(append(binary.AppendUvarint(nil, n+1), 0), blobOf(text)...)
	}
	for name, payload := range map[string][]byte{
		"changes":          readingOf(hasChanges, fresh(10_000, many(690_000))),
		"changes too many": readingOf(hasChanges, fresh(1, many(10_000))),
		"decisions":        readingOf(hasDecisions, blobOf(many(690_000))),
		"500 and one":      readingOf(hasDecisions, blobOf(many(mostDecisions+1))),
		"pointers":         readingOf(hasDecisions, blobOf("["+strings.Repeat(`{"Terms":{}},`, 100_000)+"{}]")),
		"a list in a list": readingOf(hasDecisions, blobOf(`[{"Timeouts":`+many(600_000)+`}]`)),
		"addresses":        readingOf(hasRest, append([]byte{1 << 1}, blobOf(`{"Allowed":[`+strings.Repeat(`"",`, 600_000)+`""]}`)...)),
		"policy":           readingOf(hasConfig, blobOf(`{"Bypass":{"Flows":`+many(300_000)+`},"Allow":`+many(300_000)+`}`)),
		"depth":            readingOf(hasDecisions, blobOf(strings.Repeat("[", 1<<20))),
		"depth unknown":    readingOf(hasDecisions, blobOf(`[{"x":`+strings.Repeat("[", 1<<20))),
	} {
		t.Run(name, func(t *testing.T) {
			path := fileOf(t, segmentOf(t, payload))
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r := read(t, path)
			failed := 0
			for _, err := range r.Steps() {
				if err != nil {
					failed++
				}
			}
			runtime.ReadMemStats(&after)
			// all that was ever allocated, most of it for a moment
			if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; failed != 1 || taken > 120 {
				t.Errorf("%d MiB, failed %d times", taken, failed)
			}
		})
	}
}

// As many as there may be of all are read.
func TestAsManyAsAllowed(t *testing.T) {
	changes := make([]policy.Change, mostChanges)
	for i := range changes {
		changes[i] = policy.Change{ID: i + 1, Measure: policy.RaiseMax, State: policy.Undone, Before: i, After: i + 1, Episode: "20260102T030522Z"}
	}
	leases := make([]policy.Lease, mostLeases)
	ds := make([]policy.Decision, mostDecisions)
	for i := range ds {
		ds[i] = policy.Decision{Verb: policy.Advised, Terms: &policy.Terms{}, Reason: "reason"}
	}
	s := policy.Snapshot{Changes: changes, Leases: leases}
	var l newest
	payload := l.append(nil, &s, time.Second, ds, nil)
	got := steps(t, read(t, fileOf(t, segmentOf(t, payload))))
	if len(got) != 1 || len(got[0].Snapshot.Changes) != mostChanges || len(got[0].Snapshot.Leases) != mostLeases || len(got[0].Decisions) != mostDecisions {
		t.Errorf("%d readings", len(got))
	}
}

// Damage everywhere costs no more time than any other file.
func TestHostileTime(t *testing.T) {
	frames := func(n int) (b []byte) {
		for range n {
			b = append(append(b, magic...), 1, 0xff, 0xff, 0xff, 0xff)
		}
		return b
	}
	large := append(append([]byte(nil), magic...), binary.AppendUvarint(nil, maxFrame)...)
	for name, b := range map[string][]byte{
		"magic":  frames(64 << 20 / 13),
		"frames": bytes.Repeat(append(large, make([]byte, 100)...), 64<<20/120),
	} {
		path := fileOf(t, b)
		begun := time.Now()
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), "no flight record") {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: %v for %d bytes", name, took, len(b))
		}
	}
}

// What is given up after too much damage is said.
func TestMuchDamage(t *testing.T) {
	good := segmentOf(t)
	b := append([]byte(nil), good...)
	for range mostDamages + 10 {
		b = append(append(b, good[:len(good)/2]...), 0xff)
	}
	b = append(b, good...)
	said := ""
	for _, err := range read(t, fileOf(t, b)).Steps() {
		if err != nil {
			said = err.Error()
		}
	}
	if !strings.Contains(said, "1000 places are damaged, and what follows is left out") {
		t.Errorf("%q", said)
	}
}

func TestHostileValues(t *testing.T) {
	values := map[string]string{}
	for i := range 20_000 {
		values[strings.Repeat("x", i%5)+string(rune('a'+i%26))+time.Duration(i).String()] = ""
	}
	text, err := json.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	c, err := scan(source{name: fileOf(t, segmentOf(t, append([]byte{kindValues, firstValues}, text...)))})
	if err != nil || c.begin != nil || c.spans[0].damage == nil {
		t.Errorf("%d values: %v", len(c.begin), err)
	}
}

// What does not deflate is not made larger than a frame may be.
func TestFrameOfNoise(t *testing.T) {
	payload := make([]byte, maxFrame)
	rng := rand.NewChaCha8([32]byte{})
	_, _ = rng.Read(payload) // never fails
	payload[0] = kindReading
	file, err := new(framer).append(nil, payload)
	if err != nil {
		t.Fatal(err)
	}
	kind, got, err := newScanner(bytes.NewReader(file), 0).next()
	if err != nil || kind != kindReading || !bytes.Equal(got, payload[1:]) {
		t.Errorf("kind %q, %d bytes: %v", kind, len(got), err)
	}
}
