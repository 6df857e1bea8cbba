package config

import (
	"cmp"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
	"golang.org/x/tools/txtar"
)

// Whatever the text, Parse returns: problems that stand in the text, in order,
// one line each, with the default policy; or a policy inside its bounds.
func FuzzParse(f *testing.F) {
	seed(f, func(text []byte) { f.Add(text) })
	f.Fuzz(func(t *testing.T, text []byte) {
		file, problems := Parse("p", text)
		again, same := Parse("p", text)
		if !reflect.DeepEqual(file, again) || !slices.Equal(problems, same) {
			t.Fatalf("two readings differ: %v and %v", problems, same)
		}
		if len(problems) > 0 {
			checkProblems(t, string(text), problems)
			if !reflect.DeepEqual(file, Default()) {
				t.Fatalf("a policy beside problems: %+v", file)
			}
			return
		}
		checkPolicy(t, string(text), file)
	})
}

// However a text is parted into files, its problems name the files they are in, and
// what comes out is inside the bounds.
func FuzzParseAll(f *testing.F) {
	seed(f, func(text []byte) { f.Add(text, len(text)/2) })
	f.Fuzz(func(t *testing.T, text []byte, at int) {
		at = min(max(at, 0), len(text))
		texts := []Text{{"a", text[:at]}, {"b", text[at:]}}
		file, problems := ParseAll(texts)
		if len(problems) == 0 {
			checkPolicy(t, string(text), file)
			return
		}
		inB := slices.IndexFunc(problems, func(p Problem) bool { return p.File == "b" })
		if inB < 0 {
			inB = len(problems)
		}
		checkProblems(t, string(text[:at]), problems[:inB])
		checkProblems(t, string(text[at:]), problems[inB:])
		for i, p := range problems {
			if want := texts[min(1, max(0, i-inB+1))].Name; p.File != want {
				t.Errorf("%s is among those of %s", p, want)
			}
		}
		if !reflect.DeepEqual(file, Default()) {
			t.Fatalf("a policy beside problems: %+v", file)
		}
	})
}

func checkProblems(t *testing.T, text string, problems Problems) {
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	last := Problem{}
	for _, p := range problems {
		if p.Line < 1 || p.Line > len(lines) || p.Col < 1 || p.Col > len(lines[p.Line-1])+1 {
			t.Errorf("not in the text: %s", p)
		}
		if p.Line < last.Line || p.Line == last.Line && p.Col < last.Col {
			t.Errorf("out of order: %s", p)
		}
		if p.Key == "" || p.Message == "" || p == last || strings.Contains(p.String(), "\n") {
			t.Errorf("badly told: %q", p.String())
		}
		last = p
	}
}

func checkPolicy(t *testing.T, text string, file File) {
	p := &file.Policy
	if p.Watch.Low >= p.Watch.High || p.Watch.Low <= 0 || p.Watch.High > 1 {
		t.Errorf("marks %v, %v", p.Watch.Low, p.Watch.High)
	}
	if p.RaiseMax.Ceiling < 1 || p.RaiseMax.Step < 1.05 || p.GrowBuckets.Ceiling < 8192 {
		t.Errorf("bounds %+v, %+v", p.RaiseMax, p.GrowBuckets)
	}
	checkTimeouts(t, text, &p.ShortenTimeouts)
	checkLimit(t, text, p)
	checkFlows(t, text, p.Bypass)
	acts := min(p.Mode, max(p.RaiseMax.Mode, p.GrowBuckets.Mode)) == policy.Act
	if acts && !strings.Contains(text, "ceiling") && !strings.Contains(text, `\`) {
		t.Errorf("acts without a ceiling")
	}
	if len(file.Hash) != 64 {
		t.Errorf("hash %q", file.Hash)
	}
}

func checkTimeouts(t *testing.T, text string, m *policy.ShortenTimeoutsConfig) {
	says := func(word string) bool { return strings.Contains(text, word) || strings.Contains(text, `\`) }
	if m.Start >= m.End || m.Start <= 0 || m.End > 1 || m.Hold < m.Check || m.Budget != 0 && m.Budget < 10_000 {
		t.Errorf("bounds %+v", *m)
	}
	for i, f := range m.Floors {
		if f.Floor < time.Second || f.Floor%time.Second != 0 {
			t.Errorf("%s: floor %v", policy.Timeout(i), f.Floor)
		}
		if min(m.Mode, f.Mode) == policy.Act && !(says("floor") && says(policy.Timeout(i).String())) {
			t.Errorf("%s acts without a floor", policy.Timeout(i))
		}
	}
	if low := m.Floors[policy.TCPEstablished].Floor; low < 7440*time.Second && !says("below_rfc") {
		t.Errorf("established TCP comes down to %v", low)
	}
}

func checkLimit(t *testing.T, text string, p *policy.Config) {
	l := &p.LimitSource
	if p.Lease < 5*time.Second || l.Rate < 1 || l.Burst < 1 || l.MaxSources < 1 || l.MaxSources > policy.MaxLimited || l.Hold < l.Check ||
		l.IPv4Bits < 8 || l.IPv4Bits > 32 || l.IPv6Bits < 32 || l.IPv6Bits > 128 || l.Share < 0.02 || l.EscalateAfter < 1 {
		t.Errorf("bounds %v, %+v", p.Lease, *l)
	}
	if l.Mode == policy.Act && !strings.Contains(text, "rate") && !strings.Contains(text, `\`) {
		t.Errorf("limits without a rate")
	}
	checkPrefixes(t, l.Allow)
}

func checkFlows(t *testing.T, text string, flows []policy.Flow) {
	if len(flows) > maxFlows || !slices.IsSortedFunc(flows, func(a, b policy.Flow) int { return cmp.Compare(a.Name, b.Name) }) {
		t.Errorf("%d flows, or not by name", len(flows))
	}
	for i, f := range flows {
		if !flowName.MatchString(f.Name) || i > 0 && flows[i-1].Name == f.Name || !strings.Contains(text, "from") && !strings.Contains(text, `\`) {
			t.Errorf("flow %q", f.Name)
		}
		from4, from6 := families(f.From)
		to4, to6 := families(f.To)
		if together := from4 && to4 || from6 && to6; f.Lifeline && (len(f.To) > 0 || f.Proto != tcp) || !f.Lifeline && !together {
			t.Errorf("ends of %+v", f)
		}
		if f.Proto == 0 || hasPorts(f.Proto) != (len(f.Ports) > 0) || len(f.From) == 0 || f.Hold < time.Second {
			t.Errorf("values of %+v", f)
		}
		checkPrefixes(t, slices.Concat(f.From, f.To))
		for j, p := range f.Ports {
			if p.Low == 0 || p.Low > p.High || slices.ContainsFunc(f.Ports[:j], func(q policy.Ports) bool { return overlap(p, q) != nil }) {
				t.Errorf("ports of %+v", f)
			}
		}
	}
}

func checkPrefixes(t *testing.T, all []netip.Prefix) {
	for _, p := range all {
		if p != p.Masked() || !p.IsValid() || p.Addr().Is4In6() {
			t.Errorf("prefix %v", p)
		}
	}
}

// seed adds the example and all golden policies.
func seed(f *testing.F, add func(text []byte)) {
	example, err := os.ReadFile(examplePath)
	if err != nil {
		f.Fatal(err)
	}
	add(example)
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no golden files: %v", err)
	}
	for _, name := range files {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, a := range archive.Files {
			add(a.Data)
		}
	}
}
