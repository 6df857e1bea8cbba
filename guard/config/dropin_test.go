package config

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// write makes a policy of files, by their names as seen from its directory, and
// returns the path of the main one.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "guardian.toml")
}

const resolver = "[bypass.dns]\nfrom = ['10.0.0.0/8']\nto = ['192.0.2.53']\nproto = 'udp'\nports = [53]\n"

// Of a setting the last of the files counts, of a flow, too, setting by setting; and
// what is nobody's drop-in is not read.
func TestLastDropInWins(t *testing.T) {
	path := write(t, map[string]string{
		"guardian.toml":                "version = 1\nmode = 'advise'\n[raise_max]\nceiling = 1000\nstep = 3\n" + resolver,
		"guardian.d/10-site.toml":      "mode = 'act'\n[raise_max]\nceiling = 2000\n",
		"guardian.d/9-late.toml":       "version = 1\nraise_max.ceiling = 3000\nbypass.dns.hold = '1m'\n[limit_source]\nrate = 7\n",
		"guardian.d/.hidden.toml":      "grow_buckets.mode = 'off'",
		"guardian.d/.#10-site.toml":    "grow_buckets.mode = 'off'",
		"guardian.d/10-site.toml~":     "grow_buckets.mode = 'off'",
		"guardian.d/10-site.toml.bak":  "grow_buckets.mode = 'off'",
		"guardian.d/10-site.conf":      "grow_buckets.mode = 'off'",
		"guardian.d/README":            "grow_buckets.mode = 'off'",
		"guardian.d/x.toml.dpkg-new":   "grow_buckets.mode = 'off'",
		"guardian.d/sub/10-other.toml": "grow_buckets.mode = 'off'",
	})
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	p := &f.Policy
	if p.Mode != policy.Act || p.RaiseMax.Mode != policy.Act || p.RaiseMax.Ceiling != 3000 || p.RaiseMax.Step != 3 ||
		p.LimitSource.Rate != 7 || p.LimitSource.Mode != policy.Act || p.GrowBuckets.Mode != policy.Advise {
		t.Errorf("got %+v", p)
	}
	if len(p.Bypass) != 1 || p.Bypass[0].Hold.Minutes() != 1 || len(p.Bypass[0].From) != 1 {
		t.Errorf("flows %+v", p.Bypass)
	}
	d := filepath.Dir(path) + "/guardian.d/"
	for name, want := range map[string]string{
		"mode": d + "10-site.toml:1", "raise_max.ceiling": d + "9-late.toml:2", "raise_max.step": path + ":5",
		"bypass.dns.hold": d + "9-late.toml:3", "bypass.dns.from": path + ":7", "limit_source.rate": d + "9-late.toml:5",
		"limit_source.burst": "default", "version": d + "9-late.toml:1",
	} {
		if got := sourceOf(t, f, name).Source(); got != want {
			t.Errorf("%s is from %s, want %s", name, got, want)
		}
	}
}

