package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/guard/config/watch"
	"github.com/conntrack-guardian/conntrack-guardian/guard/control"
	"github.com/conntrack-guardian/conntrack-guardian/guard/journald"
)

// reloading is what the loop knows of the policy file.
type reloading struct {
	errand             // the file is being read because somebody asked
	again    bool      // somebody has asked since
	waiting  []asked   // for the next errand, in order
	telling  []asked   // for the one under way
	order    uint64    // of the newest taken in
	at       time.Time // wall clock when the policy in force was put in force
	err      error     // what came of the newest
	problems []string  // why the file as it is now was refused, empty when it was not
}

// asked is who is told what came of a reload.
type asked func(error)

// reread has the policy file read, now or once that which is under way is back, which may
// have begun before the newest edit.
func (g *Guard) reread(tell asked) {
	r := &g.reload
	r.waiting = append(r.waiting, tell)
	if r.away() {
		r.again = true
		return
	}
	g.fetch()
}

func (g *Guard) fetch() {
	r := &g.reload
	load := g.Load
	r.telling, r.waiting, r.again = r.waiting, nil, false
	r.send(func() (takeIn func()) {
		loaded := load()
		return func() {
			r.tell(g.take(loaded))
			if r.again {
				g.fetch()
			}
		}
	})
}

// tell answers those for whom the file was read.
func (r *reloading) tell(err error) {
	for _, tell := range r.telling {
		tell(err)
	}
	r.telling = nil
}

// reloadFor reads the policy file for an operator.
func (g *Guard) reloadFor(answer func(*control.Answer, error)) {
	g.reread(func(err error) {
		if err == nil {
			answer(&control.Answer{Message: fmt.Sprintf("policy in force from %s, mode %s", g.Source(), g.Config.Mode)}, nil)
			return
		}
		if errors.Is(err, errStopping) {
			answer(nil, &control.Refusal{Code: control.Blocked, Message: err.Error()})
			return
		}
		answer(nil, &control.Refusal{Code: control.Rejected, Message: "the policy is refused, the last good one stays in force", Lines: g.reload.problems})
	})
}

// take puts a policy in force between two ticks, or keeps the old one.
func (g *Guard) take(l watch.Loaded) error {
	r := &g.reload
	if l.Order < r.order {
		return r.err // of the newer one that has come before it
	}
	r.order = l.Order
	r.err = g.admit(l)
	return r.err
}

func (g *Guard) admit(l watch.Loaded) error {
	err := l.Err
	if err == nil && l.File.Namespace != g.Namespace {
		err = fmt.Errorf("%s: namespace: %q is guarded and %q is wanted: restart to change it", g.Source(), g.Namespace, l.File.Namespace)
	}
	if err == nil && g.Admit != nil {
		err = g.Admit(l.File)
	}
	if err != nil {
		g.reportRejected(err)
		return err
	}
	// From here nothing can fail.
	r := &g.reload
	if l.File.Hash == g.Hash && g.Hash != "" {
		r.problems = nil
		g.log(slog.LevelInfo, eventReloaded, "policy read again from "+g.Source()+": it is the one in force", slog.String("POLICY_HASH", g.Hash))
		return nil
	}
	g.Config = l.File.Policy
	g.Hash, r.at, r.problems = l.File.Hash, time.Now(), nil
	g.bound()
	g.renew() // what the policy does not have any more is over before it decides
	g.haltWalk(errReloaded)
	g.state.Reconsider()
	g.recordPolicy()
	g.soon = true
	g.log(journald.LevelNotice, eventReloaded, fmt.Sprintf("policy reloaded from %s, mode %s", g.Source(), g.Config.Mode), slog.String("POLICY_HASH", g.Hash))
	g.reportUnwritable()
	return nil
}

// reportRejected writes one line for each problem of a policy file.
func (g *Guard) reportRejected(err error) {
	r := &g.reload
	r.problems = nil
	var problems config.Problems
	if !errors.As(err, &problems) {
		r.problems = []string{err.Error()}
	}
	for _, p := range problems {
		r.problems = append(r.problems, p.String())
	}
	for _, p := range r.problems {
		g.log(slog.LevelError, eventRejected, "policy rejected, the last good one stays in force: "+p, slog.String("ERROR", p))
	}
}
