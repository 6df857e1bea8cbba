package watch

import (
	"errors"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
)

// Tests here wait most of the time, so there is no need to wait for processors, too.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "64"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// A watched is a Watcher that a test looks at.
type watched struct{ *Watcher }

func start(t *testing.T, path string, o Options) watched {
	t.Helper()
	o.Fault = func(err error) { t.Errorf("fault: %v", err) }
	w := watched{Start(path, o)}
	t.Cleanup(w.Close)
	return w
}

// next is the next policy to be handed over.
func (w watched) next(t *testing.T) Loaded {
	t.Helper()
	select {
	case l := <-w.C():
		return l
	case <-time.After(15 * time.Second):
		t.Fatal("nothing was handed over")
	}
	return Loaded{}
}

// silent holds that nothing is handed over for a while.
func (w watched) silent(t *testing.T, span time.Duration) {
	t.Helper()
	select {
	case l := <-w.C():
		t.Errorf("handed over once too often: hash %.8s, error %v", l.Hash, l.Err)
	case <-time.After(span):
	}
}

func hashOf(t *testing.T, path string) string {
	t.Helper()
	texts, err := config.Read(path)
	if err != nil {
		t.Fatal(err)
	}
	return config.Hash(texts)
}

// A change between the reading at the start and the first look is found.
func TestChangeBeforeTheStart(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	hash := hashOf(t, path)
	plain(s, text(1))
	expect(t, start(t, path, Options{InForce: hash}).next(t), 1, false)
}

// A policy that is made where there was none is found, and so is its directory; until
// then it is no news that there is none.
func TestFileAppears(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	w := start(t, s.at("a/b/guardian.toml"), Options{Optional: true})
	w.silent(t, patience+2*quiet)
	s.write("a/b/c", "no policy")
	w.silent(t, 2*quiet)
	s.write("a/b/guardian.toml", text(1))
	expect(t, w.next(t), 1, false)
	s.write("a/b/guardian.d/1.toml", "raise_max.ceiling = 1002\n")
	expect(t, w.next(t), 2, false)
}

// A file that stays away is told of once, and that it is back, too, even if it is as it
// was.
func TestFileGoes(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	w := start(t, path, Options{Optional: true, InForce: hashOf(t, path)})
	s.remove("guardian.toml")
	began := time.Now()
	if l := w.next(t); !errors.Is(l.Err, fs.ErrNotExist) || l.Hash != "" || time.Since(began) < patience {
		t.Errorf("after %v: %+v", time.Since(began), l.Err)
	}
	w.silent(t, patience+2*quiet)
	plain(s, text(0))
	expect(t, w.next(t), 0, false)
}

// What is wrong for a moment only is not told.
func TestMistakesOfAMoment(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	w := start(t, path, Options{InForce: hashOf(t, path)})
	for i := range 3 {
		plain(s, text(broken)[i:])
		time.Sleep(patience / 2)
	}
	plain(s, text(0))
	w.silent(t, patience+2*quiet)
}

// What goes on beside a file with mistakes makes nobody less patient with it, and the
// mistakes are told in the end.
func TestPatienceWithMistakes(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	w := start(t, path, Options{InForce: hashOf(t, path)})
	plain(s, text(broken))
	for range 3 {
		w.silent(t, 2*quiet)
		s.write("beside", "")
	}
	expect(t, w.next(t), broken, false)
}

// The watch begins before the first look: a file that is being written then is read
// when it is whole.
func TestHalfWrittenAtTheStart(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	w := start(t, path, Options{InForce: hashOf(t, path)})
	whole := "version = 1\n" + strings.ReplaceAll(text(1), "version = 1", "") // right by half, too
	time.Sleep(quiet * 4 / 5)
	s.slowly("guardian.toml", whole, quiet/4)
	expect(t, w.next(t), 1, false)
}

// Reading is not put off for ever by what goes on beside the policy.
func TestNoiseBesideThePolicy(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	w := start(t, path, Options{InForce: hashOf(t, path)})
	done := make(chan struct{})
	t.Cleanup(func() { done <- struct{}{} })
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(quiet / 10):
				s.write("log", "and again")
			}
		}
	}()
	for i := 1; i <= 2; i++ {
		time.Sleep(quiet)
		plain(s, text(i))
		began := time.Now()
		expect(t, w.next(t), i, false)
		if took := time.Since(began); took > 2*patience {
			t.Errorf("it took %v", took)
		}
	}
	w.silent(t, patience)
}

