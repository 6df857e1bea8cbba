package rival

import (
	"os"
	"path/filepath"
	"testing"
)

// In a made-up tree a module's directory that is made anew has another inode, as in
// sysfs.
func TestModuleLoadedAnew(t *testing.T) {
	const defaultsAgain = "which was unloaded and loaded anew since: its values are the kernel's defaults again"
	const setSince = "which was unloaded and loaded anew since, and something has set its values after that"
	loaded := tree{"sys/module/nf_conntrack/refcnt": "3\n", "proc/sys/net/netfilter/nf_conntrack_buckets": "65536\n"}
	for name, x := range map[string]struct {
		anew  bool
		drift Drift
		why   string // empty: it is no suspect
	}{
		"same":             {false, maxFound("65536"), ""},
		"max":              {true, maxFound("65536"), defaultsAgain},
		"max of old":       {true, maxFound("262144"), defaultsAgain},
		"max, set since":   {true, maxFound("100000"), setSince},
		"timeout":          {true, Drift{Key: "timeout:tcp_timeout_established", Ours: "7440", Found: "432000"}, defaultsAgain},
		"timeout, since":   {true, Drift{Key: "timeout:tcp_timeout_established", Ours: "7440", Found: "86400"}, setSince},
		"buckets":          {true, Drift{Key: "sysctl:" + keyBuckets, Ours: "1024", Found: "65536"}, defaultsAgain},
		"buckets the same": {false, Drift{Key: "sysctl:" + keyBuckets, Ours: "1024", Found: "65536"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := loaded.root(t)
			r.Module = Loaded(r)
			if x.anew {
				anew(t, r.Sys)
			}
			var want []Suspect
			if x.why != "" {
				want = []Suspect{{"the module nf_conntrack", x.why, true}}
			}
			if got := Suspects(t.Context(), r, x.drift); len(got) != len(want) || len(got) == 1 && got[0] != want[0] {
				t.Errorf("%+v, want %+v", got, want)
			}
		})
	}
}

// anew makes the module's directory anew. The old one is kept beside it, so that no
// file system gives its inode away.
func anew(t *testing.T, sys string) {
	t.Helper()
	dir := filepath.Join(sys, "module/nf_conntrack")
	if err := os.Rename(dir, filepath.Join(sys, "before")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// What was not known before, or is not there now, is no evidence.
func TestModuleUnknown(t *testing.T) {
	r := tree{"sys/module/nf_conntrack/refcnt": "3\n"}.root(t)
	if got := Suspects(t.Context(), r, maxFound("65536")); got == nil || len(got) > 0 {
		t.Errorf("%+v", got)
	}
	r.Module = Loaded(r)
	if err := os.RemoveAll(filepath.Join(r.Sys, "module")); err != nil {
		t.Fatal(err)
	}
	if got := Suspects(t.Context(), r, maxFound("65536")); len(got) > 0 || Loaded(r) != (Module{}) {
		t.Errorf("%+v", got)
	}
}

// The module of this machine stays the same one while nobody unloads it.
func TestRootModuleOfThisMachine(t *testing.T) {
	before := Loaded(Root{})
	if before == (Module{}) || Loaded(Root{}) != before {
		t.Errorf("%+v, then %+v", before, Loaded(Root{}))
	}
}
