package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/guard/kernel/sysctl"
)

// For as long as the project promises: go test -run TestRootRivalAtRandomTimes -rival 2m
var rivalFor = flag.Duration("rival", 20*time.Second, "how long another process writes nf_conntrack_max at random times")

// maxKey is what the rival writes.
const maxKey = "net.netfilter.nf_conntrack_max"

// keepOff is how long the daemon keeps off after each yield.
const keepOff = 3 * time.Second

// Another process writes nf_conntrack_max at random times during an episode. Its values
// are never fought and never undone, each yield is journaled once, and who does it is
// named. What the daemon does between is on top of the value that the rival left.
func TestRootRivalAtRandomTimes(t *testing.T) {
	s := newSite(t)
	text, err := os.ReadFile(s.path("guardian.toml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write("guardian.toml", strings.Replace(string(text), "[watch]\n", fmt.Sprintf("[watch]\nyield_for = %q\n", keepOff), 1)+
		"[acts_per_hour]\nall = 500\nraise_max = 100\n")
	seen := s.watchMax()
	d := s.start()
	s.fill(60000)
	s.until("max is raised", func() bool { return s.max() > baseline })
	r := s.rival()
	for end := time.Now().Add(*rivalFor); time.Now().Before(end); {
		time.Sleep(200*time.Millisecond + rand.N(2800*time.Millisecond))
		r.write()
	}
	s.until("the last value is noticed", func() bool { return d.settled() })
	s.empty()
	s.until("nothing is in force", func() bool { return len(s.open()) == 0 })
	if got := s.max(); got != r.wrote[len(r.wrote)-1] {
		t.Errorf("nf_conntrack_max is %d in the end, the rival wrote %d", got, r.wrote[len(r.wrote)-1])
	}
	d.stop()
	d.yieldedOnce(r)
	s.neverFought(seen(), r)
}

// A rival is another process that writes nf_conntrack_max when it is told to.
type rivalWriter struct {
	*site
	cmd   *exec.Cmd
	in    io.Writer
	out   *bufio.Reader
	wrote []int
}

func (s *site) rival() *rivalWriter {
	s.Helper()
	path, err := sysctl.Path(maxKey)
	if err != nil {
		s.Fatal(err)
	}
	r := &rivalWriter{site: s, cmd: exec.Command("/bin/sh", "-c", "while read -r value; do echo $value > "+path+" && echo done; done")}
	in, errIn := r.cmd.StdinPipe()
	out, errOut := r.cmd.StdoutPipe()
	if errIn != nil || errOut != nil {
		s.Fatal(errIn, errOut)
	}
	r.in, r.out = in, bufio.NewReader(out)
	if err := r.cmd.Start(); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		in.Close()
		if err := r.cmd.Wait(); err != nil {
			s.Errorf("the rival: %v", err)
		}
	})
	return r
}

// write writes a value that nobody has written yet, and at which 60,000 entries are
// trouble. The daemon's own are larger.
func (r *rivalWriter) write() {
	r.Helper()
	value := 61_001 + 2*rand.N(6_500)
	for slices.Contains(r.wrote, value) {
		value = 61_001 + 2*rand.N(6_500)
	}
	fmt.Fprintln(r.in, value)
	if answer, err := r.out.ReadString('\n'); err != nil || answer != "done\n" {
		r.Fatalf("the rival: %q, %v", answer, err)
	}
	r.wrote = append(r.wrote, value)
}

// watchMax notes each value of nf_conntrack_max, in order.
func (s *site) watchMax() (seen func() []int) {
	s.Helper()
	f, err := sysctl.Open(maxKey)
	if err != nil {
		s.Fatal(err)
	}
	stop, result := make(chan struct{}), make(chan []int, 1)
	go func() {
		defer f.Close()
		var all []int
		for tick := time.NewTicker(time.Millisecond); ; {
			if value, err := f.Int(); err == nil && (len(all) == 0 || value != all[len(all)-1]) {
				all = append(all, value)
			}
			select {
			case <-stop:
				tick.Stop()
				result <- all
				return
			case <-tick.C:
			}
		}
	}()
	return func() []int { close(stop); return <-result }
}

