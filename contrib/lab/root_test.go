package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
)

// Tests whose names begin with TestRoot need root and fail without it: run the
// others with -skip '^TestRoot'.

// TestMain fails the run if the tests leave a namespace or a file.
func TestMain(m *testing.M) {
	code := m.Run()
	if left, err := Left(); err != nil || len(left) > 0 {
		fmt.Fprintf(os.Stderr, "the tests left %q, %v\n", left, err)
		code = 1
	}
	os.Exit(code)
}

// newTestGateway makes a gateway that the test's end takes away.
func newTestGateway(t *testing.T, opts Options) *Gateway {
	t.Helper()
	g, err := NewGateway(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// undisturbed keeps others from lowering the machine's max while the test makes entries.
func undisturbed(t *testing.T) {
	t.Helper()
	release, err := ShareMax()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	})
}

// lower holds the machine's max for the test.
func lower(t *testing.T, max int) *MaxHold {
	t.Helper()
	return holdSizes(t, Sizes{Max: max})
}

// holdSizes holds the machine's values for the test. Others may hold them for a
// while.
func holdSizes(t *testing.T, want Sizes) *MaxHold {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	h, err := HoldSizes(ctx, want)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := h.Release(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// entries are those of the gateway's table. A dump during which another test resizes
// the hash table has some twice and others not at all: it is taken again.
func entries(t *testing.T, g *Gateway) []conntrack.Flow {
	t.Helper()
	c, err := conntrack.Dial(&netlink.Config{NetNS: int(g.Router.ns)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 10 {
		before, errBefore := ReadSizes()
		flows, err := c.Dump(nil)
		after, errAfter := ReadSizes()
		if err := errors.Join(errBefore, err, errAfter); err != nil {
			t.Fatal(err)
		}
		if before.Buckets == after.Buckets {
			return flows
		}
	}
	t.Fatal("the hash table never keeps its size")
	return nil
}

func mustCount(t *testing.T, g *Gateway) int {
	t.Helper()
	n, err := g.Count()
	if err != nil {
		t.Fatal(err)
	}
	return n
}
