package main

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/conntrack-guardian/conntrack-guardian/guard/record"
	"github.com/conntrack-guardian/conntrack-guardian/guard/sense/census"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// Services that may be worth a rule are those with a share, of protocols that a rule can
// match, and not too many of them at once.
func TestBusyServices(t *testing.T) {
	service := func(addr, proto string, port uint16, share float64) census.Service {
		return census.Service{Addr: netip.MustParseAddr(addr), Port: port, Proto: proto, Figure: census.Figure{Share: share}}
	}
	dns, log := service("10.0.0.1", "udp", 53, 0.2), service("2001:db8::1", "tcp", 514, 0.005)
	r := census.Report{Services: []census.Service{dns, service("10.0.0.2", "icmp", 2048, 0.1), log, service("10.0.0.3", "tcp", 80, 0.0049)}}
	got := busyServices(&r)
	if len(got) != 2 || got[0] != dns || got[1] != log {
		t.Fatalf("%+v", got)
	}
	flows := flowsTo(got)
	if f := flows[1]; f.From[0].String() != "::/0" || f.To[0].String() != "2001:db8::1/128" || f.Proto != unix.IPPROTO_TCP || f.Ports[0] != (policy.Ports{Low: 514, High: 514}) || f.Name != "1" || f.Mode == policy.Off {
		t.Errorf("%+v", f)
	}
	if f := flows[0]; f.From[0].String() != "0.0.0.0/0" || f.To[0].String() != "10.0.0.1/32" {
		t.Errorf("%+v", f)
	}
	r.Services = slices.Repeat([]census.Service{dns}, 30)
	if got := busyServices(&r); len(got) != 20 {
		t.Errorf("%d at once", len(got))
	}
}

func TestIsOwn(t *testing.T) {
	known := []policy.Allowed{
		{Prefix: netip.MustParsePrefix("10.0.0.9/32"), Why: "name server"}, {Prefix: netip.MustParsePrefix("10.0.0.1/32"), Why: "own address", Own: true},
	}
	for addr, want := range map[string]bool{"10.0.0.1": true, "10.0.0.9": false, "10.0.0.2": false} {
		if isOwn(netip.MustParseAddr(addr), known) != want {
			t.Errorf("%s: want %v", addr, want)
		}
	}
}

// A record adds what the hours of the baseline don't tell, and what of it can't be read
// is said.
func TestAdviseReadsTheRecord(t *testing.T) {
	stateWith(t, 0, busyWeek...)
	r, err := record.Open("state/record", record.Options{Size: 8 << 20, Boot: "b"})
	if err != nil {
		t.Fatal(err)
	}
	c, st := policy.Default(), policy.State{}
	r.Policy(&c)
	for i := range 20 {
		s := policy.Snapshot{Wall: time.Unix(int64(1000+i), 0), Count: 1000 * i, Max: 19_000, Losses: policy.Counters{Drop: uint64(i / 18)}}
		r.Add(&st, &s, &c, time.Duration(100+i)*time.Second, nil)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	f := survey{stateDir: "state"}
	f.replay()
	if f.record.Readings != 20 || f.record.Highest != 19_000 || f.record.Refused != 1 || len(f.notes) > 0 {
		t.Errorf("%+v, %q", f.record, f.notes)
	}
	segments, err := filepath.Glob("state/record/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range segments {
		if text := read(t, path); len(text) > 200 {
			text[len(text)-100] ^= 1
			if err := os.WriteFile(path, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	f = survey{stateDir: "state"}
	if f.replay(); len(f.notes) != 1 || !strings.HasPrefix(f.notes[0], "Not all of the flight record could be read: state/record/") || f.record.Readings == 0 || f.record.Readings == 20 {
		t.Errorf("%+v, %q", f.record, f.notes)
	}
	if err := os.RemoveAll("state/record"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("state/record", []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	f = survey{stateDir: "state"}
	if f.replay(); len(f.notes) != 1 || !strings.HasPrefix(f.notes[0], "The flight record could not be read: ") {
		t.Errorf("%q", f.notes)
	}
}

func TestEntryBytes(t *testing.T) {
	const head = "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables\n"
	page := os.Getpagesize()
	for text, want := range map[string]int{
		head + "nf_conntrack_expect 0 0 208 19 1 : tunables 0\nnf_conntrack         144    208    320   12    1 : tunables 0\n": page/12 + 128,
		head + "nf_conntrack 0 0 256 32 2 : tunables\n": 2*page/32 + 128,
		head + "nf_conntrack 0 0 256 0 2\n":             0,
		head + "nf_conntrack 0 0\n":                     0,
		head:                                            0,
	} {
		path := filepath.Join(t.TempDir(), "slabinfo")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := entryBytes(path); got != want {
			t.Errorf("%d, want %d, of\n%s", got, want, text)
		}
	}
	if got := entryBytes(filepath.Join(t.TempDir(), "none")); got != 0 {
		t.Errorf("%d of no file", got)
	}
}

func TestBuiltIn(t *testing.T) {
	module := t.TempDir()
	if !builtIn(module) {
		t.Error("what has no state of being loaded is not built in")
	}
	if err := os.WriteFile(module+"/initstate", []byte("live\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if builtIn(module) || builtIn(module+"/absent") {
		t.Error("a module is built in")
	}
}
