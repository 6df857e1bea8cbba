package census

import "unsafe"

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
// Its keys come with a hash of 64 bits, which must be seeded at random: whoever
// opens connections chooses the keys. Keys with the same hash are one to it. That
// any key of a million different ones meets one of C = 12,288 with its hash has a
// probability of 10^6 * C / 2^64, less than 1 in 10^9; what is said above holds
// but for that. To compare the keys themselves would fetch as much memory again.
//
// What is looked at for each addition is 16 bytes, so that most of it stays in the
// cache beside the kernel's own work.
type sketch[K comparable] struct {
	slots  []slot // a power of two; a key is at its hash or right behind
	keys   []K    // those of the slots
	used   int    // slots with a counter
	room   int    // C
	offset uint32
}

// A slot with a count of 0 is free.
type slot struct {
	hash  uint64
	count uint32
	ports ports
}

// newSketch makes a sketch of 1 << bits slots, three quarters of which it fills:
// probes stay short, and one slot is always free. K must have no padding.
func newSketch[K comparable](bits int) *sketch[K] {
	n := 1 << bits
	return &sketch[K]{slots: make([]slot, n), keys: make([]K, n), room: n / 4 * 3}
}

// fetch has the memory fetch the slot of a key, for an add that follows. What it
// returns is of no meaning; if it is not used the compiler does not fetch.
func (s *sketch[K]) fetch(hash uint64) uint32 {
	return s.slots[hash&uint64(len(s.slots)-1)].count
}

// add counts the key with that hash once more. If it had no counter add returns
// where to put the key. The ports of a counter are those that it was added with
// since it is there.
func (s *sketch[K]) add(hash uint64, with ports) (fresh *K) {
	i := s.find(hash)
	if at := &s.slots[i]; at.count > 0 {
		at.count++
		at.ports = at.ports.join(with)
		return nil
	}
	if s.used == s.room {
		s.purge()
		i = s.find(hash)
	}
	s.used++
	s.slots[i] = slot{hash: hash, count: 1, ports: with}
	return &s.keys[i]
}

// raw is the memory of a key, which has no padding.
func raw[K comparable](key *K) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(key)), unsafe.Sizeof(*key))
}

// find returns the slot of a hash, or the free one that it is to have.
func (s *sketch[K]) find(hash uint64) uint64 {
	last := uint64(len(s.slots) - 1)
	for i := hash & last; ; i = (i + 1) & last {
		if at := &s.slots[i]; at.count == 0 || at.hash == hash {
			return i
		}
	}
}

// purge subtracts the median from every counter and drops those that it leaves
// nothing of.
//
// It starts behind a free slot and finds each key its place again, in order. The
// key's old slot is free by then and nothing between it and the key's hash is
// still to be moved, so the new place is the old one or before it.
func (s *sketch[K]) purge() {
	m := s.median()
	s.offset += m
	s.used = 0
	first := s.free()
	for i := range s.slots {
		from := (first + i) & (len(s.slots) - 1)
		moved := s.slots[from]
		s.slots[from] = slot{}
		if moved.count > m {
			moved.count -= m
			to := s.find(moved.hash)
			s.slots[to], s.keys[to] = moved, s.keys[from]
			s.used++
		}
	}
}

// free returns the index of a free slot.
func (s *sketch[K]) free() int {
	for i := range s.slots {
		if s.slots[i].count == 0 {
			return i
		}
	}
	panic("census: a sketch without a free slot")
}

// median returns the ⌈C/2⌉th smallest counter. It looks at 256 values at a time:
// the median grows by one at most in C/2 additions, so later rounds are rare.
func (s *sketch[K]) median() uint32 {
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
func (s *sketch[K]) reset() {
	clear(s.slots)
	s.used, s.offset = 0, 0
}
