package census

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// plain is a sketch written for clearness: what the real one must hold after the
// same additions, whatever its seed.
type plain struct {
	counts map[uint32]uint32
	room   int
	offset uint32
}

func (p *plain) add(key uint32) {
	if _, known := p.counts[key]; !known && len(p.counts) == p.room {
		median := slices.Sorted(maps.Values(p.counts))[(p.room+1)/2-1]
		p.offset += median
		for key, count := range p.counts {
			if count <= median {
				delete(p.counts, key)
			} else {
				p.counts[key] = count - median
			}
		}
	}
	p.counts[key]++
}

// seed is that of the sketches' hashes.
var seed = newHasher()

func hashOf(key uint32) uint64 { return mix(seed[0]^uint64(key), seed[1]) }

// put counts a key once more.
func put(s *sketch[uint32], key uint32, with ports) {
	if fresh := s.add(hashOf(key), with); fresh != nil {
		*fresh = key
	}
}

// held are the counters of a sketch. Each must be where find looks for it.
func held(t interface{ Fatalf(string, ...any) }, s *sketch[uint32]) map[uint32]uint32 {
	counts := map[uint32]uint32{}
	for i := range s.slots {
		key, at := s.keys[i], s.slots[i]
		if at.count == 0 {
			continue
		}
		if at.hash != hashOf(key) || s.find(at.hash) != uint64(i) {
			t.Fatalf("key %d is in slot %d, which is not found", key, i)
		}
		counts[key] = at.count
	}
	if len(counts) != s.used || s.used > s.room {
		t.Fatalf("%d keys in %d used slots of %d", len(counts), s.used, s.room)
	}
	return counts
}

// bounded checks what the sketch promises.
func bounded(t interface{ Fatalf(string, ...any) }, s *sketch[uint32], truth map[uint32]int) {
	counts := held(t, s)
	added, left := 0, 0
	for key, n := range truth {
		low := int(counts[key])
		if n < low || n > low+int(s.offset) {
			t.Fatalf("key %d was added %d times, the sketch says %d to %d", key, n, low, low+int(s.offset))
		}
		added += n
		left += low
	}
	if int(s.offset)*(s.room/2+1) > added-left {
		t.Fatalf("offset %d after %d additions of which %d are left, with room for %d", s.offset, added, left, s.room)
	}
	if len(truth) <= s.room && s.offset != 0 {
		t.Fatalf("offset %d with %d keys and room for %d", s.offset, len(truth), s.room)
	}
}

func TestSketchIsTheOneDescribed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSketch[uint32](rapid.IntRange(2, 6).Draw(t, "bits"))
		p := plain{counts: map[uint32]uint32{}, room: s.room}
		truth := map[uint32]int{}
		universe := rapid.Uint32Range(1, uint32(3*s.room)).Draw(t, "universe")
		// Few of the keys take most of the additions, and some come many times over.
		draw := rapid.Custom(func(t *rapid.T) uint32 {
			return rapid.Uint32Range(0, rapid.Uint32Range(0, universe).Draw(t, "up to")).Draw(t, "key")
		})
		for range rapid.IntRange(0, 300).Draw(t, "additions") {
			key, times := draw.Draw(t, "of"), 1
			if rapid.IntRange(0, 20).Draw(t, "again") == 0 {
				times = rapid.IntRange(1, 1000).Draw(t, "times")
			}
			for range times {
				put(s, key, ports{})
				p.add(key)
				truth[key]++
			}
			if counts := held(t, s); !maps.Equal(counts, p.counts) || s.offset != p.offset {
				t.Fatalf("%v and offset %d, want %v and %d", counts, s.offset, p.counts, p.offset)
			}
			bounded(t, s, truth)
		}
	})
}

// Streams that are made to be hard.
func TestSketchUnderHostileStreams(t *testing.T) {
	const n = 400_000
	rng := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rng, 1.1, 1, 1<<30)
	const hog = 1 << 31
	for name, key := range map[string]func(i int) uint32{
		"all distinct":           func(i int) uint32 { return uint32(i) },
		"zipf":                   func(int) uint32 { return uint32(zipf.Uint64()) },
		"distinct, then a hog":   func(i int) uint32 { return pick(i < n*9/10, uint32(i), hog) },
		"a hog, then distinct":   func(i int) uint32 { return pick(i < n/10, hog, uint32(i)) },
		"a hog in every tenth":   func(i int) uint32 { return pick(i%10 == 0, hog, uint32(i)) },
		"each key twice":         func(i int) uint32 { return uint32(i / 2) },
		"all keys over and over": func(i int) uint32 { return uint32(i % 30_000) },
		"one more than the room": func(i int) uint32 { return uint32(i % (1<<14*3/4 + 1)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSketch[uint32](14)
			truth := map[uint32]int{}
			for i := range n {
				k := key(i)
				put(s, k, ports{})
				truth[k]++
			}
			bounded(t, s, truth)
			if truth[hog] > 0 && held(t, s)[hog] == 0 {
				t.Error("the hog is lost")
			}
			t.Logf("%d keys, offset %d", len(truth), s.offset)
		})
	}
}

func pick(first bool, a, b uint32) uint32 {
	if first {
		return a
	}
	return b
}

// The median is found however large it is.
func TestSketchMedianOfLargeCounts(t *testing.T) {
	for _, times := range []int{1, 255, 256, 257, 512, 513, 70_000} {
		s := newSketch[uint32](2)
		for key := range uint32(3) {
			for range times + int(key) {
				put(s, key, ports{})
			}
		}
		put(s, 9, ports{}) // the median is that of key 1
		want := map[uint32]uint32{2: 1, 9: 1}
		if counts := held(t, s); int(s.offset) != times+1 || !maps.Equal(counts, want) {
			t.Errorf("%d times: offset %d and %v, want %d and %v", times, s.offset, counts, times+1, want)
		}
	}
}

// Ports go with their key through a purge, and end with it.
func TestSketchKeepsPorts(t *testing.T) {
	s := newSketch[uint32](4)
	const hog = 1 << 20
	for i := range uint32(5000) {
		put(s, i, ports{uint16(i), uint16(i)})
		if i >= 1000 && i < 4000 {
			put(s, hog, ports{uint16(i), uint16(i)})
		}
	}
	if s.offset == 0 {
		t.Fatal("no purge, this shows nothing")
	}
	seen := 0
	for i, at := range s.slots {
		key := s.keys[i]
		want := ports{uint16(key), uint16(key)}
		if key == hog {
			want = ports{1000, 3999}
		}
		if at.count > 0 && at.ports != want {
			t.Errorf("key %d has the ports %v, want %v", key, at.ports, want)
		}
		if at.count > 0 {
			seen++
		}
	}
	if seen < 2 {
		t.Error("only one key is left")
	}
}

func TestSketchForgets(t *testing.T) {
	s := newSketch[uint32](4)
	for key := range uint32(100) {
		put(s, key, ports{})
	}
	s.reset()
	if s.offset != 0 || len(held(t, s)) != 0 {
		t.Errorf("offset %d and %v", s.offset, held(t, s))
	}
	put(s, 7, ports{})
	if want := map[uint32]uint32{7: 1}; !maps.Equal(held(t, s), want) {
		t.Errorf("%v, want %v", held(t, s), want)
	}
}

func TestSketchAllocatesNothing(t *testing.T) {
	s := newSketch[uint32](8)
	key := uint32(0)
	if n := testing.AllocsPerRun(10_000, func() { put(s, key, ports{}); key++ }); n != 0 || s.offset == 0 {
		t.Errorf("%v allocations per addition, offset %d", n, s.offset)
	}
}