// Who does not take a policy at once gets the newest one.
func TestUntakenIsReplaced(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	w := start(t, path, Options{InForce: hashOf(t, path)})
	for i := 1; i <= 3; i++ {
		plain(s, text(i))
		time.Sleep(3 * quiet)
	}
	expect(t, w.next(t), 3, false)
	w.silent(t, 2*quiet)
	plain(s, text(4))
	time.Sleep(3 * quiet)
	plain(s, text(3)) // as taken last
	time.Sleep(3 * quiet)
	w.silent(t, 2*quiet)
}

// Now does not wait, tells of mistakes at once, and nothing comes a second time.
func TestNow(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	w := start(t, path, Options{Optional: true, InForce: hashOf(t, path)})
	first := w.Now()
	expect(t, first, 0, false)
	for _, i := range []int{1, broken, 2} {
		plain(s, text(i))
		l := w.Now()
		expect(t, l, i, false)
		if l.Order <= first.Order {
			t.Errorf("order %d after %d", l.Order, first.Order)
		}
		first = l
		s.write("beside", "")
		w.silent(t, 2*quiet)
	}
	w.silent(t, patience+2*quiet)
	s.remove("guardian.toml")
	if l := w.Now(); !errors.Is(l.Err, fs.ErrNotExist) || l.Hash != "" {
		t.Errorf("without the file: %v, %s", l.Err, l.Hash)
	}
	w.silent(t, patience+2*quiet)
	plain(s, text(3))
	expect(t, w.next(t), 3, false)
}

// No file is the built-in policy only where that is optional, and there never was one.
func TestNowWithoutAFile(t *testing.T) {
	t.Parallel()
	built := start(t, filepath.Join(t.TempDir(), "guardian.toml"), Options{Optional: true})
	if l := built.Now(); l.Err != nil || l.Hash != "" || l.File.Policy.RaiseMax.Ceiling != config.Default().Policy.RaiseMax.Ceiling {
		t.Errorf("got %v", l.Err)
	}
	w := start(t, filepath.Join(t.TempDir(), "guardian.toml"), Options{InForce: "of another"})
	if l := w.Now(); !errors.Is(l.Err, fs.ErrNotExist) {
		t.Errorf("got %v", l.Err)
	}
	w.silent(t, patience+2*quiet)
}

func TestNowAfterClose(t *testing.T) {
	t.Parallel()
	w := Start(filepath.Join(t.TempDir(), "guardian.toml"), Options{})
	w.Close()
	if l := w.Now(); !errors.Is(l.Err, errClosed) {
		t.Errorf("got %v", l.Err)
	}
}

// Without inotify that is said once, and looking now and then does instead.
func TestWithoutInotify(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	path := plain(s, text(0))
	faults := make(chan error, 100)
	w := watched{newWatcher(path, Options{InForce: hashOf(t, path), Fault: func(err error) { faults <- err }})}
	w.open = func() (*fsnotify.Watcher, error) { return nil, os.ErrPermission }
	w.backstop = quiet
	go w.run()
	defer w.Close()
	for _, i := range []int{1, broken, 2} {
		plain(s, text(i))
		expect(t, w.next(t), i, false)
	}
	if err := <-faults; len(faults) > 0 || err.Error() != "watch the policy: permission denied" {
		t.Errorf("%d more after %v", len(faults), err)
	}
}

// A directory that can be had by two names, or again by the same, is watched once, and
// with nothing to do nothing is done.
func TestWatchesSettle(t *testing.T) {
	t.Parallel()
	s := site{t, t.TempDir()}
	plain(s, text(0))
	s.link(".", "self")
	s.must(os.Mkdir(s.at("guardian.d"), 0o755))
	s.link("../self/self/guardian.toml", "guardian.d/1.toml")
	path := s.at("self/guardian.toml")
	w := newWatcher(path, Options{InForce: hashOf(t, path)})
	defer w.unwatch()
	if !w.watch() || len(w.watched) != 2 {
		t.Fatalf("watched %v", w.watched)
	}
	before := w.notify
	if !w.watch() || w.notify != before {
		t.Error("watches were made again without need")
	}
	s.remove("guardian.d")
	s.must(os.Mkdir(s.at("guardian.d"), 0o755))
	for told := true; told; {
		select {
		case <-w.events():
		case <-time.After(quiet):
			told = false
		}
	}
	if !w.watch() || w.notify == before {
		t.Error("a directory that was made again is not watched")
	}
}
