package rival

import (
	"os"
	"strconv"
	"testing"
)

func TestProcessesThatNameTheKey(t *testing.T) {
	names := func(pid string) string { return "process " + pid + ", which has nf_conntrack_max in its command line" }
	for name, x := range map[string]struct {
		files tree
		want  []Suspect
	}{
		"sysctl -w":        {runs("71", "sysctl", "sysctl", "-w", "net.netfilter.nf_conntrack_max=100000"), []Suspect{{"sysctl", names("71"), true}}},
		"a loop":           {runs("71", "sh", "sh", "-c", "while :; do echo $RANDOM > /proc/sys/net/netfilter/nf_conntrack_max; done"), []Suspect{{"sh", names("71"), true}}},
		"tee":              {runs("71", "tee", "tee", "/proc/sys/net/netfilter/nf_conntrack_max"), []Suspect{{"tee", names("71"), true}}},
		"may only read":    {runs("71", "tail", "tail", "-F", "/proc/sys/net/netfilter/nf_conntrack_max"), []Suspect{{"tail", names("71"), false}}},
		"writes elsewhere": {runs("71", "sh", "sh", "-c", "cat /proc/sys/net/netfilter/nf_conntrack_max > /var/lib/node/x.prom"), []Suspect{{"sh", names("71"), false}}},
		"tee elsewhere":    {runs("71", "sh", "sh", "-c", "cat /proc/sys/net/netfilter/nf_conntrack_max | tee -a log"), []Suspect{{"sh", names("71"), false}}},
		"quoted":           {runs("71", "sh", "sh", "-c", `echo $x >"/proc/sys/net/netfilter/nf_conntrack_max"`), []Suspect{{"sh", names("71"), true}}},
		"tee -a":           {runs("71", "sh", "sh", "-c", "echo $x | tee -a /proc/sys/net/netfilter/nf_conntrack_max"), []Suspect{{"sh", names("71"), true}}},
		"of nobody":        {status(runs("71", "sh", "sh", "-c", "nf_conntrack_max=100000"), "65534", "0000000000000000"), nil},
		"of root":          {status(runs("71", "sh", "sh", "-c", "nf_conntrack_max=100000"), "0", "0000000000000000"), []Suspect{{"sh", names("71"), true}}},
		"with CAP_NET_ADMIN": {
			status(runs("71", "sh", "sh", "-c", "nf_conntrack_max=100000"), "65534", "0000000000001000"),
			[]Suspect{{"sh", names("71"), true}},
		},
		"with CAP_NET_ADMIN elsewhere": {
			status(runs("71", "sh", "sh", "-c", "nf_conntrack_max=100000"), "65534", "000001ffffffffff").with(tree{
				"proc/71/uid_map": "         0      65534          1\n", "proc/self/uid_map": "         0          0 4294967295\n",
			}),
			nil,
		},
		"longer name":      {runs("71", "sysctl", "sysctl", "-w", "net.netfilter.nf_conntrack_max_more=100000"), nil},
		"sysctl --system":  {runs("71", "sysctl", "sysctl", "--system"), []Suspect{{"sysctl", "process 71, which applies files at this moment", true}}},
		"systemd-sysctl":   {runs("71", "systemd-sysctl", "/usr/lib/systemd/systemd-sysctl"), []Suspect{{"systemd-sysctl", "process 71, which applies files at this moment", true}}},
		"sysctl elsewhere": {runs("71", "sysctl", "sysctl", "-n", "kernel.pid_max"), nil},
		"ours":             {runs("71", "conntrack-guard", "conntrack-guardian", "status", ">nf_conntrack_max"), nil},
		"ourselves":        {runs(strconv.Itoa(os.Getpid()), "x", "x", "nf_conntrack_max=100000"), nil},
		"the kernel's":     {tree{"proc/71/comm": "kworker/0:1\n", "proc/71/cmdline": ""}, nil},
		"gone meanwhile":   {tree{"proc/71/status": ""}, nil},
		"hostile name":     {runs("71", "e\x1b[2J\nx", "x", "nf_conntrack_max=100000"), []Suspect{{`"e\x1b[2J\nx"`, names("71"), true}}},
		"not a process":    {runs("self", "sysctl", "sysctl", "--system"), nil},
	} {
		t.Run(name, func(t *testing.T) { suspects(t, x.files, x.want, maxFound("100000")) })
	}
}

// status is a tree with the effective user and capabilities of process 71.
func status(f tree, uid, caps string) tree {
	return f.with(tree{"proc/71/status": "Name:\tx\nUid:\t1\t" + uid + "\t0\t0\nCapPrm:\t000001ffffffffff\nCapEff:\t" + caps + "\n"})
}

// Whoever runs containers is no more than an opportunity.
func TestContainers(t *testing.T) {
	suspects(t, runs("8", "dockerd", "/usr/bin/dockerd", "-H", "fd://").with(runs("9", "containerd", "/usr/bin/containerd")),
		[]Suspect{{"dockerd", "process 8: a privileged container may write it", false}}, maxFound("100000"))
	suspects(t, runs("9", "containerd", "/usr/bin/containerd"),
		[]Suspect{{"containerd", "process 9: a privileged container may write it", false}}, maxFound("100000"))
}

// Evidence about the value goes before opportunity, whichever was found first.
func TestRank(t *testing.T) {
	f := runs("8", "dockerd", "/usr/bin/dockerd").with(tree{"etc/cron.d/tune": "nf_conntrack_max=100000\n"})
	got := Suspects(t.Context(), f.root(t), maxFound("100000"))
	if len(got) != 2 || !got[0].Likely || got[1].Name != "dockerd" {
		t.Errorf("%+v", got)
	}
	if want := "suspected: tune, of which /etc/cron.d/tune:1 has nf_conntrack_max and 100000"; Sentence(got) != want {
		t.Errorf("%q, want %q", Sentence(got), want)
	}
}

func TestSentence(t *testing.T) {
	some := []Suspect{{"a", "which x", true}, {"b", "which y", true}, {"c", "which z", true}, {"d", "which w", true}, {"e", "which v", false}}
	for want, all := range map[string][]Suspect{
		"who did it is unknown: no file says so and no known writer runs here": nil,
		"who did it is unknown; possibly e, which v":                           some[4:],
		"suspected: a, which x":                                                {some[4], some[0]},
		"suspected: a, which x; b, which y; c, which z":                        some,
	} {
		if got := Sentence(all); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
