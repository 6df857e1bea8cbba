package control

import (
	"os"
	"strings"
	"syscall"
	"testing"
)

// The group daemon is one of every Linux system (FHS), and no user of these tests.
const (
	operators  = "daemon"
	somebody   = 4_000_002
	noSuchName = "no-such-group-here"
)

func TestResolve(t *testing.T) {
	if _, err := Resolve(noSuchName, true); err == nil || !strings.Contains(err.Error(), noSuchName) {
		t.Errorf("an unknown group: %v", err)
	}
	named, err := Resolve(operators, false)
	if err != nil || named.group == nobody || named.readAll {
		t.Fatalf("%+v, %v", named, err)
	}
	own, err := Resolve("", true)
	if err != nil {
		t.Fatal(err)
	}
	switch gid := os.Getegid(); {
	case gid == 0 && own.group != nobody:
		t.Error("who is of root's group may command")
	case gid != 0 && own.group != uint32(gid):
		t.Errorf("group %d, want our own, %d", own.group, gid)
	}
}

// Rights follow from what the kernel says of a peer.
func TestRights(t *testing.T) {
	a := Access{group: 77}
	for _, tc := range []struct {
		peer
		want right
	}{
		{peer{uid: 0, groups: []uint32{0}}, commands},
		{peer{uid: uint32(os.Geteuid()), groups: []uint32{5}}, commands},
		{peer{uid: somebody, groups: []uint32{77}}, commands},
		{peer{uid: somebody, groups: []uint32{5, 6, 77, 8}}, commands},
		{peer{uid: somebody, groups: []uint32{5, 0}}, nothing},
		{peer{uid: somebody}, nothing},
	} {
		if got := a.of(&tc.peer); got != tc.want {
			t.Errorf("%+v: right %d, want %d", tc.peer, got, tc.want)
		}
		open := Access{group: 77, readAll: true}
		if got := open.of(&tc.peer); got != max(tc.want, reads) {
			t.Errorf("%+v where all may read: right %d", tc.peer, got)
		}
		closed := Access{group: nobody}
		if got := closed.of(&tc.peer); got == commands && tc.uid == somebody {
			t.Errorf("%+v commands without a group", tc.peer)
		}
	}
	if (&Access{group: nobody}).of(&peer{uid: somebody, groups: []uint32{nobody}}) != nothing {
		t.Error("the group that nobody has has a member")
	}
}

// Real processes of other users and groups get what is theirs, by the kernel's word.
func TestRootCallers(t *testing.T) {
	d := &desk{}
	team, err := Resolve(operators, true)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := serving(t, d, team)
	many := []uint32{team.group}
	for i := range uint32(100) { // more than there is room for at first
		many = append([]uint32{4_000_100 + i}, many...)
	}
	id := func(uid, gid uint32, groups ...uint32) *syscall.Credential {
		return &syscall.Credential{Uid: uid, Gid: gid, Groups: append([]uint32{}, groups...)}
	}
	for _, tc := range []struct {
		name       string
		who        *syscall.Credential
		status, do Code
		by         string
	}{
		{"root", id(0, 0), "ok", "ok", "root"},
		{"root's group", id(somebody, 0), "ok", Forbidden, ""},
		{"stranger", id(somebody, somebody), "ok", Forbidden, ""},
		{"member", id(somebody, team.group), "ok", "ok", "uid 4000002"},
		{"member by one group of many", id(somebody, somebody, many...), "ok", "ok", "uid 4000002"},
		{"nobody", id(65534, 65534), "ok", Forbidden, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := len(d.requests())
			v := askAs(t, tc.who, s.path)
			if v.Status != string(tc.status) || v.Do != string(tc.do) {
				t.Errorf("%+v, want %s and %s", v, tc.status, tc.do)
			}
			done := d.requests()[before:]
			switch {
			case tc.do != "ok" && len(done) > 0:
				t.Errorf("the daemon did %v", done)
			case tc.do == "ok" && (len(done) != 1 || done[0].By != tc.by):
				t.Errorf("the daemon did %+v, want it by %s", done, tc.by)
			case tc.do != "ok" && !strings.Contains(v.Text, "root and the members of the group daemon"):
				t.Errorf("%q does not say who may", v.Text)
			}
		})
	}
}

// The socket's mode keeps out whom the credentials would, and a reload of the policy
// changes both.
func TestRootPermit(t *testing.T) {
	d := &desk{}
	s, _ := serving(t, d, everybody(t))
	who := &syscall.Credential{Uid: somebody, Gid: somebody, Groups: []uint32{}}
	check := func(step string, mode os.FileMode, want verdict) {
		t.Helper()
		fi, err := os.Stat(s.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := fi.Mode().Perm(); got != mode {
			t.Errorf("%s: mode %o, want %o", step, got, mode)
		}
		got := askAs(t, who, s.path)
		if got.Text = ""; got != want {
			t.Errorf("%s: %+v, want %+v", step, got, want)
		}
	}
	permit := func(group string, readAll bool) {
		t.Helper()
		a, err := Resolve(group, readAll)
		if err != nil {
			t.Fatal(err)
		}
		s.Permit(a)
	}
	refused, no := string(Forbidden), verdict{string(Forbidden), string(Forbidden), ""}
	check("all may read", 0o666, verdict{"ok", refused, ""})
	permit("", false)
	check("root alone", 0o600, no)
	permit(operators, false)
	check("a group", 0o660, no)
	who.Groups = []uint32{s.access.Load().group}
	check("of the group", 0o660, verdict{"ok", "ok", ""})
	who.Groups = []uint32{}
	if err := os.Chmod(s.path, 0o666); err != nil {
		t.Fatal(err)
	}
	check("the mode alone opened", 0o666, no)
	permit("", true)
	check("all may read again", 0o666, verdict{"ok", refused, ""})
}
