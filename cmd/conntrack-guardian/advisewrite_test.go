package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
)

// The files hold settings and comments alone, as their readers take them, and nothing
// in them is commented out but choices.
func TestSizingFilesAreAccepted(t *testing.T) {
	setting := regexp.MustCompile(`^[a-z0-9_]+(\.[a-z0-9_]+)+ = [1-9][0-9]*$`)
	for name, tc := range adviceCases {
		stateWith(t, tc.part, tc.week...)
		if code, _, stderr := runAdvise(tc.find, append([]string{"--write", "sizing"}, tc.args...)...); code != program.Done {
			t.Fatalf("%s: %s", name, stderr)
		}
		keys := map[string]bool{}
		for line := range strings.Lines(string(read(t, "sizing/sysctl.d/"+sizingName))) {
			line = strings.TrimSuffix(line, "\n")
			choice, isChoice := strings.CutPrefix(line, "#net.")
			switch {
			case isChoice && !setting.MatchString("net."+choice):
				t.Errorf("%s: %q is no setting", name, line)
			case line == "" || line == "#" || strings.HasPrefix(line, "# ") || isChoice:
			case !setting.MatchString(line):
				t.Errorf("%s: %q is no setting and no comment", name, line)
			default:
				key, _, _ := strings.Cut(line, " ")
				keys[key] = true
			}
		}
		if len(keys) != 2 || !keys["net.netfilter.nf_conntrack_max"] || !keys["net.netfilter.nf_conntrack_buckets"] {
			t.Errorf("%s: it sets %v", name, keys)
		}
		for sub, want := range map[string]string{"modprobe.d": `options nf_conntrack hashsize=[1-9][0-9]*`, "modules-load.d": `nf_conntrack`} {
			text := string(read(t, filepath.Join("sizing", sub, sizingName)))
			if !regexp.MustCompile(`\A((#( .*)?)?\n)+` + want + `\n\z`).MatchString(text) {
				t.Errorf("%s: %s is\n%s", name, sub, text)
			}
		}
	}
}

// A file that comes about while others are written stays.
func TestSizingFileOfAnother(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeIn(root, sizingFile{"mine", "ours"}, false); !errors.Is(err, fs.ErrExist) || string(read(t, filepath.Join(dir, "mine"))) != "mine" {
		t.Errorf("%v", err)
	}
}

// What is there is replaced by force alone, and then all of it.
func TestAdviseReplacesByForce(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	present := filepath.Join("sizing/modprobe.d", sizingName)
	if err := errors.Join(os.MkdirAll("sizing/modprobe.d", 0o755), os.WriteFile(present, []byte("mine\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runAdvise(gatewayFound, "--write", "sizing")
	if code != program.Failed || !strings.Contains(stderr, present+": it is there already; --force replaces it") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if _, err := os.Stat("sizing/sysctl.d"); !errors.Is(err, fs.ErrNotExist) || string(read(t, present)) != "mine\n" {
		t.Errorf("something is written: %v", err)
	}
	code, _, stderr = runAdvise(gatewayFound, "--write", "sizing", "--force")
	if code != program.Done || !strings.Contains(string(read(t, present)), "hashsize=262144") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// A directory in it that is a link leads nowhere else.
func TestAdviseStaysInItsDirectory(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	outside := t.TempDir()
	if err := errors.Join(os.Mkdir("sizing", 0o755), os.Symlink(outside, "sizing/sysctl.d")); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"--write", "sizing"}, {"--write", "sizing", "--force"}} {
		code, _, stderr := runAdvise(gatewayFound, args...)
		if left, err := os.ReadDir(outside); code != program.Failed || err != nil || len(left) > 0 {
			t.Errorf("exit code %d, %s: %v %v", code, stderr, left, err)
		}
	}
}

// A directory that was another one when it was looked at is refused when it is opened.
func TestSizingDirSwapped(t *testing.T) {
	system := t.TempDir()
	was := systemDirs
	systemDirs = []string{system}
	defer func() { systemDirs = was }()
	link := filepath.Join(t.TempDir(), "out")
	if err := os.Symlink(system, link); err != nil {
		t.Fatal(err)
	}
	if _, err := writeSizing(link, []sizingFile{{path: "x.conf", text: "x"}}, true); err == nil || !strings.Contains(err.Error(), "come into force") {
		t.Errorf("written: %v", err)
	}
	if left, err := os.ReadDir(system); err != nil || len(left) > 0 {
		t.Errorf("%v: %v", left, err)
	}
}