// open are the changes in force.
func (s *site) open() []ledger.Change {
	s.Helper()
	return slices.DeleteFunc(s.changes(), func(c ledger.Change) bool { return !c.State.Open() })
}

// settled reports that what is in force, if anything, is the value there is.
func (d *daemon) settled() bool {
	open := d.open()
	return len(open) == 0 || open[len(open)-1].Edits[0].After == fmt.Sprint(d.max())
}

var changeID = regexp.MustCompile(`CHANGE_ID=(\d+)`)

// yieldedOnce holds the journal against the ledger: a line for each change that was
// lost to the rival, and none else.
func (d *daemon) yieldedOnce(r *rivalWriter) {
	d.Helper()
	lines := map[string]int{}
	for line := range strings.Lines(d.log.String()) {
		if !strings.Contains(line, "ACTION=yielded") {
			continue
		}
		if id := changeID.FindStringSubmatch(line); id == nil {
			d.Errorf("no change is named: %s", line)
		} else if lines[id[1]]++; lines[id[1]] > 1 {
			d.Errorf("change %s is yielded again: %s", id[1], line)
		}
	}
	yielded := 0
	for _, c := range d.changes() {
		above := strings.Contains(c.Note, "lost with change") // told with the one above it
		if c.State == ledger.Yielded && !above {
			yielded++
		}
		if told := lines[fmt.Sprint(c.ID)] == 1; told != (c.State == ledger.Yielded && !above) {
			d.Errorf("change %d is %s, told %v: %s", c.ID, c.State, told, c.Note)
		}
	}
	if yielded < 2 {
		d.Errorf("%d yields in %s", yielded, *rivalFor)
	}
	if who := fmt.Sprintf("sh, process %d, which has nf_conntrack_max in its command line", r.cmd.Process.Pid); d.count(who) == 0 {
		d.Errorf("the journal does not say %q", who)
	}
	d.Logf("%d writes of the rival, %d changes, %d yields", len(r.wrote), len(d.changes()), yielded)
}

// neverFought holds what was seen of nf_conntrack_max against the ledger: the daemon
// wrote what it says it wrote, over the rival's value only where it had kept off and
// says that the value was the rival's, and no change was made soon after a yield.
func (s *site) neverFought(seen []int, r *rivalWriter) {
	s.Helper()
	changes := s.changes()
	for i := 1; i < len(seen); i++ {
		from, to := seen[i-1], seen[i]
		if !slices.Contains(r.wrote, to) && !r.accounted(changes, from, to) {
			s.Errorf("nf_conntrack_max went from %d to %d, by no change of the ledger; the rival's is the first: %v", from, to, slices.Contains(r.wrote, from))
		}
	}
	for _, y := range changes {
		for _, c := range changes {
			if since := c.Made - y.Since; y.State == ledger.Yielded && since > 0 && since < keepOff {
				s.Errorf("change %d was made %s after change %d was yielded", c.ID, since, y.ID)
			}
		}
	}
}

// accounted reports whether the ledger has a step of nf_conntrack_max. The rival's value
// in between may have gone unseen.
func (r *rivalWriter) accounted(changes []ledger.Change, from, to int) bool {
	return slices.ContainsFunc(changes, func(c ledger.Change) bool {
		before, after, err := 0, 0, error(nil)
		if _, err = fmt.Sscan(c.Edits[0].Before+" "+c.Edits[0].After, &before, &after); err != nil {
			r.Fatal(err)
		}
		made := after == to && (before == from || slices.Contains(r.wrote, before) && !slices.Contains(r.wrote, from))
		return made || c.State == ledger.Undone && after == from && before == to
	})
}
