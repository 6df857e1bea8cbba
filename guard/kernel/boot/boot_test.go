package boot

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestID(t *testing.T) {
	id, err := ID()
	if err != nil {
		t.Fatal(err)
	}
	again, err := ID()
	if err != nil || again != id {
		t.Errorf("the same boot is %s, then %s, %v", id, again, err)
	}
}

func TestIDIsAUUIDOrNothing(t *testing.T) {
	const good = "6f1ab8a5-63a6-4cf9-8a7e-3d8f5c0b9a11"
	if id, err := parse([]byte(good + "\n")); id != good || err != nil {
		t.Errorf("parse = %q, %v, want %q", id, err, good)
	}
	for _, text := range []string{"", "\n", good + good, good[1:], strings.ToUpper(good), good + "\n\n", "x" + good[1:]} {
		if id, err := parse([]byte(text)); err == nil {
			t.Errorf("parse(%q) = %q, want an error", text, id)
		}
	}
}

// /proc/uptime shows the same clock in hundredths of a second.
func TestNowIsTheUptime(t *testing.T) {
	before := Now()
	text, err := os.ReadFile("/proc/uptime")
	after := Now()
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(strings.Fields(string(text))[0], 64)
	if err != nil {
		t.Fatal(err)
	}
	uptime := time.Duration(seconds * float64(time.Second))
	const tick = 20 * time.Millisecond // uptime is cut to 10 ms, a float to less
	if uptime < before-tick || uptime > after+tick {
		t.Errorf("uptime %v is not between %v and %v", uptime, before, after)
	}
}
