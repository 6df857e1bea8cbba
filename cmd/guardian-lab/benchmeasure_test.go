package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func here(f func() error) error { return f() }

// What a process takes is its own, whatever its parent has.
func TestMeasureLeavesOurMemoryOut(t *testing.T) {
	ours := make([]byte, 64<<20)
	for i := range ours {
		ours[i] = byte(i)
	}
	used, _, err := measure(t.Context(), here, oneProgram, "/bin/true")
	if err != nil || used.RSS < 100<<10 || used.RSS > 16<<20 {
		t.Errorf("%+v, %v, want little memory beside our %d", used, err, len(ours))
	}
	if ours[1] != 1 {
		t.Error("the memory was let go")
	}
}

// The CPU time of all processes adds up, memory is that of the largest, and the
// wall time lasts until the last has ended.
func TestMeasureAddsUp(t *testing.T) {
	const busy = `{ i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; }`
	one, _, err := measure(t.Context(), here, busy+" &")
	if err != nil {
		t.Fatal(err)
	}
	three, _, err := measure(t.Context(), here, busy+" | "+busy+" | "+busy+" &")
	if err != nil || three.CPU < 2*one.CPU || three.CPU > 6*one.CPU {
		t.Errorf("%+v, %v, want three times %+v", three, err, one)
	}
	if three.RSS > one.RSS*3/2 {
		t.Errorf("%d bytes, want about the %d of one", three.RSS, one.RSS)
	}
	used, _, err := measure(t.Context(), here, "exec >&- 2>&-; sleep 0.3 & sleep 0.1 &")
	if err != nil || used.Wall < 0.3 || used.CPU > 0.2 {
		t.Errorf("%+v, %v, want 0.3 s without CPU", used, err)
	}
}

func TestMeasureFailures(t *testing.T) {
	_, _, err := measure(t.Context(), here, "{ echo no such table >&2; exit 3; } &")
	if err == nil || !strings.Contains(err.Error(), "exit code 3") || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("%v, want the exit code and the words", err)
	}
	_, _, err = measure(t.Context(), here, "{ exit 3; } | true &")
	if err == nil {
		t.Error("no error of the first of a pipeline")
	}
	_, _, err = measure(t.Context(), here, `sh -c 'kill -9 $$' &`)
	if err == nil || !strings.Contains(err.Error(), "killed") {
		t.Errorf("%v, want the signal", err)
	}
	_, _, err = measure(t.Context(), here, oneProgram, "/nonexistent")
	if err == nil {
		t.Error("no error of a program that is not there")
	}
	_, _, err = measure(t.Context(), func(func() error) error { return os.ErrPermission }, "true")
	if !errors.Is(err, os.ErrPermission) {
		t.Errorf("%v, want that it did not start", err)
	}
}

// The end of the context ends the processes.
func TestMeasureEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	start := time.Now()
	_, _, err := measure(ctx, here, "sleep 60 | sleep 60 &")
	if took := time.Since(start); !errors.Is(err, context.Canceled) || took > 10*time.Second {
		t.Errorf("%v after %s, want it ended at once", err, took)
	}
}

// The pipeline's awk finds the source in whatever line conntrack prints, and head
// may end before the others.
func TestPipelineCountsSources(t *testing.T) {
	dir := t.TempDir()
	script := `#!/bin/sh
i=0
while [ $i -lt 12000 ]; do
	echo "tcp      6 43199 TIME_WAIT src=10.1.$((i / 100)).$((i % 100)) dst=198.18.0.1 sport=1024 dport=443 src=198.18.0.1 dst=203.0.113.1 sport=443 dport=1024 [ASSURED] mark=0 use=1"
	i=$((i + 1))
done
echo "udp      17 43199 src=10.2.0.1 dst=198.18.0.1 sport=1024 dport=53 [UNREPLIED] src=198.18.0.1 dst=203.0.113.1 sport=53 dport=1024 mark=0 use=1"
echo "tcp      6 43199 ESTABLISHED src=10.2.0.1 dst=198.18.0.1 sport=1024 dport=443 src=198.18.0.1 dst=203.0.113.1 sport=443 dport=1025 mark=0 use=1"
echo "conntrack v1.4.7: 12002 flow entries have been shown." >&2
`
	if err := os.WriteFile(filepath.Join(dir, "conntrack"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	c := pipelineContender()
	if c.Missing != "" {
		t.Fatal(c.Missing)
	}
	_, out, err := measure(t.Context(), here, c.script)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := c.read(out); err != nil || a.Count != 2 || a.Source.String() != "10.2.0.1" {
		t.Errorf("%+v, %v from %q, want 2 from 10.2.0.1", a, err, out)
	}
	t.Setenv("PATH", dir)
	if c := pipelineContender(); c.Missing == "" {
		t.Error("awk is missing and that is not said")
	}
}
