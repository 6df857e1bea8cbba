package meminfo

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestAvailable(t *testing.T) {
	f, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	available, err := f.Available()
	if err != nil {
		t.Fatal(err)
	}
	var all unix.Sysinfo_t
	if err := unix.Sysinfo(&all); err != nil {
		t.Fatal(err)
	}
	total := int64(all.Totalram) * int64(all.Unit)
	if available < 1<<20 || available > total {
		t.Errorf("%d bytes available of %d", available, total)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = f.Available() }); n != 0 {
		t.Errorf("%v allocations per read", n)
	}
}

func TestParse(t *testing.T) {
	const good = "MemTotal:        3000000 kB\nMemFree:  1 kB\nMemAvailable:    2000 kB\nBuffers: 4 kB\n"
	if got, ok := parse([]byte(good)); !ok || got != 2000*1024 {
		t.Errorf("parse = %d, %t, want %d", got, ok, 2000*1024)
	}
	for _, text := range []string{
		"", "\n", "MemTotal: 1 kB\n", "MemAvailable:\n", "MemAvailable: kB\n", "MemAvailable: 1\n", "MemAvailable: 1 MB\n",
		"MemAvailable: -1 kB\n", "MemAvailable: 1 2 kB\n", "XMemAvailable: 1 kB\n", "MemAvailable: 1 kB",
		"MemAvailable: 99999999999999999999 kB\n", "MemAvailable: 9223372036854775 kB\n",
	} {
		if got, ok := parse([]byte(text)); ok {
			t.Errorf("parse(%q) = %d, want a refusal", text, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("MemTotal: 3 kB\nMemAvailable:    2000 kB\n"))
	f.Add([]byte("MemAvailable: 9223372036854775807 kB\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if n, ok := parse(text); n < 0 || !ok && n != 0 {
			t.Errorf("parse(%q) = %d, %t", text, n, ok)
		}
	})
}
