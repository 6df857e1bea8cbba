package census

import (
	"hash/maphash"
	"unsafe"
)

// A sketch counts how often each of many keys is added, in bounded memory: it
// finds the frequent ones exactly or nearly so, and forgets rare ones. It is
// that of Misra and Gries with decrements in batches, as in "A High-Performance
// Algorithm for Identifying Frequent Items in Data Streams" (Anderson et al.,
// IMC 2017).
//
// It has room for C counters. A new key that finds them all taken makes room: m,
// the median counter, is subtracted from all of them and those that come to
// nothing are dropped. offset is the sum of all m so far. Then, with N keys added
// and R the sum of the counters that are left:
//
//   - A key was added count times at least and count+offset times at most, one
//     that has no counter offset times at most: a purge takes m at most from it.
//   - offset <= (N-R) / (⌊C/2⌋+1), so below 2N/C: m is the ⌈C/2⌉th smallest of C,
//     so at least ⌊C/2⌋+1 counters lose m in full, and all that counters ever lose
//     is N-R.
//   - A purge drops ⌈C/2⌉ counters or more, so the next one is as many new keys
//     away and the cost of one is spread over them.
//   - With C different keys or fewer offset is 0 and every count exact.
//
// Whoever opens connections chooses the keys. So the hash is seeded at random:
// nobody can aim at one place of the table.
//
// A key that is added waits until there are enough for a batch. Their slots are
// then fetched from memory all at once instead of one after the other, which takes
// most of the time where the kernel's own work has pushed them out of the cache.
type sketch[K comparable, V any] struct {
	seed   maphash.Seed
	slots  []slot[K, V] // a power of two; a key is at its hash or right behind
	used   int          // slots with a counter
	room   int          // C
	offset uint32

	join    func(old, added V) V
	waiting [batch]waiting[K, V]
	waits   int
	fetched uint32 // of no meaning; without it the compiler would not fetch
}

// batch is how many keys wait at most.
const batch = 64

// A slot with a count of 0 is free.
type slot[K comparable, V any] struct {
	note  V // first: an empty type behind the others would cost padding
	key   K
	count uint32
}

type waiting[K comparable, V any] struct {
	note V
	key  K
	hash uint64
}

// newSketch makes a sketch of 1 << bits slots, three quarters of which it fills:
// probes stay short, and one slot is always free. K must have no padding.
//
// A key has a note beside its counter: what join makes of those it was added
// with, since it last had no counter. Without join it is the first of them.
func newSketch[K comparable, V any](bits int, join func(old, added V) V) *sketch[K, V] {
	n := 1 << bits
	return &sketch[K, V]{seed: maphash.MakeSeed(), slots: make([]slot[K, V], n), room: n / 4 * 3, join: join}
}

// add counts key once more, at the next settle.
func (s *sketch[K, V]) add(key K, note V) {
	w := &s.waiting[s.waits]
	w.key, w.note = key, note
	w.hash = s.hash(&w.key)
	if s.waits++; s.waits == batch {
		s.settle()
	}
}

// settle counts the keys that wait. The slots are complete only after it.
func (s *sketch[K, V]) settle() {
	ready := s.waiting[:s.waits]
	for i := range ready {
		s.fetched += s.slots[ready[i].hash&uint64(len(s.slots)-1)].count
	}
	for i := range ready {
		s.count(&ready[i])
	}
	s.waits = 0
}

func (s *sketch[K, V]) count(w *waiting[K, V]) {
	at := s.find(w.hash, &w.key)
	switch {
	case at.count == 0 && s.used == s.room:
		s.purge()
		at = s.find(w.hash, &w.key)
		fallthrough
	case at.count == 0:
		s.used++
		at.key, at.note = w.key, w.note
	case s.join != nil:
		at.note = s.join(at.note, w.note)
	}
	at.count++
}

func (s *sketch[K, V]) hash(key *K) uint64 { return maphash.Bytes(s.seed, raw(key)) }

// raw is the memory of a key, which has no padding.
func raw[K comparable](key *K) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(key)), unsafe.Sizeof(*key))
}

// find returns the slot of a key, or the free one that it is to have.
func (s *sketch[K, V]) find(hash uint64, key *K) *slot[K, V] {
	for i := hash; ; i++ {
		at := &s.slots[i&uint64(len(s.slots)-1)]
		if at.count == 0 || at.key == *key {
			return at
		}
	}
}

// purge subtracts the median from every counter and drops those that it leaves
// nothing of.
//
// It starts behind a free slot and finds each key its place again, in order. The
// key's old slot is free by then and nothing between it and the key's hash is
// still to be moved, so the new place is the old one or before it.
func (s *sketch[K, V]) purge() {
	m := s.median()
	s.offset += m
	s.used = 0
	first := s.free()
	for i := range s.slots {
		at := &s.slots[(first+i)&(len(s.slots)-1)]
		moved := *at
		*at = slot[K, V]{}
		if moved.count > m {
			moved.count -= m
			*s.find(s.hash(&moved.key), &moved.key) = moved
			s.used++
		}
	}
}

// free returns the index of a free slot.
func (s *sketch[K, V]) free() int {
	for i := range s.slots {
		if s.slots[i].count == 0 {
			return i
		}
	}
	panic("census: a sketch without a free slot")
}

// median returns the ⌈C/2⌉th smallest counter. It looks at 256 values at a time:
// the median grows by one at most in C/2 additions, so later rounds are rare.
func (s *sketch[K, V]) median() uint32 {
	rank := (s.used + 1) / 2
	for base := uint32(1); ; base += 256 {
		var of [256]int
		for i := range s.slots {
			// A free slot wraps around in the first round, a smaller count in the others.
			if over := s.slots[i].count - base; over < 256 {
				of[over]++
			}
		}
		for over, n := range of {
			if rank -= n; rank <= 0 {
				return base + uint32(over)
			}
		}
	}
}

// reset forgets all keys.
func (s *sketch[K, V]) reset() {
	clear(s.slots)
	s.used, s.offset, s.waits = 0, 0, 0
}
