package census

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/ctnetlink"
)

// A hasher hashes what an entry is counted under. Whoever opens connections chooses
// the keys, so it is seeded at random: nobody can aim at one place of a table.
//
// An address is hashed once for all the keys it is in. mix is that of wyhash, which
// Go hashes maps with where the processor has no AES; a call of maphash for each
// key took as long as all that is done with the hashes.
type hasher [4]uint64

func newHasher() (h hasher) {
	for i := range h {
		h[i] = rand.Uint64() // seeded by the system
	}
	return h
}

// mix folds the product of two numbers. Once is not enough: with a factor that is
// always the same, numbers in a row become a pattern.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

// address hashes an address.
func (h *hasher) address(a *ctnetlink.Addr) uint64 {
	first, last := binary.NativeEndian.Uint64(a[:]), binary.NativeEndian.Uint64(a[8:])
	return mix(h[2], mix(first^h[0], last^h[1]))
}

// service hashes an address, by its hash, with a port and a protocol.
func (h *hasher) service(dst uint64, port uint16, proto uint8) uint64 {
	return mix(h[2], mix(dst^h[3], h[0]^(uint64(port)<<8|uint64(proto))))
}

// pool hashes an address and a service, by their hashes, with a zone.
func (h *hasher) pool(nat, to uint64, zone uint16) uint64 {
	return mix(h[2], mix(nat^h[3], to^h[1]^uint64(zone)))
}
