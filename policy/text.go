package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Number writes n with thousands separated, as people read entry counts.
func Number(n int) string {
	digits, sign := strings.CutPrefix(strconv.Itoa(n), "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	if sign {
		return "-" + digits
	}
	return digits
}

// Percent writes a share of 1 as a whole percentage.
func Percent(f float64) string { return fmt.Sprintf("%.0f %%", f*100) }

// Span writes a duration as people say it, with two digits of it that matter.
func Span(d time.Duration) string {
	switch {
	case d == Never:
		return "never"
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", d/(24*time.Hour))
	case d >= 10*time.Second:
		return Short(d.Round(time.Second))
	case d >= time.Second:
		return Short(d.Round(100 * time.Millisecond))
	}
	return d.Round(time.Millisecond).String()
}

// Short writes a duration without zeros behind whole minutes and hours: 1h, not
// 1h0m0s.
func Short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// TimeoutText writes whole seconds as a duration: 120 is 2m.
func TimeoutText(n int) string { return Short(time.Duration(n) * time.Second) }
