package ctnetlink

import (
	"testing"
)

// The kernel makes its datagrams no larger than the buffer, nor much smaller, but for
// the first, which it makes before it knows; and they have the whole table.
func TestRootOpenSized(t *testing.T) {
	inside(t, func() {
		const n = 3000
		fill(t, n)
		for asked, want := range map[int]int{
			0: leastBuffer, 4 << 10: max(4<<10, leastBuffer), 8 << 10: 8 << 10, 16 << 10: 16 << 10, 32 << 10: 32 << 10, 1 << 20: bufferSize,
		} {
			c := openSized(t, asked)
			if len(c.buf) != want {
				t.Errorf("asked for %d: %d bytes instead of %d", asked, len(c.buf), want)
			}
			largest, receive := 0, c.receive
			c.receive = func(buf []byte) (int, uint32, error) {
				size, sender, err := receive(buf)
				largest = max(largest, size)
				return size, sender, err
			}
			for range 2 {
				if found := len(collect(t, c, Query{})); found != n {
					t.Errorf("asked for %d: %d entries of %d", asked, found, n)
				}
			}
			if largest > want || largest < want*8/10 {
				t.Errorf("asked for %d: datagrams of up to %d bytes", asked, largest)
			}
			t.Logf("asked for %d: datagrams of up to %d bytes", asked, largest)
		}
	})
}
