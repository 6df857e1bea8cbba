package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/conntrack-guardian/conntrack-guardian/guard/config"
	"github.com/conntrack-guardian/conntrack-guardian/policy"
)

// print tells what a policy without problems comes to.
func (c *checked) print(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s: no problems, mode %s\n", strings.Join(c.names(), ", "), c.file.Policy.Mode)
	for _, m := range c.file.Measures() {
		fmt.Fprintf(t, "  %s\t%s\n", m.Measure, modeText(m))
	}
	c.printWarnings(t)
	return t.Flush()
}

// modeText is the mode that counts for a measure, and what is in its way.
func modeText(m config.MeasureMode) string {
	if m.Lacks == "" {
		return m.Mode.String()
	}
	return m.Mode.String() + ", to act it needs " + m.Lacks
}

func (c *checked) printWarnings(w io.Writer) {
	for _, p := range c.warnings {
		p.Message = "warning: " + p.Message
		fmt.Fprintln(w, p)
	}
}

// printSettings prints where each value stands.
func (c *checked) printSettings(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SETTING\tVALUE\tFROM")
	for _, s := range c.file.Sources {
		from := s.Source()
		if s.Lacks != "" {
			from += ", to act it needs " + s.Lacks
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, cutShort(s.Value), from)
	}
	c.printWarnings(t)
	return t.Flush()
}

// cutShort keeps a long list from driving the last column off the screen.
func cutShort(value string) string {
	const enough = 32
	if runes := []rune(value); len(runes) > enough {
		return string(runes[:enough-1]) + "…"
	}
	return value
}

// A checkReport is what check prints as JSON. Of a policy with problems there are only
// those.
type checkReport struct {
	File     string           `json:"file"`
	Files    []string         `json:"files"` // in the order in which they count
	Problems config.Problems  `json:"problems"`
	Warnings config.Problems  `json:"warnings"`
	Hash     string           `json:"hash,omitempty"`
	Mode     string           `json:"mode,omitempty"`
	Measures []checkedMeasure `json:"measures,omitempty"`
	Settings []config.Setting `json:"settings,omitempty"`
}

type checkedMeasure struct {
	Measure policy.Measure `json:"measure"`
	Mode    string         `json:"mode"`
	Lacks   string         `json:"lacks,omitempty"`
}

func (c *checked) report(show bool) checkReport {
	r := checkReport{
		File: c.texts[0].Name, Files: c.names(),
		Problems: append(config.Problems{}, c.problems...), Warnings: append(config.Problems{}, c.warnings...),
	}
	if len(c.problems) > 0 {
		return r
	}
	r.Hash, r.Mode = c.file.Hash, c.file.Policy.Mode.String()
	for _, m := range c.file.Measures() {
		r.Measures = append(r.Measures, checkedMeasure{m.Measure, m.Mode.String(), m.Lacks})
	}
	if show {
		r.Settings = c.file.Sources
	}
	return r
}
