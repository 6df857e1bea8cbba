package rival

import "testing"

func TestTuned(t *testing.T) {
	running := runs("30", "tuned", "/usr/bin/python3", "-Es", "/usr/sbin/tuned", "-l", "-P")
	profile := "[main]\nsummary=Gateway\n\n[sysctl]\nnet.netfilter.nf_conntrack_max = 100000\n"
	active := tree{"etc/tuned/active_profile": "gateway\n"}
	says := func(place string) []Suspect {
		return []Suspect{{"tuned", "process 30, " + setBy(place), true}}
	}
	for name, x := range map[string]struct {
		files tree
		want  []Suspect
	}{
		"in force":     {running.with(active).with(tree{"etc/tuned/gateway/tuned.conf": profile}), says("/etc/tuned/gateway/tuned.conf:5")},
		"of a package": {running.with(active).with(tree{"usr/lib/tuned/profiles/gateway/tuned.conf": profile}), says("/usr/lib/tuned/profiles/gateway/tuned.conf:5")},
		"not running":  {active.with(tree{"etc/tuned/gateway/tuned.conf": profile}), nil},
		"another":      {running.with(tree{"etc/tuned/active_profile": "other", "etc/tuned/gateway/tuned.conf": profile, "etc/tuned/other/tuned.conf": "[sysctl]\na=1\n"}), nil},
		"no section":   {running.with(active).with(tree{"etc/tuned/gateway/tuned.conf": "[sysfs]\nnet.netfilter.nf_conntrack_max = 100000\n[sysctl]\nx=1\n"}), nil},
		"included": {
			running.with(active).with(tree{"etc/tuned/gateway/tuned.conf": "[main]\ninclude=base\n", "usr/lib/tuned/base/tuned.conf": profile}),
			says("/usr/lib/tuned/base/tuned.conf:5"),
		},
		"over what is included": {
			running.with(active).with(tree{"etc/tuned/gateway/tuned.conf": "[sysctl]\nnet.netfilter.nf_conntrack_max=5\n[main]\ninclude=base\n", "usr/lib/tuned/base/tuned.conf": profile}),
			nil,
		},
		"in a circle": {running.with(active).with(tree{"etc/tuned/gateway/tuned.conf": profile + "[main]\ninclude=gateway\n"}), says("/etc/tuned/gateway/tuned.conf:5")},
		"at least":    {running.with(active).with(tree{"etc/tuned/gateway/tuned.conf": "[sysctl]\nnet.netfilter.nf_conntrack_max=>100000\n"}), says("/etc/tuned/gateway/tuned.conf:2")},
		"unreadable":  {running.with(active), []Suspect{{"tuned", "process 30, whose profile can't be read", false}}},
		"leads out":   {running.with(tree{"etc/tuned/active_profile": "../../x", "etc/x/tuned.conf": profile}), nil},
	} {
		t.Run(name, func(t *testing.T) { suspects(t, x.files, x.want, maxFound("100000")) })
	}
}
