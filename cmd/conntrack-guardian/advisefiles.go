package main

import (
	"fmt"
	"strings"

	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// sizingName is that of the files. sysctl.d is applied in the order of names, whichever
// directory they are in: 90 comes behind what distributions set.
const sizingName = "90-conntrack-guardian-sizing.conf"

// A sizingFile is one that is written, below the directory that was given.
type sizingFile struct{ path, text string }

// files are the advice as the system's own configuration. They depend on nothing but the
// advice.
func (a *advice) files() []sizingFile {
	return []sizingFile{
		{"sysctl.d/" + sizingName, a.sysctlFile()},
		{"modprobe.d/" + sizingName, a.modprobeFile()},
		{"modules-load.d/" + sizingName, a.modulesFile()},
	}
}

// A commented text is that of a file whose comments begin with #.
type commented struct{ strings.Builder }

// say adds a paragraph of comment.
func (c *commented) say(format string, args ...any) {
	for _, l := range breakLines(fmt.Sprintf(format, args...), adviceWidth-2) {
		c.WriteString("# " + l + "\n")
	}
}

// gap parts two paragraphs.
func (c *commented) gap() { c.WriteString("#\n") }

// part begins another setting.
func (c *commented) part() { c.WriteString("\n") }

// begin says what the file is and where its figures come from.
func (a *advice) begin(c *commented, what, dir string) {
	c.say("%s, as advised by conntrack-guardian advise on %s.", what, a.Time.Format("2006-01-02 15:04"))
	c.say("%s", a.restsOn())
	c.gap()
	c.say("Look through it and copy it to /etc/%s/. Delete it to be back at the defaults after the next boot.", dir)
}

func (a *advice) sysctlFile() string {
	var c commented
	a.begin(&c, "Sizes of the connection-tracking table", "sysctl.d")
	if a.NotNow == "" {
		c.say("It is applied at boot, or now by sysctl -p FILE.")
	} else {
		c.say("It is applied at boot. %s", a.NotNow)
	}
	for _, n := range a.Notes {
		c.gap()
		c.say("%s", n)
	}
	for _, v := range []*policy.SizedValue{&a.Max, &a.Buckets} {
		c.part()
		if a.Seen.Provisional {
			c.say("PROVISIONAL")
		}
		c.say("%s", v.Reason)
		c.say("Cost: %s", v.Cost)
		c.say("Trade-off: %s", v.TradeOff)
		c.say("%s", beforeText(v))
		fmt.Fprintf(&c, "%s = %d\n", v.Key, v.To)
	}
	a.timeoutChoices(&c)
	return c.String()
}

// beforeText says what a value was when the file was written.
func beforeText(v *policy.SizedValue) string {
	if v.Now == 0 {
		return "There was no limit before."
	}
	return fmt.Sprintf("It was %d before.", v.Now)
}

// timeoutChoices are settings that are comments: to take one its line loses the #.
func (a *advice) timeoutChoices(c *commented) {
	if len(a.Timeouts) == 0 {
		return
	}
	c.part()
	c.say("Timeouts that could be shorter. The sizes above do without them, so each is a choice: take the # from its line. " +
		"Entries that exist keep the time they have.")
	if a.Namespace != "" {
		c.say("They are those of the network namespace %s, which sysctl.d does not reach: set them where it is made.", a.Namespace)
	}
	for _, t := range a.Timeouts {
		c.part()
		c.say("%s", t.Reason)
		c.say("Frees: %s", t.Gain)
		c.say("Trade-off: %s", t.TradeOff)
		c.say("It was %d before.", t.Now)
		fmt.Fprintf(c, "#%s = %d\n", t.Key, t.To)
	}
}

// modprobeFile has the buckets from the moment that conntrack is loaded, when there is
// nothing to be rehashed.
func (a *advice) modprobeFile() string {
	var c commented
	a.begin(&c, "Hash table of the connection-tracking module", "modprobe.d")
	c.part()
	c.say("%s", a.Buckets.Reason)
	c.say("Cost: %s", a.Buckets.Cost)
	c.say("Given at loading, nothing has to be rehashed later, which would stall all packets. With it the kernel begins with an " +
		"nf_conntrack_max of eight times as much (nf_conntrack_init_start), until the file in sysctl.d is applied.")
	if a.BuiltIn {
		c.say("On this machine conntrack is built into the kernel, which does not read this file: put nf_conntrack.hashsize=%d on the "+
			"kernel's command line instead, or leave it to the file in sysctl.d.", a.Buckets.To)
	}
	fmt.Fprintf(&c, "options nf_conntrack hashsize=%d\n", a.Buckets.To)
	return c.String()
}

// modulesFile has conntrack loaded before sysctl.d is applied. Loaded later, by the first
// rule that needs it, it would begin with its defaults.
func (a *advice) modulesFile() string {
	var c commented
	a.begin(&c, "Loads connection tracking at boot", "modules-load.d")
	c.part()
	c.say("systemd applies sysctl.d once, behind modules-load.d. A key that is not there then is left out: without this, the values in " +
		"sysctl.d are lost where a firewall rule loads conntrack later.")
	c.WriteString("nf_conntrack\n")
	return c.String()
}
