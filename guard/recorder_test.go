package guard

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Whatever an operator does meanwhile, what the loop records is decided again to the
// letter.
func TestRecordReplays(t *testing.T) {
	o := &office{gateway: newGateway(t)}
	dir := filepath.Join(t.TempDir(), "record")
	r, err := record.Open(dir, record.Options{Size: 32 << 20, Boot: thisBoot})
	if err != nil {
		t.Fatal(err)
	}
	o.Record, o.Config.Mode = r, policy.Advise
	o.recordPolicy()
	reload := func(change func(c *policy.Config)) {
		c := o.Config
		change(&c)
		o.reload(func() (config.File, error) { return config.File{Policy: c}, nil })
	}
	ask := func(r control.Request) {
		t.Helper()
		if _, err := o.ask(r); err != nil {
			t.Error(err)
		}
	}
	o.run(10*time.Second, 1000)
	o.run(8*time.Second, 60_000)
	ask(control.Request{Verb: control.Approve, ID: o.status().Advice[0].ID})
	o.run(20*time.Second, 110_000)
	reload(func(c *policy.Config) { c.Mode = policy.Act })
	o.run(20*time.Second, 120_000)
	reload(func(*policy.Config) {}) // of the same: what was said is said again
	ask(control.Request{Verb: control.Pause, For: time.Minute})
	o.run(30*time.Second, 240_000)
	ask(control.Request{Verb: control.Resume})
	o.run(30*time.Second, 1_000)
	ask(control.Request{Verb: control.Rollback, All: true})
	o.run(10*time.Minute, 100_000)
	reload(func(c *policy.Config) { c.RaiseMax.Ceiling = 100_000 })
	o.gateway.err = errors.New("no such luck")
	o.run(30*time.Second, 100_000)
	o.gateway.err = nil
	o.run(10*time.Minute, 1_000)
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	wantReplay(t, dir)
}

func wantReplay(t *testing.T, dir string) {
	t.Helper()
	rec, err := record.Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	steps, verbs := 0, map[policy.Verb]int{}
	for p, err := range record.Replay(rec, nil) {
		if err != nil {
			t.Fatal(err)
		}
		steps++
		for _, d := range p.Replayed {
			verbs[d.Verb]++
		}
		if !p.Same || p.Doubt != "" || p.Estimated {
			t.Fatalf("at %s: decided %+v, now %+v %s", p.Now, p.Decisions, p.Replayed, p.Doubt)
		}
	}
	if steps < 1000 || verbs[policy.Do] < 2 || verbs[policy.Advised] < 2 || verbs[policy.Undo] == 0 && verbs[policy.Judge] == 0 {
		t.Errorf("%d steps, %v", steps, verbs)
	}
}
