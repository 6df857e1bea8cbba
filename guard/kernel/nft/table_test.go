package nft

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

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

func TestRootInstallWhileAnotherLives(t *testing.T) {
	ns := loopback(t)
	table := installIn(t, ns, ordinary)
	port := strconv.Itoa(int(table.made.owner))
	inside(t, ns, func() error {
		for name, try := range map[string]func() error{
			"Install": func() error { _, err := Install(); return err },
			"Remove":  Remove,
		} {
			if err := try(); !errors.Is(err, ErrOwned) || !strings.Contains(err.Error(), port) {
				t.Errorf("%s: %v, want ErrOwned with port %s", name, err, port)
			}
		}
		// Between looking and creating somebody else may have installed it.
		s, err := dial()
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
		if _, err := Install(); !errors.Is(err, ErrOwned) {
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

// A kernel without the owner flag gets a plain table that does all the same,
// but others can take it away.
func TestRootPlainTable(t *testing.T) {
	plain := settings{flags: unknownFlag, size: setSize, lapse: setTimeout}
	ours := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	for name, harm := range map[string]func(*nftables.Conn){
		"deleted":      func(c *nftables.Conn) { c.DelTable(ours) },
		"rules":        func(c *nftables.Conn) { c.FlushTable(ours) },
		"ruleset":      func(c *nftables.Conn) { c.FlushRuleset() },
		"made anew":    func(c *nftables.Conn) { c.DelTable(ours); c.AddTable(ours) },
		"nothing else": nil,
	} {
		t.Run(name, func(t *testing.T) {
			ns := loopback(t)
			table := installIn(t, ns, plain)
			if table.made.owned() || table.made.owner != 0 {
				t.Fatalf("made %+v, want a plain table", table.made)
			}
			inside(t, ns, func() error { return talk(addr("127.0.0.1"), echoPort, 2) })
			counted(t, mustRead(t, table), 2, 0, map[string]uint64{"127.0.0.1/32": 2})
			present(t, table, true)
			if harm != nil {
				inside(t, ns, func() error {
					c, err := nftables.New()
					if err != nil {
						return err
					}
					harm(c)
					return c.Flush()
				})
				present(t, table, false)
			}
			if _, err := table.Read(); name == "deleted" && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("read a table that is gone: %v, want ErrNotExist", err)
			}
			if err := table.Close(); err != nil {
				t.Error(err)
			}
			// It takes away its own table, not another of that name.
			if _, found := lookupIn(t, ns); found != (name == "made anew") {
				t.Errorf("after Close found is %v", found)
			}
		})
	}
}

// leave leaves a plain table behind, as a guardian that died does: one of an
// earlier version, with a chain that the present one hasn't.
func leave(t *testing.T, ns string) identity {
	t.Helper()
	inside(t, ns, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Name: tableName, Family: nftables.TableFamilyINet})
		c.AddChain(&nftables.Chain{
			Name: "earlier", Table: table, Type: nftables.ChainTypeFilter,
			Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
		})
		if err := c.AddSet(&nftables.Set{Table: table, Name: sources4, KeyType: nftables.TypeMark}, nil); err != nil {
			return err
		}
		return c.Flush()
	})
	id, found := lookupIn(t, ns)
	if !found || id.owned() {
		t.Fatalf("left %+v, %v", id, found)
	}
	return id
}

func TestRootInstallReplacesALeftover(t *testing.T) {
	for _, flags := range []uint32{flagOwner, unknownFlag} {
		ns := loopback(t)
		left := leave(t, ns)
		table := installIn(t, ns, settings{flags: flags, size: setSize, lapse: setTimeout})
		if table.made.handle == left.handle {
			t.Errorf("the table left is still there: %+v", table.made)
		}
		present(t, table, true)
		inside(t, ns, func() error { return talk(addr("127.0.0.1"), echoPort, 3) })
		counted(t, mustRead(t, table), 3, 0, map[string]uint64{"127.0.0.1/32": 3})
		inside(t, ns, func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			if chain, err := c.ListChain(table.table, "earlier"); err == nil {
				t.Errorf("chain %s is still there", chain.Name)
			}
			return nil
		})
	}
}