func sourceOf(t *testing.T, f File, name string) Setting {
	t.Helper()
	for _, s := range f.Sources {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no source of %s", name)
	return Setting{}
}

// Problems name their file, stand in the order of the files, and what must go together
// is looked for in all of them.
func TestProblemsOfDropIns(t *testing.T) {
	path := write(t, map[string]string{
		"guardian.toml":      "version = 1\nmode = 'act'\nwatch.low = 0.7\n[raise_max]\nmode = 'act'\n[grow_buckets]\nmode = 'act'\n",
		"guardian.d/a.toml":  "[grow_buckets]\nceiling = 8192\nchian = 3\n",
		"guardian.d/b.toml":  "watch.high = 0.6\n\n[bypass.x]\nproto = 'udp\n",
		"guardian.d/c.toml":  "version = 2\nwhat = 'this means then'\n",
		"guardian.d/d.toml":  "",
		"guardian.d/e.toml":  "[limit_source]\nallow = ['::/129']\n",
		"guardian.d/ee.toml": "[limit_source]\nallow = []\n",
	})
	texts, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	f, problems := ParseAll(texts)
	want := `guardian.d/a.toml:3:1: grow_buckets.chian: unknown; did you mean "chain"?
guardian.d/b.toml:4:13: syntax: strings cannot contain newlines
guardian.d/c.toml:1:11: version: 2 is newer than this program understands (1)
guardian.d/e.toml:2:10: limit_source.allow: want an address or a prefix, such as "192.0.2.1" or "2001:db8::/32", got "::/129"`
	short := func() string { return strings.ReplaceAll(problems.Error(), filepath.Dir(path)+"/", "") }
	if short() != want || !reflect.DeepEqual(f, Default()) {
		t.Errorf("got\n%s\nwant\n%s", short(), want)
	}
	texts = append(texts[:3], texts[4], texts[6])
	texts[1].Content, texts[2].Content = texts[1].Content[:len("[grow_buckets]\nceiling = 8192\n")], texts[2].Content[:len("watch.high = 0.6")]
	_, problems = ParseAll(texts)
	want = `guardian.toml:5:8: raise_max.ceiling: mode "act" needs a ceiling in [raise_max]: it is the approval, and the default is not yours
guardian.d/b.toml:1:14: watch.high: low (0.7) must be below high (0.6)`
	if short() != want {
		t.Errorf("of the whole: got\n%s\nwant\n%s", short(), want)
	}
}

// The version is the main file's to state.
func TestVersionIsNeededOnce(t *testing.T) {
	for main, want := range map[string]int{"version = 1\n": 0, "": 1} {
		if _, problems := ParseAll([]Text{{"main", []byte(main)}, {"more", []byte("version = 1\n")}}); len(problems) != want {
			t.Errorf("%q: %v", main, problems)
		}
	}
}

func TestReadRefusesDropIns(t *testing.T) {
	tests := []struct {
		name, want string
		files      map[string]string
		prepare    func(dir string) error
	}{
		{"without a policy", "there is DIR/guardian.d/a.toml, but no DIR/guardian.toml: write it, with version = 1 at least", map[string]string{"guardian.d/a.toml": ""}, nil},
		{"a file", "open DIR/guardian.d: not a directory", map[string]string{"guardian.toml": "version = 1", "guardian.d": ""}, nil},
		{"a directory inside", "DIR/guardian.d/a.toml is a directory, not a regular file", map[string]string{"guardian.toml": "", "guardian.d/a.toml/b": ""}, nil},
		{
			"a link to nothing", "open DIR/guardian.d/a.toml: no such file or directory",
			map[string]string{"guardian.toml": "", "guardian.d/b.toml": ""},
			func(dir string) error { return os.Symlink("nothing", dir+"/guardian.d/a.toml") },
		},
		{
			"too many", "DIR/guardian.d holds 65 drop-ins: join some, 64 are allowed",
			map[string]string{"guardian.toml": "version = 1", "guardian.d/00.toml": ""},
			func(dir string) (err error) {
				for i := range 64 {
					err = errors.Join(err, os.WriteFile(fmt.Sprintf("%s/guardian.d/%02d.toml", dir, i+1), nil, 0o600))
				}
				return err
			},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, test.files)
			dir := filepath.Dir(path)
			if test.prepare != nil {
				if err := test.prepare(dir); err != nil {
					t.Fatal(err)
				}
			}
			_, err := Load(path)
			if want := "read policy: " + strings.ReplaceAll(test.want, "DIR", dir); err == nil || err.Error() != want || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

// The hash is what people get with sha256sum.
func TestHashOfFiles(t *testing.T) {
	path := write(t, map[string]string{"guardian.toml": "version = 1\n"})
	f, err := Load(path)
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte("version = 1\n"))); err != nil || f.Hash != want {
		t.Errorf("one file: %s, %v, want %s", f.Hash, err, want)
	}
	path = write(t, map[string]string{"guardian.toml": "version = 1\n", "guardian.d/b.toml": "b = 1", "guardian.d/a.toml": ""})
	texts, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	list := ""
	for _, name := range []string{"guardian.toml", "guardian.d/a.toml", "guardian.d/b.toml"} {
		content, _ := os.ReadFile(filepath.Join(filepath.Dir(path), name))
		list += fmt.Sprintf("%x  %s\n", sha256.Sum256(content), name)
	}
	if want := fmt.Sprintf("%x", sha256.Sum256([]byte(list))); Hash(texts) != want {
		t.Errorf("several: %s, want %s", Hash(texts), want)
	}
	if Hash(nil) != "" {
		t.Errorf("none: %s", Hash(nil))
	}
}

// The sources, written as they say, are the same policy again.
func TestSourcesAreThePolicy(t *testing.T) {
	example, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		string(example), "version = 1\n", "version = 1\nrecord.size = 0\ncontrol.read = 'all'\nwatch.high = '83.5%'\nwatch.low = 0.123\nnamespace = '/run/x \"y'\n" +
			"[shorten_timeouts]\nbelow_rfc = true\nudp_timeout_stream.floor = '61s'\n[bypass.a]\nfrom = ['::/0']\nto = ['2001:db8::1']\nproto = 47\n",
	} {
		want, problems := Parse("p", []byte(text))
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		again := ""
		for _, s := range want.Sources {
			if s.Value != "[]" { // a flow that has none must not have the key
				again += s.Name + " = " + s.Value + "\n"
			}
		}
		got, problems := Parse("p", []byte(again))
		got.Hash, got.Sources, want.Hash, want.Sources = "", nil, "", nil
		if len(problems) > 0 || !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v and %v, want %+v", got, problems, want)
		}
	}
}

