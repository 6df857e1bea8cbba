package main

import (
	"flag"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/actions/ledger"
	"github.com/conntrack-guardian/conntrack-guardian/cmd/internal/program"
	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// keepRecords keeps the records of this run as those that guard/record replays: then run
// its tests with -update, and read what has changed.
var keepRecords = flag.Bool("keep-records", false, "write the records of lab incidents to guard/record/testdata")

// A labIncident is recorded by a real daemon, by the policy that it is under.
type labIncident struct {
	site func(*testing.T) *site
	live func(*site, *daemon)
	want []policy.Verb // decided at least once
}

// labIncidents are lived through whenever this is tested, and to be kept.
var labIncidents = map[string]labIncident{
	"shorten-timeouts": {
		churning,
		func(s *site, d *daemon) {
			closeMany(s.T, s.gateway)
			s.until("the effect is judged", func() bool { return d.count("ACTION=judged") > 0 })
			s.empty()
			s.until("the timeouts are given back", func() bool { return d.count("ACTION=undone") > 0 })
		},
		[]policy.Verb{policy.Open, policy.Diagnose, policy.Do, policy.Undo},
	},
	"limit-source": {
		func(t *testing.T) *site { return limiting(t, lab.Options{}, "hold = \"6s\"\n") },
		func(s *site, d *daemon) {
			b := s.flood(lab.Flood{Pattern: lab.HalfOpen, Rate: 8000, From: netip.MustParseAddr("10.77.99.9")})
			s.until("the source is limited", func() bool { return d.count("MEASURE=limit-source ") > 0 && d.count("ACTION=done") > 0 })
			time.Sleep(4 * time.Second)
			b.stop(s.T)
			s.empty()
			s.until("the limit is lifted", func() bool { return d.count("ACTION=undone") > 0 })
		},
		[]policy.Verb{policy.Open, policy.Rank, policy.Do, policy.Judge, policy.Undo},
	},
	"approved": {
		func(t *testing.T) *site {
			s := newSite(t)
			s.advising()
			return s
		},
		func(s *site, d *daemon) {
			s.fill(60_000)
			s.until("advice", func() bool { return d.count("ACTION=advised") > 0 })
			if code, _, errs := s.ask("approve", adviceLine.FindStringSubmatch(d.log.String())[1]); code != program.Done {
				s.Fatalf("approve: %d, %s", code, errs)
			}
			time.Sleep(2 * time.Second)
			s.empty()
			s.until("the end of the episode", func() bool { return d.count("ACTION=episode-closed") > 0 })
		},
		[]policy.Verb{policy.Open, policy.Advised, policy.Do, policy.Close},
	},
	"restarted": {
		patient,
		func(s *site, d *daemon) {
			s.fill(60_000)
			s.until("max is raised", func() bool { return s.max() > baseline })
			d.kill()
			again := s.start()
			*d = daemon{site: again.site, cmd: again.cmd}
			s.fill(60_000)
			s.until("max is raised again", func() bool { return s.max() > 2*baseline })
			s.empty()
			s.until("max is as before", func() bool { return s.max() == baseline })
			s.until("the end of the episode", func() bool { return again.count("ACTION=episode-closed") > 0 })
		},
		[]policy.Verb{policy.Open, policy.Do, policy.Close, policy.Undo},
	},
}

// keptIncidents are lived through only to be kept, since others are like them.
var keptIncidents = map[string]labIncident{
	"raise-max": {
		patient,
		func(s *site, d *daemon) { s.outgrow() },
		[]policy.Verb{policy.Open, policy.Do, policy.Judge, policy.Close, policy.Undo},
	},
	"rival": {
		patient,
		func(s *site, d *daemon) {
			s.fill(60_000)
			s.until("max is raised", func() bool { return s.max() > baseline })
			if err := s.hold.Set(100_000); err != nil {
				s.Fatal(err)
			}
			s.until("the daemon yields", func() bool { return d.count("ACTION=yielded") > 0 })
			s.empty()
			s.until("the end of the episode", func() bool { return d.count("ACTION=episode-closed") > 0 })
		},
		[]policy.Verb{policy.Open, policy.Do, policy.Yield, policy.Close},
	},
}

// patient is a site where an episode does not end between two parts of one flood.
func patient(t *testing.T) *site {
	t.Helper()
	s := newSite(t)
	s.replace("guardian.toml", `calm = "1s"`, `calm = "6s"`)
	return s
}

// outgrow floods the table with more than the policy allows, and waits until all is over.
func (s *site) outgrow() {
	s.Helper()
	s.flood(lab.Flood{Pattern: lab.HalfOpen, Rate: 20_000, Count: 300_000, Sources: 64}).wait(s.T)
	s.empty()
	s.until("max is as before", func() bool { return s.max() == baseline })
	time.Sleep(7 * time.Second) // the end of the episode
}

// wait is until a flood has ended by itself.
func (b *background) wait(t *testing.T) {
	t.Helper()
	if err := <-b.done; err != nil {
		t.Error(err)
	}
	b.done = nil
}

// What a daemon has recorded on a real kernel is decided again to the letter, from all of
// the ring and from the file of the episode.
func TestRootReplayToTheLetter(t *testing.T) {
	all := maps.Clone(labIncidents)
	if *keepRecords {
		maps.Copy(all, keptIncidents)
	}
	for name, i := range all {
		t.Run(name, func(t *testing.T) {
			s := i.site(t)
			d := s.start()
			i.live(s, d)
			time.Sleep(500 * time.Millisecond) // a reading or two more
			d.stop()
			ring := s.replay(recordDir(s.path("state")))
			for _, p := range []*played{ring, s.replay(s.episode())} {
				if p.Same != p.Then.Decisions || p.Same != p.Now.Decisions || !p.Parted.IsZero() {
					t.Errorf("%d decisions then, %d now, %d the same:\n%s", p.Then.Decisions, p.Now.Decisions, p.Same, text(p))
				}
			}
			if missing := undecided(ring, i.want); len(missing) > 0 {
				t.Errorf("nothing of %q in:\n%s", missing, text(ring))
			}
			s.tallied()
			if *keepRecords {
				s.keep(name)
			}
		})
	}
}

// replay decides a record again, and has the command do so, too.
func (s *site) replay(path string) *played {
	s.Helper()
	if code, _, stderr := s.command("replay", path); code != program.Done {
		s.Errorf("replay %s: exit code %d: %s", path, code, stderr)
	}
	r, err := record.Read(path)
	if err != nil {
		s.Fatal(err)
	}
	p := play(r, nil)
	if len(p.Damage) > 0 {
		s.Fatalf("damage: %q", p.Damage)
	}
	return p
}

// episode is the file of the one there is.
func (s *site) episode() string {
	s.Helper()
	list, err := record.Episodes(recordDir(s.path("state")))
	if err != nil || len(list) != 1 {
		s.Fatalf("%d episodes: %v", len(list), err)
	}
	return list[0].Path
}

func text(p *played) string {
	var b strings.Builder
	for _, l := range p.lines() {
		b.WriteString(l.text + "\n")
	}
	return b.String()
}

// undecided are the verbs that no decision has.
func undecided(p *played, want []policy.Verb) (missing []policy.Verb) {
	seen := map[policy.Verb]bool{}
	for _, st := range p.Steps {
		for _, d := range st.Then {
			seen[d.Verb] = true
		}
	}
	for _, v := range want {
		if !seen[v] {
			missing = append(missing, v)
		}
	}
	return missing
}

// tallied asserts that the episode's summary is that of the ledger.
func (s *site) tallied() {
	s.Helper()
	list, err := record.Episodes(recordDir(s.path("state")))
	if err != nil || len(list) != 1 {
		s.Fatalf("%d episodes: %v", len(list), err)
	}
	done, undone := 0, 0
	for _, c := range s.changes() {
		if c.Episode != list[0].ID || c.State == ledger.Failed {
			continue
		}
		if done++; c.State == ledger.Undone {
			undone++
		}
	}
	if done == 0 || list[0].Done != done || list[0].Undone != undone {
		s.Errorf("%d changes done and %d undone, the ledger has %d and %d", list[0].Done, list[0].Undone, done, undone)
	}
}

// keep makes the episode one that guard/record replays.
func (s *site) keep(name string) {
	s.Helper()
	b, err := os.ReadFile(s.episode())
	if err != nil {
		s.Fatal(err)
	}
	if len(b) > 100<<10 {
		s.Fatalf("%s takes %d bytes, too many to keep", name, len(b))
	}
	if err := os.WriteFile(filepath.Join("../../guard/record/testdata", name+record.EpisodeSuffix), b, 0o644); err != nil {
		s.Fatal(err)
	}
}
