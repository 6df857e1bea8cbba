package census

import (
	"reflect"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/timeout"
)

// A tally stays within 2.5 MB, and so a census of any table.
func TestTallyIsSmall(t *testing.T) {
	tally := newTally(timeout.Table{})
	size := reflect.TypeOf(*tally).Size() + sizeOf(tally.sources) + sizeOf(tally.destinations) +
		sizeOf(tally.services) + sizeOf(tally.pools)
	t.Logf("%d bytes, a slot %d", size, reflect.TypeFor[slot]().Size())
	if size > 2_500_000 {
		t.Errorf("%d bytes", size)
	}
}

func sizeOf[K comparable](s *sketch[K]) uintptr {
	return reflect.TypeOf(*s).Size() + uintptr(len(s.slots))*(reflect.TypeFor[slot]().Size()+reflect.TypeFor[K]().Size())
}

// The memory of a key is compared, so none of it may be padding.
func TestKeysHaveNoPadding(t *testing.T) {
	for _, key := range []reflect.Type{
		reflect.TypeFor[service](), reflect.TypeFor[pool](),
	} {
		fields := uintptr(0)
		for i := range key.NumField() {
			fields += key.Field(i).Type.Size()
		}
		if fields != key.Size() {
			t.Errorf("%s has %d bytes of padding", key, key.Size()-fields)
		}
	}
}
