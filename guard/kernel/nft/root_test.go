package nft

import (
	"bufio"
	"fmt"
	"net/netip"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
)

// ordinary are the settings of Install.
var ordinary = settings{families: IPv4 | IPv6, flags: flagOwner, size: setSize, lapse: setTimeout}

// unknownFlag is one that no kernel knows: it makes the table plain, as on a
// kernel that does not know the owner.
const unknownFlag = 0x80

// holdIn makes this program, as a child of a test, install the table in the
// namespace that the variable names and stay until it is killed.
const holdIn = "NFT_TEST_HOLD_IN"

func TestMain(m *testing.M) {
	if ns := os.Getenv(holdIn); ns != "" {
		holdTable(ns)
	}
	code := m.Run()
	if left, err := lab.Left(); err != nil || len(left) > 0 {
		fmt.Fprintf(os.Stderr, "the tests left %q, %v\n", left, err)
		code = 1
	}
	os.Exit(code)
}

// holdTable never returns. Its standard input ends with the test, should that die
// first.
func holdTable(ns string) {
	err := netns.Do(ns, func() error {
		t, err := Install(IPv4|IPv6, 0, 0)
		if err == nil {
			fmt.Println("installed")
			_, _ = bufio.NewReader(os.Stdin).ReadByte()
			_ = t.Close()
		}
		return err
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

// inside runs fn in a namespace.
func inside(t testing.TB, ns string, fn func() error) {
	t.Helper()
	if err := netns.Do(ns, fn); err != nil {
		t.Fatal(err)
	}
}

// installIn installs the table in a namespace until the test ends.
func installIn(t testing.TB, ns string, with settings) (table *Table) {
	t.Helper()
	inside(t, ns, func() (err error) { table, err = install(with); return err })
	t.Cleanup(func() {
		if err := table.Close(); err != nil {
			t.Error(err)
		}
	})
	return table
}

// lookupIn asks for the table in a namespace by a socket of its own.
func lookupIn(t testing.TB, ns string) (id identity, found bool) {
	t.Helper()
	inside(t, ns, func() error {
		s, err := dial(unix.NFPROTO_INET)
		if err != nil {
			return err
		}
		defer s.lib.CloseLasting()
		id, found, err = s.lookup()
		return err
	})
	return id, found
}

func mustRead(t testing.TB, table *Table) Counts {
	t.Helper()
	c, err := table.Read()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// present asserts that Present says so.
func present(t testing.TB, table *Table, want bool) {
	t.Helper()
	if got, err := table.Present(); err != nil || got != want {
		t.Errorf("present is %v, %v, want %v", got, err, want)
	}
}

// counted asserts a whole reading. The sources are "prefix": connections.
func counted(t testing.TB, c Counts, total, unlisted uint64, sources map[string]uint64) {
	t.Helper()
	got := map[string]uint64{}
	for _, s := range c.Sources {
		got[s.Prefix.String()] = s.New
	}
	if c.New != total || c.Unlisted != unlisted || !cmp.Equal(got, sources) {
		t.Errorf("counted %d new, %d unlisted, want %d and %d; sources (-want +got):\n%s",
			c.New, c.Unlisted, total, unlisted, cmp.Diff(sources, got))
	}
	if len(got) != len(c.Sources) {
		t.Errorf("a source is listed twice: %v", c.Sources)
	}
}

func addr(text string) netip.Addr { return netip.MustParseAddr(text) }
