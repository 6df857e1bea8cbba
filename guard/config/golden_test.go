package config

import (
	"flag"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write the problems found into testdata")

// Each file of testdata is an archive of policies and, after each, the problems
// it has: NAME.toml, then NAME.problems. A policy that holds bytes an archive
// can't is a quoted Go string in NAME.quoted.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(archive.Files); i += 2 {
			policy, problems := archive.Files[i], &archive.Files[i+1]
			t.Run(strings.TrimSuffix(policy.Name, filepath.Ext(policy.Name)), func(t *testing.T) {
				compare(t, policy, problems)
			})
		}
		if !*update {
			continue
		}
		if err := os.WriteFile(file, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t *testing.T, policy txtar.File, want *txtar.File) {
	base := strings.TrimSuffix(policy.Name, filepath.Ext(policy.Name))
	if want.Name != base+".problems" {
		t.Fatalf("%s is followed by %s", policy.Name, want.Name)
	}
	var got string
	if _, problems := Parse(base, unquote(t, policy)); len(problems) > 0 {
		got = problems.Error() + "\n"
	}
	if *update {
		want.Data = []byte(got)
	}
	if diff := cmp.Diff(string(want.Data), got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
}

func unquote(t *testing.T, f txtar.File) []byte {
	t.Helper()
	if filepath.Ext(f.Name) != ".quoted" {
		return f.Data
	}
	text, err := strconv.Unquote(strings.TrimSpace(string(f.Data)))
	if err != nil {
		t.Fatalf("%s: %v", f.Name, err)
	}
	return []byte(text)
}