func TestRootRemoveTakesALeftover(t *testing.T) {
	ns := loopback(t)
	leave(t, ns)
	inside(t, ns, Remove)
	if _, found := lookupIn(t, ns); found {
		t.Error("the table is still there")
	}
	inside(t, ns, Remove) // nothing to remove
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
	step("install", func() (err error) { table, err = Install(); return err })
	step("traffic", func() error { return talk(addr("127.0.0.1"), echoPort, 3) })
	step("read", func() error { _, err := table.Read(); return err })
	step("present", func() error { _, err := table.Present(); return err })
	step("close", func() error { return table.Close() })
	leave(t, ns)
	step("replace", func() (err error) {
		table, err = install(settings{flags: unknownFlag, size: setSize, lapse: setTimeout})
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

// Capabilities belong to threads: the test gives up CAP_NET_ADMIN on one and lets
// that thread end, locked, with its goroutine.
func TestInstallSaysWhatCapabilityIsNeeded(t *testing.T) {
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if drop := dropNetAdmin(); drop != nil {
			t.Error(drop)
			return
		}
		_, err = Install()
	}()
	<-done
	if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_ADMIN is needed") {
		t.Errorf("got %v, want EPERM and the capability's name", err)
	}
}

// dropNetAdmin takes CAP_NET_ADMIN from the calling thread's effective set.
func dropNetAdmin() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // two words of 32 capabilities each
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	sets[0].Effective &^= 1 << unix.CAP_NET_ADMIN
	return unix.Capset(&header, &sets[0])
}

// What an earlier call left unread is no answer to the next one.
func TestRootStaleAnswersAreThrownAway(t *testing.T) {
	ns := loopback(t)
	table := installIn(t, ns, ordinary)
	inside(t, ns, func() error { return talk(addr("127.0.0.1"), echoPort, 3) })
	s := table.socket
	for range 3 {
		if _, err := s.conn.Send(deleteTable(identity{handle: 999})); err != nil { // outside a transaction: refused
			t.Fatal(err)
		}
		present(t, table, true)
		if _, err := s.conn.Send(message(unix.NFT_MSG_GETRULE, 0x300, nil)); err != nil { // a dump
			t.Fatal(err)
		}
		counted(t, mustRead(t, table), 3, 0, map[string]uint64{"127.0.0.1/32": 3})
	}
}

func TestRootCallsHaveADeadline(t *testing.T) {
	table := installIn(t, loopback(t), ordinary)
	if err := table.socket.ready(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	_, err := table.socket.receive() // nothing was asked
	if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < patience-time.Second || took > patience+5*time.Second {
		t.Errorf("%v after %s, want the deadline of %s", err, took, patience)
	}
	present(t, table, true) // the next call has its own
}

func TestErrorsOfAKernelWithoutNFTables(t *testing.T) {
	for _, tc := range []struct {
		errno                unix.Errno
		unsupported, lacking bool
	}{
		{unix.EPROTONOSUPPORT, true, false}, // no nfnetlink
		{unix.EAFNOSUPPORT, true, true},
		{unix.EINVAL, true, false}, // no nf_tables
		{unix.EOPNOTSUPP, true, true},
		{unix.ENOENT, false, true}, // no such expression
		{unix.EPERM, false, false},
		{unix.ENOMEM, false, false},
	} {
		if got := errors.Is(unsupported(tc.errno), ErrUnsupported); got != tc.unsupported {
			t.Errorf("unsupported(%s) is %v", tc.errno, got)
		}
		if got := errors.Is(lacking(tc.errno), ErrUnsupported); got != tc.lacking {
			t.Errorf("lacking(%s) is %v", tc.errno, got)
		}
		if !errors.Is(unsupported(tc.errno), tc.errno) || !errors.Is(lacking(tc.errno), tc.errno) {
			t.Errorf("%s is lost", tc.errno)
		}
	}
}
