package control

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

// period is that of the loops of these tests.
const period = 20 * time.Millisecond

// Periods are how long a loop's periods were: half of them at most Half, all but one in a
// hundred at most P99.
type periods struct{ Half, P99, Longest time.Duration }

func periodsOf(seen []time.Duration) periods {
	if len(seen) == 0 {
		return periods{}
	}
	slices.Sort(seen)
	return periods{seen[len(seen)/2], seen[len(seen)*99/100], seen[len(seen)-1]}
}

func (p periods) String() string {
	return fmt.Sprintf("%s, 99 %% %s, longest %s", p.Half.Round(time.Microsecond), p.P99.Round(time.Microsecond), p.Longest.Round(time.Microsecond))
}

// witness ticks as the loop does until its input ends, and prints what periods it saw.
// What the machine does to everybody it sees, too.
func witness() {
	ctx, stop := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		stop()
	}()
	var seen []time.Duration
	tick(ctx, func(d time.Duration) { seen = append(seen, d) }, nil)
	if err := json.NewEncoder(os.Stdout).Encode(periodsOf(seen)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// tick has each period seen, and between two of them does what it is asked.
func tick(ctx context.Context, see func(time.Duration), asked <-chan func()) {
	ticker := time.NewTicker(period)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := time.Now()
			see(now.Sub(last))
			last = now
		case do := <-asked:
			do()
		}
	}
}

// A bystander is a witness in another process.
type bystander struct {
	*testing.T
	cmd   *exec.Cmd
	input io.Closer
	said  *json.Decoder
}

func newBystander(t *testing.T) *bystander {
	t.Helper()
	cmd := caller(t, nil, "witness")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &bystander{t, cmd, in, json.NewDecoder(out)}
}

// heard is what it saw.
func (b *bystander) heard() (p periods) {
	b.Helper()
	b.input.Close()
	if err := b.said.Decode(&p); err != nil {
		b.Fatal(err)
	}
	if err := b.cmd.Wait(); err != nil {
		b.Fatal(err)
	}
	return p
}
