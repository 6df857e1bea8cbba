package rival

import (
	"testing"
)

func TestKubeProxy(t *testing.T) {
	cpus := func(list string) tree { return tree{"sys/devices/system/cpu/online": list + "\n"} }
	raised := func(found string) Drift { return Drift{Key: "sysctl:" + keyMax, Ours: "100000", Found: found} }
	at := func(pid, what string, likely bool) []Suspect {
		return []Suspect{{"kube-proxy", "process " + pid + ", which " + what, likely}}
	}
	plainly := runs("40", "kube-proxy", "/usr/local/bin/kube-proxy")
	for name, x := range map[string]struct {
		files tree
		drift Drift
		want  []Suspect
	}{
		"least":      {plainly.with(cpus("0-1")), raised("131072"), at("40", "sets nf_conntrack_max to 131072 when it starts", true)},
		"by cores":   {plainly.with(cpus("0-6,8,10-11")), raised("327680"), at("40", "sets nf_conntrack_max to 327680 when it starts", true)},
		"lowered":    {plainly.with(cpus("0-1")), maxFound("131072"), at("40", "sets nf_conntrack_max to 131072 when it starts, but is known to raise it only", false)},
		"other":      {plainly.with(cpus("0-1")), raised("131073"), nil},
		"not there":  {cpus("0-1"), raised("131072"), nil},
		"its flag":   {runs("40", "kube-proxy", "kube-proxy", "--conntrack-min=262144").with(cpus("0-1")), raised("262144"), at("40", "sets nf_conntrack_max to 262144 when it starts", true)},
		"two words":  {runs("40", "kube-proxy", "kube-proxy", "--conntrack-max-per-core", "100000").with(cpus("0-1")), raised("200000"), at("40", "sets nf_conntrack_max to 200000 when it starts", true)},
		"leaves it":  {runs("40", "kube-proxy", "kube-proxy", "--conntrack-max-per-core=0").with(cpus("0-1")), raised("131072"), nil},
		"configured": {runs("40", "kube-proxy", "kube-proxy", "--config=/x").with(cpus("0-1")), raised("7"), at("40", "sets some of these when it starts, as its configuration says", false)},
		"its buckets": {
			plainly.with(cpus("0-1")),
			Drift{Key: "sysctl:" + keyBuckets, Ours: "16384", Found: "32768"},
			at("40", "sets nf_conntrack_buckets to 32768 when it starts", true),
		},
		"established": {
			plainly,
			Drift{Key: "timeout:tcp_timeout_established", Ours: "7440", Found: "86400"},
			at("40", "sets nf_conntrack_tcp_timeout_established to 86400 when it starts", true),
		},
		"close wait": {
			plainly,
			Drift{Key: "timeout:tcp_timeout_close_wait", Ours: "10", Found: "3600"},
			at("40", "sets nf_conntrack_tcp_timeout_close_wait to 3600 when it starts", true),
		},
		"none of its own": {plainly, Drift{Key: "timeout:udp_timeout", Ours: "10", Found: "30"}, nil},
		"udp": {
			runs("40", "kube-proxy", "kube-proxy", "--conntrack-udp-timeout=45s"),
			Drift{Key: "timeout:udp_timeout", Ours: "10", Found: "45"},
			at("40", "sets nf_conntrack_udp_timeout to 45 when it starts", true),
		},
		"in k3s": {
			runs("41", "k3s-server", "/usr/local/bin/k3s server --kube-proxy-arg=conntrack-min=400000").with(cpus("0")), raised("400000"),
			at("41", "sets nf_conntrack_max to 400000 when it starts", true),
		},
		"in hyperkube": {
			runs("42", "hyperkube", "/hyperkube", "proxy").with(cpus("0-7")), raised("262144"),
			at("42", "sets nf_conntrack_max to 262144 when it starts", true),
		},
		"another hyperkube": {runs("42", "hyperkube", "/hyperkube", "kubelet").with(cpus("0-7")), raised("262144"), nil},
	} {
		t.Run(name, func(t *testing.T) { suspects(t, x.files, x.want, x.drift) })
	}
}

func TestCPUs(t *testing.T) {
	here := (&search{}).cpus()
	for list, want := range map[string]int{"0": 1, "0-3": 4, "0,2-3": 3, "": here, "x": here, "3-1": here} {
		s := &search{root: tree{"sys/devices/system/cpu/online": list}.root(t)}
		if want == here {
			want = (&search{root: Root{Sys: "/nowhere"}}).cpus()
		}
		if got := s.cpus(); got != want {
			t.Errorf("%q: %d, want %d", list, got, want)
		}
	}
	if here < 1 {
		t.Errorf("%d", here)
	}
}
