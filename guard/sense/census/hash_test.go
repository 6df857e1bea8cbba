package census

import (
	"math"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// Keys that are as alike as those of one network are spread as a random function
// spreads them, in the bits that choose a slot; and no two have the same hash.
func TestHashSpreads(t *testing.T) {
	const n, slots = 1 << 16, 1 << 14
	const one, two = 0x9e3779b97f4a7c15, 0xd1b54a32d192ed03 // hashes of addresses
	for name, hash := range map[string]func(h *hasher, i uint32) uint64{
		"addresses in a row":    func(h *hasher, i uint32) uint64 { a := ipv4(10<<24 | i); return h.address(&a) },
		"networks in a row":     func(h *hasher, i uint32) uint64 { a := ipv4(i << 16); return h.address(&a) },
		"IPv6 hosts":            func(h *hasher, i uint32) uint64 { a := ipv6(1, i); return h.address(&a) },
		"IPv6 networks":         func(h *hasher, i uint32) uint64 { a := ipv6(i, 1); return h.address(&a) },
		"ports of one address":  func(h *hasher, i uint32) uint64 { return h.service(one, uint16(i), unix.IPPROTO_TCP) },
		"ports and protocols":   func(h *hasher, i uint32) uint64 { return h.service(one, uint16(i>>8), uint8(i)) },
		"one port of addresses": func(h *hasher, i uint32) uint64 { a := ipv4(i); return h.service(h.address(&a), 443, unix.IPPROTO_TCP) },
		"ports of one pool":     func(h *hasher, i uint32) uint64 { return h.pool(one, h.service(two, uint16(i), unix.IPPROTO_UDP), 0) },
		"zones of one pool":     func(h *hasher, i uint32) uint64 { return h.pool(one, two, uint16(i)) },
		"pools of one address": func(h *hasher, i uint32) uint64 {
			a := ipv4(i)
			return h.pool(one, h.service(h.address(&a), 443, unix.IPPROTO_TCP), 0)
		},
		"pools to one address": func(h *hasher, i uint32) uint64 {
			a := ipv4(i)
			return h.pool(h.address(&a), one, 0)
		},
	} {
		h := newHasher()
		seen, counts := map[uint64]bool{}, [slots]int{}
		for i := range uint32(n) {
			hash := hash(&h, i)
			seen[hash] = true
			counts[hash%slots]++
		}
		if len(seen) != n {
			t.Errorf("%s: %d hashes of %d keys", name, len(seen), n)
		}
		// Chi-squared, by its normal approximation: eight standard deviations are
		// never seen. Keys that are spread more evenly than at random are as good.
		chi := 0.0
		for _, c := range counts {
			d := float64(c) - n/slots
			chi += d * d / (n / slots)
		}
		if over := (chi - (slots - 1)) / math.Sqrt(2*(slots-1)); over > 8 {
			t.Errorf("%s: %.1f standard deviations from even", name, over)
		}
	}
}

// Each part of a key makes another hash, and so does each seed.
func TestHashTellsApart(t *testing.T) {
	h, other := newHasher(), newHasher()
	a, b := ipv4(1), ipv4(2)
	first, second := h.address(&a), h.address(&b)
	seen := map[uint64]string{}
	for name, hash := range map[string]uint64{
		"address":  first,
		"another":  second,
		"seed":     other.address(&a),
		"service":  h.service(first, 1, 2),
		"port":     h.service(first, 2, 2),
		"protocol": h.service(first, 1, 1),
		"both":     h.service(first, 2, 1),
		"of":       h.service(second, 1, 2),
		"pool":     h.pool(first, second, 1),
		"reversed": h.pool(second, first, 1),
		"zone":     h.pool(first, second, 2),
		"no other": h.pool(first, first, 1),
	} {
		if twin, ok := seen[hash]; ok {
			t.Errorf("%s has the hash of %s", name, twin)
		}
		seen[hash] = name
	}
}

// What waits is hashed as what it is counted under: where two entries have a key in
// common they have its hash in common, and only there.
func TestWaitingHashesKeys(t *testing.T) {
	h, n := newHasher(), newNetworks(0, 0)
	type keys struct {
		source, destination ctnetlink.Addr
		service             service
		pool                pool
	}
	first := map[any]uint64{}
	back := map[uint64]any{}
	for _, e := range traffic(12, 20_000) {
		var w waiting
		w.take(&e)
		w.prepare(&h, &n)
		k := keys{source: w.Orig.Src, destination: w.Orig.Dst}
		w.to(&k.service)
		w.from(&k.pool)
		pairs := map[any]uint64{
			"address" + string(k.source[:]):      w.source,
			"address" + string(k.destination[:]): w.destination,
			k.service:                            w.service,
		}
		if w.pooled {
			pairs[k.pool] = w.pool
		}
		for key, hash := range pairs {
			if old, ok := first[key]; ok && old != hash {
				t.Fatalf("%v has the hashes %x and %x", key, old, hash)
			}
			if twin, ok := back[hash]; ok && twin != key {
				t.Fatalf("%v has the hash of %v", key, twin)
			}
			first[key], back[hash] = hash, key
		}
	}
}
