package nft

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// element encodes a set element as the kernel does.
func element(key []byte, packets uint64) []byte {
	return attributes(func(e *netlink.AttributeEncoder) {
		e.Nested(unix.NFTA_LIST_ELEM, func(e *netlink.AttributeEncoder) error {
			e.Nested(unix.NFTA_SET_ELEM_KEY, func(e *netlink.AttributeEncoder) error {
				e.Bytes(unix.NFTA_DATA_VALUE, key)
				return nil
			})
			e.Uint64(unix.NFTA_SET_ELEM_EXPIRATION, 59_000)
			e.Nested(unix.NFTA_SET_ELEM_EXPR, func(e *netlink.AttributeEncoder) error {
				e.String(unix.NFTA_EXPR_NAME, "counter")
				e.Nested(unix.NFTA_EXPR_DATA, func(e *netlink.AttributeEncoder) error {
					e.Uint64(unix.NFTA_COUNTER_BYTES, 1<<40)
					e.Uint64(unix.NFTA_COUNTER_PACKETS, packets)
					return nil
				})
				return nil
			})
			return nil
		})
	})
}

func TestElements(t *testing.T) {
	list := append(element([]byte{192, 0, 2, 1}, 7), element([]byte{192, 0, 2, 2}, 1<<33)...)
	got, err := ipv4.elements(list, nil)
	if diff := cmp.Diff([]Source{{a, 7}, {b, 1 << 33}}, got, cmp.Comparer(comparePrefix)); diff != "" || err != nil {
		t.Error(err, diff)
	}
	for size := 1; size < len(list); size++ {
		if size == len(list)/2 {
			continue // one whole element
		}
		if got, err := ipv4.elements(list[:size:size], nil); err == nil {
			t.Errorf("cut to %d of %d bytes: %v without an error", size, len(list), got)
		}
	}
}

func TestElementsOfAnotherShape(t *testing.T) {
	v6 := element(v6.Addr().AsSlice(), 1)
	for name, list := range map[string][]byte{
		"another family": v6,
		"no key":         attributes(func(e *netlink.AttributeEncoder) { e.Bytes(unix.NFTA_LIST_ELEM, nil) }),
		"length 0":       {0, 0, 1, 0},
		"not padded":     {5, 0, 1, 0, 0},
		"no counter": attributes(func(e *netlink.AttributeEncoder) {
			e.Nested(unix.NFTA_LIST_ELEM, func(e *netlink.AttributeEncoder) error {
				e.Nested(unix.NFTA_SET_ELEM_KEY, func(e *netlink.AttributeEncoder) error {
					e.Bytes(unix.NFTA_DATA_VALUE, []byte{192, 0, 2, 1})
					return nil
				})
				return nil
			})
		}),
	} {
		if got, err := ipv4.elements(list, nil); err == nil {
			t.Errorf("%s: %v without an error", name, got)
		}
	}
	if got, err := ipv6.elements(v6, nil); err != nil || len(got) != 1 {
		t.Errorf("the right family: %v, %v", got, err)
	}
}

func TestOnce(t *testing.T) {
	got := once([]Source{{c, 1}, {a, 5}, {v6, 2}, {a, 6}, {a, 4}, {b, 1}})
	if diff := cmp.Diff([]Source{{a, 6}, {b, 1}, {c, 1}, {v6, 2}}, got, cmp.Comparer(comparePrefix)); diff != "" {
		t.Error(diff)
	}
}

func FuzzElements(f *testing.F) {
	f.Add(element([]byte{192, 0, 2, 1}, 7))
	f.Add(element(v6.Addr().AsSlice(), 7))
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, list []byte) {
		for _, family := range layouts[IPv4|IPv6].counted {
			sources, err := family.elements(list, nil)
			for _, s := range sources {
				if s.Prefix.Bits() != family.bits {
					t.Errorf("%v among the sources of %s, %v", s, family.set, err)
				}
			}
		}
	})
}
