package sense

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func addrs(text ...string) (list []netip.Addr) {
	for _, t := range text {
		list = append(list, netip.MustParseAddr(t))
	}
	return list
}

func TestParseServers(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want []netip.Addr
		err  string
	}{
		"usual":           {text: "# made by hand\nsearch example.net\nnameserver 192.0.2.1\n\n; more\n nameserver\t2001:db8::1 \noptions edns0", want: addrs("192.0.2.1", "2001:db8::1")},
		"no end of line":  {text: "nameserver 192.0.2.1", want: addrs("192.0.2.1")},
		"an interface":    {text: "nameserver fe80::1%eth0\n", want: addrs("fe80::1")},
		"mapped":          {text: "nameserver ::ffff:192.0.2.1\n", want: addrs("192.0.2.1")},
		"words after it":  {text: "nameserver 192.0.2.1 # the old one\n", want: addrs("192.0.2.1")},
		"DOS":             {text: "nameserver 192.0.2.1\r\nnameserver 192.0.2.2\r\n", want: addrs("192.0.2.1", "192.0.2.2")},
		"none":            {text: "search example.net\n"},
		"empty":           {},
		"words of others": {text: "lookup file bind\nnameserver 192.0.2.1\n", want: addrs("192.0.2.1")},
		"garbage":         {text: "\x00\x01\xffELF\n\x7f\n", err: "nothing that a resolv.conf has"},
		"a page":          {text: "<html>\n<body>nameserver</body>\n", err: "nothing that a resolv.conf has"},
		"a name":          {text: "nameserver ns1.example.net\nnameserver 192.0.2.1\n", want: addrs("192.0.2.1"), err: `line 1: "ns1.example.net" is not`},
		"no address":      {text: "nameserver 192.0.2.1\nnameserver\n", want: addrs("192.0.2.1"), err: "line 2: a name server without"},
	} {
		got, err := parseServers([]byte(tc.text))
		if !slices.Equal(got, tc.want) || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("%s: %v, %v, want %v, %q", name, got, err, tc.want, tc.err)
		}
	}
	_, err := parseServers([]byte(strings.Repeat("nameserver ?\n", 5000)))
	if err == nil || len(err.Error()) > 1000 {
		t.Errorf("of five thousand mistakes: %v", err)
	}
}

func TestReadServersOfABadFile(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	fifo := filepath.Join(dir, "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	const line = "nameserver 192.0.2.1\n"
	for name, tc := range map[string]struct {
		path string
		want int
		err  string
	}{
		"huge":         {file("huge", strings.Repeat(line, 1<<20/len(line))), resolvLimit / len(line), "larger than 65536 bytes"},
		"one line":     {file("line", line+strings.Repeat("x", 1<<20)), 1, "larger than 65536 bytes"},
		"full":         {file("full", line+strings.Repeat("#", resolvLimit-len(line))), 1, ""},
		"cut short":    {file("cut", line+strings.Repeat("#", resolvLimit-len(line)-20)+"\n"+line), 1, "larger"},
		"not there":    {filepath.Join(dir, "absent"), 0, "no such file"},
		"a directory":  {dir, 0, "not a regular file"},
		"a FIFO":       {fifo, 0, "not a regular file"},
		"what is good": {file("good", line), 1, ""},
	} {
		got, err := readServers(tc.path)
		if len(got) != tc.want || (err == nil) != (tc.err == "") {
			t.Errorf("%s: %d servers, %v, want %d", name, len(got), err, tc.want)
		}
		if err != nil && (!strings.Contains(err.Error(), tc.err) || strings.Count(err.Error(), tc.path) != 1) {
			t.Errorf("%s: %v, want %q and the path, once", name, err, tc.err)
		}
		if (name == "not there") != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseServers(f *testing.F) {
	f.Add([]byte("nameserver 192.0.2.1\nsearch a b\n"))
	f.Add([]byte("nameserver fe80::1%\n;\n#"))
	f.Add([]byte("\x00\n \n\tnameserver"))
	f.Fuzz(func(t *testing.T, text []byte) {
		servers, _ := parseServers(text)
		for _, s := range servers {
			if !s.IsValid() || s.Zone() != "" || s.Is4In6() {
				t.Errorf("%v", s)
			}
		}
		if len(singles(servers)) != len(servers) {
			t.Error("a server has no prefix")
		}
	})
}