// A warning tells of what is written, where, and never of what is by default.
func TestWarnings(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"nothing", "", ""},
		{"everybody allowed", "[limit_source]\nallow = ['10.0.0.0/8', '::/0']", "p:3:9: limit_source.allow: ::/0 is everybody: nobody is limited"},
		{
			"a lifeline for everybody", "bypass.ssh = { lifeline = true, from = ['0.0.0.0/0'], proto = 'tcp', ports = [22] }",
			"p:2:33: bypass.ssh.from: 0.0.0.0/0 is everybody: when the table is full, anybody can open connections to these ports past it; name the networks that you administer from",
		},
		{"that is off", "bypass.ssh = { mode = 'off', lifeline = true, from = ['0.0.0.0/0'], proto = 'tcp', ports = [22] }", ""},
		{"a flow from everybody", "bypass.a = { from = ['0.0.0.0/0'], to = ['192.0.2.1'], proto = 47 }", ""},
		{"off with more", "[raise_max]\nceiling = 5\nmode = 'off'\nstep = 3", `p:3:11: raise_max.ceiling: does nothing: [raise_max] has mode "off"`},
		{"off with a floor", "[shorten_timeouts]\nmode = 'off'\nudp_timeout.floor = '9s'", `p:4:21: shorten_timeouts.udp_timeout.floor: does nothing: [shorten_timeouts] has mode "off"`},
		{"off alone", "raise_max.mode = 'off'", ""},
		{"all off", "mode = 'off'\n[raise_max]\nceiling = 5", "p:2:8: mode: no measure is considered, whatever its own mode"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f, problems := Parse("p", []byte("version = 1\n"+test.text))
			if got := f.Warnings().Error(); len(problems) > 0 || got != test.want {
				t.Errorf("got %q and %v, want %q", got, problems, test.want)
			}
		})
	}
}

// What a measure may do is the least of the modes, and what it lacks is told where it
// alone is in the way.
func TestMeasures(t *testing.T) {
	for text, want := range map[string]string{
		"": "advise advise advise advise off",
		"mode = 'act'\n[raise_max]\nceiling = 5\n[limit_source]\nmode = 'observe'\n" + resolver: "act advise(a ceiling in [grow_buckets]) " +
			"advise(a timeout with a floor in [shorten_timeouts]) observe act",
		"mode = 'act'\n[shorten_timeouts]\nudp_timeout = { floor = '5s', mode = 'observe' }\n" + resolver + "mode = 'observe'": "advise(a ceiling in [raise_max]) " +
			"advise(a ceiling in [grow_buckets]) advise advise(a rate in [limit_source]) observe",
	} {
		f, problems := Parse("p", []byte("version = 1\n"+text))
		var got []string
		for _, m := range f.Measures() {
			word := m.Mode.String()
			if m.Lacks != "" {
				word += "(" + m.Lacks + ")"
			}
			got = append(got, word)
		}
		if strings.Join(got, " ") != want || len(problems) > 0 {
			t.Errorf("%q: got %q and %v, want %q", text, got, problems, want)
		}
	}
}
