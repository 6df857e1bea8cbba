package demo

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// playReady is a guardian that is ready and ends when asked to.
func playReady() {
	if os.Args[1] == "actions" {
		fmt.Println(`[{"id":7,"measure":"raise-max","state":"undone","edits":null}]`)
		os.Exit(0)
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM)
	defer stop()
	_, _ = daemon.SdNotify(false, "STATUS=well\nREADY=1")
	<-ctx.Done()
	os.Exit(0)
}

// playStubborn is ready and does not end in order.
func playStubborn() {
	_, _ = daemon.SdNotify(false, daemon.SdNotifyReady)
	fmt.Println("something broke")
	time.Sleep(100 * time.Millisecond)
	os.Exit(3)
}

// playLab starts a guardian, says its pid and waits to be killed.
func playLab() {
	g, err := startGuardian(context.Background(), os.Args[1], os.Args[2], "")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(g.process.Pid)
	select {}
}

// program is the path by which the test program plays another.
func program(t *testing.T, name string) string {
	t.Helper()
	me, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(me, path); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestGuardianLife(t *testing.T) {
	g, err := startGuardian(t.Context(), program(t, "ready"), t.TempDir(), "version = 1\n")
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(g.path("policy.toml")); err != nil || string(text) != "version = 1\n" {
		t.Errorf("policy %q, %v", text, err)
	}
	for range 2 { // again does nothing
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	}
	changes, err := g.changes(t.Context())
	if err != nil || len(changes) != 1 || changes[0].ID != 7 {
		t.Errorf("changes %+v, %v, want the one with id 7", changes, err)
	}
}

func TestGuardianThatIsNeverReady(t *testing.T) {
	_, err := startGuardian(t.Context(), "/bin/false", t.TempDir(), "")
	if err == nil || !strings.Contains(err.Error(), "ended before it was ready") {
		t.Errorf("%v, want that it ended before it was ready", err)
	}
	if _, err := startGuardian(t.Context(), "/nonexistent", t.TempDir(), ""); err == nil {
		t.Error("no error for a program that is not there")
	}
}

// A guardian that ends by itself is an error with what it said.
func TestGuardianThatEndsByItself(t *testing.T) {
	g, err := startGuardian(t.Context(), program(t, "stubborn"), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	<-g.ended
	err = g.stop()
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "something broke") {
		t.Errorf("%v, want its exit status and what it said", err)
	}
}

// The guardian dies with a lab that is killed.
func TestGuardianDiesWithTheLab(t *testing.T) {
	labor := exec.Command(program(t, "lab"), program(t, "ready"), t.TempDir())
	stdout, err := labor.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := labor.Start(); err != nil {
		t.Fatal(err)
	}
	var buf [512]byte
	n, _ := stdout.Read(buf[:])
	pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		t.Fatalf("the lab says %s", buf[:n])
	}
	if !running(pid) {
		t.Fatal("the guardian does not run")
	}
	_ = labor.Process.Kill()
	_ = labor.Wait()
	for deadline := time.Now().Add(5 * time.Second); running(pid); {
		if time.Now().After(deadline) {
			_ = unix.Kill(pid, unix.SIGKILL)
			t.Fatal("the guardian outlives its lab")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// running is false for a zombie: nobody may be there to reap an orphan.
func running(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
