package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
)

// A control socket that was taken away keeps no policy from being put in force, and is
// there again after that; a file that has its name by then is left as it is.
func TestRootSocketTakenAway(t *testing.T) {
	s := newSite(t)
	d := s.start()
	policy, err := os.ReadFile(s.path("guardian.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("secret", "mine")
	socket := s.path("control.sock")
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	s.link("secret", "control.sock")
	s.write("guardian.toml", string(policy)+"[control]\nread = \"all\"\n")
	s.until("the reload", func() bool { return d.count("ACTION=reloaded") == 1 })
	if info, err := os.Stat(s.path("secret")); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file behind the link is %v, %v", info.Mode(), err)
	}
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	s.until("the socket", func() bool { code, _, _ := s.ask("status"); return code == 0 })
	if info, err := os.Lstat(socket); err != nil || info.Mode() != os.ModeSocket|0o666 {
		t.Errorf("the socket is %v, %v", info.Mode(), err)
	}
	if n := d.count("ACTION=policy-rejected"); n != 0 {
		t.Errorf("%d policies rejected", n)
	}
	d.stop()
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("after the end: %v", err)
	}
}

// A group that is not there refuses the policy that names it first, and no other after.
func TestPermitGroup(t *testing.T) {
	access, err := control.Resolve("", true)
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	op := &operation{log: slog.New(slog.NewTextHandler(&logged, nil))}
	if op.server, err = control.Listen(filepath.Join(t.TempDir(), "s"), &fakeDaemon{}, access, op.log); err != nil {
		t.Fatal(err)
	}
	defer op.server.Close()
	lost := config.Control{Group: "no-such-group-here"}
	if err := op.permit(lost, config.Control{}); err == nil || !strings.Contains(err.Error(), lost.Group) || logged.Len() > 0 {
		t.Errorf("a new group: %v, logged %s", err, &logged)
	}
	if err := op.permit(lost, lost); err != nil || strings.Count(logged.String(), "\n") != 1 || !strings.Contains(logged.String(), lost.Group) {
		t.Errorf("the same group: %v, logged %s", err, &logged)
	}
	if err := op.permit(config.Control{}, lost); err != nil {
		t.Errorf("no group: %v", err)
	}
}
