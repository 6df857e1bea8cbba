package stat

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// header is that of Linux 6.18, two double spaces included.
const header = "entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop " +
	"icmp_error  expect_new expect_create expect_delete search_restart\n"

func TestParseByName(t *testing.T) {
	rows := mustParse(t, "drop future found\n0000000a what? ffffffff\nB 0 00000001\n")
	want := []row{{Drop: 10, Found: math.MaxUint32}, {Drop: 11, Found: 1}}
	if !slices.Equal(rows, want) {
		t.Errorf("rows %v, want %v", rows, want)
	}
}

func TestParseAllColumns(t *testing.T) {
	line := "000000ff "
	var want row
	for c := range columns {
		want[c] = uint32(c + 1)
		line += fmt.Sprintf(" %08x", c+1)
	}
	var p parser
	rows, err := p.parse([]byte(header + line + "\n"))
	if err != nil || !slices.Equal(rows, []row{want}) {
		t.Errorf("rows %v, %v, want %v", rows, err, want)
	}
	if missing := p.missing(); missing != nil {
		t.Errorf("missing %v of a complete header", missing)
	}
}

// Linux before 5.9 counts searched where clashres is now, before 5.15 has
// delete_list in the place of chainlength: other things, not to be mixed up.
func TestMissingColumnsAreZeroAndListed(t *testing.T) {
	var p parser
	old := strings.NewReplacer("clashres", "searched", "chainlength", "delete_list").Replace(header)
	rows, err := p.parse([]byte(old + strings.Repeat(" 00000007", 17) + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	if rows[0][ClashResolve] != 0 || rows[0][ChainTooLong] != 0 || rows[0][Drop] != 7 {
		t.Errorf("row %v", rows[0])
	}
	if got := p.missing(); !slices.Equal(got, []string{"clashres", "chainlength"}) {
		t.Errorf("missing %v", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, want := range map[string]error{
		"":                                    errNoColumns,
		"\n":                                  errNoColumns,
		"entries future\n1 2\n":               errNoColumns,
		"00000000 00000000\n":                 errNoColumns,
		"drop\n":                              errNoRows,
		"drop":                                errNoRows,
		"drop found\n1\n":                     errWidth,
		"drop found\n1 2 3\n":                 errWidth,
		"drop found\n1 2\n\n1 2\n":            errWidth,
		"drop\n-1\n":                          errNumber,
		"drop\n0x1\n":                         errNumber,
		"drop\n123456789\n":                   errNumber,
		"drop\n1\t2\n":                        errNumber,
		"drop\n1\x00\n":                       errNumber,
		"drop\n" + strings.Repeat("9", 1<<16): errNumber,
	} {
		var p parser
		rows, err := p.parse([]byte(text))
		if !errors.Is(err, want) {
			t.Errorf("parse(%.40q) = %v, %v, want %v", text, rows, err, want)
		}
		if err != nil && len(err.Error()) > 300 {
			t.Errorf("parse(%.40q): an error of %d bytes", text, len(err.Error()))
		}
	}
	var p parser
	if _, err := p.parse([]byte("drop drop\n1 1\n")); err == nil {
		t.Error("a column named twice is accepted")
	}
}

func TestIncrements(t *testing.T) {
	two := func(a, b uint32) []row { return []row{{Drop: a}, {Drop: b}} }
	var i increments
	for n, step := range []struct {
		rows []row
		want uint64
	}{
		{two(1000, 2000), 0}, // the first
		{two(1001, 2003), 4}, // summed
		{two(1001, 2003), 0}, // nothing new
		{two(math.MaxUint32, 2003), 0xffffffff - 1001},
		{two(4, 2003), 5},                         // wraps
		{[]row{{Drop: 7}}, 0},                     // a row fewer: which one is gone?
		{[]row{{Drop: 9}}, 2},                     // on from there
		{[]row{{Drop: 9}, {Drop: 1 << 31}}, 0},    // it is back
		{[]row{{Drop: 10}, {Drop: 1<<31 + 1}}, 2}, // on from there
	} {
		if got := i.next(step.rows); got[Drop] != step.want || got[Found] != 0 {
			t.Errorf("step %d: %v, want %d drops", n, got, step.want)
		}
	}
}

// Sums exceed what one counter holds.
func TestIncrementsSumIn64Bits(t *testing.T) {
	var i increments
	i.next(make([]row, 3))
	full := row{Found: math.MaxUint32}
	if got := i.next([]row{full, full, full}); got[Found] != 3*math.MaxUint32 {
		t.Errorf("found %d, want %d", got[Found], uint64(3*math.MaxUint32))
	}
}

// The text of many CPUs fills more than one buffer.
func TestReadGrows(t *testing.T) {
	for _, cpus := range []int{1, 24, 25, 26, 27, 512} {
		want := header + strings.Repeat(strings.Repeat("00000001 ", 16)+"00000001\n", cpus)
		f := open(t, want)
		for range 2 {
			rows, err := f.rows()
			if err != nil || len(rows) != cpus || rows[cpus-1][SearchRestart] != 1 {
				t.Errorf("%d rows, %v, want %d", len(rows), err, cpus)
			}
		}
	}
}

func TestReadRefusesEndlessText(t *testing.T) {
	f := open(t, strings.Repeat("x", limit+1))
	if _, err := f.rows(); err == nil || len(f.text) > limit {
		t.Errorf("read %d bytes, %v", len(f.text), err)
	}
}

func TestReadNamesTheFile(t *testing.T) {
	f := open(t, "drop\nmany\n")
	if _, err := f.rows(); err == nil || !strings.Contains(err.Error(), f.file.Name()) || !strings.Contains(err.Error(), "many") {
		t.Errorf("got %v, want the file and its text", err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(header+strings.Repeat("00000000 ", 17)+"\n"), []byte("drop future found\n1 x ffffffff\n"))
	f.Add([]byte("drop\n1\n2\n3\n"), []byte("drop\n1\n"))
	f.Add([]byte("drop drop\n1 1\n"), []byte("drop found\n1\n"))
	f.Add([]byte(""), []byte("entries\n0\n"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		// What a parser has seen before makes no difference.
		var used, fresh parser
		_, _ = used.parse(first)
		got, err := used.parse(second)
		want, wantErr := fresh.parse(second)
		if fmt.Sprint(err) != fmt.Sprint(wantErr) || !slices.Equal(got, want) {
			t.Fatalf("%v, %v after %q, else %v, %v", got, err, first, want, wantErr)
		}
		if err != nil {
			return
		}
		// And what was understood can be said again.
		var text bytes.Buffer
		text.WriteString(header)
		for _, r := range got {
			fmt.Fprintf(&text, "%08x  %s\n", 0, strings.Trim(fmt.Sprintf("%08x", r), "[]"))
		}
		again, err := fresh.parse(text.Bytes())
		if err != nil || !slices.Equal(got, again) {
			t.Fatalf("%v reads again as %v, %v", got, again, err)
		}
	})
}

func mustParse(t *testing.T, text string) []row {
	t.Helper()
	var p parser
	rows, err := p.parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// open is openFile with a text of the test's.
func open(t *testing.T, text string) *file {
	t.Helper()
	name := filepath.Join(t.TempDir(), "nf_conntrack")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &file{file: f, text: make([]byte, 4096)}
}
