package config

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Short for the schema's sake.
type (
	mode       = policy.Mode
	counting   = policy.Counting
	escalation = policy.Escalation
	span       = time.Duration
)

// The choices by name.
var (
	aMode     = choice(policy.Off, policy.Observe, policy.Advise, policy.Act)
	aCounting = choice(policy.CountNever, policy.CountActing, policy.CountAlways)

	anEscalation = choice(policy.LimitOnly, policy.DeleteUnreplied, policy.DropAll)
)

// choice is one of some values by its name.
func choice[T fmt.Stringer](values ...T) func(any) (T, error) {
	words := make([]string, len(values))
	for i, v := range values {
		words[i] = v.String()
	}
	return func(v any) (none T, err error) {
		s, ok := v.(string)
		if i := slices.Index(words, s); ok && i >= 0 {
			return values[i], nil
		}
		last := len(words) - 1
		err = fmt.Errorf(`want "%s" or %q, got %s`, strings.Join(words[:last], `", "`), words[last], describe(v))
		if ok && Nearest(s, words) != "" {
			err = fmt.Errorf("%w; did you mean %q?", err, Nearest(s, words))
		}
		return none, err
	}
}

// A reader is who may read on the control socket, true for everybody.
type reader bool

func (r reader) String() string {
	if r {
		return "all"
	}
	return "group"
}

var readers = choice(reader(false), reader(true))

func aReader(v any) (bool, error) {
	r, err := readers(v)
	return bool(r), err
}

// groupName is what useradd and systemd take for a name.
var groupName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.-]{0,31}$`)

// aGroup is the name of a group of users, or empty.
func aGroup(v any) (string, error) {
	if s, ok := v.(string); ok && (s == "" || groupName.MatchString(s)) {
		return s, nil
	}
	return "", fmt.Errorf(`want the name of a group such as "adm", got %s`, describe(v))
}

func aFlag(v any) (bool, error) {
	if b, ok := v.(bool); ok {
		return b, nil
	}
	return false, fmt.Errorf("want true or false, got %s", describe(v))
}

// aPath is an absolute path, or empty.
func aPath(v any) (string, error) {
	s, ok := v.(string)
	switch {
	case !ok:
		return "", fmt.Errorf("want a path in quotes, got %s", describe(v))
	case s != "" && !path.IsAbs(s):
		return "", fmt.Errorf("want an absolute path such as %q, got %s", path.Join("/run/netns", s), describe(v))
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", errors.New("a path can't hold control characters")
	}
	return s, nil
}

// whole is a whole number from lo to hi.
func whole(lo, hi int) func(any) (int, error) {
	return func(v any) (int, error) {
		n, ok := v.(int64)
		if !ok {
			return 0, fmt.Errorf("want a whole number from %d to %d, got %s", lo, hi, describe(v))
		}
		if n < int64(lo) || n > int64(hi) {
			return 0, fmt.Errorf("must be from %d to %d, got %d", lo, hi, n)
		}
		return int(n), nil
	}
}

// zeroOr is 0, which means something else, or what a kind of whole number takes.
func zeroOr[T int | int64](kind func(any) (T, error), meaning string) func(any) (T, error) {
	return func(v any) (T, error) {
		if n, ok := v.(int64); ok && n == 0 {
			return 0, nil
		}
		n, err := kind(v)
		if err != nil {
			return 0, fmt.Errorf("%w; 0 is %s", err, meaning)
		}
		return n, nil
	}
}

const mebibyte = 1 << 20

// mebibytes is a size from lo to hi MiB, in bytes.
func mebibytes(lo, hi int) func(any) (int64, error) {
	return func(v any) (int64, error) {
		n, err := whole(lo, hi)(v)
		return int64(n) * mebibyte, err
	}
}

// number is a number from lo to hi, with a fraction or without.
func number(lo, hi float64) func(any) (float64, error) {
	return func(v any) (float64, error) {
		f, ok := float(v)
		if !ok {
			return 0, fmt.Errorf("want a number from %s to %s, got %s", figure(lo), figure(hi), describe(v))
		}
		return within(f, lo, hi)
	}
}

// ratio is a share from lo to hi of 1, as a number or as a string of percent.
func ratio(lo, hi float64) func(any) (float64, error) {
	return func(v any) (float64, error) {
		f, ok := float(v)
		s, text := v.(string)
		if text {
			f, ok = percent(s)
		}
		if !ok {
			return 0, fmt.Errorf(`want a share such as 0.8 or "80%%", got %s`, describe(v))
		}
		got, err := within(f, lo, hi)
		if err != nil && !text && f > 1 && f <= 100 {
			err = fmt.Errorf(`%w; for %s percent write "%[2]s%%"`, err, figure(f))
		}
		return got, err
	}
}

// percent reads "80%" and "80 %" as 0.8.
func percent(s string) (float64, bool) {
	digits, ok := strings.CutSuffix(s, "%")
	f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
	return f / 100, ok && err == nil
}

func float(v any) (float64, bool) {
	switch v := v.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// within refuses what is not from lo to hi; not a number is neither.
func within(f, lo, hi float64) (float64, error) {
	if f >= lo && f <= hi {
		return f, nil
	}
	return 0, fmt.Errorf("must be from %s to %s, got %s", figure(lo), figure(hi), figure(f))
}

// figure writes a number without an exponent as long as people can read it.
func figure(f float64) string {
	if f > -1e12 && f < 1e12 {
		return strconv.FormatFloat(f, 'f', -1, 64)
	}
	return strconv.FormatFloat(f, 'g', -1, 64)
}

// duration is a span from lo to hi with its unit.
func duration(lo, hi span) func(any) (span, error) {
	return func(v any) (span, error) {
		if n, bare := digits(v); bare {
			return 0, fmt.Errorf(`a duration needs a unit (ms, s, m, h): write "%ss" for seconds`, n)
		}
		s, _ := v.(string)
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf(`want a duration such as "500ms", "30s", "10m" or "1h30m", got %s`, describe(v))
		}
		if d < lo || d > hi {
			return 0, fmt.Errorf("must be from %s to %s, got %q", policy.Short(lo), policy.Short(hi), s)
		}
		return d, nil
	}
}

// digits reports whether v is a number alone, in quotes or not, and writes it.
func digits(v any) (string, bool) {
	if s, ok := v.(string); ok {
		_, err := strconv.ParseFloat(s, 64)
		return s, err == nil
	}
	f, ok := float(v)
	return figure(f), ok
}

// describe says what stands in the file in place of what should.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case int64:
		return "the number " + strconv.FormatInt(v, 10)
	case float64:
		return "the number " + figure(v)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return "a date or a time"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "a list of tables"
	}
	return "a list"
}
