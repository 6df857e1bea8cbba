package rival

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"
)

// A Suspect may have done it.
type Suspect struct {
	Name string // of the program or service
	// Why is the evidence, as the end of a sentence of which Name is the beginning.
	Why string
	// Likely tells evidence about this very value from a program that merely runs here
	// and could have done it.
	Likely bool
}

// within is how long a search may take. It is run beside readings of a second.
const within = 100 * time.Millisecond

// A finder looks for one kind of evidence about all drifts.
type finder func(*search) []Suspect

// The finders, strongest evidence first.
var (
	ofValues = []finder{reloaded, writing, sysctlFiles, scripts, tunedProfile, kubeProxy, containers}
	ofTables = []finder{removing, nftFiles, tableKeepers}
)

// Suspects returns who may have done what was found, the most suspicious first. The
// drifts are those of one moment, which one rival has caused. It blocks for up to 100
// ms, also where a file or a process does not answer. The result is never nil: none is
// an answer.
func Suspects(ctx context.Context, r Root, drifts ...Drift) []Suspect {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	values, tables := parseDrifts(drifts)
	var finders []finder
	if len(values) > 0 {
		finders = append(finders, ofValues...)
	}
	if tables {
		finders = append(finders, ofTables...)
	}
	found := make(chan []Suspect, len(finders)) // so that nobody waits for us
	go func() {
		s := &search{ctx: ctx, root: r, drifts: values, filesLeft: mostFiles}
		for _, f := range finders {
			found <- f(s)
		}
		close(found)
	}()
	return collect(ctx, found)
}

// collect takes what is found until there is no more or no time.
func collect(ctx context.Context, found <-chan []Suspect) (all []Suspect) {
	for {
		select {
		case some, more := <-found:
			if !more {
				return rank(all)
			}
			all = append(all, some...)
		case <-ctx.Done():
			return rank(all)
		}
	}
}

// rank puts the likely ones first, otherwise in the order of the finders, and drops
// what is said twice.
func rank(all []Suspect) []Suspect {
	slices.SortStableFunc(all, func(a, b Suspect) int { return cmp.Compare(order(a), order(b)) })
	out := []Suspect{}
	for _, s := range all {
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

func order(s Suspect) int {
	if s.Likely {
		return 0
	}
	return 1
}

// told is how many suspects a sentence names.
const told = 3

// Sentence says in one line for the journal who is suspected. It says that this is
// unknown where there is nothing but opportunity: somebody at a shell leaves no trace.
func Sentence(all []Suspect) string {
	if likely := slices.DeleteFunc(slices.Clone(all), func(s Suspect) bool { return !s.Likely }); len(likely) > 0 {
		all = likely
	}
	var parts []string
	for _, s := range all[:min(len(all), told)] {
		parts = append(parts, s.Name+", "+s.Why)
	}
	list := strings.Join(parts, "; ")
	switch {
	case len(all) == 0:
		return "who did it is unknown: no file says so and no known writer runs here"
	case !all[0].Likely:
		return "who did it is unknown; possibly " + list
	}
	return "suspected: " + list
}
