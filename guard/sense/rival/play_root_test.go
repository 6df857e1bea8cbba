package rival

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns/netnstest"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// Real processes of these names run here.
func TestRealProcesses(t *testing.T) {
	raised := Drift{Key: "sysctl:" + keyMax, Ours: "100000", Found: "777216"}
	process := func(cmd *exec.Cmd) string { return fmt.Sprintf("process %d,", cmd.Process.Pid) }
	t.Run("kube-proxy", func(t *testing.T) {
		p := play(t, "kube-proxy", "--proxy-mode=iptables", "--conntrack-min=777216", "--conntrack-max-per-core=1")
		named(t, tree{}.here(t), "kube-proxy", raised).says(t, true, process(p), "sets nf_conntrack_max to 777216 when it starts")
	})
	t.Run("tuned", func(t *testing.T) {
		p := play(t, "tuned", "-l", "-P")
		r := tree{
			"etc/tuned/active_profile":     "gateway\n",
			"etc/tuned/gateway/tuned.conf": "[sysctl]\nnet.netfilter.nf_conntrack_max=777216\n",
		}.here(t)
		named(t, r, "tuned", raised).says(t, true, process(p), "/etc/tuned/gateway/tuned.conf:2 sets nf_conntrack_max to 777216")
	})
	t.Run("dockerd", func(t *testing.T) {
		play(t, "dockerd", "-H", "fd://") // of several the first is told
		named(t, tree{}.here(t), "dockerd", raised).says(t, false, "process ", "container")
		named(t, tree{}.here(t), "dockerd", Drift{Key: "limit:10.0.0.5/32"}).says(t, false, "process ", "tables")
	})
	t.Run("sysctl", func(t *testing.T) {
		p := play(t, "sysctl", "-w", "net.netfilter.nf_conntrack_max=777216")
		named(t, tree{}.here(t), "sysctl", raised).says(t, true, process(p), "nf_conntrack_max in its command line")
	})
	t.Run("firewalld", func(t *testing.T) {
		play(t, "firewalld", "--nofork")
		named(t, tree{}.here(t), "firewalld", Drift{Key: "limit:10.0.0.5/32"}).says(t, false, "process ", "tables")
	})
}

// The real sysctl of procps applies a file in a network namespace of its own, and the
// file is named.
func TestRootSysctlAppliesAFile(t *testing.T) {
	const key = "net.netfilter.nf_conntrack_udp_timeout"
	namespace := netnstest.New(t)
	r := tree{"etc/sysctl.d/90-udp.conf": "# dead UDP\n" + key + " = 47\n"}.root(t)
	found := ""
	err := netns.Do(namespace, func() (err error) {
		if err := sysctl.Write(key, "11"); err != nil { // ours
			return err
		}
		cmd := exec.Command("sysctl", "-p", r.file("/etc/sysctl.d/90-udp.conf"))
		if text, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("sysctl, of the package procps: %w: %s", err, text)
		}
		found, err = sysctl.Read(key)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named(t, r, anyFiles, Drift{Key: "timeout:udp_timeout@" + namespace, Ours: "11", Found: found}).
		says(t, true, "/etc/sysctl.d/90-udp.conf:2 sets nf_conntrack_udp_timeout to 47")
}

// A directory of the kernel's own file system keeps its number for its life, through
// whichever mount it is seen, and another of the same name has another: here that of a
// link, which can be made anew where a module can't.
func TestRootDirectoryOfTheKernelMadeAnew(t *testing.T) {
	link := func(r Root, make bool) func() error {
		return func() error {
			veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "d0"}, PeerName: "d1"}
			if !make {
				return netlink.LinkDel(veth)
			}
			return netlink.LinkAdd(veth)
		}
	}
	namespace := netnstest.New(t)
	r := Root{Sys: t.TempDir()}
	mounts := []string{filepath.Join(t.TempDir(), "a"), filepath.Join(t.TempDir(), "b")}
	do := func(f func() error) {
		t.Helper()
		if err := netns.Do(namespace, f); err != nil {
			t.Fatal(err)
		}
	}
	for _, at := range mounts {
		if err := os.Mkdir(at, 0o755); err != nil {
			t.Fatal(err)
		}
		do(func() error { return unix.Mount("none", at, "sysfs", unix.MS_RDONLY, "") })
		t.Cleanup(func() {
			if err := unix.Unmount(at, 0); err != nil {
				t.Error(err)
			}
		})
	}
	see := func(mount string) Module {
		t.Helper()
		at := filepath.Join(r.Sys, "module/nf_conntrack")
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(at)
		if err := os.Symlink(filepath.Join(mount, "devices/virtual/net/d0"), at); err != nil {
			t.Fatal(err)
		}
		m := Loaded(r)
		if m == (Module{}) {
			t.Fatalf("%s shows no link", mount)
		}
		return m
	}
	do(link(r, true))
	before := see(mounts[0])
	if again := see(mounts[1]); again != before {
		t.Errorf("%+v through one mount, %+v through another", before, again)
	}
	do(link(r, false))
	do(link(r, true))
	if after := see(mounts[0]); after == before {
		t.Errorf("%+v before and after", after)
	}
}

// Who can't have done it is not accused by what is in a command line, whatever it may do
// in a user namespace of its own.
func TestRootNobodyIsNotSuspected(t *testing.T) {
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534, NoSetGroups: true}
	exe, err := os.Executable() // below a directory of root's
	if err != nil {
		t.Fatal(err)
	}
	binary, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "nobody")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "x"), binary, 0o755)); err != nil {
		t.Fatal(err)
	}
	own := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 65534, Size: 1}}
	pids := map[string]int{}
	for name, as := range map[string]*syscall.SysProcAttr{
		"nobody": {Credential: nobody},
		"in its own": {
			Cloneflags: syscall.CLONE_NEWUSER, UidMappings: own, GidMappings: own,
			Credential: &syscall.Credential{NoSetGroups: true},
		},
		"root, who could": {},
	} {
		pids[name] = playFile(t, filepath.Join(dir, "x"), as, "nf_conntrack_max=100000").Process.Pid
	}
	r := tree{}.root(t)
	r.Proc = ""
	told := named(t, r, "x", maxFound("100000"))
	told.says(t, true, fmt.Sprintf("process %d,", pids["root, who could"]))
	for _, s := range Suspects(t.Context(), r, maxFound("100000")) {
		for _, who := range []string{"nobody", "in its own"} {
			if strings.Contains(s.Why, fmt.Sprintf("process %d,", pids[who])) {
				t.Errorf("%s: %+v", who, s)
			}
		}
	}
}
