package census

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

func TestBinsAreNarrow(t *testing.T) {
	next := uint32(0)
	for b := range bins {
		from, to := span(b)
		if from != next || to < from {
			t.Fatalf("bin %d is %d to %d, want it from %d", b, from, to, next)
		}
		if width := to - from + 1; width > 1 && width*8 > from {
			t.Errorf("bin %d is %d to %d", b, from, to)
		}
		if b < 16 && from != to {
			t.Errorf("bin %d is not exact", b)
		}
		next = to + 1
	}
	if last := next - 1; last != math.MaxUint32 {
		t.Errorf("the last bin ends at %d", last)
	}
}

func TestBinHoldsItsValue(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// As many small values as large ones.
		v := rapid.Uint32().Draw(t, "value") >> rapid.IntRange(0, 31).Draw(t, "shift")
		if from, to := span(bin(v)); v < from || v > to {
			t.Errorf("%d is in the bin %d to %d", v, from, to)
		}
	})
}
