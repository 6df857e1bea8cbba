package sense

import (
	"context"
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/netns"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/nft"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

var (
	hog   = netip.MustParsePrefix("10.0.0.1/32")
	other = netip.MustParsePrefix("10.0.0.2/32")
)

// A world is what a scout for tests finds: a table whose hog grows by 100 entries a
// second, and a counter by which it makes 300 connections a second.
type world struct {
	now       time.Duration
	ipv6      int   // entries of IPv6
	refuse    error // of the census
	noNFT     error
	unsure    int   // by how much what the hog holds may be wrong, either way
	gone      bool  // somebody has removed the counter's table
	empty     bool  // there are no entries
	stays     error // why the counter can't be removed
	removed   int   // what was left
	installed []nft.Families
	sizes     []sizes
	asked     census.Options
	closed    int
}

func (w *world) scout() *Scout {
	return &Scout{
		take: func(_ context.Context, o census.Options) (census.Report, error) {
			w.asked = o
			w.now += 100 * time.Millisecond
			held := int(w.now.Seconds() * 100)
			if w.empty {
				return census.Report{At: w.now, Full: true}, nil
			}
			return census.Report{
				At: w.now, Full: true, Read: 2 * held, Table: 2 * held, IPv6: census.Figure{Entries: w.ipv6},
				Sources: []census.Source{
					{Prefix: hog, Figure: census.Figure{Entries: held, Low: held - w.unsure, High: held + w.unsure, Share: 0.5}},
					{Prefix: other, Figure: census.Figure{Entries: 10, Low: 10, High: 10}},
				},
			}, w.refuse
		},
		install: func(f nft.Families, by sizes) (counter, error) {
			w.sizes = append(w.sizes, by)
			if w.noNFT != nil {
				return nil, w.noNFT
			}
			w.installed = append(w.installed, f)
			return w, nil
		},
		remove: func() error { w.removed++; return w.stays },
		apart:  time.Nanosecond,
	}
}

func (w *world) Read() (nft.Counts, error) {
	if w.gone {
		w.gone = false
		return nft.Counts{}, fs.ErrNotExist
	}
	w.now += time.Second
	n := uint64(w.now.Seconds() * 300)
	return nft.Counts{At: w.now, New: n + 10, Sources: []nft.Source{{Prefix: hog, New: n}}}, nil
}

func (w *world) Close() error { w.closed++; return w.stays }

func look(t *testing.T, s *Scout, count policy.Counting) Sight {
	t.Helper()
	c := policy.Default()
	c.Census.CountNew = count
	seen, err := s.Look(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

func TestScoutCounts(t *testing.T) {
	w := &world{now: time.Hour}
	s := w.scout()
	for range 3 {
		seen := look(t, s, policy.CountAlways)
		c := seen.Census
		if !seen.Counting || seen.Uncounted != nil || !c.Counted || c.Sources[0].New < 299 || c.Sources[0].New > 301 || c.Fastest.Prefix != hog || c.New != c.Fastest.New {
			t.Errorf("%+v", seen)
		}
		if steady := c.Sources[0].Steady; steady < 299 || steady > 301 || c.Fastest.Steady != steady || c.Sources[1].Steady != 0 {
			t.Errorf("steadily %v and %v, the fastest %v", steady, c.Sources[1].Steady, c.Fastest.Steady)
		}
	}
	if len(w.installed) != 1 || w.installed[0] != nft.IPv4 || w.closed != 0 {
		t.Errorf("installed %v, closed %d times", w.installed, w.closed)
	}
	w.ipv6 = 5
	look(t, s, policy.CountAlways)
	if len(w.installed) != 2 || w.installed[1] != nft.IPv4|nft.IPv6 || w.closed != 1 {
		t.Errorf("with IPv6: installed %v, closed %d times", w.installed, w.closed)
	}
	if seen := look(t, s, policy.CountNever); seen.Counting || w.closed != 2 {
		t.Errorf("no longer wanted: %+v, closed %d times", seen, w.closed)
	}
	if err := s.Rest(); err != nil || w.closed != 2 {
		t.Errorf("at rest twice: %v, closed %d times", err, w.closed)
	}
}

// In mode advise nothing is put into the kernel; two censuses tell the rate.
func TestScoutComparesTwoCensuses(t *testing.T) {
	w := &world{now: time.Hour}
	s := w.scout()
	if c := look(t, s, policy.CountActing).Census; c.Sources[0].New != 0 {
		t.Errorf("a rate out of one census: %+v", c.Sources[0])
	}
	w.now += 10 * time.Second
	c := look(t, s, policy.CountActing).Census
	if c.Counted || c.Sources[0].New < 99 || c.Sources[0].New > 101 || c.Sources[1].New != 0 || c.Sources[0].Steady != c.Sources[0].New {
		t.Errorf("%+v", c.Sources[:2])
	}
	w.now += time.Hour
	if c := look(t, s, policy.CountActing).Census; c.Sources[0].New != 0 {
		t.Errorf("a rate of long ago: %+v", c.Sources[0])
	}
	if len(w.installed) != 0 {
		t.Errorf("installed %v in mode advise", w.installed)
	}
}

// Of two samples only what is certain to have grown is steady.
func TestScoutComparesTwoSamples(t *testing.T) {
	for unsure, want := range map[int]float64{0: 100, 300: 40, 500: 0, 5000: 0} {
		w := &world{now: time.Hour, unsure: unsure}
		s := w.scout()
		look(t, s, policy.CountNever)
		w.now += 9900 * time.Millisecond
		h := look(t, s, policy.CountNever).Census.Sources[0]
		if h.New < 99 || h.New > 101 || h.Steady < want-1 || h.Steady > want+1 {
			t.Errorf("unsure by %d: makes %v, steadily %v, want 100 and %v", unsure, h.New, h.Steady, want)
		}
	}
}

// Sources of another length are another counter's, and no growth of those before.
func TestScoutResizesSources(t *testing.T) {
	w := &world{now: time.Hour}
	s := w.scout()
	c := policy.Default()
	c.Census.CountNew = policy.CountAlways
	for _, by := range []sizes{{32, 64}, {24, 56}, {24, 56}} {
		c.LimitSource.IPv4Bits, c.LimitSource.IPv6Bits = by.ipv4, by.ipv6
		if seen, err := s.Look(t.Context(), c); err != nil || !seen.Counting {
			t.Errorf("%+v, %v", seen, err)
		}
		if w.asked.IPv4Bits != by.ipv4 || w.asked.IPv6Bits != by.ipv6 {
			t.Errorf("a census by %+v, want %v", w.asked, by)
		}
	}
	if want := []sizes{{32, 64}, {24, 56}}; !slices.Equal(w.sizes, want) || w.closed != 1 {
		t.Errorf("counted by %v, want %v; closed %d times", w.sizes, want, w.closed)
	}
	c.Census.CountNew = policy.CountNever
	look := func(bits int) policy.Holder {
		c.LimitSource.IPv4Bits = bits
		seen, err := s.Look(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		return seen.Census.Sources[0]
	}
	if first, same, other := look(24), look(24), look(25); first.New == 0 || same.New == 0 || other.New != 0 {
		t.Errorf("grew by %v, %v, and then with other networks by %v", first.New, same.New, other.New)
	}
}

// Without the counter the census stands by itself; it is tried again.
func TestScoutWithoutCounter(t *testing.T) {
	w := &world{now: time.Hour, noNFT: errors.New("no nf_tables")}
	s := w.scout()
	if seen := look(t, s, policy.CountAlways); seen.Counting || seen.Uncounted == nil || seen.Census.Read == 0 {
		t.Errorf("%+v", seen)
	}
	w.noNFT = nil
	if seen := look(t, s, policy.CountAlways); !seen.Counting || !seen.Census.Counted {
		t.Errorf("%+v", seen)
	}
	w.gone = true
	if seen := look(t, s, policy.CountAlways); seen.Counting || !errors.Is(seen.Uncounted, fs.ErrNotExist) {
		t.Errorf("%+v", seen)
	}
	if seen := look(t, s, policy.CountAlways); !seen.Counting || len(w.installed) != 2 {
		t.Errorf("%+v, installed %v", seen, w.installed)
	}
}

func TestScoutFails(t *testing.T) {
	w := &world{refuse: errors.New("not permitted")}
	if _, err := w.scout().Look(t.Context(), policy.Default()); !errors.Is(err, w.refuse) {
		t.Errorf("%v", err)
	}
}

// A table that was emptied has no family to count, and gives no reason to count one.
func TestScoutOfAnEmptyTable(t *testing.T) {
	w := &world{now: time.Hour, empty: true}
	s := w.scout()
	if seen := look(t, s, policy.CountAlways); seen.Counting || seen.Uncounted != nil || seen.Census.Counted {
		t.Errorf("%+v", seen)
	}
	w.empty = false
	if seen := look(t, s, policy.CountAlways); !seen.Counting {
		t.Errorf("no longer empty: %+v", seen)
	}
	w.empty = true
	if seen := look(t, s, policy.CountAlways); !seen.Census.Counted || len(w.installed) != 1 {
		t.Errorf("empty again: %+v, installed %v", seen, w.installed)
	}
}

// Where the path names another namespace the counter of the former one goes, and
// neither its rates nor its entries are compared.
func TestScoutFollowsTheNamespace(t *testing.T) {
	w := &world{now: time.Hour}
	s := w.scout()
	name := filepath.Join(t.TempDir(), "gateway")
	s.path = netns.NewPath(name)
	// Any file has a number that tells it from another, as a namespace has.
	replace := func() {
		if err := errors.Join(os.WriteFile(name+".new", nil, 0o600), os.Rename(name+".new", name)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 {
		replace()
		for range 2 {
			look(t, s, policy.CountAlways)
		}
		if len(w.installed) != i+1 || w.closed != i {
			t.Errorf("in namespace %d: installed %v, closed %d times", i, w.installed, w.closed)
		}
	}
	look(t, s, policy.CountNever)
	replace()
	if c := look(t, s, policy.CountNever).Census; c.Sources[0].New != 0 {
		t.Errorf("a rate out of two namespaces: %+v", c.Sources[0])
	}
}

// A counter that could not be removed is what the next rest removes.
func TestScoutRestsAgain(t *testing.T) {
	w := &world{now: time.Hour, stays: errors.New("no answer")}
	s := w.scout()
	look(t, s, policy.CountAlways)
	for range 2 {
		if err := s.Rest(); !errors.Is(err, w.stays) {
			t.Errorf("%v, want %v", err, w.stays)
		}
	}
	w.stays = nil
	for range 2 {
		if err := s.Rest(); err != nil || w.closed != 1 || w.removed != 2 {
			t.Errorf("%v, closed %d times, removed %d times", err, w.closed, w.removed)
		}
	}
}

// It comes back when it is called back.
func TestScoutIsCalledBack(t *testing.T) {
	w := &world{now: time.Hour}
	s := w.scout()
	s.apart = time.Hour
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("called back"))
	c := policy.Default()
	c.Census.CountNew = policy.CountAlways
	seen, err := s.Look(ctx, c)
	if err != nil || seen.Uncounted == nil || !strings.Contains(seen.Uncounted.Error(), "called back") {
		t.Errorf("%+v, %v", seen, err)
	}
}
