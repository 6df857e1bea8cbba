package lab

import "testing"

// Values are set up and down, and both come back.
func TestRootHoldSizesPutsBothBack(t *testing.T) {
	h := holdSizes(t, Sizes{Buckets: 1024})
	now, err := ReadSizes()
	if err != nil || now.Buckets != 1024 || now.Max != h.Before.Max {
		t.Errorf("%+v, %v, want 1024 buckets and the max of %+v", now, err, h.Before)
	}
	if err := h.Set(h.Before.Max + 1); err != nil {
		t.Fatal(err)
	}
	r, err := h.Release()
	if err != nil || r.Found != (Sizes{h.Before.Max + 1, 1024}) || r.Now != h.Before {
		t.Errorf("Release = %+v, %v, want %+v back", r, err, h.Before)
	}
}

// What the kernel refuses leaves nothing changed and the lock free.
func TestRootHoldSizesRefused(t *testing.T) {
	before := holdSizes(t, Sizes{})
	if _, err := before.Release(); err != nil {
		t.Fatal(err)
	}
	if _, err := HoldSizes(t.Context(), Sizes{Max: before.Before.Max + 1, Buckets: -1}); err == nil {
		t.Error("no error for a negative number of buckets")
	}
	if after := holdSizes(t, Sizes{}).Before; after != before.Before {
		t.Errorf("%+v, want %+v", after, before.Before)
	}
}
