package nft

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

func TestRootInstallOwnsTheTable(t *testing.T) {
	ns := loopback(t)
	table := installIn(t, ns, ordinary)
	present(t, table, true)
	id, found := lookupIn(t, ns)
	if !found || !id.owned() || id.owner == 0 || id != table.made {
		t.Fatalf("in the kernel: %+v, %v, want %+v with an owner", id, found, table.made)
	}
	if err := table.Close(); err != nil {
		t.Fatal(err)
	}
	if _, found := lookupIn(t, ns); found {
		t.Error("the table is there after Close")
	}
	present(t, table, false)
	if err := table.Close(); err != nil {
		t.Errorf("closing it again: %v", err)
	}
	if c, err := table.Read(); err == nil {
		t.Errorf("read %v after Close", c)
	}
}

// Later than conntrack, sooner than any translation.
func TestRootChainsAreWhereTheyBelong(t *testing.T) {
	ns := loopback(t)
	table := installIn(t, ns, ordinary)
	inside(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		for name, hook := range map[string]nftables.ChainHook{
			"prerouting": unix.NF_INET_PRE_ROUTING, "output": unix.NF_INET_LOCAL_OUT,
		} {
			chain, err := c.ListChain(table.table, name)
			if err != nil {
				return err
			}
			if *chain.Hooknum != hook || *chain.Priority != -150 || *chain.Policy != nftables.ChainPolicyAccept {
				t.Errorf("chain %s: hook %d, priority %d, policy %d", name, *chain.Hooknum, *chain.Priority, *chain.Policy)
			}
		}
		return nil
	})
}

func TestRootInstallWhileAnotherLives(t *testing.T) {
	ns := loopback(t)
	table := installIn(t, ns, ordinary)
	port := strconv.Itoa(int(table.made.owner))
	inside(t, ns, func() error {
		for name, try := range map[string]func() error{
			"Install": func() error { _, err := Install(IPv4|IPv6, 0, 0); return err },
			"Remove":  Remove,
		} {
			if err := try(); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), port) {
				t.Errorf("%s: %v, want ErrOwned with port %s", name, err, port)
			}
		}
		// Between looking and creating somebody else may have installed it.
		s, err := dial(unix.NFPROTO_INET)
		if err != nil {
			return err
		}
		defer s.lib.CloseLasting()
		if err := s.create(&table.made, flagOwner); !errors.Is(err, ErrOwned) {
			t.Errorf("create: %v, want ErrOwned", err)
		}
		return nil
	})
	present(t, table, true)
}

// Nothing of a guardian that is killed stays.
func TestRootTableGoesWithTheProcess(t *testing.T) {
	ns := loopback(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(exe)
	child.Env = append(os.Environ(), holdIn+"="+ns)
	if _, err := child.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	killed := false
	defer func() {
		if !killed {
			_ = child.Process.Kill()
			_ = child.Wait()
		}
	}()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "installed\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if id, found := lookupIn(t, ns); !found || !id.owned() {
		t.Fatalf("in the kernel: %+v, %v, want an owned table", id, found)
	}
	inside(t, ns, func() error {
		if _, err := Install(IPv4|IPv6, 0, 0); !errors.Is(err, ErrOwned) {
			t.Errorf("install beside it: %v, want ErrOwned", err)
		}
		return nil
	})
	if err := child.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed = true
	if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the child ended by itself: %v", err)
	}
	if id, found := lookupIn(t, ns); found {
		t.Errorf("the table %+v outlived its process", id)
	}
	present(t, installIn(t, ns, ordinary), true)
}

func TestRootTableSurvivesFlushOfTheRuleset(t *testing.T) {
	ns := loopback(t)
	table := installIn(t, ns, ordinary)
	var other *foreign
	inside(t, ns, func() (err error) {
		if err := talk(addr("127.0.0.1"), echoPort, 2); err != nil {
			return err
		}
		if other, err = newForeign("other", addr("192.0.2.1")); err != nil {
			return err
		}
		other.lib.FlushRuleset()
		if err := other.lib.Flush(); err != nil {
			return err
		}
		if _, err := other.lib.ListTableOfFamily("other", nftables.TableFamilyINet); !errors.Is(err, unix.ENOENT) {
			t.Errorf("the other table after the flush: %v, want ENOENT", err)
		}
		return talk(addr("127.0.0.1"), echoPort, 2)
	})
	defer other.lib.CloseLasting()
	present(t, table, true)
	counted(t, mustRead(t, table), 4, 0, map[string]uint64{"127.0.0.1/32": 4})
}

// Whatever is done to our table, another's stays as it was, byte by byte.
func TestRootForeignTableIsUntouched(t *testing.T) {
	ns := loopback(t)
	var other *foreign
	inside(t, ns, func() (err error) { other, err = newForeign("other", addr("192.0.2.1")); return err })
	defer other.lib.CloseLasting()
	list := func() (all []byte) {
		inside(t, ns, func() error { all = other.listing(t); return nil })
		return all
	}
	before := list()
	if len(before) < 500 {
		t.Fatalf("a listing of %d bytes", len(before))
	}
	step := func(what string, do func() error) {
		t.Helper()
		inside(t, ns, do)
		if !bytes.Equal(list(), before) {
			t.Errorf("the other table changed by: %s", what)
		}
	}
	var table *Table
	step("install", func() (err error) { table, err = Install(IPv4|IPv6, 0, 0); return err })
	step("traffic", func() error { return talk(addr("127.0.0.1"), echoPort, 3) })
	step("read", func() error { _, err := table.Read(); return err })
	step("present", func() error { _, err := table.Present(); return err })
	step("close", func() error { return table.Close() })
	leave(t, ns)
	step("replace", func() (err error) {
		table, err = install(settings{families: IPv4 | IPv6, flags: unknownFlag, size: setSize, lapse: setTimeout})
		return err
	})
	step("close plain", func() error { return table.Close() })
	leave(t, ns)
	step("remove", Remove)

	// The comparison would see a change.
	inside(t, ns, func() error {
		other.lib.AddObj(&nftables.CounterObj{Table: other.table, Name: "another"})
		return other.lib.Flush()
	})
	if bytes.Equal(list(), before) {
		t.Error("the listing does not show a new counter")
	}
}
