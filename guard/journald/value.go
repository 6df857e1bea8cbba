package journald

import (
	"encoding"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"time"
)

// text is a value for people to read: 4.2s, 0.834, 2026-03-01T09:30:00.125Z.
// Values must be resolved and no groups.
func text(v slog.Value) string {
	switch v.Kind() {
	case slog.KindFloat64:
		return short(v.Float64())
	case slog.KindDuration:
		return rounded(v.Duration()).String()
	case slog.KindTime:
		return v.Time().Format(time.RFC3339Nano)
	case slog.KindAny:
		return anyText(v.Any())
	}
	return v.String()
}

// anyText prefers what a value says of itself. fmt survives nil pointers and
// panics in its methods.
func anyText(v any) string {
	switch v := v.(type) {
	case error, fmt.Stringer:
		return fmt.Sprint(v)
	case []byte:
		return string(v)
	case encoding.TextMarshaler:
		if b, err := v.MarshalText(); err == nil {
			return string(b)
		}
	}
	return fmt.Sprintf("%+v", v)
}

// short gives a number four significant digits, but never less than its whole
// part. Very small and very large ones have an exponent.
func short(f float64) string {
	size := math.Abs(f)
	if size < 1e-4 || size >= 1e15 || math.IsNaN(f) {
		return strconv.FormatFloat(f, 'g', 4, 64)
	}
	// The digit that is kept last, as a number of places after the point.
	places := max(0, 3-int(math.Floor(math.Log10(size))))
	scale := math.Pow10(places)
	return strconv.FormatFloat(math.Round(f*scale)/scale, 'f', -1, 64)
}

// rounded keeps three places of a duration in the unit that its text has.
func rounded(d time.Duration) time.Duration {
	switch size := d.Abs(); {
	case size >= time.Second:
		return d.Round(time.Millisecond)
	case size >= time.Millisecond:
		return d.Round(time.Microsecond)
	}
	return d
}
