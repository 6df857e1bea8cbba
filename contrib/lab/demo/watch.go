package demo

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/conntrack-guardian/conntrack-guardian/contrib/lab"
)

// A Sample is one look at the gateway's table.
type Sample struct {
	At    time.Duration `json:"at_ns"` // since the run began
	Count int           `json:"count"`
	Max   int           `json:"max"`
}

// Utilization is the share of the table in use.
func (s Sample) Utilization() float64 { return float64(s.Count) / float64(s.Max) }

// A Move is a change of nf_conntrack_max that was seen, whoever made it.
type Move struct {
	At   time.Duration `json:"at_ns"`
	From int           `json:"from"`
	To   int           `json:"to"`
}

// sampleEvery is much shorter than anything that the demonstration shows.
const sampleEvery = 100 * time.Millisecond

// A watch samples a gateway until it is stopped.
type watch struct {
	gateway *lab.Gateway
	load    *lab.Load
	name    string
	start   time.Time
	report  func(Progress)

	mu      sync.Mutex
	phase   string
	samples []Sample
	err     error

	cancel context.CancelFunc
	done   sync.WaitGroup
}

// Progress is how a run stands.
type Progress struct {
	Run, Phase        string
	Sample            Sample
	Attempted, Failed int64
}

func (w *watch) begin(ctx context.Context) {
	ctx, w.cancel = context.WithCancel(ctx)
	w.start = time.Now()
	w.done.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for ctx.Err() == nil {
			w.look()
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
	})
}

func (w *watch) look() {
	count, err := w.gateway.Count()
	sizes, err2 := lab.ReadSizes()
	w.mu.Lock()
	if err != nil || err2 != nil {
		w.err = cmp.Or(w.err, err, err2)
		w.mu.Unlock()
		return
	}
	s := Sample{At: time.Since(w.start), Count: count, Max: sizes.Max}
	w.samples = append(w.samples, s)
	p := Progress{Run: w.name, Phase: w.phase, Sample: s}
	w.mu.Unlock()
	if w.report != nil {
		p.Attempted, p.Failed = w.load.Progress()
		w.report(p)
	}
}

// enter names what is going on.
func (w *watch) enter(phase string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = phase
}

// now is the newest sample.
func (w *watch) now() Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.samples) == 0 {
		return Sample{}
	}
	return w.samples[len(w.samples)-1]
}

// end stops sampling and returns what was seen.
func (w *watch) end() ([]Sample, error) {
	w.cancel()
	w.done.Wait()
	return w.samples, w.err
}

// moves finds the changes of max.
func moves(samples []Sample) []Move {
	found := []Move{}
	for i := 1; i < len(samples); i++ {
		if from, to := samples[i-1].Max, samples[i].Max; from != to {
			found = append(found, Move{samples[i].At, from, to})
		}
	}
	return found
}
