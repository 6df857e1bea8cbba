package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/conntrack-guardian/conntrack-guardian/"

// directions are the import rules of the tree, the most specific folder first:
// what of ours a package may import. A trailing slash means all below.
var directions = []struct {
	folder string
	may    []string
}{
	{"policy", nil},
	{"actions/ledger", nil},
	{"actions/actionstest", []string{"guard/kernel/nft"}}, // its words for leases
	{"actions/entries", []string{"actions", "actions/ledger", "guard/kernel/"}},
	{"actions", []string{"actions/ledger", "guard/kernel/"}},
	{"guard/kernel/timeout", []string{"guard/kernel/ctnetlink", "guard/kernel/sysctl"}},
	{"guard/kernel", nil},
	{"guard/journald", nil},
	{"guard/config/watch", []string{"guard/config", "policy"}},
	{"guard/config", []string{"policy"}},
	{"guard/control", []string{"policy"}},
	{"guard/record/page", []string{"guard", "guard/record", "policy"}}, // its words for decisions
	{"guard/record", []string{"policy"}},
	{"guard/sense", []string{"policy", "guard/kernel/", "guard/sense/"}},
	{"guard", []string{"policy", "actions", "actions/ledger", "actions/entries", "guard/"}},
	{"contrib", []string{"policy", "guard", "actions", "actions/ledger", "actions/entries", "guard/", "contrib/"}},
	{"cmd", []string{"cmd/internal/", "policy", "guard", "actions", "actions/ledger", "actions/entries", "guard/", "contrib/"}},
}

// impure are packages of the standard library by which the outside could reach
// into a decision, or a decision out.
var impure = []string{"os", "net", "sync", "context", "log", "syscall", "math/rand", "io/fs", "runtime", "unsafe"}

func TestImportDirections(t *testing.T) {
	seen := map[string]bool{}
	root := "../.."
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return err
		}
		rel, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		dir := path.Dir(filepath.ToSlash(rel))
		i := slices.IndexFunc(directions, func(r struct {
			folder string
			may    []string
		},
		) bool {
			return dir == r.folder || strings.HasPrefix(dir, r.folder+"/")
		})
		if i < 0 {
			t.Errorf("%s: no import rule for this folder", rel)
			return nil
		}
		seen[directions[i].folder] = true
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, spec := range f.Imports {
			p, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if why := forbidden(directions[i].folder, directions[i].may, p); why != "" {
				t.Errorf("%s imports %s: %s", rel, p, why)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range directions {
		if !seen[r.folder] {
			t.Errorf("the rule for %s matches no file", r.folder)
		}
	}
}

func forbidden(folder string, may []string, p string) string {
	ours, isOurs := strings.CutPrefix(p, module)
	switch {
	case isOurs && !slices.ContainsFunc(may, func(m string) bool { return ours == m || strings.HasSuffix(m, "/") && strings.HasPrefix(ours, m) }):
		return folder + " may not import it"
	case folder == "policy" && !isOurs && strings.Contains(p, "."):
		return "the policy uses the standard library only"
	case folder == "policy" && p != "net/netip" && slices.ContainsFunc(impure, func(i string) bool { return p == i || strings.HasPrefix(p, i+"/") }):
		return "the policy is pure"
	}
	return ""
}

// clocks are what a decision must be handed instead of asking for it.
var clocks = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// The policy is told the time.
func TestPolicyReadsNoClock(t *testing.T) {
	files, err := filepath.Glob("../../policy/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no policy: %v", err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "time" && slices.Contains(clocks, s.Sel.Name) {
				t.Errorf("%s asks time.%s", file, s.Sel.Name)
			}
			return true
		})
	}
}

// A rule that finds nothing wrong must be able to.
func TestForbiddenImports(t *testing.T) {
	for _, tc := range []struct {
		folder string
		may    []string
		p      string
		want   bool
	}{
		{"policy", nil, "os", true},
		{"policy", nil, "net", true},
		{"policy", nil, "net/netip", false}, // addresses as plain values
		{"policy", nil, "golang.org/x/sys/unix", true},
		{"policy", nil, module + "actions", true},
		{"policy", nil, "time", false},
		{"actions", []string{"actions/ledger", "guard/kernel/"}, module + "policy", true},
		{"actions", []string{"actions/ledger", "guard/kernel/"}, module + "guard/kernel/sysctl", false},
		{"actions", []string{"actions/ledger", "guard/kernel/"}, module + "actions/ledger", false},
	} {
		if got := forbidden(tc.folder, tc.may, tc.p) != ""; got != tc.want {
			t.Errorf("%s importing %s: forbidden %v, want %v", tc.folder, tc.p, got, tc.want)
		}
	}
}
